"""Dates and times as numbers, compared with the standard library and pandas."""

import datetime

import numpy as np
import pytest

from treeinf.times import read_days, read_order, scan_texts


def scan(*texts, **options):
    return scan_texts(dict.fromkeys(texts, 1), **options)


DAYS = [datetime.date(1969, 3, 1) + datetime.timedelta(days=37 * i) for i in range(900)]


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
        "%d-%m-%Y", "%d-%b-%Y", "%d %B %Y", "%B %d, %Y", "%b %d %Y",
        "%a, %d %b %Y", "%d.%m.%y", "%m/%d/%y",
    ],
)  # fmt: skip
@pytest.mark.parametrize("clock", ["", " %H:%M", " %H:%M:%S", " %I:%M %p"])
def test_dates_are_read_as_the_standard_library_writes_them(form, clock):
    moments = [
        datetime.datetime(d.year, d.month, d.day, 5 * i % 24, i % 60, 0)
        for i, d in enumerate(DAYS)
    ]
    if clock == "":
        moments = [datetime.datetime(d.year, d.month, d.day) for d in DAYS]
    texts = [moment.strftime(form + clock) for moment in moments]
    read = scan_texts(dict.fromkeys(texts, 1))
    assert len(read.orders) == 1
    assert not read.others
    epoch = datetime.datetime(1970, 1, 1)
    for text, moment in zip(texts, moments, strict=True):
        expected = (moment - epoch) / datetime.timedelta(days=1)
        assert read.values[text] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("texts", "orders"),
    [
        (["01/02/2020"], ("dmy", "mdy")),
        (["01/02/2020", "13/02/2020"], ("dmy",)),
        (["01/02/2020", "02/13/2020"], ("mdy",)),
        (["13/01/2020", "01/13/2020"], ("dmy", "mdy")),
        (["01.02.2020"], ("dmy",)),
        (["01.13.2020"], ("mdy",)),
        (["01-02-03"], ("ymd", "dmy", "mdy")),
        (["05/05/2020"], ("dmy",)),
        (["2020-01-02"], ("ymd",)),
    ],
)
def test_orders_are_those_that_fit_all_texts(texts, orders):
    assert scan(*texts).orders == orders


@pytest.mark.parametrize(
    "texts",
    [["red", "green"], ["1.2.3"], ["192.168.1.1"], ["16:9"], ["7-8"], ["2020/21"],
     ["2024-01-01", "unknown"], ["0000-00-00"], ["12 parsecs 2020"], []],
)  # fmt: skip
def test_other_texts_are_no_dates(texts):
    assert scan(*texts) is None


def test_texts_that_are_no_dates_are_listed():
    texts = [f"2024-01-{i:02}" for i in range(1, 29)]
    assert scan(*texts, "-", "2024-02-30").others == ("-", "2024-02-30")


def test_times_of_day_are_hours():
    read = scan("10:30", "9:15:36", "11:00 pm", "12:15 AM")
    assert read.is_clock
    expected = {"10:30": 10.5, "9:15:36": 9.26, "11:00 pm": 23.0, "12:15 AM": 0.25}
    assert read.values == pytest.approx(expected, abs=1e-12)


def test_offsets_count_where_they_differ():
    same = scan("2024-01-01T10:00+02:00", "2024-01-02T10:00+02:00").values
    assert {round(day % 1, 9) for day in same.values()} == {round(10 / 24, 9)}
    other = scan("2024-01-01T10:00Z", "2024-01-01T12:00+0200").values
    assert len({round(day, 9) for day in other.values()}) == 1


def test_objects_are_days():
    pd = pytest.importorskip("pandas")
    moment = datetime.datetime(2024, 1, 31, 18)
    values = [
        moment, np.datetime64(moment), pd.Timestamp(moment),
        pd.Timestamp(moment, tz="Asia/Tokyo"),
        datetime.date(2024, 1, 31), datetime.time(6), datetime.timedelta(hours=36),
        np.timedelta64(2, "D"), None, pd.NaT, np.datetime64("NaT"),
    ]  # fmt: skip
    expected = [19753.75] * 4 + [19753.0, 0.25, 1.5, 2.0] + [np.nan] * 3
    np.testing.assert_allclose(read_days(values), expected)
    assert read_days([values[3]], as_utc=True) == pytest.approx(19753.75 - 9 / 24)


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 2],
        [3.0, 1.5, 2.0],
        np.array(["2024-03-01", "2024-01-01", "2024-02-01"], "datetime64[D]"),
        ["2024-03-01", "2024-01-01", "2024-02-01"],
        ["03/13/2024", "01/30/2024", "02/01/2024"],
        [datetime.date(2024, month, 1) for month in (3, 1, 2)],
    ],
)  # fmt: skip
def test_labels_of_time_keep_their_order(values):
    if isinstance(values[0], datetime.date):
        values = np.array(values, dtype=object)
    assert np.argsort(read_order(np.asarray(values), "time")).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (["01/02/2020", "03/04/2020"], ValueError, "dmy or mdy"),
        (["red", "green"], ValueError, "'green', which is no date"),
        ([1.0, np.nan], ValueError, "position 1"),
        ([b"a", 1], TypeError, "bytes, int"),
    ],
)
def test_labels_that_are_no_times_are_refused(values, error, message):
    values = np.array(values, dtype=object if b"a" in values else None)
    with pytest.raises(error, match=message):
        read_order(values, "time")
