"""Bad parameters and bad data: one clear error each, before any training."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from treeinf.cleaning import Amount, InfluenceCleaner

from .conftest import classifier, regressor

RNG_SEED = 5


class Untrainable(RegressorMixin, BaseEstimator):
    """Fails the test if anything is trained."""

    def fit(self, X, y):
        raise AssertionError("trained before all was checked")

    def predict(self, X):
        raise AssertionError


def table(n_rows=60):
    rng = np.random.default_rng(RNG_SEED)
    X = rng.normal(size=(n_rows, 3))
    return X, (X[:, 0] > 0).astype(int)


PARAMETERS = [
    ({"method": "magic"}, ValueError, "Got method='magic'; expected one of"),
    ({"method": None}, ValueError, "Got method=None"),
    ({"action": "burn"}, ValueError, "Got action='burn'; expected one of"),
    ({"amount": 0.0}, ValueError, "Got amount=0.0; expected 'auto', a share"),
    ({"amount": 1.0}, ValueError, r"Got amount=1.0; .* less than there are \(60\)"),
    ({"amount": -0.1}, ValueError, "Got amount=-0.1"),
    ({"amount": 60}, ValueError, "Got amount=60"),
    ({"amount": 0}, ValueError, "Got amount=0"),
    ({"amount": "some"}, ValueError, "Got amount='some'"),
    ({"amount": None}, TypeError, "Got amount=None"),
    ({"amount": True}, TypeError, "Got amount=True"),
    ({"amount": float("nan")}, ValueError, "Got amount=nan"),
    ({"amount": Amount.threshold("high")}, TypeError, "value='high'.*a number"),
    ({"amount": Amount.threshold(float("nan"))}, ValueError, "expected a finite score"),
    ({"amount": Amount.count(2.5)}, TypeError, "whole number of rows"),
    ({"amount": Amount.share(1.5)}, ValueError, "Got amount=1.5"),
    ({"amount": Amount("auto", 3)}, ValueError, "automatic amount has no value"),
    ({"amount": Amount("half", 3)}, ValueError, "Got Amount of kind 'half'"),
    ({"validation": 0.0}, ValueError, "Got validation=0.0"),
    ({"validation": 1.5}, ValueError, "Got validation=1.5"),
    ({"validation": 2}, ValueError, "number of folds of at least 3"),
    ({"validation": True}, TypeError, "Got validation=True"),
    ({"validation": None}, TypeError, "Got validation=None"),
    ({"validation": "cv"}, TypeError, "Got validation of type str"),
    ({"validation": (1, 2, 3, 4)}, ValueError, "Got validation with 4 parts"),
    ({"validation": KFold(2)}, ValueError, "makes 2 splits; expected at least 3"),
    ({"n_repeats": 0}, ValueError, "Got n_repeats=0; expected a positive integer"),
    ({"n_repeats": 1.5}, TypeError, "Got n_repeats=1.5"),
    (
        {"method": "boostin", "action": "weight"},
        ValueError,
        "gives no probability that a label is wrong",
    ),
    (
        {"method": "loss", "amount": Amount.doubt(0.5)},
        ValueError,
        "gives no probability that a label is wrong",
    ),
    ({"amount": Amount.doubt(1.5)}, ValueError, "Got amount=1.5"),
    ({"confidence": 1.0}, ValueError, r"Got confidence=1.0; .* in \(0, 1\)"),
    ({"flagged_weight": 2.0}, ValueError, r"Got flagged_weight=2.0; .* in \[0, 1\]"),
    ({"relabel_by": "votes"}, ValueError, "Got relabel_by='votes'"),
    ({"refit_on_validation": "yes"}, ValueError, "Got refit_on_validation='yes'"),
    ({"scoring": "nonsense"}, ValueError, "nonsense"),
    ({"n_jobs": 0}, ValueError, "Got n_jobs=0"),
    ({"action": "relabel", "method": "random"}, ValueError, "suggests no labels"),
    ({"estimator": IsolationForest()}, TypeError, "classifier or regressor"),
    ({"estimator": 3}, TypeError, "Got estimator=3"),
    (
        {"estimator": Untrainable(), "method": "loss", "action": "downweight"},
        ValueError,
        "Untrainable.fit takes no sample_weight",
    ),
]


@pytest.mark.parametrize(("parameters", "error", "message"), PARAMETERS)
def test_bad_parameters_are_refused_by_name(parameters, error, message):
    X, y = table()
    with pytest.raises(error, match=message):
        InfluenceCleaner(**{"estimator": classifier(), **parameters}).fit(X, y)


def _frame_twice(X, y):
    return pd.DataFrame(X, index=[0] * len(X)), y


def _other_order(X, y):
    frame = pd.DataFrame(X)
    return frame, pd.Series(y, index=frame.index[::-1])


DATA = [
    (lambda X, y: (X, None), "requires y to be passed"),
    (lambda X, y: (X, y[:-1]), "y has 59 values for 60 rows"),
    (lambda X, y: (X, np.zeros(60, int)), "y has one class only"),
    (lambda X, y: (X, np.where(y > 0, np.nan, 1.0)), "y has .* missing or infinite"),
    (
        lambda X, y: (X, np.array([None, *["a"] * 59], dtype=object)),
        "y has 1 missing or infinite values .* first at position 0",
    ),
    (lambda X, y: (X, X[:, 0]), "continuous"),
    (lambda X, y: (X[:, 0], y), "Expected 2D array"),
    (lambda X, y: (X[:0], y[:0]), "0 sample"),
    (lambda X, y: (pd.DataFrame(X)[:0], y[:0]), "X has 0 rows and 3 columns"),
    (lambda X, y: (X[:4], y[[0, 1, 2, 3]]), "too few|one class"),
    (_frame_twice, "index of X has labels more than once"),
    (_other_order, "y has the same index in another order"),
]


@pytest.mark.parametrize(("spoil", "message"), DATA)
def test_bad_data_are_refused(spoil, message):
    X, y = spoil(*table())
    with pytest.raises(ValueError, match=message):
        InfluenceCleaner(classifier()).fit(X, y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(59), "sample_weight has 59 values"),
        (np.full(60, -1.0), "sample_weight is -1 in row 0"),
        (np.zeros(60), "sample_weight is zero in every row"),
        (np.r_[np.nan, np.ones(59)], r"sample_weight is missing .* in 1 of 60"),
    ],
)
def test_bad_weights_are_refused(weight, message):
    X, y = table()
    with pytest.raises(ValueError, match=message):
        InfluenceCleaner(classifier()).fit(X, y, sample_weight=weight)


def test_targets_of_a_regressor_must_be_numbers():
    X, y = table()
    with pytest.raises(ValueError, match="a regressor needs numbers"):
        InfluenceCleaner(regressor()).fit(X, y.astype(str))


VALIDATION_ROWS = [
    (
        lambda X, y: (X[:10], y[:10]),
        "10 of 10 validation rows are among the train rows",
    ),
    (lambda X, y: (X[:, :2], y), "X_val has 2 columns, X has 3"),
    (lambda X, y: (X + 1.0, y[:5]), "y_val has 5 values for 60 rows"),
    (lambda X, y: (X + 1.0, y + 1), r"y_val has labels that y has not: \[2\]"),
    (lambda X, y: (X + 1.0, np.where(y, np.nan, 0.0)), "y_val has .* missing"),
]


@pytest.mark.parametrize(("make", "message"), VALIDATION_ROWS)
def test_bad_validation_rows_are_refused(make, message):
    X, y = table()
    with pytest.raises(ValueError, match=message):
        InfluenceCleaner(classifier(), validation=make(X, y)).fit(X, y)


def test_overlap_is_named_by_the_callers_labels():
    X, y = table()
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))])
    with pytest.raises(ValueError, match="the first: row 0, row 1, row 2"):
        InfluenceCleaner(classifier(), validation=(frame[:9], y[:9])).fit(frame, y)


def test_equal_rows_that_are_common_anyway_are_no_overlap():
    X, y = table(200)
    X = np.round(X[:, :1])
    cleaner = InfluenceCleaner(classifier(), validation=(X[:50], y[:50]), amount=0.1)
    cleaner.fit(X[50:], y[50:])
    assert cleaner.report_.guard is not None


def test_unfitted():
    with pytest.raises(NotFittedError):
        InfluenceCleaner(classifier()).predict(np.ones((2, 3)))
