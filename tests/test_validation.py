"""Targets and parameters of every kind users hold."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from treeinf import validation
from treeinf.ensemble import losses


def test_labels_of_every_kind_are_numbered():
    classes = np.array(["no", "yes"])
    loss = losses.Logistic()
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    for y in (
        ["yes", "no"],
        np.array(["yes", "no"]),
        np.array(["yes", "no"], object),
        pd.Series(["yes", "no"], index=[7, 3]),
        pd.Series(["yes", "no"], dtype="category"),
        pl.Series(["yes", "no"]),
        np.array([["yes"], ["no"]]),
    ):
        target = validation.check_targets(y, 2, loss=loss, classes=classes)
        assert_array_equal(target, [1.0, 0.0])
    booleans = validation.check_targets(
        np.array([True, False]), 2, loss=loss, classes=np.array([False, True])
    )
    assert_array_equal(booleans, [1.0, 0.0])


@pytest.mark.parametrize(
    ("y", "given", "error", "words"),
    [
        (None, {}, ValueError, "y is None"),
        (
            [1.0, np.nan],
            {},
            ValueError,
            "y is missing .* in 1 of 2 rows, first in row 1",
        ),
        (np.array(["a", None], object), {}, ValueError, "missing"),
        ([np.inf, 1.0], {}, ValueError, "y is inf in row 0"),
        ([[1, 2], [3, 4]], {}, ValueError, "y has shape"),
        ([1.0], {}, ValueError, "y has 1 values, X has 2 rows"),
        (["a", "b"], {}, TypeError, "does not keep string labels"),
        ([0, 2], {"loss": losses.Logistic()}, ValueError, "class numbers 0 to 1"),
        ([0, 0.5], {"loss": losses.Softmax(3)}, ValueError, "class numbers 0 to 2"),
        (
            [0, 3],
            {"loss": losses.Logistic(), "classes": np.array([0, 1])},
            ValueError,
            "Got label 3; the model's classes are 0, 1",
        ),
        ([-1.0, 1.0], {"loss": losses.Poisson()}, ValueError, "at least 0"),
        ([0.0, 1.0], {"loss": losses.Gamma()}, ValueError, "above 0"),
        ([0.5, 1.5], {"loss": losses.CrossEntropy()}, ValueError, r"in \[0, 1\]"),
    ],
)
def test_targets_that_do_not_fit_are_refused(y, given, error, words):
    with pytest.raises(error, match=words):
        validation.check_targets(y, 2, **{"loss": None, **given})


@pytest.mark.parametrize(
    ("out", "error"),
    [
        ([[0.0]], TypeError),
        (np.zeros((2, 3)), ValueError),
        (np.zeros((3, 2), np.float32), ValueError),
        (np.zeros((2, 3)).T, ValueError),
    ],
)
def test_an_out_array_that_does_not_fit_is_refused(out, error):
    with pytest.raises(error, match="Got out of"):
        validation.check_out(out, (3, 2))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.Series([1, None], dtype="Int64"), id="Int64"),
        pytest.param(pd.Series([True, None], dtype="boolean"), id="boolean"),
        pytest.param(pd.Series([Decimal(1), None]), id="Decimal"),
        pytest.param(pl.Series([1, None]), id="polars"),
        pytest.param(pa.chunked_array([[1, None]]), id="pyarrow chunks"),
        pytest.param(pa.array([1, None]), id="pyarrow array"),
        pytest.param(np.ma.masked_array([1, 2], mask=[False, True]), id="masked"),
    ],
)
def test_missing_targets_and_weights_of_every_kind_are_refused(values):
    for check in (
        lambda: validation.check_targets(values, 2, loss=None),
        lambda: validation.check_weights(values, 2),
    ):
        with pytest.raises(ValueError, match="in 1 of 2 rows, first in row 1; drop"):
            check()
    with pytest.raises(ValueError, match="init_score must be finite"):
        validation.check_offset(values, 2, 1)


@pytest.mark.parametrize(
    "values",
    [
        [Decimal("1.5"), Decimal(2)],
        pl.Series([Decimal("1.5"), Decimal(2)]),
        pa.chunked_array([[Decimal("1.5"), Decimal("2.0")]]),
        pd.Series([1.5, 2], dtype=object),
        pd.DataFrame({"y": [1.5, 2.0]}),
    ],
)
def test_decimals_and_objects_are_numbers_in_targets_and_weights(values):
    assert_array_equal(validation.check_targets(values, 2, loss=None), [1.5, 2.0])
    assert_array_equal(validation.check_weights(values, 2), [1.5, 2.0])


def test_text_and_times_are_no_numbers():
    for values in (["1", "2"], np.array(["1", "2"], object)):
        with pytest.raises(TypeError, match="expected numbers"):
            validation.check_weights(values, 2)
    times = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    with pytest.raises(TypeError, match="expected numbers"):
        validation.check_targets(times, 2, loss=None)


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["r", "s", "t"]),
        pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")]),
        pd.date_range("2020", periods=3, tz="UTC"),
        pd.CategoricalIndex(["r", "s", "t"]),
        pd.Index([0.5, np.nan, 2.0]),
        pd.Index([4, 4, 5]),
    ],
)
def test_an_index_is_compared_whatever_it_holds(index):
    X, y = pd.DataFrame({"x": [1, 2, 3]}, index), pd.Series([1, 2, 3], index)
    assert validation.open_rows(X, y=y, sample_weight=None) is X
    validation.open_rows(X, y=y.reset_index(drop=True))
    validation.open_rows(X.reset_index(drop=True), y=y)
    with pytest.raises(ValueError, match=r"pass y.loc\[X.index\] .* y.to_numpy\(\)"):
        validation.open_rows(X, y=y[::-1])
