"""Rows of every kind users hold, as models read them."""

import dataclasses
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import treeinf as ti
from tests import models
from tests.test_frames import frames
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import InputRows, InputRules
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import ModelFormatError, TreeinfWarning
from treeinf.kernels.label_hash import hash_label
from treeinf.trace import StagedRows

CATEGORIES = (None, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"n_features": 0}, "n_features=0; expected an integer of at least 1"),
        ({"n_features": 2.0}, "n_features=2.0"),
        ({"feature_names": ("a",)}, "feature_names has 1 entries; expected one for"),
        ({"feature_names": ["a", "b"]}, "feature_names=.*; expected a tuple"),
        ({"feature_names": ("a", 1)}, "feature_names=1; expected strings"),
        ({"categories": (None,)}, "categories has 1 entries"),
        ({"categories": (None, "ab")}, "categories='ab'; expected tuples"),
        ({"numbers_are_labels": 1}, "numbers_are_labels=1; expected True or False"),
        ({"labels_are_hashes": "no"}, "labels_are_hashes='no'"),
        ({"absent_is_missing": None}, "absent_is_missing=None"),
        ({"round_to_single": 0.0}, "round_to_single=0.0"),
        ({"missing_value": "-1"}, "missing_value='-1'; expected a number or None"),
        ({"zero_threshold": -1.0}, "zero_threshold=-1.0; expected a finite number"),
        ({"zero_threshold": float("inf")}, "zero_threshold=inf"),
        ({"zero_threshold": None}, "zero_threshold=None"),
        ({"category_floor": 0.0}, "category_floor=0.0; expected a number in"),
        ({"category_floor": float("nan")}, "category_floor=nan"),
    ],
)
def test_rules_of_other_types_or_out_of_range_are_refused(rules, words):
    with pytest.raises(ModelFormatError, match=words):
        InputRules(**{"n_features": 2, **rules})


def test_rules_are_frozen_and_take_numpys_numbers():
    rules = InputRules(np.int64(2), missing_value=np.float32(-1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.n_features = 3


def test_rows_are_read_once(monkeypatch):
    model, X, y, *_ = models.fit("binary")
    n_read = []

    def count(rules, X, read=InputRules.read):
        n_read.append(1)
        return read(rules, X)

    monkeypatch.setattr(InputRules, "read", count)
    ensemble = ti.read_model(model)
    rows = ensemble.read_rows(X)
    assert ensemble.read_rows(rows) is rows
    assert check_parity(ensemble, model, rows) < 1e-12
    assert_array_equal(ensemble.apply(rows), find_leaves(ensemble, rows).T)
    StagedRows.read(ensemble, rows, y)
    assert len(n_read) == 1
    ti.BoostIn().fit(model, X, y)
    assert len(n_read) == 2


def test_a_part_of_the_rows_keeps_the_callers_own(rng):
    frame = pd.DataFrame(rng.normal(size=(5, 2)))
    part = InputRows(frame.to_numpy(), frame).take(np.array([3, 0]))
    assert len(part) == 2
    assert_array_equal(part.values, frame.to_numpy()[[3, 0]])
    assert part.source.index.tolist() == [3, 0]


def test_frames_of_every_kind_are_read_alike():
    desired = [[1.5, 1.0], [np.nan, np.nan], [-0.0, np.nan]]
    for frame in frames():
        values = InputRules(2, feature_names=("x", "c"), categories=CATEGORIES).read(
            frame
        )
        assert_array_equal(values, desired)
        assert values.flags.c_contiguous
        assert values.dtype == np.float64


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
        InputRules(4).read(frame), [[1, 1, 1, 1], [0, np.nan, np.nan, 2]]
    )


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_rows_are_read(kind, rng):
    dense = rng.normal(size=(5, 4)) * (rng.random((5, 4)) < 0.4)
    assert_array_equal(InputRules(4).read(getattr(sparse, kind)(dense)), dense)


def test_rows_that_fit_are_not_copied(rng):
    X = rng.normal(size=(5, 3))
    assert InputRules(3).read(X) is X
    assert InputRules(3).read(X.astype(np.float32)).dtype == np.float64
    assert_array_equal(InputRules(2).read(X[::-1, ::2]), X[::-1, ::2])
    assert_array_equal(InputRules(2).read([[1, 2], [3, 4]]), [[1.0, 2], [3, 4]])


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
        (lambda: make_frame(x=[1], z=[2]), ValueError, r"unexpected \['z'\]"),
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
        InputRules(2, feature_names=("x", "y")).read(rows())


def test_automatic_names_are_not_compared():
    frame = make_frame(p=[1.0], q=[2.0])
    for names in (("Column_0", "Column_1"), None):
        values = InputRules(2, feature_names=names).read(frame)
        assert_array_equal(values, [[1.0, 2.0]])
    with pytest.raises(ValueError, match="X has 2 columns"):
        InputRules(3, feature_names=("Column_0", "Column_1", "Column_2")).read(frame)


def test_numbers_are_labels_where_the_library_says_so():
    known = (None, (-1.0, 3, 7.5), ("a", 2, None))
    mixed = np.array(
        [[0, 3, "a"], [1, 7.5, 2], [2, 3.5, "b"], [3, np.nan, None]], object
    )
    expected = [[0, 1, 0], [1, 2, 1], [2, np.nan, np.nan], [3, np.nan, 2]]
    rows = InputRules(3, categories=known, numbers_are_labels=True).read(mixed)
    assert_array_equal(rows, expected)
    rules = InputRules(2, categories=known[:2], numbers_are_labels=True)
    numbers = np.array([[0.5, -1.0], [np.inf, 4.0]])
    rows = rules.read(numbers)
    assert_array_equal(rows, [[0.5, 0.0], [np.inf, np.nan]])
    assert_array_equal(InputRules(2, categories=known[:2]).read(numbers), numbers)
    frame = pd.DataFrame({"x": [0.5, 1.0], "c": [7.5, -1.0]})
    rows = rules.read(frame)
    assert_array_equal(rows, [[0.5, 2.0], [1.0, 0.0]])
    with pytest.raises(TypeError, match="trained"):
        InputRules(2, categories=known[:2]).read(frame)
    with pytest.raises(TypeError, match="not all numbers"):
        InputRules(3, categories=(None, known[1], None), numbers_are_labels=True).read(
            mixed
        )


AUTOMATIC = ([0, 1, 2], *([f"{p}{i}" for i in range(3)] for p in ("f", "x", "Column_")))


@pytest.mark.parametrize("names", AUTOMATIC)
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_columns_named_by_numbers_in_another_order_are_refused(names, make):
    rows = make({str(name): [float(i)] for i, name in enumerate(names)})
    if make is pd.DataFrame:
        rows.columns = names
    own = tuple(map(str, names))
    for expected in (own, None, tuple(AUTOMATIC[3])):
        rules = InputRules(3, feature_names=expected)
        assert_array_equal(rules.read(rows), [[0.0, 1.0, 2.0]])
        with pytest.raises(ValueError, match="another order"):
            rules.read(rows[[rows.columns[i] for i in (2, 0, 1)]])
    other = make({"a": [1.0], "b": [2.0], "c": [3.0]})
    if own != tuple(AUTOMATIC[3]):
        with pytest.raises(ValueError, match="unexpected"):
            InputRules(3, feature_names=own).read(other)


def test_numbers_in_other_types_are_read():
    frame = pd.DataFrame(
        {
            "decimal": [Decimal("1.5"), None],
            "boolean": pd.Series([True, None], dtype=object),
            "digits": pd.array(["1.5", None], dtype="string"),
            "sparse": pd.arrays.SparseArray([0.0, 2.0]),
        }
    )
    expected = [[1.5, 1.0, 1.5, 0.0], [np.nan, np.nan, np.nan, 2.0]]
    assert_array_equal(InputRules(4).read(frame), expected)
    values = frame.astype(object).to_numpy()
    assert_array_equal(InputRules(4).read(values), expected)
    decimals = pa.table({"x": pa.array([Decimal("1.5"), None])})
    assert_array_equal(InputRules(1).read(decimals), [[1.5], [np.nan]])
    for times in (np.zeros((2, 1), "M8[D]"), pd.DataFrame({"t": pd.to_datetime([1])})):
        with pytest.raises(TypeError, match=r"expected numbers|not all numbers"):
            InputRules(1).read(times)


TEXT, NUMBERS, BOOLEANS = ("a", "b"), (1, 2), (False, True)
UNKNOWN = {
    "missing": {},
    "equal": {"numbers_are_labels": True},
    "refused": {"refuses_unknown": True},
}


@pytest.mark.parametrize(
    ("policy", "known", "labels", "expected"),
    [
        ("missing", NUMBERS, [1, 3], [0, np.nan]),
        ("missing", NUMBERS, [1.0, 2.0], [0, 1]),
        ("missing", NUMBERS, ["1", "2"], TreeinfWarning),
        ("missing", NUMBERS, [True, False], TreeinfWarning),
        ("missing", BOOLEANS, [1, 0], TreeinfWarning),
        ("missing", TEXT, ["c", "d"], [np.nan, np.nan]),
        ("missing", TEXT, [1, 2], TreeinfWarning),
        ("equal", NUMBERS, [1.0, 3], [0, np.nan]),
        ("equal", NUMBERS, [True, False], [0, np.nan]),
        ("equal", NUMBERS, ["1", "2"], TreeinfWarning),
        ("equal", TEXT, [1, 2], TypeError),
        ("refused", NUMBERS, [2, 1], [1, 0]),
        ("refused", NUMBERS, [1, 3], ValueError),
        ("refused", NUMBERS, [1.0, 2.0], ValueError),
        ("refused", NUMBERS, ["1", "2"], ValueError),
        ("refused", TEXT, ["a", "c"], ValueError),
    ],
)
def test_labels_of_another_kind_are_what_they_are_to_the_library(
    policy, known, labels, expected
):
    rules = InputRules(1, categories=(known,), **UNKNOWN[policy])
    frame = pd.DataFrame({"c": pd.Categorical(labels, categories=labels)})
    if isinstance(expected, list):
        assert_array_equal(rules.read(frame)[:, 0], expected)
    elif issubclass(expected, Warning):
        with pytest.warns(expected, match="Column 'c' has the label"):
            assert np.isnan(rules.read(frame)).all()
    else:
        with pytest.raises(expected, match="Column 'c' has the label"):
            rules.read(frame)


def test_text_that_lightgbm_refuses_is_refused_if_no_label_is_known():
    rules = InputRules(1, categories=(TEXT,))
    assert_array_equal(rules.read(pl.DataFrame({"c": ["b", "c"]})), [[1], [np.nan]])
    with pytest.raises(TypeError, match="its library refuses such a column"):
        rules.read(pl.DataFrame({"c": ["c", "d"]}))
    empty = pl.DataFrame({"c": [None, None]}, schema={"c": pl.String})
    assert np.isnan(rules.read(empty)).all()


def test_missing_categories_of_catboost_name_their_column():
    rules = InputRules(
        2, ("a", "c"), categories=(None, (hash_label(3),)), labels_are_hashes=True
    )
    rows = np.array([[0.5, 3], [1.5, 4]], object)
    codes = rules.read(rows)[:, 1]
    assert codes[0] == 0.0
    assert codes[1] < -1.0
    for value in (np.nan, None, 3.5):
        rows[1, 1] = value
        with pytest.raises(TypeError, match=r"Column 1 \('c'\): Got "):
            rules.read(rows)
        with pytest.raises(TypeError, match="Column 'c': Got "):
            rules.read(pd.DataFrame(rows, columns=["a", "c"]))
