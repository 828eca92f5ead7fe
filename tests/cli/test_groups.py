"""`treeinf clean --groups`: rows of a group stay together."""

import json

import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402
from treeinf.cli.tables.training_data import read_training_data  # noqa: E402

QUICK = ("--validation", "0.4", "--n-jobs", "1", "--no-guard", "--amount", "10")


@pytest.fixture
def grouped(tables):
    """Add a column of 60 patients to the train table."""
    frame = pd.read_csv(tables / "train.csv").drop(columns=["value", "row_weight"])
    frame["patient"] = [f"p{row // 4}" for row in range(len(frame))]
    path = tables / "grouped.csv"
    frame.to_csv(path, index=False)
    return path


def test_rows_are_grouped_by_the_column(run, grouped):
    arguments = "--target", "label", "--groups", "patient", *QUICK, "--json"
    result = run("clean", grouped, *arguments)
    assert result.exit_code == 0, result.output
    n_rows = len(pd.read_csv(grouped))
    assert json.loads(result.stdout)["report"]["n_groups"] == -(-n_rows // 4)


@pytest.mark.parametrize("learns", [False, True])
def test_groups_are_a_feature_only_if_asked(grouped, learns):
    data = read_training_data(
        read_table(grouped), "label", groups="patient", learn_groups=learns
    )
    assert ("patient" in data.columns) == learns
    assert data.groups.tolist()[3:5] == ["p0", "p1"]


def test_the_target_is_no_group(grouped):
    with pytest.raises(CommandError, match="cannot also be the groups"):
        read_training_data(read_table(grouped), "label", groups="label")


def test_a_column_of_groups_must_be_known_in_every_row(run, grouped):
    frame = pd.read_csv(grouped)
    frame.loc[5, "patient"] = None
    frame.to_csv(grouped, index=False)
    result = run("clean", grouped, "--target", "label", "--groups", "patient", *QUICK)
    assert result.exit_code != 0
    assert "'patient' is missing" in " ".join((result.stderr or "").split())
