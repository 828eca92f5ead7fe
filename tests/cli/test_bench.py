"""`treeinf bench MODEL`: each question beside the library's own prediction."""

import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("typer")
lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a table and models of it."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    y = (X["a"] + 0.3 * rng.normal(size=120) > 0).astype(int)
    X.assign(y=y).to_csv(folder / "train.csv", index=False)
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(X, y)
    model.booster_.save_model(folder / "model.txt")
    (folder / "dump.json").write_text(json.dumps(model.booster_.dump_model()))
    return folder


def bench(run, files, model, *options):
    return run(
        "bench",
        model,
        "--train",
        files / "train.csv",
        "--target",
        "y",
        "--repeats",
        1,
        "--n-jobs",
        1,
        *options,
    )


def test_questions_stand_beside_the_library_s_prediction(run, files):
    result = bench(run, files, files / "model.txt", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["n_train"], record["n_test"], record["n_trees"]) == (120, 120, 3)
    first, *others = record["costs"]
    assert (first["method"], first["ratio"]) == ("lightgbm", 1.0)
    questions = {(cost["method"], cost["question"]) for cost in others}
    assert {
        ("BoostIn", "fit"),
        ("BoostIn", "self influence"),
        ("LeafInfluence", "total over 120 test rows"),
        ("LeafInfluence", "explain one row"),
        ("LeafRefit", "one group removed, 120 test rows"),
    } <= questions
    for cost in others:
        assert 0 < cost["low"] <= cost["median"] <= cost["high"]
        assert cost["ratio"] == pytest.approx(cost["median"] / first["median"])


def test_test_rows_and_a_trained_model(run, files):
    pd.read_csv(files / "train.csv").head(7).to_csv(files / "test.csv", index=False)
    result = bench(run, files, "lightgbm", "--test", files / "test.csv")
    assert result.exit_code == 0, result.output
    assert "120 train rows, 7 test rows, 100 trees" in result.stdout
    assert "Ratios are to the time of the library's own raw scores" in result.stdout


def test_a_model_that_its_library_does_not_load_has_no_ratios(run, files):
    result = bench(run, files, files / "dump.json")
    assert result.exit_code == 0, result.output
    assert "No ratios" in " ".join(result.stdout.split())


def test_a_missing_model_is_refused_before_any_work(run, files):
    result = bench(run, files, files / "no.txt")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
