"""Targets and parameters of every kind users hold."""

import numpy as np
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
