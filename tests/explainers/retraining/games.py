"""Estimators with a closed form, the tables they play on, and what to explain."""

import math

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone

from treeinf.explainers.retraining import LOO, DataShapley, SubSample

FITS = []
"""Row counts of the fits of `MeanRegressor` in this process."""


class Stopped(Exception):
    """Stands for a run that is killed."""


class MeanRegressor(RegressorMixin, BaseEstimator):
    """Predicts the weighted mean of its targets; can stop a run."""

    def __init__(self, shift=0.0, stop_at=None):
        self.shift = shift
        self.stop_at = stop_at

    def fit(self, X, y, sample_weight=None):
        if self.stop_at is not None and len(FITS) >= self.stop_at:
            raise Stopped
        FITS.append(len(y))
        self.mean_ = np.average(y, weights=sample_weight) + self.shift
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class SumRegressor(RegressorMixin, BaseEstimator):
    """Predicts the sum of its targets: an additive game."""

    def fit(self, X, y):
        self.sum_ = np.sum(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.sum_)


class ShareClassifier(ClassifierMixin, BaseEstimator):
    """Predicts the shares of the classes it has met."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.share_ = counts / counts.sum()
        return self

    def predict_proba(self, X):
        return np.tile(self.share_, (len(X), 1))

    def predict(self, X):
        return np.full(len(X), self.classes_[np.argmax(self.share_)])


def table(n=24, n_test=7, classes=None, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + n_test, 3))
    y = X[:, 0] + 0.5 * rng.normal(size=n + n_test)
    if classes is not None:
        codes = np.digitize(y, np.linspace(-0.6, 0.6, len(classes) - 1))
        y = np.asarray(classes)[codes]
    return X[:n], y[:n], X[n:], y[n:]


def log_loss(model, X, y):
    columns = {label: k for k, label in enumerate(model.classes_)}
    probability = model.predict_proba(X)
    return np.array(
        [
            -math.log(max(row[columns[label]] if label in columns else 0.0, 1e-15))
            for row, label in zip(probability, y, strict=True)
        ]
    )


def leave_one_out(estimator, X, y, X_test, y_test, loss):
    base = loss(clone(estimator).fit(X, y), X_test, y_test)
    lines = []
    for i in range(len(y)):
        rows = np.arange(len(y)) != i
        lines.append(loss(clone(estimator).fit(X[rows], y[rows]), X_test, y_test))
    return np.array(lines) - base


EXPLAINERS = [
    LOO(n_jobs=1),
    SubSample(n_models=12, share=0.5, n_jobs=1),
    DataShapley(n_permutations=3, truncation=0, n_jobs=1),
]
