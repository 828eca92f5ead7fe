"""Tables are read for the model and given back as they were."""

import gzip

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402


@pytest.fixture
def table(tmp_path):
    """Write bytes and read them as a table."""

    def read(data, **arguments):
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return read_table(path, **arguments)

    return read


def rewrite(table, rows, name="out.csv"):
    path = table.path.parent / name
    table.write_rows(path, np.array(rows), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"a,b\n1.50,x\n2,y\n", b"a,b\n2,y\n"),
        (b"a,b\r\n1,x\r\n+2.0e1,y\r\n", b"a,b\r\n+2.0e1,y\r\n"),
        (b"a;b\n1;x\n1,5;y\n", b"a;b\n1,5;y\n"),
        (b"a\tb\n1\tx\n2\ty\n", b"a\tb\n2\ty\n"),
        (b'a,b\n1,"x\ny"\n2,"say ""no"", or"\n', b'a,b\n2,"say ""no"", or"\n'),
        (b"a,b\n1,x\n\n2,y", b"a,b\n2,y\n"),
        (b"\xef\xbb\xbfa,b\n1,x\n2,\xc3\xa9\n", b"a,b\n2,\xc3\xa9\n"),
        (b'a,b\n1,5" pipe\n2,6" pipe\n', b'a,b\n2,6" pipe\n'),
        (b"a, b\n1, x\n2,  y\n", b"a, b\n2,  y\n"),
    ],
    ids=["plain", "crlf", "semicolon", "tab", "quotes", "gap", "bom", "inch", "blanks"],
)
def test_rows_come_back_byte_for_byte(table, data, kept):
    found = table(data)
    assert found.n_rows == 2
    assert list(found.frame.columns) == ["a", "b"]
    assert rewrite(found, [1]) == kept


def test_random_tables_come_back_byte_for_byte(table, rng):
    alphabet = ["7", "0.10", "x", '"', ",", "\n", " ", "", "NA"]
    frame = pd.DataFrame(
        {
            name: ["".join(rng.choice(alphabet, size=4)) for _ in range(60)]
            for name in ("p", "q", "r")
        }
    )
    data = frame.to_csv(index=False).encode()
    found = table(data)
    assert rewrite(found, range(60)) == data
    kept = pd.read_csv(
        found.path, dtype=str, keep_default_na=False, skipinitialspace=True
    )
    assert found.texts(np.arange(60)) == kept.to_numpy().tolist()


def test_gzip_is_read_and_written_by_name(table):
    found = table(gzip.compress(b"a,b\n1,x\n2,y\n"))
    packed = rewrite(found, [0], "out.csv.gz")
    assert gzip.decompress(packed) == b"a,b\n1,x\n"
    assert packed == rewrite(found, [0], "out.csv.gz")


def test_parquet_keeps_types_and_is_told_by_content(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "small": np.array([1, 2, 3], np.int8),
            "text": pd.Categorical(["b", "a", "b"]),
            "when": pd.to_datetime(["2024-01-01"] * 3),
        },
        index=[7, 8, 9],
    )
    path = tmp_path / "table.data"
    frame.to_parquet(path)
    table = read_table(path)
    assert table.kind == "parquet"
    assert list(table.frame.columns) == list(frame.columns)
    out = tmp_path / "out.parquet"
    table.write_rows(out, np.array([0, 2]), out)
    pd.testing.assert_frame_equal(pd.read_parquet(out), frame.iloc[[0, 2]])


def test_text_columns_stay_text(table):
    train = table(b"a,b\nx,1\ny,2\n")
    found = table(b"a,b\n01,1\n02,2\n", like=train)
    assert found.frame["a"].tolist() == ["01", "02"]
    assert found.frame["b"].dtype == np.int64


def test_rows_are_located(table):
    found = table(b'a,b\n1,"x\ny"\n2,z\n')
    assert found.locate(1) == "row 1 (line 4) of table.csv"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,2\n3\n", "1 values in line 3, its header has 2"),
        (b"a,b\n1,2,3\n", "3 values in line 2"),
        (b'a,b\n1,"2\n3,4\n', "a quote in line 2 that no other one closes"),
        (b"a,a\n1,2\n", "two columns named 'a'"),
        (b"a, a\n1,2\n", "two columns named 'a'"),
        (b"a,b\n1,\xe9\n", "not UTF-8 text (byte 0xe9 in line 2)"),
        ("a,b\n1,2\n".encode("utf-16-le"), "--encoding utf-16-le"),
        (b"a,b\n1,\x002\n", "zero bytes"),
        (b"PK\x03\x04rest", "a zip archive or an Excel workbook"),
        (b"\x80\x04pickle", "a pickle"),
        (b"PAR1 and no more", "not a valid Parquet file"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-5], "not a complete gzip file"),
    ],
)
def test_what_is_no_table_is_refused(table, data, message):
    if data.startswith(b"PAR1"):
        pytest.importorskip("pyarrow")
    with pytest.raises(CommandError) as raised:
        table(data, option="--test")
    assert message in str(raised.value)
    assert "--test" in str(raised.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(CommandError, match="cannot be read"):
        read_table(tmp_path)
