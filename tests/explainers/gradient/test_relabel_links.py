"""Relabelling where the library trains on another target, or weighs rows by label.

The table has one column of two values, so that every training has the same two leaves:
real retraining, with a share of a row moved to the other label, is the derivative.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti

N = 40
X_TEST = np.array([[-1.0], [2.0], [2.0]])
CATBOOST = {
    "depth": 1,
    "iterations": 4,
    "learning_rate": 0.3,
    "l2_leaf_reg": 1e-9,
    "bootstrap_type": "No",
    "random_strength": 0,
    "leaf_estimation_iterations": 1,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
}
LIBRARIES = {
    "lightgbm": (
        "LGBM",
        {
            "n_estimators": 4,
            "num_leaves": 2,
            "min_child_samples": 1,
            "min_child_weight": 0.0,
            "n_jobs": 1,
            "verbose": -1,
        },
    ),
    "xgboost": (
        "XGB",
        {"n_estimators": 4, "max_depth": 1, "min_child_weight": 0, "n_jobs": 1},
    ),
    "catboost": ("CatBoost", CATBOOST),
    "sklearn.ensemble": (
        "HistGradientBoosting",
        {
            "max_iter": 4,
            "max_leaf_nodes": 2,
            "min_samples_leaf": 1,
            "early_stopping": False,
        },
    ),
}
NAMES = np.array(["no", "yes"])
BALANCED = {"no": N / 2 / 25, "yes": N / 2 / 15}
"""Class weights of 25 and 15 rows of the two classes."""


def make(library, kind, **parameters):
    name, settings = LIBRARIES[library]
    module = pytest.importorskip(library)
    return getattr(module, f"{name}{kind}")(**{**settings, **parameters})


def draw(task):
    rng = np.random.default_rng(0)
    X = np.repeat([0.0, 1.0], N // 2)[:, np.newaxis]
    if task == "regression":
        return X, np.round(rng.gamma(2.0, 2.0, N) + 3.0 * X[:, 0], 2)
    if task == "ones":
        return X, np.where(rng.random(N) < 0.4, 1.0, rng.random(N))
    if task == "multiclass":
        return X, rng.integers(0, 3, N)
    y = np.zeros(N, dtype=int)
    y[rng.permutation(N)[:15]] = 1
    return X, NAMES[y] if task == "names" else y


def sum_raw(model, X):
    """Sum the raw scores of the rows, by the library itself."""
    library = type(model).__module__.partition(".")[0]
    if library == "lightgbm":
        return model.predict(X, raw_score=True).sum()
    if library == "xgboost":
        return float(model.predict(X, output_margin=True).sum(dtype=np.float64))
    if library == "catboost":
        return model.predict(X, prediction_type="RawFormulaVal").sum()
    return model._raw_predict(X).sum()


def split_row(fixed, X, y, row, label):
    """Differentiate the raw scores along the way of a row to another label."""
    both, target = np.concatenate([X, X[[row]]]), np.append(y, label)
    step, scores = 0.02, []
    for share in (0.0, step, 2.0 * step):
        weight = np.append(np.ones(N), share)
        weight[row] = 1.0 - share
        model = fixed().fit(both, target, sample_weight=weight)
        scores.append(sum_raw(model, X_TEST))
    return (4.0 * scores[1] - scores[2] - 3.0 * scores[0]) / (2.0 * step)


LINKS = {
    "lightgbm reg_sqrt": ("lightgbm", "Regressor", "regression", {"reg_sqrt": True}),
    "lightgbm class_weight": (
        "lightgbm",
        "Classifier",
        "names",
        {"class_weight": {"no": 0.5, "yes": 3.0}},
    ),
    "lightgbm scale_pos_weight": (
        "lightgbm",
        "Classifier",
        "binary",
        {"scale_pos_weight": 3.0},
    ),
    "lightgbm balanced": (
        "lightgbm",
        "Classifier",
        "names",
        {"class_weight": "balanced"},
        {"class_weight": BALANCED},
    ),
    "lightgbm is_unbalance": (
        "lightgbm",
        "Classifier",
        "binary",
        {"is_unbalance": True},
        {"scale_pos_weight": 25 / 15},
    ),
    "xgboost scale_pos_weight": (
        "xgboost",
        "Classifier",
        "binary",
        {"scale_pos_weight": 3.0},
    ),
    "xgboost scale_pos_weight in regression": (
        "xgboost",
        "Regressor",
        "ones",
        {"scale_pos_weight": 3.0},
    ),
    "catboost class_weights": (
        "catboost",
        "Classifier",
        "names",
        {"class_weights": {"no": 0.5, "yes": 3.0}},
    ),
    "catboost scale_pos_weight": (
        "catboost",
        "Classifier",
        "binary",
        {"scale_pos_weight": 3.0},
    ),
    "catboost auto_class_weights": (
        "catboost",
        "Classifier",
        "names",
        {"auto_class_weights": "Balanced"},
        {"class_weights": {"no": 1.0, "yes": 25 / 15}},
    ),
    "sklearn class_weight": (
        "sklearn.ensemble",
        "Classifier",
        "binary",
        {"class_weight": {0: 0.5, 1: 3.0}},
    ),
    "sklearn balanced": (
        "sklearn.ensemble",
        "Classifier",
        "binary",
        {"class_weight": "balanced"},
        {"class_weight": {0: BALANCED["no"], 1: BALANCED["yes"]}},
    ),
}


@pytest.mark.parametrize("link", LINKS)
def test_another_label_is_the_derivative_of_retraining(link):
    """Weights that follow from counts are held fixed, those of the labels are not."""
    library, kind, task, parameters, *fixed = LINKS[link]
    X, y = draw(task)
    model = make(library, kind, **parameters).fit(X, y)
    explainer = ti.LeafInfluence().fit(model, X, y)
    assert explainer.reproduction_.verdict == "exact"
    labels = np.array([4.0, 16.0]) if task == "regression" else np.unique(y)[[0, -1]]
    every = np.ones((3, explainer.ensemble_.n_outputs))
    actual = explainer.relabel(X_TEST, labels=labels, output=every).values
    for column, label in enumerate(labels):
        for row in (0, 3, N - 2):
            if y[row] == label:
                assert actual[row, column] == 0.0
                continue
            desired = split_row(
                lambda: make(library, kind, **(fixed[0] if fixed else parameters)),
                *(X, y, row, label),
            )
            assert_allclose(actual[row, column], desired, rtol=0.02)


def test_a_row_gets_the_weight_of_its_label_even_if_its_own_class_has_none():
    X, y = draw("multiclass")
    own, factors = np.linspace(1.0, 2.0, N), np.array([1.0, 2.0, 0.0])
    model = make(
        "sklearn.ensemble", "Classifier", class_weight=dict(enumerate(factors))
    ).fit(X, y, sample_weight=own)
    trace = ti.LeafInfluence().fit(model, X, y, sample_weight=own).trace_
    rows, _ = trace.relabel((y + 1.0) % 3)
    assert_allclose(rows.weight, own * factors[(y + 1) % 3], rtol=1e-7)
