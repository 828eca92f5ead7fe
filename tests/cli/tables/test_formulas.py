"""What a spreadsheet would run as a formula is written as text."""

import re

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")

from treeinf.cli.tables.files import read_table, write_frame  # noqa: E402
from treeinf.cli.tables.formulas import escape_formula, escape_frame  # noqa: E402

FORMULAS = [
    "=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1",
    '"=1', ' "=1', "\uff1d1+1", "\uff0bA", "\uff0dA", "\uff20A", "\u200b=1", "\u00a0=1",
    "-", "--", "-1-1", "\tx",
]  # fmt: skip
HARMLESS = [
    "-1.5", "+2", "-1,5", "-1.234,5", "-1e-5", "-$5", "-5%", "\u22125", "a=1", "x-1",
    "'=1", "1-1", "mail@example.org", "(5)", "", "two\nlines",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_get_a_sign_that_makes_them_text(text):
    assert escape_formula(text) == "'" + text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert escape_formula(text) == text


def test_frames_are_escaped_in_names_and_texts_and_not_in_numbers():
    frame = pd.DataFrame(
        {
            "=name": ["=1", None, "b"],
            "kind": pd.Categorical(["@x", "y", "@x"]),
            "number": [-1.5, 2.0, np.nan],
            "count": [-1, -2, -3],
            "mixed": np.array(["=a", 1, None], dtype=object),
        }
    )
    escaped = escape_frame(frame)
    assert list(escaped) == ["'=name", "kind", "number", "count", "mixed"]
    assert escaped["'=name"].tolist()[0] == "'=1"
    assert escaped["kind"].tolist() == ["'@x", "y", "'@x"]
    assert escaped["mixed"].tolist()[:2] == ["'=a", 1]
    pd.testing.assert_frame_equal(
        escaped[["number", "count"]], frame[["number", "count"]]
    )
    assert frame["kind"].tolist() == ["@x", "y", "@x"]


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("escapes", [False, True])
def test_a_table_that_is_written_again_reads_back(tmp_path, separator, escapes):
    rows = [(text, str(-number)) for number, text in enumerate(FORMULAS + HARMLESS)]
    data = pd.DataFrame(rows, columns=["text", "number"])
    path, out = tmp_path / "t.csv", tmp_path / "out.csv"
    data.to_csv(path, index=False, sep=separator, lineterminator="\r\n")
    table = read_table(path)
    table.write_rows(out, np.arange(len(rows)), out, escapes=escapes)
    again = read_table(out).frame
    np.testing.assert_array_equal(again["number"], table.frame["number"])
    if escapes:
        assert [t for t in again["text"].dropna() if escape_formula(t) != t] == []
    else:
        assert out.read_bytes() == path.read_bytes()
        pd.testing.assert_frame_equal(again, table.frame)


def test_the_switch_decides_for_frames_and_parquet_keeps_all(tmp_path):
    frame = pd.DataFrame({"a": ["=1"]})
    write_frame(tmp_path / "t", pd.DataFrame({"a": ["\rx", "b"]}), tmp_path / "t.csv",
                escapes=True)  # fmt: skip
    assert (tmp_path / "t").read_bytes() == b'a\r\n"\'\rx"\r\nb\r\n'
    for escapes, text in ((True, "a\n'=1\n"), (False, "a\n=1\n")):
        write_frame(tmp_path / "t", frame, tmp_path / "t.csv", escapes=escapes)
        assert (tmp_path / "t").read_text() == text
    pytest.importorskip("pyarrow")
    write_frame(tmp_path / "p", frame, tmp_path / "p.parquet", escapes=True)
    assert pd.read_parquet(tmp_path / "p")["a"].tolist() == ["=1"]


def test_cleaned_tables_keep_formulas_and_tables_to_look_at_do_not(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "a,name,y\n" + "".join(f"{i},=f({i % 3}),{i % 2}\n" for i in range(60))
    )
    out, removed = tmp_path / "o.csv", tmp_path / "r.csv"
    arguments = ("clean", path, "-y", "y", "--method", "random", "--amount", "5",
                 "--no-guard", "--no-baselines", "--validation", "0.3", "--n-jobs", "1",
                 "--out", out, "--removed", removed, "--force")  # fmt: skip
    result = run(*arguments)
    assert "would run texts of 'name' as formulas" in result.stdout
    assert len(re.findall(r"(?m)^\d+,=f", out.read_text())) == 55
    assert set(pd.read_csv(removed)["name"].str[0]) == {"'"}
    run(*arguments, "--escape-formulas")
    assert len(re.findall(r"(?m)^\d+,'=f", out.read_text())) == 55
    run(*arguments, "--no-escape-formulas")
    assert set(pd.read_csv(removed)["name"].str[0]) == {"="}
