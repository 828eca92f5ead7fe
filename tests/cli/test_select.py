"""`treeinf select`: what it refuses, what it writes, what it says."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

from treeinf.cleaning import InfluenceSelector  # noqa: E402

TARGET = ("--target", "label", "--drop-columns", "value,row_weight")
QUICK = ("--keep", "30%", "--n-jobs", "1")


def test_kept_rows_are_written_as_they_were_read(run, tables, tmp_path):
    out, ranking = tmp_path / "kept.csv", tmp_path / "ranking.csv"
    files = ("--out", out, "--ranking", ranking, "--test", tables / "test.csv")
    result = run("select", tables / "train.csv", *TARGET, *QUICK, *files, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    lines = (tables / "train.csv").read_text().splitlines()
    kept = said["kept_rows"]
    assert out.read_text().splitlines() == [lines[0], *(lines[1 + i] for i in kept)]
    # 30 % of the 168 rows that were not held out
    assert len(kept) == said["report"]["n_kept"] == 50
    assert not set(kept) & set(said["held_out_rows"])
    assert {line["name"] for line in said["test"]} == {"AUC", "accuracy", "log loss"}
    assert said["history"][0]["strategy"] == "all"
    table = pd.read_csv(ranking)
    assert sorted(table["row"]) == list(range(240))
    assert sorted(table["row"][table["is_kept"]]) == kept
    known = table["influence"].to_numpy()[~table["is_held_out"]]
    assert (np.diff(known) <= 0).all()
    assert table["influence"][table["is_held_out"]].isna().all()
    assert list(said["outputs"]) == ["out", "ranking"]


def test_the_table_is_that_of_the_estimator(run, tables):
    arguments = ("select", tables / "train.csv", *TARGET, *QUICK, "--seed", "3")
    said = json.loads(run(*arguments, "--json").stdout)
    again = json.loads(run(*arguments, "--json").stdout)
    assert said["kept_rows"] == again["kept_rows"]
    assert said["report"]["random_state"] == 3
    assert said["report"]["settings"]["keep"] == "Amount(kind='share', value=0.3)"


def test_people_read_a_summary(run, tables):
    files = ("--test", tables / "test.csv", "--refit-on-validation")
    result = run("select", tables / "train.csv", *TARGET, *QUICK, *files)
    assert result.exit_code == 0, result.output
    for part in ("240 rows, 4 features", "Kept 50 of 168 rows", "test rows", "Subsets"):
        assert part in result.stdout
    assert "nothing; name files with --out, --ranking" in result.stdout
    quiet = run("select", tables / "train.csv", *TARGET, *QUICK, "--quiet")
    assert quiet.stdout == ""


def test_rows_held_out_are_written_where_the_model_has_them(run, tables, tmp_path):
    out = tmp_path / "kept.parquet"
    pytest.importorskip("pyarrow")
    arguments = (*TARGET, *QUICK, "--out", out, "--refit-on-validation", "--json")
    said = json.loads(run("select", tables / "train.csv", *arguments).stdout)
    assert set(said["held_out_rows"]) <= set(said["kept_rows"])
    assert len(pd.read_parquet(out)) == len(said["kept_rows"]) == 50 + 72


def test_a_table_of_validation_rows_and_targets_that_are_numbers(run, tables):
    target = ("--target", "value", "--drop-columns", "label,row_weight")
    given = ("--validation", tables / "test.csv", "--strategy", "influence")
    arguments = (*target, *QUICK, *given, "--weight", "row_weight", "--json")
    arguments = [one for one in arguments if one != "label,row_weight"]
    arguments.insert(arguments.index("--drop-columns") + 1, "label")
    result = run("select", tables / "train.csv", *arguments)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["task"] == "regression"
    assert said["report"]["strategy"] == "influence"
    assert len(said["kept_rows"]) == 72
    assert said["held_out_rows"] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--keep", "many"), 2, "Got --keep 'many'"),
        (("--keep", "score>=1"), 1, "keep="),
        (("--keep", "240"), 1, "--keep 240"),
        (("--strategy", "best"), 2, "best"),
        (("--tolerance", "-1"), 1, "--tolerance -1"),
        (("--validation", "none.csv"), 2, "existing table"),
        (("--validation", "1"), 1, "--validation 1"),
    ],
)
def test_bad_options_are_refused_before_long_work(
    run, tables, tmp_path, monkeypatch, options, code, message
):
    monkeypatch.setattr(InfluenceSelector, "_fit_rows", lambda *_: pytest.fail("work"))
    out = tmp_path / "kept.csv"
    result = run("select", tables / "train.csv", *TARGET, *options, "--out", out)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_inputs_are_never_overwritten(run, tables):
    train = tables / "train.csv"
    before = train.read_bytes()
    result = run("select", train, *TARGET, "--out", train, "--force")
    assert result.exit_code == 1
    assert "never overwritten" in result.stderr
    assert train.read_bytes() == before
