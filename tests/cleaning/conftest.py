"""Small noisy tables and estimators for the cleaning tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from treeinf.cleaning import InfluenceCleaner

lightgbm = pytest.importorskip("lightgbm")


def classifier(**settings):
    defaults = {"n_estimators": 20, "num_leaves": 8, "verbose": -1}
    return lightgbm.LGBMClassifier(**{**defaults, **settings})


def regressor(**settings):
    defaults = {"n_estimators": 20, "num_leaves": 8, "verbose": -1}
    return lightgbm.LGBMRegressor(**{**defaults, **settings})


@dataclass
class Noisy:
    """A table with planted faults, and clean rows to test on."""

    X: Any
    y: Any
    is_bad: Any
    X_test: Any
    y_test: Any


def noisy_cancer(rate, seed=0):
    """Give breast cancer with a share of its labels flipped, as a frame."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
    is_bad = np.random.default_rng(seed).random(len(y)) < rate
    return Noisy(X, y.where(~is_bad, 1 - y), is_bad, X_test, y_test)


def noisy_diabetes(rate, seed=0):
    """Give diabetes with a share of its targets moved far away, as arrays."""
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
    rng = np.random.default_rng(seed)
    is_bad = rng.random(len(y)) < rate
    shift = rng.choice([-1.0, 1.0], len(y)) * rng.uniform(2.0, 4.0, len(y)) * y.std()
    return Noisy(X, np.where(is_bad, y + shift, y), is_bad, X_test, y_test)


@pytest.fixture(scope="session")
def cancer():
    return noisy_cancer(0.2, seed=2)


@pytest.fixture(scope="session")
def cleaned(cancer):
    """Give the cleaner with its defaults, fitted to noisy rows."""
    estimator = classifier(n_estimators=50, num_leaves=15)
    return InfluenceCleaner(estimator, random_state=0).fit(cancer.X, cancer.y)
