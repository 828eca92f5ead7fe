"""`treeinf explain`: helpers and opponents of test rows."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
lightgbm = pytest.importorskip("lightgbm")

from treeinf import LeafInfluence  # noqa: E402

COLUMNS = ["size", "color", "weight kg", "noise"]


def arguments(folder, model="binary.txt"):
    return [
        "explain", model if model == "lightgbm" else folder / model,
        "--train", folder / "train.csv", "--test", folder / "test.csv",
        "--target", "label", "--drop-columns", "value,row_weight",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def influence(model_files):
    """Compute the whole matrix with the package itself."""
    frames = [pd.read_csv(model_files / f"{name}.csv") for name in ("train", "test")]
    dtype = pd.CategoricalDtype(sorted(frames[0]["color"].unique()))
    rows, labels = [], []
    for frame in frames:
        X = frame[COLUMNS].copy()
        X["color"] = X["color"].astype(dtype)
        rows.append(X)
        labels.append((frame["label"] == "yes").to_numpy(dtype=int))
    explainer = LeafInfluence().fit(str(model_files / "binary.txt"), rows[0], labels[0])
    return np.asarray(explainer.explain(rows[1], labels[1]))


def test_lists_the_rows_that_the_matrix_says(run, model_files, influence):
    result = run(*arguments(model_files), "--rows", "0,7", "--k", "3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["test_row"] for row in found["rows"]] == [0, 7]
    for row in found["rows"]:
        values = influence[:, row["test_row"]]
        for side, order in (("helpful", -values), ("harmful", values)):
            wanted = np.sort(order)[:3]
            own = [entry["influence"] for entry in row[side]]
            sign = -1.0 if side == "helpful" else 1.0
            np.testing.assert_allclose(sign * np.array(own), wanted, rtol=1e-9)
            for entry in row[side]:
                assert values[entry["row"]] == pytest.approx(entry["influence"])


def test_total_is_the_sum_over_the_rows_asked_for(
    run, model_files, influence, tmp_path
):
    out = tmp_path / "total.csv"
    result = run(*arguments(model_files), "--total", "--rows", "1,2,3", "--out", out)
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(out).set_index("row")["influence"].sort_index()
    np.testing.assert_allclose(frame, influence[:, 1:4].sum(axis=1), atol=1e-12)
    assert "most harmful to 3 test rows together" in result.stdout


def test_writes_all_test_rows_and_prints_a_few(run, model_files, tmp_path):
    out = tmp_path / "explained.csv"
    result = run(*arguments(model_files), "--k", "2", "--out", out)
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(out)
    assert frame["test_row"].nunique() == 150
    assert set(frame["side"]) == {"helpful", "harmful"}
    assert (frame["influence"] > 0).equals(frame["side"] == "helpful")
    assert set(frame["train_label"]) == {"yes", "no"}
    assert "5 of 150 test rows are shown" in result.stdout


def test_trains_a_model_where_a_library_is_named(run, model_files):
    result = run(
        *arguments(model_files, "lightgbm"), "--rows", "0", "--k", "1", "--n-jobs", "1"
    )
    assert result.exit_code == 0, result.output
    assert "Test row 0" in result.stdout


@pytest.mark.parametrize(("rows", "code"), [("0,x", 2), ("150", 1), ("-1", 1)])
def test_rows_that_are_not_there_are_refused(run, model_files, rows, code):
    result = run(*arguments(model_files), "--rows", rows)
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1


def test_other_train_rows_end_with_code_3(run, model_files, tmp_path):
    given = arguments(model_files)
    given[3] = model_files / "test.csv"
    out = tmp_path / "out.csv"
    result = run(*given, "--out", out)
    assert result.exit_code == 3
    assert not out.exists()


@pytest.mark.parametrize("method", ["leaf-influence", "leaf-refit", "trex", "treesim"])
def test_every_method_explains_a_model_file(run, model_files, method):
    result = run(
        *arguments(model_files), "--method", method, "--rows", "2", "--k", "2", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["method"] == method
    assert found["rows"][0]["helpful"]
    if method in ("trex", "treesim"):  # they look at leaves alone
        assert found["reproduction"] == "not checked"


def test_each_method_of_the_command_has_an_explainer():
    from typing import get_args

    import treeinf.explainers
    from treeinf.cli.commands.explain import _EXPLAINERS, Method

    assert set(get_args(Method)) == set(_EXPLAINERS)
    for name in _EXPLAINERS.values():
        assert hasattr(treeinf.explainers, name)
