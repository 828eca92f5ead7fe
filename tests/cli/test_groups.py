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
FAST = (*QUICK, "--method", "loss", "--no-baselines")


@pytest.fixture
def grouped(tables):
    """Add a column of 30 patients to rows of the train table."""
    frame = pd.read_csv(tables / "train.csv", nrows=120)
    frame = frame.drop(columns=["value", "row_weight"])
    frame["patient"] = [f"p{row // 4}" for row in range(len(frame))]
    path = tables / "grouped.csv"
    frame.to_csv(path, index=False)
    return path


def test_rows_are_grouped_by_the_column(run, grouped):
    arguments = "--target", "label", "--groups", "patient", *FAST, "--json"
    result = run("clean", grouped, *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["report"]["n_groups"] == 30


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


def test_equal_rows_with_different_labels_are_printed(run, grouped):
    frame = pd.read_csv(grouped)
    twins = frame.iloc[[3, 7]].assign(label=frame["label"].map({"yes": "no"}))
    twins["label"] = twins["label"].fillna("yes")
    pd.concat([frame, twins, frame.iloc[[9]]]).to_csv(grouped, index=False)
    arguments = "--target", "label", "--groups", "patient", *FAST
    result = run("clean", grouped, *arguments)
    assert result.exit_code == 0, result.output
    assert "Equal rows with different labels: 2 sets" in result.stdout
    assert "3, 120" in result.stdout
    assert "7, 121" in result.stdout
    result = run("clean", grouped, *arguments, "--json")
    assert sorted(json.loads(result.stdout)["contradicting_rows"]) == [3, 7, 120, 121]
