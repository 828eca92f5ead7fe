"""Files of other versions, and the published values of BoostIn."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from treeinf.adapters import read_model
from treeinf.adapters.xgboost import json as entries
from treeinf.adapters.xgboost.trees import read_trees
from treeinf.trace import TrainingTrace

HERE = Path(__file__).parents[2] / "golden"
SHARED = Path(__file__).parents[4] / "shared" / "golden"

CASES = (
    *("squarederror", "logistic", "softprob", "poisson", "dart", "vectors"),
    *("targets", "pruned"),
)
LIGHT = {"light_root": 1e4, "light_vectors": 5.0}
"""Cases with leaves below this `min_child_weight`, which a file does not hold."""
VERSIONS = {
    **dict.fromkeys(("2.1.4", "3.0.5"), CASES),
    **dict.fromkeys(("3.2.0", "3.3.0", "3.4.1"), (*CASES, *LIGHT)),
}


@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize(
    ("version", "case"),
    [(version, case) for version, cases in VERSIONS.items() for case in cases],
)
def test_files_of_other_versions(tmp_path, version, case, form):
    with np.load(HERE / f"xgboost_{version}.npz") as stored:
        X, y = stored["X"], stored[f"{case}.y"]
        leaf, score = stored[f"{case}.leaf"], stored[f"{case}.score"]
        json_file = json.loads(stored[f"{case}.json"].tobytes())
        content = stored[f"{case}.{form}"].tobytes()
    path = tmp_path / "model"
    path.write_bytes(content)
    ensemble = read_model(path)
    assert ensemble.library_version == f"{version} (model file)"
    score = score.reshape(len(X), -1)
    atol = 1e-6 * np.abs(score).max()
    assert_allclose(ensemble.raw_score(X), score, rtol=0, atol=atol)
    file = entries.parse(json_file)
    numbers = read_trees(file.trees, file.n_outputs, file.n_features).leaf_node
    assert_array_equal(numbers[ensemble.leaf_offset[:-1] + ensemble.apply(X)], leaf)
    if case == "pruned":
        nodes = sum(int(tree["tree_param"]["num_nodes"]) for tree in file.trees)
        assert nodes > ensemble.n_nodes + ensemble.n_leaves
    if ensemble.loss is not None and case != "dart":
        parameters = {"min_child_weight": LIGHT.get(case, 1.0)}
        told = read_model(path, parameters=parameters)
        report = TrainingTrace.build(told, X, y).report
        assert (report.verdict, report.largest_difference < 1e-4) == ("exact", True)


@pytest.mark.parametrize("case", LIGHT)
@pytest.mark.parametrize("version", ["3.2.0", "3.3.0"])
def test_files_that_a_later_version_wrote_again(version, case):
    """It leaves leaf values as they are, and names itself: the caller has to say so."""
    with np.load(HERE / f"xgboost_{version}.npz") as stored:
        X, y = stored["X"], stored[f"{case}.y"]
        model = json.loads(stored[f"{case}.json"].tobytes())
    model["version"] = [3, 4, 1]
    known = {"min_child_weight": LIGHT[case]}
    with pytest.raises(
        ti.errors.TrainingDataMismatchError, match=r"before 3\.4 trained"
    ):
        TrainingTrace.build(read_model(model, parameters=known), X, y)
    told = read_model(model, parameters={**known, "version": version})
    assert TrainingTrace.build(told, X, y).report.verdict == "exact"


def test_before_iterations_were_written():
    """XGBoost 1.x says how many trees make an iteration, not where one starts."""
    with np.load(HERE / "xgboost_2.1.4.npz") as stored:
        model = json.loads(stored["softprob.json"].tobytes())
        expected = read_model(model)
    content = model["learner"]["gradient_booster"]["model"]
    del content["iteration_indptr"]
    content["gbtree_model_param"]["num_parallel_tree"] = "0"
    for tree in content["trees"]:
        tree["default_left"] = [bool(flag) for flag in tree["default_left"]]
    assert_array_equal(read_model(model).iteration, expected.iteration)
    content["trees"].pop()
    content["tree_info"].pop()
    with pytest.raises(ti.errors.ModelFormatError, match="whole iterations of 3"):
        read_model(model)


@pytest.mark.skipif(not SHARED.exists(), reason="no published values at hand")
@pytest.mark.parametrize(
    "name",
    [
        "xgboost_binary_breast_cancer",
        "xgboost_binary_breast_cancer_l2",
        "xgboost_multiclass_wine",
        "xgboost_regression_diabetes",
    ],
)
def test_published_values(name):
    with np.load(SHARED / f"{name}.npz") as stored:
        golden = dict(stored)
    parameters = json.loads(str(golden["meta"]))["params"]
    path = SHARED / f"{name}.model.json"
    ensemble = read_model(path, parameters=parameters)
    assert_allclose(read_model(path).leaf_l2, ensemble.leaf_l2, rtol=1e-4)
    for rows in ("train", "test"):
        raw = golden[f"pred_raw_{rows}"].reshape(len(golden[f"X_{rows}"]), -1)
        atol = 1e-6 * np.abs(raw).max()
        found = ensemble.raw_score(golden[f"X_{rows}"])
        assert_allclose(found, raw, rtol=0, atol=atol)
    for power, method in enumerate(("BoostIn", "BoostInW1", "BoostInW2")):
        explainer = ti.BoostIn(theta="published", count_power=power)
        explainer.fit(ensemble, golden["X_train"], golden["y_train"])
        assert explainer.reproduction_.verdict == "exact"
        assert explainer.reproduction_.largest_difference < 1e-5
        desired = golden[f"inf_{method}"]
        actual = explainer.explain(golden["X_test"], golden["y_test"]).values
        # the reference is computed in float32
        assert_allclose(actual, desired, rtol=0, atol=1e-5 * np.abs(desired).max())
