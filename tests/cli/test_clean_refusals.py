"""`treeinf clean`: what it refuses, and what an end before the end leaves."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")


from treeinf.cleaning import InfluenceCleaner  # noqa: E402

QUICK = ("--validation", "0.3", "--n-jobs", "1")
TARGET = ("--target", "label", "--drop-columns", "value,row_weight")


def flat(outputs):
    return [part for pair in outputs.items() for part in pair]


GOOD = "size,color,label\n" + "".join(
    f"{i / 2},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}\n"
    for i in range(40)
)
MODEL_TEXT = "tree\nversion=v4\nnum_class=1\n"


def with_column(name, values):
    frame = GOOD.splitlines()
    rows = [frame[0] + f",{name}"]
    rows += [f"{line},{values(i)}" for i, line in enumerate(frame[1:])]
    return "\n".join(rows) + "\n"


# Table, further options, a part of the message.
BAD_TABLES = [
    (GOOD, ["-y", "none"], "no column 'none'; it has 'size', 'color', 'label'"),
    (GOOD, ["--weight", "none"], "--weight: "),
    (GOOD, ["--drop-columns", "size,none"], "no column 'none'"),
    (GOOD, ["--weight", "label"], "cannot also be the weight"),
    (GOOD, ["--drop-columns", "size,color"], "no feature column left"),
    (GOOD, ["--weight", "color"], "expected numbers"),
    (GOOD, ["--task", "regression"], "not numeric"),
    (GOOD.replace("3.5,red,yes", "3.5,red,"), [], "in 1 of 40 rows, first in row 7"),
    (GOOD.replace("yes", "").replace("no", ""), [], "missing in all rows"),
    (GOOD.replace("yes", "no"), [], "is 'no' in every row"),
    ("size,color,label\n", [], "no rows"),
    ("", [], "is empty"),
    ("size,size,label\n1,2,no\n", [], "two columns named 'size'"),
    (GOOD + "1,red\n", [], "2 values in line 42, its header has 3"),
    (with_column("w", lambda i: -1 if i == 5 else 1), ["-w", "w"], "-1 in row 5"),
    (with_column("w", lambda i: "" if i == 5 else 1), ["-w", "w"], "nan in row 5"),
    (with_column("w", lambda i: 0), ["-w", "w"], "is 0 in every row"),
    (with_column("t", lambda i: f"{i}.5"), ["-y", "t", "--task", "classification"],
     "fractions"),
    (with_column("t", lambda i: "inf" if i else "1.5"), ["-y", "t"], "is inf in row 1"),
    (GOOD, ["--amount", "1.5"], "--amount 1.5"),
    (GOOD, ["--amount", "40"], "--amount 40"),
    (GOOD, ["--validation", "1"], "--validation 1"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "options", "message"), BAD_TABLES)
def test_bad_tables_are_one_line_and_nothing_is_written(
    run, tmp_path, outputs, monkeypatch, table, options, message
):
    monkeypatch.setattr(InfluenceCleaner, "_fit_rows", lambda *_: pytest.fail("work"))
    train = tmp_path / "train.csv"
    train.write_text(table)
    options = options if "-y" in options else ["--target", "label", *options]
    result = run("clean", train, *options, *flat(outputs))
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


BAD_TESTS = [
    ("size,label\n1,no\n2,yes\n", "lacks the column 'color'"),
    ("size,color,label\n1,red,no\n2,red,maybe\n", "label 'maybe', which no train row"),
    ("size,color,label\nbig,red,no\nsmall,red,yes\n", "Column 'size' holds numbers in"),
    ("size,color\n1,red\n", "no column 'label'"),
    ("size,color,label\n1,red,\n", "missing in all rows"),
    ("size,color,label\n", "no rows"),
]


@pytest.mark.parametrize(("table", "message"), BAD_TESTS)
@pytest.mark.parametrize("option", ["--test", "--validation"])
def test_bad_test_rows_are_refused(run, tmp_path, option, table, message):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "other.csv").write_text(table)
    result = run(
        "clean", tmp_path / "train.csv", "-y", "label", option, tmp_path / "other.csv"
    )
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is not a supported model file"),
        (MODEL_TEXT.encode(), "not a valid LightGBM model"),
        (b'{"learner": {}}', "XGBoost"),
        (b"CBM1....", "CatBoost"),
        (b"\x80\x04.", "pickle"),
        (b"PK\x03\x04", ""),
        (None, "does not exist"),
    ],
)
@pytest.mark.parametrize("command", ["clean", "explain", "inspect"])
def test_bad_model_files_are_refused(run, tmp_path, command, content, message):
    (tmp_path / "train.csv").write_text(GOOD)
    model, train = tmp_path / "model.txt", tmp_path / "train.csv"
    if content is not None:
        model.write_bytes(content)
    arguments = {
        "clean": [train, "-y", "label", "--model", model],
        "explain": [model, "--train", train, "--test", train, "-y", "label"],
        "inspect": [model],
    }
    result = run(command, *arguments[command])
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--amount", "many"],
        ["--validation", "none.csv"],
        ["--task", "ranking"],
        ["--method", "guess"],
        ["--seed", "-1"],
        ["--n-jobs", "0"],
        ["--sep", ""],
        ["--encoding", "hex"],
        ["--encoding", "none"],
        ["--out", "cleaned.xlsx"],
        ["--decimal", ",", "--thousands", ","],
    ],
)
def test_options_that_are_not_understood_are_usage_errors(run, tables, options):
    result = run("clean", tables / "train.csv", *TARGET, *options)
    assert result.exit_code == 2


def test_parquet_columns_that_are_no_features_are_refused(run, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"size": [1.0, 2.0, 3.0], "box": [b"a", b"b", b"c"], "label": [0, 1, 0]}
    )
    frame.to_parquet(tmp_path / "train.parquet")
    result = run("clean", tmp_path / "train.parquet", "-y", "label")
    assert result.exit_code == 1
    assert "Column 'box'" in result.stderr
    assert "--drop-columns 'box'" in result.stderr


def test_a_model_of_other_rows_ends_with_code_3(run, model_files, tmp_path):
    out = tmp_path / "out.csv"
    result = run(
        "clean", model_files / "test.csv", *TARGET, "--model",
        model_files / "binary.txt", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 3
    assert "not the training data" in result.stderr
    assert "on_mismatch" not in result.stderr
    assert not out.exists()


def test_existing_outputs_need_force(run, tables, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    arguments = [
        "clean", tables / "train.csv", *TARGET, *QUICK, "--method", "random",
        "--no-guard", "--amount", "4", "--out", out,
    ]  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert out.read_text() == "mine"
    assert run(*arguments, "--force").exit_code == 0
    assert len(pd.read_csv(out)) == 236


@pytest.mark.parametrize("option", ["--out", "--removed", "--report"])
@pytest.mark.parametrize("source", ["train.csv", "test.csv", "binary.txt"])
def test_inputs_are_safe_from_force(run, model_files, tmp_path, option, source):
    before = (model_files / source).read_bytes()
    link = tmp_path / "link"
    link.symlink_to(model_files / source)
    result = run(
        "clean", model_files / "train.csv", *TARGET, "--test",
        model_files / "test.csv", "--model", model_files / "binary.txt", option, link,
        "--force",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "never overwritten" in " ".join(result.stderr.split())
    assert (model_files / source).read_bytes() == before


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (OSError("disk full"), 1)]
)
@pytest.mark.parametrize("place", ["clean", "write"])
def test_an_end_before_the_end_leaves_nothing(
    run, tables, outputs, monkeypatch, error, code, place
):
    def fail(*_, **__):
        raise error

    if place == "clean":
        monkeypatch.setattr(InfluenceCleaner, "fit", fail)
    else:
        monkeypatch.setattr("treeinf.reports.write_cleaning_report", fail)
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--method", "random",
        "--no-guard", "--amount", "4", *flat(outputs),
    )  # fmt: skip
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1
    assert list(outputs["--out"].parent.iterdir()) == []


def test_a_table_that_has_the_new_column_already_is_refused_at_once(run, tmp_path):
    train = tmp_path / "train.csv"
    train.write_text(with_column("treeinf_weight", lambda i: 1))
    result = run("clean", train, "-y", "label", "--action", "downweight")
    assert result.exit_code == 1
    assert "--weight treeinf_weight" in result.stderr


@pytest.mark.parametrize("limit", ["0", "-3", "1.5", "many", "auto", "score>=1"])
def test_limits_that_are_none_are_usage_errors(run, tables, limit):
    result = run("clean", tables / "train.csv", *TARGET, "--fail-on", limit)
    assert result.exit_code == 2
    assert "--fail-on" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
def test_a_real_interrupt_leaves_nothing_half_written(tables, outputs, sign):
    """Signal a process of its own, once it has read the table and begun."""
    code = "from treeinf.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "clean", str(tables / "train.csv"), *TARGET,
         "--n-jobs", "1", "--validation", "60", *map(str, flat(outputs))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "240 rows" in process.stdout.readline()
    process.send_signal(getattr(signal, sign))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Interrupted; nothing was written." in said
    assert list(outputs["--out"].parent.iterdir()) == []
