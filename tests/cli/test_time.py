"""`treeinf clean --time`: no row is scored or judged by later rows."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402
from treeinf.cli.tables.format import TableFormat  # noqa: E402
from treeinf.cli.tables.training_data import read_training_data  # noqa: E402

QUICK = ("--validation", "0.3", "--n-jobs", "1", "--no-guard", "--amount", "10")
DAYS = pd.date_range("2024-01-01", periods=240)
ORDER = np.random.default_rng(0).permutation(240)


@pytest.fixture
def dated(tables):
    """Add a column of days, in no order, to the train table."""
    frame = pd.read_csv(tables / "train.csv").drop(columns=["value", "row_weight"])
    frame["day"] = DAYS[ORDER].strftime("%d/%m/%Y")
    path = tables / "dated.csv"
    frame.to_csv(path, index=False)
    return path


def test_no_row_is_scored_by_later_ones(run, dated, tmp_path):
    removed = tmp_path / "removed.csv"
    result = run(
        "clean", dated, "--target", "label", "--time", "day", *QUICK, "--json",
        "--removed", removed,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)["report"]
    assert any("earlier rows alone" in note for note in report["notes"])
    # neither the first rows nor those held out are cleaned
    days = pd.to_datetime(pd.read_csv(removed)["day"], format="%d/%m/%Y")
    assert len(days) == 10
    assert days.min() > DAYS[15]
    assert days.max() < DAYS[170]


def test_select_takes_times(run, dated):
    result = run(
        "select", dated, "--target", "label", "--time", "day", "--keep", "0.5",
        "--n-jobs", "1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    notes = json.loads(result.stdout)["report"]["notes"]
    assert any("later ones" in note for note in notes)


@pytest.mark.parametrize("learns", [False, True])
def test_times_are_a_feature_only_if_asked(dated, learns):
    learn = ["day"] if learns else []
    data = read_training_data(
        read_table(dated), "label", time="day", learn_columns=learn
    )
    assert ("day" in data.columns) == learns
    np.testing.assert_array_equal(np.argsort(data.time), np.argsort(ORDER))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["red", "green"], "'red', 'green'"),
        ([1.0, None], "is missing, or no date, in row 1"),
        ([7, 7], "the same in all rows"),
        (["01/02/2024", "03/04/2024"], "--date-order dmy"),
    ],
)
def test_columns_that_are_no_times_are_refused(tmp_path, values, message):
    frame = pd.DataFrame({"x": np.arange(40.0) / 3, "y": np.arange(40) % 2})
    frame["when"] = [values[i % 2] for i in range(40)]
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(CommandError) as raised:
        read_training_data(read_table(path), "y", time="when")
    assert message in str(raised.value)
    assert "'when'" in str(raised.value)


def test_the_order_of_dates_can_be_told(tmp_path):
    frame = pd.DataFrame({"x": np.arange(40.0) / 3, "y": np.arange(40) % 2})
    frame["when"] = [f"0{i % 9 + 1}/02/2024" for i in range(40)]
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    table = read_table(path, TableFormat(date_order="dmy"))
    time = read_training_data(table, "y", time="when").time
    assert np.ptp(time) == 8.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "label"], "cannot also be the time"),
        (["--time", "none"], "no column 'none'"),
        (["--time", "day", "--method", "boostin"], "--method boostin measures rows"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, dated, options, message):
    result = run("clean", dated, "--target", "label", *QUICK, *options)
    assert result.exit_code != 0
    assert message in " ".join((result.stderr or result.output).split())
