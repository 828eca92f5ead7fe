"""Columns of dates and times become numbers, or are refused with the way out."""

import datetime

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402
from treeinf.cli.tables.format import TableFormat  # noqa: E402
from treeinf.cli.tables.training_data import (  # noqa: E402
    read_test_rows,
    read_training_data,
)

MOMENTS = pd.Series(
    pd.date_range("2022-11-03 06:30", periods=60, freq="17D6h"), name="when"
)


def expected(moments):
    """Compute the features with pandas."""
    since = moments - pd.Timestamp("1970-01-01")
    return {
        "when": since / pd.Timedelta(days=1),
        "when_year": moments.dt.year,
        "when_day_of_year": moments.dt.day_of_year,
        "when_weekday": moments.dt.day_of_week,
        "when_hour": moments.dt.hour + moments.dt.minute / 60,
    }


def write(folder, values, name="t.csv"):
    y = np.arange(len(values)) % 2
    frame = pd.DataFrame({"when": values, "x": y + 0.5, "y": y})
    if name.endswith("csv"):
        frame.to_csv(folder / name, index=False)
    else:
        frame.to_parquet(folder / name)
    return folder / name


def read(path, order=None, **options):
    table = read_table(path, TableFormat(date_order=order))
    return read_training_data(table, "y", **options)


CSV = ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%d %b %Y, %H:%M"]


@pytest.mark.parametrize("form", CSV)
def test_dates_of_csv_files_are_those_of_pandas(tmp_path, form):
    data = read(write(tmp_path, MOMENTS.dt.strftime(form)))
    for name, values in expected(MOMENTS).items():
        np.testing.assert_allclose(data.X[name], values, atol=1e-9, err_msg=name)
    assert data.columns == (*expected(MOMENTS), "x")
    assert any("'when'" in note for note in data.notes)


@pytest.mark.parametrize(
    "convert",
    [
        lambda s: s,
        lambda s: s.dt.tz_localize("Europe/Berlin"),
        lambda s: s.dt.to_pydatetime().astype(object),
        lambda s: s.dt.strftime("%Y-%m-%d %H:%M").astype("category"),
    ],
)
def test_dates_of_parquet_files_are_those_of_pandas(tmp_path, convert):
    pytest.importorskip("pyarrow")
    data = read(write(tmp_path, convert(MOMENTS), "t.parquet"))
    for name, values in expected(MOMENTS).items():
        np.testing.assert_allclose(data.X[name], values, atol=1e-9, err_msg=name)


def test_dates_without_times_have_no_hour(tmp_path):
    pytest.importorskip("pyarrow")
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(50)]
    columns = read(write(tmp_path, days, "t.parquet")).columns
    assert columns == ("when", "when_day_of_year", "when_weekday", "x")


def test_numbers_that_are_dates_are_days(tmp_path):
    path = write(tmp_path, MOMENTS.dt.strftime("%Y%m%d"))
    text = path.read_text().replace("when", "date", 1)
    path.write_text(text)
    days = (MOMENTS.dt.normalize() - pd.Timestamp("1970-01-01")).dt.days
    np.testing.assert_array_equal(read(path).X["date"], days)


def test_numbers_that_are_dates_may_be_missing(tmp_path):
    pytest.importorskip("pyarrow")
    numbers = pd.Series(MOMENTS.dt.strftime("%Y%m%d").astype("Int64"))
    numbers[4] = pd.NA
    frame = pd.DataFrame({"date": numbers, "x": 0.5, "y": np.arange(60) % 2})
    frame.to_parquet(tmp_path / "t.parquet")
    days = (MOMENTS.dt.normalize() - pd.Timestamp("1970-01-01")).dt.days.astype(float)
    days[4] = np.nan
    np.testing.assert_array_equal(read(tmp_path / "t.parquet").X["date"], days)


def test_missing_dates_stay_missing(tmp_path):
    texts = MOMENTS.dt.strftime("%Y-%m-%d").tolist()
    texts[3], texts[5], texts[7] = None, "unknown", "0000-00-00"
    data = read(write(tmp_path, texts))
    assert np.flatnonzero(data.X["when"].isna()).tolist() == [3, 5, 7]
    assert data.X["when_weekday"].isna().sum() == 3
    note = next(n for n in data.notes if n.startswith("Read as missing"))
    assert "'unknown'" in note
    assert "2 rows" in note


def test_dates_that_leave_their_order_open_are_refused(tmp_path):
    texts = [f"{i % 12 + 1:02}/{i % 11 + 1:02}/2020" for i in range(60)]
    path = write(tmp_path, texts)
    with pytest.raises(CommandError) as raised:
        read(path)
    for way in ("--date-order dmy", "--date-order mdy", "--drop-columns 'when'"):
        assert way in str(raised.value)
    for order, form in (("dmy", "%d/%m/%Y"), ("mdy", "%m/%d/%Y")):
        days = pd.to_datetime(pd.Series(texts), format=form) - pd.Timestamp(0)
        np.testing.assert_array_equal(read(path, order).X["when"], days.dt.days)
    assert "when" not in read(path, drop_columns=["when"]).columns


def test_other_dates_of_the_table_tell_the_order(tmp_path):
    y = np.arange(60) % 2
    frame = pd.DataFrame(
        {
            "open": [f"{i % 12 + 1:02}/{i % 11 + 1:02}/2020" for i in range(60)],
            "clear": [f"{i % 28 + 1:02}/{i % 12 + 1:02}/2021" for i in range(60)],
            "y": y,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    days = pd.to_datetime(frame["open"], format="%d/%m/%Y") - pd.Timestamp(0)
    X = read(tmp_path / "t.csv").X
    np.testing.assert_array_equal(X["open"], days.dt.days)


def test_test_rows_are_read_as_the_train_rows(tmp_path):
    train = read(write(tmp_path, MOMENTS.dt.strftime("%d/%m/%Y %H:%M")))
    few = MOMENTS[:3]
    path = write(tmp_path, few.dt.strftime("%d/%m/%Y %H:%M"), "test.csv")
    X = read_test_rows(read_table(path), train).X
    assert list(X) == list(train.columns)
    for name, values in expected(few).items():
        np.testing.assert_allclose(X[name], values, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("values", [["2020-13-45"] * 3, ["red"] * 3, [1, 2, 3]])
def test_test_rows_of_another_kind_are_refused(tmp_path, values):
    train = read(write(tmp_path, MOMENTS.dt.strftime("%d/%m/%Y")))
    path = write(tmp_path, values, "test.csv")
    with pytest.raises(CommandError, match="'when' holds dates or times in the train"):
        read_test_rows(read_table(path), train)


def test_times_of_day_are_hours(tmp_path):
    data = read(write(tmp_path, MOMENTS.dt.strftime("%H:%M")))
    hours = MOMENTS.dt.hour + MOMENTS.dt.minute / 60
    np.testing.assert_allclose(data.X["when"], hours)
    assert data.columns == ("when", "x")


def test_names_of_features_do_not_collide(tmp_path):
    y = np.arange(60) % 2
    frame = pd.DataFrame({"when": MOMENTS, "when_year": y + 0.5, "y": y})
    frame.to_csv(tmp_path / "t.csv", index=False)
    X = read(tmp_path / "t.csv").X
    np.testing.assert_array_equal(X["when_year"], y + 0.5)
    np.testing.assert_array_equal(X["when_year_"], MOMENTS.dt.year)


def test_a_model_leaves_dates_that_it_does_not_use(tmp_path):
    pytest.importorskip("pyarrow")
    path = write(tmp_path, MOMENTS, "t.parquet")
    data = read(path, needs=lambda name: name == "x")
    assert data.columns == ("x",)
    assert any("'when'" in note for note in data.notes)
    with pytest.raises(CommandError, match="Column 'when'"):
        read(path, needs=lambda name: True)
