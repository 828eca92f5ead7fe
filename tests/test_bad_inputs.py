"""What each kind of bad input gives: an error that says what came and was expected."""

import functools
from pathlib import Path

import numpy as np
import pytest

import treeinf as ti

METHODS = (
    "BoostIn",
    "LeafInfluence",
    "LeafRefit",
    "TreeSim",
    "Trex",
    "LOO",
    "KNNShapley",
)


@functools.cache
def make_names():
    """Fit small models and explainers; gives what the lines of the table name."""
    lightgbm = pytest.importorskip("lightgbm")
    pandas = pytest.importorskip("pandas")
    from sklearn import ensemble, linear_model, model_selection, pipeline, svm

    from treeinf import plots
    from treeinf.evaluation import removal

    rng = np.random.default_rng(8)
    rows = rng.normal(size=(68, 3))
    label = (rows[:, 0] > 0) * 1
    X, y, T, ty = rows[:60], label[:60], rows[60:], label[60:]
    settings = {"n_estimators": 3, "num_leaves": 4, "min_child_samples": 5}
    settings |= {"verbose": -1, "n_jobs": 1}
    lgbm = lightgbm.LGBMClassifier(**settings)
    model = lightgbm.LGBMClassifier(**settings).fit(X, y)
    frame = pandas.DataFrame(X, columns=list("abc"))
    boostin = ti.BoostIn().fit(model, X, y)
    return {
        **{"np": np, "pd": pandas, "ti": ti, "plots": plots, "removal": removal},
        **{"X": X, "y": y, "T": T, "ty": ty, "frame": frame},
        **{"lgbm": lgbm, "model": model, "LGBM": lightgbm.LGBMClassifier},
        "regression": lightgbm.LGBMRegressor(**settings).fit(X, X[:, 0]),
        "named": lightgbm.LGBMClassifier(**settings).fit(frame, y),
        "other": lightgbm.LGBMClassifier(**settings).fit(X, 1 - y),
        "forest": ensemble.RandomForestClassifier(3, max_depth=2).fit(X, y),
        "ensemble": ti.read_model(model),
        "boostin": boostin,
        "leaf": ti.LeafInfluence().fit(model, X, y),
        "refit": ti.LeafRefit().fit(model, X, y),
        "sim": ti.TreeSim().fit(model, X, y),
        "influence": boostin.explain(T, ty),
        "total": boostin.total(T, ty),
        "IsolationForest": ensemble.IsolationForest,
        "VotingRegressor": ensemble.VotingRegressor,
        "LinearRegression": linear_model.LinearRegression,
        "GridSearchCV": model_selection.GridSearchCV,
        "make_pipeline": pipeline.make_pipeline,
        "LinearSVC": svm.LinearSVC,
    }


def read_table():
    """List the expressions of the table, each with its error and message."""
    lines = Path(__file__).with_name("bad_inputs.txt").read_text().splitlines()
    cases, expression = [], ""
    for line in lines:
        if line.startswith("    "):
            error, _, message = line.strip().partition(": ")
            cases.append((expression, error, message))
        elif not line.startswith("#"):
            expression = line
    for name in METHODS:
        made = f"ti.{name}()"
        cases += [
            (f"{made}.fit(model, X, y[:-1])", "ValueError", "59 "),
            (f"{made}.explain(T, ty)", "NotFittedError", "is not fitted yet"),
            (f"ti.{name}(n_jobs=-3).fit(model, X, y)", "ValueError", "Got n_jobs=-3;"),
        ]
    return cases


TABLE = read_table()


@pytest.mark.parametrize(("expression", "error", "message"), TABLE)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_gives_a_clear_error(expression, error, message):
    names = make_names()
    raised = None
    try:
        eval(expression, dict(names))
    except Exception as caught:
        raised = caught
    assert type(raised).__name__ == error
    assert message in " ".join(str(raised).split())


def test_there_are_two_hundred_kinds():
    assert len({expression for expression, _, _ in TABLE}) >= 200
