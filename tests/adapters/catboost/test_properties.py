"""Whatever the settings and the rows, the representation is CatBoost's model."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import treeinf as ti
from tests.adapters.catboost.models import (
    GROW_POLICIES,
    LOSSES,
    QUIET,
    assert_same_model,
    hard_rows,
    make_targets,
)
from treeinf.adapters import read_model

catboost = pytest.importorskip("catboost")

SETTINGS = st.fixed_dictionaries(
    {
        "loss_function": st.sampled_from([*LOSSES, "MAE", "Quantile:alpha=0.2"]),
        "grow_policy": st.sampled_from(GROW_POLICIES),
        "depth": st.integers(1, 7),
        "min_data_in_leaf": st.sampled_from([1, 10, 200]),
        "learning_rate": st.sampled_from([1.0, 0.1, 1 / 3]),
        "l2_leaf_reg": st.sampled_from([0.1, 3.0, 100.0]),
        "border_count": st.sampled_from([1, 5, 254]),
        "nan_mode": st.sampled_from(["Min", "Max"]),
        "bootstrap_type": st.sampled_from(["No", "Bayesian", "Bernoulli"]),
        "random_strength": st.sampled_from([0.0, 5.0]),
        "random_seed": st.integers(0, 1000),
    }
)

COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "rounded": lambda rng, n: np.round(2 * rng.normal(size=n)),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-40,
    "huge": lambda rng, n: rng.normal(size=n) * 1e38,
    "close": lambda rng, n: 1.0 + 1e-8 * rng.normal(size=n),
    "infinite": lambda rng, n: rng.choice([-np.inf, -1.0, 2.0, np.inf], n),
    "few": lambda rng, n: rng.integers(0, 4, n).astype(float),
}


@hypothesis.settings(max_examples=80)
@hypothesis.given(
    params=SETTINGS,
    kinds=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=4, max_size=4),
    missing=st.sampled_from([0.0, 0.2]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_same_model(params, kinds, missing, weighted, seed):
    rng = np.random.default_rng(seed)
    n_rows = 150
    # one column that has borders, whatever the others are
    kinds = [*kinds, "normal"]
    X = np.column_stack([COLUMNS[kind](rng, n_rows) for kind in kinds])
    X[rng.random(X.shape) < missing] = np.nan
    loss = params["loss_function"]
    signal = np.clip(np.nan_to_num(X, posinf=2, neginf=-2), -2, 2)
    y = make_targets(loss, signal, rng)
    # CatBoost refuses targets that are all one, and expects all classes
    hypothesis.assume(len(np.unique(y)) > (2 if loss.startswith("Multi") else 1))
    weight = rng.uniform(0.5, 2.0, n_rows) if weighted else None
    model = catboost.CatBoost({**QUIET, "iterations": 4, **params})
    model.fit(X, y, sample_weight=weight)
    ensemble = read_model(model)
    rows = hard_rows(ensemble, X, 8)
    assert_same_model(ensemble, model, rows)
    assert_array_equal(
        ensemble.leaf_value, model.get_leaf_values().reshape(ensemble.leaf_value.shape)
    )
    if ensemble.leaf_l2 is None:
        return
    if params["nan_mode"] == "Max" and "infinite" in kinds and missing:
        # NaN is above infinity in training, and the same in prediction
        return
    report = ti.TrainingTrace.build(
        ensemble, X, y, sample_weight=weight, on_mismatch="ignore"
    ).report
    # late trees that test one border again hold values not far above rounding
    assert report.verdict == "exact"
