"""Numbers, encodings and separators as people save them."""

import datetime
import gzip
import io
import zipfile
from decimal import Decimal

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402
from treeinf.cli.tables.format import TableFormat  # noqa: E402
from treeinf.cli.tables.training_data import read_training_data  # noqa: E402


@pytest.fixture
def table(tmp_path):
    """Write a table and read it again."""

    def read(data, like=None, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return read_table(path, TableFormat(**options), like=like)

    return read


def column(texts, other="0.5"):
    """Write texts as the column x beside one that shows the decimal mark."""
    return "x;other\n" + "".join(f"{text};{other}\n" for text in texts)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["7,4", "-0,5", "12"], [7.4, -0.5, 12.0]),
        (["1.234,5", "2,25"], [1234.5, 2.25]),
        (["1 234,5", "2,25"], [1234.5, 2.25]),
        (["1\u00a0234,5", "2\u202f000"], [1234.5, 2000.0]),
        (["1'234.5", "2.25"], [1234.5, 2.25]),
        (["1,234.5", "2.25"], [1234.5, 2.25]),
        (["1,234,567", "12"], [1234567, 12]),
        (["$12.50", "-$3", "$1,000.00"], [12.5, -3.0, 1000.0]),
        (["12,50 \u20ac", "3 \u20ac"], [12.5, 3.0]),
        (["EUR 5", "7"], [5, 7]),
        (["12%", "7.5 %"], [12.0, 7.5]),
        (["(5)", "7"], [-5, 7]),
        (["\u22125", "7"], [-5, 7]),
        (["1", "-", "3"], [1.0, np.nan, 3.0]),
        (["1.5", "?", "#DIV/0!"], [1.5, np.nan, np.nan]),
        (["1,5e3", "2"], [1500.0, 2.0]),
        (["0,125", "0,250"], [0.125, 0.25]),
    ],
)
def test_numbers_are_read_where_they_are_certain(table, texts, values):
    frame = table(column(texts, other="a")).frame
    np.testing.assert_array_equal(frame["x"], values)


@pytest.mark.parametrize(
    ("texts", "other", "options", "values"),
    [
        (["1,234", "2,500"], "0.5", {}, [1234, 2500]),
        (["1,234", "2,500"], "0,5", {}, [1.234, 2.5]),
        (["1.234", "2.500"], "0,5", {}, [1234, 2500]),
        (["1.234", "2.500"], "0.5", {}, [1.234, 2.5]),
        (["1,234", "2,500"], "a", {"decimal": ","}, [1.234, 2.5]),
        (["1,234", "2,500"], "a", {"thousands": ","}, [1234, 2500]),
        (["1.234", "2.500"], "a", {"decimal": ","}, [1234, 2500]),
        (["-9", "2"], "a", {"na_values": ("-9",)}, [np.nan, 2]),
        (["none", "2"], "a", {"na_values": ("none",)}, [np.nan, 2]),
    ],
)
def test_other_columns_and_options_decide(table, texts, other, options, values):
    frame = table(column(texts, other), **options).frame
    np.testing.assert_array_equal(frame["x"], values)


def test_the_train_rows_decide_how_other_rows_are_read(table):
    train = table(column(["1,5", "2,25"]))
    np.testing.assert_array_equal(
        table(column(["1,234"], "a"), train).frame["x"], 1.234
    )


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["1,234", "2,500"], {}, "'1,234' in row 0 (line 2)"),
        (["1,5", "2,25"], {"decimal": "."}, "'1,5' in row 0 (line 2)"),
        (["1.5", "2.25"], {"decimal": ","}, "'1.5' in row 0 (line 2)"),
    ],
)
def test_numbers_that_may_be_two_are_refused(table, texts, options, message):
    with pytest.raises(CommandError) as raised:
        table(column(texts, "a"), **options)
    assert message in str(raised.value)
    assert "--decimal" in str(raised.value)


@pytest.mark.parametrize(
    "texts",
    [
        ["1-2", "3-4"],
        ["2024-01-31", "2024-02-01"],
        ["10.0.0.1", "10.0.0.2"],
        ["1,23,4", "5"],
        ["A+", "B-"],
        ["0,1,2", "3"],
        ["1234567890123456789,", "1234567890123456780,"],
        ["+", "-"],
    ],
)
def test_texts_of_digits_that_are_no_numbers_stay_texts(table, texts):
    assert table(column(texts, "a")).frame["x"].tolist() == texts


def test_new_numbers_are_written_as_the_others(table):
    found = table(column(["1,5", "2,25"], "10%"))
    changed = found.with_numbers("x", np.array([1.5, 3.75]))
    changed = changed.with_numbers("other", np.array([10.0, 12.5]))
    changed = changed.with_numbers("weight", np.array([1.0, 0.5]))
    path = found.path.with_name("out.csv")
    changed.write_rows(path, np.arange(2), path)
    assert path.read_text() == "x;other;weight\n1,5;10%;1,0\n3,75;12,5%;0,5\n"
    np.testing.assert_array_equal(read_table(path).frame, changed.frame)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("sep=;\r\na;b\r\n1;x\r\n2;\u00e9\r\n".encode(), {}),
        ("a\tb\n1\tx\n2\t\u00e9\n".encode("utf-16"), {}),
        ("a,b\n1,x\n2,\u00e9\n".encode("utf-32"), {}),
        ("a;b\n1;x\n2;\u00e9\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("a#b\n1#x\n2#\u00e9\n".encode(), {"separator": "#"}),
        ("a b\n1 x\n2 \u00e9\n".encode(), {"separator": " "}),
    ],
    ids=["sep line", "utf-16", "utf-32", "cp1252", "other sign", "blank"],
)
def test_rows_of_any_encoding_come_back(table, data, options):
    found = table(data, **options)
    assert found.frame["b"].tolist() == ["x", "\u00e9"]
    path = found.path.with_name("out.csv")
    found.write_rows(path, np.arange(2), path)
    assert path.read_bytes() == data
    pd.testing.assert_frame_equal(
        read_table(path, TableFormat(**options)).frame, found.frame
    )


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "/"), content)
    return buffer.getvalue()


def test_a_zip_of_one_table_is_read(table):
    assert table(zipped(t="a,b\n1,2\n")).frame["b"].tolist() == [2]
    assert table(gzip.compress(zipped(t="a,b\n1,2\n"))).n_rows == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(xl_workbook="x", xl_sheet="y"), "save it as CSV"),
        (zipped(a="a,b\n", b="a,b\n"), "zip archive of 2 files"),
        ("a:b\n1:2\n", "single column 'a:b'"),
        ("a,b;c\n1,2;3\n", "may be separated by ',' or ';'"),
        ("a;b\n1;\xe9\n".encode("latin-1"), "--encoding cp1252"),
    ],
)
def test_what_cannot_be_read_names_the_way_out(table, data, message):
    with pytest.raises(CommandError) as raised:
        table(data)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["12.5"] * 20 + ["unknown"], "'unknown' in row 20 (line 22)"),
        (["12.5"] * 20 + ["-"], "first in row 20 (line 22)"),
        (["12.5"] * 20 + ["-"], "No numbers are '-'."),
        ([f"t{i}" for i in range(51)], "51 different texts"),
        (["yes", "no", "None", "yes"], "'None' counts as missing"),
        (["yes", "no", "NA", "yes"], "--na-values"),
    ],
)
def test_targets_that_are_no_labels_are_refused(table, texts, message):
    with pytest.raises(CommandError) as raised:
        read_training_data(table(column(texts)), "x")
    assert message in str(raised.value)


def test_a_class_named_none_is_kept_where_it_is_said(table):
    found = table(column(["yes", "None", "NA", "yes"]), na_values=("",))
    assert read_training_data(found, "x").classes == ("NA", "None", "yes")


def test_columns_that_are_hardly_features_are_named(table):
    data = "id,joined,kind,y\n" + "".join(
        f"{i * 7 % 101},2024-01-{i % 28 + 1:02},{'NA' if i % 2 else 'a'},{i % 2}\n"
        for i in range(100)
    )
    notes = " ".join(read_training_data(table(data), "y").notes)
    assert "--learn-columns id" in notes
    assert "Dates or times read as numbers" in notes
    assert "'joined'" in notes
    assert "Read as missing: 'NA' in 'kind'" in notes


def test_names_are_written_as_the_shell_and_the_option_take_them(table):
    from treeinf.cli.options import split_names

    data = '"my id","a, b","c",y\n' + "".join(
        f"{i * 7 % 101},{i},{i % 3},{i % 2}\n" for i in range(100)
    )
    notes = " ".join(read_training_data(table(data), "y").notes)
    assert """--learn-columns 'my id,"a, b"'""" in notes
    assert split_names('my id,"a, b"') == ["my id", "a, b"]


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([Decimal("1.25"), Decimal("2.50"), Decimal("9")], float, None),
        ([True, None, False], float, None),
        ([1, None, 3], float, None),
        ([datetime.date(2024, 1, 1)] * 3, float, None),
        ([pd.Timestamp("2024-01-01")] * 3, float, None),
        ([[1, 2], [3], []], None, "holds lists"),
        ([{"a": 1}] * 3, None, "holds dict values"),
        ([b"x", b"y", b"z"], None, "holds bytes values"),
    ],
)
def test_columns_of_parquet_are_numbers_or_are_refused(
    tmp_path, values, dtype, message
):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": values, "y": [0, 1, 1]}).to_parquet(path)
    if message is None:
        assert read_training_data(read_table(path), "y").X["x"].dtype == dtype
        return
    for target in "yx":
        with pytest.raises(CommandError) as raised:
            read_training_data(read_table(path), target)
        assert message.split()[-1] in str(raised.value)
        assert "'x'" in str(raised.value)


def test_decimal_targets_of_parquet_are_values(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"y": [Decimal("1.25"), Decimal("2.5"), Decimal("9")], "x": 1}
                 ).to_parquet(path)  # fmt: skip
    data = read_training_data(read_table(path), "y")
    assert (data.task, data.y.tolist()) == ("regression", [1.25, 2.5, 9.0])
