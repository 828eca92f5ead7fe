"""Rows, targets and weights of every kind users hold."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from treeinf import validation
from treeinf.ensemble import losses

CATEGORIES = (None, ("a", "b", "c"))


def frames():
    """The same table as pandas, polars and pyarrow frames."""
    columns = {"x": [1.5, None, -0.0], "c": ["b", "zzz", None]}
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    pa = pytest.importorskip("pyarrow")
    yield pd.DataFrame(columns).astype({"c": "category"})
    yield pl.DataFrame(columns).cast({"c": pl.Categorical})
    yield pl.DataFrame(columns).cast({"c": pl.Enum(["zzz", "b"])})
    table = pa.table({"x": columns["x"], "c": pa.array(columns["c"])})
    yield table.set_column(1, "c", table["c"].dictionary_encode())


def test_frames_of_every_kind_are_read_alike():
    desired = [[1.5, 1.0], [np.nan, np.nan], [-0.0, np.nan]]
    for frame in frames():
        values = validation.check_rows(
            frame, n_features=2, feature_names=("x", "c"), categories=CATEGORIES
        )
        assert_array_equal(values, desired)
        assert values.flags.c_contiguous
        assert values.dtype == np.float64


def test_frames_of_every_kind_become_those_of_pandas():
    for frame in frames():
        found = validation.to_pandas(frame)
        assert (found is frame) == isinstance(frame, pd.DataFrame)
        assert_array_equal(found["x"], [1.5, np.nan, -0.0])
        assert isinstance(found["c"].dtype, pd.CategoricalDtype)
        assert found["c"].astype(object).fillna("none").tolist() == ["b", "zzz", "none"]
    pl = pytest.importorskip("polars")
    columns = {"t": [True, False], "maybe": [None, True], "text": ["u", "v"]}
    found = validation.to_pandas(pl.DataFrame(columns))
    assert found["t"].dtype == bool
    assert_array_equal(found["maybe"], [np.nan, 1.0])
    assert found["text"].tolist() == ["u", "v"]
    for rows in (np.ones((2, 3)), [[1.0], [2.0]], sparse.csr_array((2, 3))):
        assert validation.to_pandas(rows) is rows


def test_a_frame_without_pandas_is_a_clear_error(monkeypatch):
    pl = pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"Got a polars.*pip install pandas"):
        validation.to_pandas(pl.DataFrame({"x": [1.0]}))


def test_other_columns_are_read():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "flag": [True, False],
            "nullable": pd.array([1, None], dtype="Int64"),
            "maybe": pd.array([True, None], dtype="boolean"),
            "small": np.array([1, 2], dtype=np.int8),
        }
    )
    assert_array_equal(
        validation.check_rows(frame), [[1, 1, 1, 1], [0, np.nan, np.nan, 2]]
    )


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_rows_are_read(kind, rng):
    dense = rng.normal(size=(5, 4)) * (rng.random((5, 4)) < 0.4)
    assert_array_equal(validation.check_rows(getattr(sparse, kind)(dense)), dense)


def test_rows_that_fit_are_not_copied(rng):
    X = rng.normal(size=(5, 3))
    assert validation.check_rows(X) is X
    assert validation.check_rows(X.astype(np.float32)).dtype == np.float64
    assert_array_equal(validation.check_rows(X[::-1, ::2]), X[::-1, ::2])
    assert_array_equal(validation.check_rows([[1, 2], [3, 4]]), [[1.0, 2], [3, 4]])


def make_frame(**columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        (lambda: np.zeros((2, 3)), ValueError, "X has 3 columns, the ensemble .* on 2"),
        (lambda: np.zeros(2), ValueError, "reshape one row to"),
        (lambda: np.zeros((2, 2, 2)), ValueError, r"expected \(n_rows, n_features\)"),
        (lambda: np.array([["1", "b"]]), TypeError, "encode strings as numbers"),
        (lambda: np.array([[1, "b"]], object), TypeError, "encode strings as numbers"),
        (lambda: np.array([[1j, 2]]), TypeError, "complex"),
        (lambda: make_frame(x=[1], y=["a"]), TypeError, "Column 'y' has dtype String"),
        (lambda: make_frame(x=[1]), ValueError, r"missing \['y'\]"),
        (lambda: make_frame(x=[1], z=[2]), ValueError, r"not known to it \['z'\]"),
        (lambda: make_frame(y=[1], x=[2]), ValueError, "another order"),
        (
            lambda: pytest.importorskip("polars").LazyFrame({"x": [1], "y": [1]}),
            TypeError,
            "collect it first",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, error, words):
    with pytest.raises(error, match=words):
        validation.check_rows(rows(), n_features=2, feature_names=("x", "y"))


def test_automatic_names_are_not_compared():
    frame = make_frame(p=[1.0], q=[2.0])
    for names in (("Column_0", "Column_1"), None):
        values = validation.check_rows(frame, n_features=2, feature_names=names)
        assert_array_equal(values, [[1.0, 2.0]])
    with pytest.raises(ValueError, match="X has 2 columns"):
        validation.check_rows(
            frame, n_features=3, feature_names=("Column_0", "Column_1", "Column_2")
        )


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
            "Got label 3; the model knows 0, 1",
        ),
        ([-1.0, 1.0], {"loss": losses.Poisson()}, ValueError, "at least 0"),
        ([0.0, 1.0], {"loss": losses.Gamma()}, ValueError, "above 0"),
        ([0.5, 1.5], {"loss": losses.CrossEntropy()}, ValueError, r"in \[0, 1\]"),
    ],
)
def test_targets_that_do_not_fit_are_refused(y, given, error, words):
    with pytest.raises(error, match=words):
        validation.check_targets(y, 2, **{"loss": None, **given})


def test_rows_are_taken_in_the_callers_own_type():
    rows = np.array([2, 0])
    for frame in frames():
        taken = validation.take_rows(frame, rows)
        assert type(taken) is type(frame)
        assert validation.count_rows(taken) == 2
    assert_array_equal(
        validation.take_rows(np.arange(6).reshape(3, 2), rows)[:, 0], [4, 0]
    )
    assert validation.take_rows([5, 6, 7], np.array([True, False, True])).tolist() == [
        5,
        7,
    ]
    assert validation.take_rows(None, rows) is None
    matrix = validation.take_rows(sparse.coo_matrix(np.eye(3)), rows)
    assert_array_equal(matrix.toarray(), np.eye(3)[rows])


def test_a_pandas_index_is_kept():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1, 2]}, index=["r", "s"])
    assert validation.row_labels(frame).tolist() == ["r", "s"]
    double = pd.DataFrame(
        {"x": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (1, "b")])
    )
    assert validation.row_labels(double).tolist() == [(1, "a"), (1, "b")]
    assert validation.row_labels(np.zeros((2, 1))) is None
    assert validation.row_labels([[1, 2]]) is None


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


def test_numbers_are_labels_where_the_library_says_so():
    known = (None, (-1.0, 3, 7.5), ("a", 2, None))
    mixed = np.array(
        [[0, 3, "a"], [1, 7.5, 2], [2, 3.5, "b"], [3, np.nan, None]], object
    )
    expected = [[0, 1, 0], [1, 2, 1], [2, np.nan, np.nan], [3, np.nan, 2]]
    rows = validation.check_rows(mixed, categories=known, numbers_are_labels=True)
    assert_array_equal(rows, expected)
    numbers = np.array([[0.5, -1.0], [np.inf, 4.0]])
    rows = validation.check_rows(numbers, categories=known[:2], numbers_are_labels=True)
    assert_array_equal(rows, [[0.5, 0.0], [np.inf, np.nan]])
    assert_array_equal(validation.check_rows(numbers, categories=known[:2]), numbers)
    frame = pd.DataFrame({"x": [0.5, 1.0], "c": [7.5, -1.0]})
    rows = validation.check_rows(frame, categories=known[:2], numbers_are_labels=True)
    assert_array_equal(rows, [[0.5, 2.0], [1.0, 0.0]])
    with pytest.raises(TypeError, match="trained"):
        validation.check_rows(frame, categories=known[:2])
    with pytest.raises(TypeError, match="not all numbers"):
        validation.check_rows(
            mixed, categories=(None, known[1], None), numbers_are_labels=True
        )
