"""`treeinf clean`: what it writes and what it says."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

from lightgbm import LGBMClassifier  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

QUICK = ("--validation", "0.3", "--n-jobs", "1")
TARGET = ("--target", "label", "--drop-columns", "value,row_weight")


def flat(outputs):
    return [part for pair in outputs.items() for part in pair]


def test_writes_kept_rows_as_they_were_and_says_why_the_others_went(
    run, tables, outputs
):
    train = tables / "train.csv"
    before = train.read_bytes()
    result = run(
        "clean", train, *TARGET, *QUICK, "--no-guard", "--amount", "20",
        "--test", tables / "test.csv", *flat(outputs),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert train.read_bytes() == before
    lines = before.splitlines(keepends=True)
    kept = outputs["--out"].read_bytes().splitlines(keepends=True)
    removed = pd.read_csv(outputs["--removed"])
    gone = set(removed["row"])
    assert len(gone) == len(removed) > 5
    assert kept == [lines[0]] + [
        line for row, line in enumerate(lines[1:]) if row not in gone
    ]
    raw = pd.read_csv(train)
    pd.testing.assert_frame_equal(
        removed[list(raw.columns[:-3])],
        raw.iloc[removed["row"]].reset_index(drop=True)[list(raw.columns[:-3])],
        check_dtype=False,
    )
    assert removed["treeinf_label"].tolist() == removed["label"].tolist()
    assert removed["reason"].str.len().min() > 20
    assert (np.diff(removed["score"]) <= 0).all()
    report = outputs["--report"].read_text()
    assert "Cleaning of train.csv" in report
    assert "150 rows" in report
    said = " ".join(result.stdout.split())
    for part in ("240 rows, 4 features", "'color'", "AUC", "accuracy", "log loss",
                 "train", "stacking", "final", "wrote out"):  # fmt: skip
        assert part in said, part


def test_json_is_all_there_is_on_stdout(run, tables, outputs):
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount", "0.1",
        "--test", tables / "test.csv", "--json", *flat(outputs),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["command"] == "clean"
    assert found["task"] == "classification"
    assert len(found["removed_rows"]) == found["report"]["n_removed"] > 0
    assert {change["name"] for change in found["test"]} == {
        "AUC",
        "accuracy",
        "log loss",
    }
    for change in found["test"]:
        assert change["gain_low"] <= change["gain_high"]
        assert change["n_rows"] == 150
    assert set(found["outputs"]) == {"out", "removed", "report"}
    assert found["seconds"]["total"] > 0
    assert found["seconds"]["cleaner"]["train"] > 0


def test_quiet_prints_nothing_and_twice_gives_the_same_files(run, tables, tmp_path):
    written = []
    for name in ("one", "two"):
        out = tmp_path / f"{name}.csv"
        removed = tmp_path / f"{name}-removed.csv"
        result = run(
            "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount",
            "0.1", "--out", out, "--removed", removed, "--quiet",
        )  # fmt: skip
        assert result.exit_code == 0
        assert result.output == ""
        written.append((out.read_bytes(), removed.read_bytes()))
    assert written[0] == written[1]


def test_keeps_all_rows_and_says_so_where_nothing_is_gained(
    run, tables, outputs, tmp_path
):
    outputs["--suspects"] = tmp_path / "suspects.csv"
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--method", "random",
        "--amount", "0.02", *flat(outputs),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Kept all 240 rows" in result.stdout
    assert outputs["--out"].read_bytes() == (tables / "train.csv").read_bytes()
    assert "3 rows look wrong most; kept, because" in result.stdout
    assert "--suspects FILE" in result.stdout
    suspects = pd.read_csv(outputs["--suspects"])
    assert set(suspects["action"]) == {"kept"}
    assert len(suspects) == 3
    assert not len(pd.read_csv(outputs["--removed"]))
    page = outputs["--report"].read_text()
    assert "Suspects: not removed, because" in page
    assert 'id="rows"' in page


def test_parquet_in_and_out(run, tables, tmp_path):
    pytest.importorskip("pyarrow")
    train = tables / "train.parquet"
    out, removed = tmp_path / "out.parquet", tmp_path / "removed.parquet"
    result = run(
        "clean", train, *TARGET, *QUICK, "--no-guard", "--amount", "0.1",
        "--test", tables / "test.parquet", "--out", out, "--removed", removed,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    gone = pd.read_parquet(removed)["row"]
    assert len(gone) > 5
    pd.testing.assert_frame_equal(
        pd.read_parquet(out),
        pd.read_parquet(train).drop(index=gone).reset_index(drop=True),
    )


def test_csv_and_parquet_of_the_same_rows_are_cleaned_alike(run, tables, tmp_path):
    pytest.importorskip("pyarrow")
    found = []
    for kind in ("csv", "parquet"):
        result = run(
            "clean", tables / f"train.{kind}", *TARGET, *QUICK, "--no-guard",
            "--amount", "0.1", "--json",
        )  # fmt: skip
        found.append(json.loads(result.stdout)["removed_rows"])
    assert found[0] == found[1]


def test_regression_with_weights(run, tables, outputs):
    result = run(
        "clean", tables / "train.csv", "-y", "value", "--drop-columns", "label",
        "--weight", "row_weight", *QUICK, "--no-guard", "--amount", "0.05",
        "--test", tables / "test.csv", *flat(outputs),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Task regression: the target 'value' holds numbers with fractions" in (
        " ".join(result.stdout.split())
    )
    assert "R2" in result.stdout
    assert "RMSE" in result.stdout


@pytest.mark.parametrize(
    ("name", "values", "task"),
    [
        ("flag", lambda i: i % 2 == 0, "classification"),
        ("few", lambda i: i % 3, "classification"),
        ("halves", lambda i: float(i % 2), "classification"),
        ("many", lambda i: i % 25, "regression"),
        ("floats", lambda i: float(i % 5), "regression"),
    ],
)
def test_the_task_follows_the_type_of_the_target(run, tmp_path, name, values, task):
    frame = pd.DataFrame({"a": np.arange(80.0), "t": [values(i) for i in range(80)]})
    frame.to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "clean", tmp_path / "train.csv", "-y", "t", "--method", "random", "--no-guard",
        "--amount", "4", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["task"] == task


def test_trusted_rows_judge(run, tables):
    result = run(
        "clean", tables / "train.csv", *TARGET, "--validation", tables / "test.csv",
        "--json", "--n-jobs", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)["report"]
    assert report["n_scored"] == 240
    assert report["guard"]["n_rows"] in (75, 150)


def test_names_that_lightgbm_refuses_are_no_problem(run, tmp_path):
    frame = pd.DataFrame(
        {
            'strength, "28" [MPa]': np.arange(60.0),
            "a b": np.arange(60.0) % 7,
            "a_b": np.arange(60.0) % 5,
            "label": np.arange(60) % 2,
        }
    )
    frame.to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "clean", tmp_path / "train.csv", "-y", "label", *QUICK, "--no-guard",
        "--amount", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("model", ["binary.txt", "binary.json"])
def test_a_model_file_gives_its_parameters_and_marks_the_rows(
    run, model_files, tmp_path, model
):
    removed = tmp_path / "removed.csv"
    arguments = [
        "clean", model_files / "train.csv", *TARGET, *QUICK, "--no-guard",
        "--amount", "0.1", "--model", model_files / model,
        "--test", model_files / "test.csv", "--removed", removed,
    ]  # fmt: skip
    result = run(*arguments)
    if model.endswith(".json"):
        # a dump holds no penalties
        assert result.exit_code == 3
        assert "lambda_l2=0" in result.stderr
        assert "--parameter NAME=VALUE" in result.stderr
        result = run(*arguments, "--parameter", "lambda_l2=2")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "n_estimators=12" in said
    assert "num_leaves=7, reg_lambda=2" in said
    assert "'no' is 0, 'yes' is 1" in said
    assert "trained on these rows (exact)" in said
    frame = pd.read_csv(removed)
    assert frame["model_self_influence"].notna().all()
    assert frame["model_influence_on_test"].notna().all()


def test_real_digits_are_cleaned_well(run, tmp_path):
    """Two digits of scikit-learn's, a fifth of the labels wrong: most are found."""
    digits = load_digits()
    keep = np.isin(digits.target, [4, 9])
    X, y = digits.data[keep], digits.target[keep]
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < 0.2
    names = [f"pixel{i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X.astype(int), columns=names)
    frame["digit"] = np.where(wrong, 13 - y, y)
    frame.to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "clean", tmp_path / "train.csv", "-y", "digit", "--amount", "0.2", "--no-guard",
        "--validation", "0.1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    removed = json.loads(result.stdout)["removed_rows"]
    assert wrong[removed].mean() > 0.8


# actions


def test_relabelled_tables_keep_all_other_bytes(run, tables, tmp_path):
    out, removed = tmp_path / "out.csv", tmp_path / "removed.csv"
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount",
        "20", "--action", "relabel", "--out", out, "--removed", removed, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["action"] == "relabel"
    found = pd.read_csv(removed)
    assert said["changed_rows"] == sorted(found["row"]) != []
    dropped = found["row"][found["action"] == "drop"]
    assert said["removed_rows"] == sorted(dropped)
    found = found[found["action"] == "relabel"].set_index("row")
    assert len(found) > 0
    old, new = pd.read_csv(tables / "train.csv"), pd.read_csv(out)
    lines = (tables / "train.csv").read_bytes().splitlines()
    before = [lines[0], *(lines[row + 1] for row in old.index.difference(dropped))]
    old = old.drop(index=dropped)
    after = out.read_bytes().splitlines()
    assert len(before) == len(after)
    pairs = zip(old.index, before[1:], after[1:], strict=True)
    assert [row for row, one, two in pairs if one != two] == sorted(found.index)
    new.index = old.index
    np.testing.assert_array_equal(new["label"].loc[found.index], found["suggestion"])
    assert (new["label"] != old["label"]).sum() == len(found)
    pd.testing.assert_frame_equal(new.drop(columns="label"), old.drop(columns="label"))


def test_flagged_rows_are_left_without_another_label_where_asked_for(run, tables):
    said = {}
    for rule in ("influence", "suggestion"):
        result = run(
            "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount",
            "40", "--action", "relabel", "--relabel-by", rule, "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        said[rule] = json.loads(result.stdout)
        assert said[rule]["report"]["settings"]["relabel_by"] == rule
    assert len(said["influence"]["changed_rows"]) == 40
    assert said["influence"]["removed_rows"] != []
    assert said["suggestion"]["removed_rows"] == []
    wrong = run("clean", tables / "train.csv", *TARGET, "--relabel-by", "guess")
    assert wrong.exit_code == 2


def test_relabelled_values_of_a_regression(run, tables, tmp_path):
    out, removed = tmp_path / "out.csv", tmp_path / "removed.csv"
    result = run(
        "clean", tables / "train.csv", "-y", "value", "--drop-columns",
        "label,row_weight", *QUICK, "--no-guard", "--amount", "30", "--action",
        "relabel", "--out", out, "--removed", removed,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found, new = pd.read_csv(removed), pd.read_csv(out)
    dropped = found["row"][found["action"] == "drop"]
    old = pd.read_csv(tables / "train.csv").drop(index=dropped)
    new.index = old.index
    changed = found[found["action"] == "relabel"]
    assert len(changed) > 0
    np.testing.assert_array_equal(
        new["value"].loc[changed["row"]], changed["suggestion"]
    )
    untouched = old.index.difference(changed["row"])
    pd.testing.assert_frame_equal(new.loc[untouched], old.loc[untouched])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("weight", [None, "row_weight"])
def test_downweighted_tables_have_a_column_of_weights(
    run, tables, tmp_path, kind, weight
):
    pytest.importorskip("pyarrow")
    out = tmp_path / f"out.{kind}"
    result = run(
        "clean", tables / f"train.{kind}", *TARGET[:2], "--drop-columns",
        "value,row_weight" if weight is None else "value", *QUICK, "--no-guard",
        "--amount", "20", "--action", "downweight", "--flagged-weight", "0.25",
        "--out", out, "--json", *(() if weight is None else ("--weight", weight)),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    old, new = read(tables / f"train.{kind}"), read(out)
    name = weight or "treeinf_weight"
    expected = np.ones(240) if weight is None else old[weight].to_numpy(copy=True)
    touched = json.loads(result.stdout)["changed_rows"]
    assert len(touched) == 20
    expected[touched] *= 0.25
    np.testing.assert_array_equal(new[name], expected)
    others = [column for column in old.columns if column != name]
    pd.testing.assert_frame_equal(new[others], old[others])


def test_relabelled_parquet(run, tables, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out.parquet"
    result = run(
        "clean", tables / "train.parquet", *TARGET, *QUICK, "--no-guard", "--amount",
        "20", "--action", "relabel", "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    old, new = pd.read_parquet(tables / "train.parquet"), pd.read_parquet(out)
    said = json.loads(result.stdout)
    old = old.drop(index=said["removed_rows"])
    new.index = old.index
    changed = old.index[old["label"] != new["label"]]
    assert len(changed) > 0
    assert sorted([*changed, *said["removed_rows"]]) == said["changed_rows"]
    assert new["label"].dtype == old["label"].dtype


def test_amounts_may_be_scores_and_percentages(run, tables):
    found = []
    for amount in ("10%", "0.1", "score>=0", "score>=1e9"):
        result = run(
            "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount",
            amount, "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout)["removed_rows"])
    assert found[0] == found[1]
    assert len(found[0]) == 17
    # rows whose score is 0 are not flagged, and of each class some stay
    assert 100 < len(found[2]) < 168
    assert found[3] == []


def test_a_model_without_threads_is_compared_too(run, tables):
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount", "4",
        "--model", "sklearn", "--method", "random", "--test", tables / "test.csv",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {line["name"] for line in json.loads(result.stdout)["test"]} == {
        "AUC",
        "accuracy",
        "log loss",
    }


# exit codes for pipelines


@pytest.mark.parametrize(
    ("limit", "code"),
    [("17", 4), ("18", 0), ("0.1", 4), ("10%", 4), ("0.2", 0), ("1", 4)],
)
def test_fail_on_tells_by_the_exit_code_and_writes_all_the_same(
    run, tables, tmp_path, limit, code
):
    out = tmp_path / "out.csv"
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--no-guard", "--amount",
        "0.1", "--fail-on", limit, "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == code
    assert json.loads(result.stdout)["failed"] == (code == 4)
    assert len(pd.read_csv(out)) == 240 - 17
    assert ("--fail-on" in result.stderr) == (code == 4)


def test_what_the_guard_refuses_does_not_fail(run, tables):
    result = run(
        "clean", tables / "train.csv", *TARGET, *QUICK, "--method", "random",
        "--amount", "0.88", "--fail-on", "1", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.output == ""


def test_the_help_names_every_method(run):
    from treeinf.cleaning import METHODS

    said = run("clean", "--help").stdout
    for name in METHODS:
        assert name in said


@pytest.mark.parametrize(
    ("validation", "switch", "n_held_out", "n_added"),
    [
        ("0.3", (), 0, 0),
        ("0.3", ("--no-refit-on-validation",), 72, 0),
        ("test.csv", (), 0, 0),
        ("test.csv", ("--refit-on-validation",), 0, 150),
    ],
)
def test_the_final_model_is_trained_on_validation_rows_as_asked(
    run, tables, monkeypatch, validation, switch, n_held_out, n_added
):
    """And stands against a model of the same rows, none of them cleaned."""
    trained = []
    fit = LGBMClassifier.fit

    def note(self, X, y, **others):
        trained.append(len(X))
        return fit(self, X, y, **others)

    monkeypatch.setattr(LGBMClassifier, "fit", note)
    rows = tables / validation if validation.endswith("csv") else validation
    result = run(
        "clean", tables / "train.csv", *TARGET, "--validation", rows, *switch,
        "--test", tables / "test.csv", "--no-guard", "--amount", "20", "--no-baselines",
        "--method", "loss", "--n-jobs", "1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    n_rows = 240 - n_held_out + n_added
    # the final model, then the one it is compared with
    assert trained[-2:] == [n_rows - 20, n_rows]


def test_trusted_rows_stand_beside_the_cleaning(run, tables):
    result = run(
        "clean", tables / "train.csv", *TARGET, "--validation", tables / "test.csv",
        "--n-jobs", "1", "--amount", "0.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "trusted rows appended, nothing else" in said
    assert "as many rows removed at random" in said
    assert "noise rate" in said
