"""Rows of every kind users hold, in the caller's own type."""

import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from treeinf.frames import (
    check_columns,
    count_rows,
    open_table,
    read_columns,
    row_labels,
    take_rows,
    to_pandas,
)


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


def test_frames_of_every_kind_become_those_of_pandas():
    for frame in frames():
        found = to_pandas(frame)
        assert (found is frame) == isinstance(frame, pd.DataFrame)
        assert_array_equal(found["x"], [1.5, np.nan, -0.0])
        assert isinstance(found["c"].dtype, pd.CategoricalDtype)
        assert found["c"].astype(object).fillna("none").tolist() == ["b", "zzz", "none"]
    pl = pytest.importorskip("polars")
    columns = {"t": [True, False], "maybe": [None, True], "text": ["u", "v"]}
    found = to_pandas(pl.DataFrame(columns))
    assert found["t"].dtype == bool
    assert_array_equal(found["maybe"], [np.nan, 1.0])
    assert found["text"].tolist() == ["u", "v"]
    for rows in (np.ones((2, 3)), [[1.0], [2.0]], sparse.csr_array((2, 3))):
        assert to_pandas(rows) is rows


def test_a_frame_without_pandas_is_a_clear_error(monkeypatch):
    pl = pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"Got a polars.*pip install pandas"):
        to_pandas(pl.DataFrame({"x": [1.0]}))


def test_rows_are_taken_in_the_callers_own_type():
    rows = np.array([2, 0])
    for frame in frames():
        taken = take_rows(frame, rows)
        assert type(taken) is type(frame)
        assert count_rows(taken) == 2
    assert_array_equal(take_rows(np.arange(6).reshape(3, 2), rows)[:, 0], [4, 0])
    assert take_rows([5, 6, 7], np.array([True, False, True])).tolist() == [
        5,
        7,
    ]
    assert take_rows(None, rows) is None
    matrix = take_rows(sparse.coo_matrix(np.eye(3)), rows)
    assert_array_equal(matrix.toarray(), np.eye(3)[rows])


def test_a_pandas_index_is_kept():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1, 2]}, index=["r", "s"])
    assert row_labels(frame).tolist() == ["r", "s"]
    double = pd.DataFrame(
        {"x": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (1, "b")])
    )
    assert row_labels(double).tolist() == [(1, "a"), (1, "b")]
    assert row_labels(np.zeros((2, 1))) is None
    assert row_labels([[1, 2]]) is None


def test_data_sets_of_the_libraries_give_their_table_or_are_named():
    values = np.array([[1.0, np.nan], [0.0, 2.5], [-1.0, 4.0]], np.float32)
    frame = pd.DataFrame(values, columns=["a", "b"])
    catboost = pytest.importorskip("catboost")
    lightgbm = pytest.importorskip("lightgbm")
    xgboost = pytest.importorskip("xgboost")
    y = np.arange(3)
    for data_set in (
        catboost.Pool(frame, y),
        xgboost.DMatrix(frame, y),
        lightgbm.Dataset(frame, y),
    ):
        table = open_table(data_set)
        assert list(table.columns) == ["a", "b"]
        assert_array_equal(table, values)
    for unnamed in (xgboost.DMatrix(values), catboost.Pool(values, y)):
        assert isinstance(open_table(unnamed), np.ndarray)
        assert_array_equal(open_table(unnamed), values)
    labels = frame.assign(b=["u", "v", "u"])
    for data_set in (
        catboost.Pool(labels, y, cat_features=["b"]),
        xgboost.QuantileDMatrix(frame, y),
        xgboost.DMatrix(labels.astype({"b": "category"}), enable_categorical=True),
        lightgbm.Dataset("rows.csv"),
    ):
        words = f"{type(data_set).__name__} .* pass the frame or array"
        with pytest.raises(TypeError, match=words):
            open_table(data_set)


def test_what_arrays_hide_is_shown_or_refused():
    mask = [[True, False], [False, False]]
    for dtype in (float, int, object, bool):
        rows = open_table(np.ma.masked_array(np.ones((2, 2), dtype), mask=mask))
        assert_array_equal(rows.astype(float), [[np.nan, 1.0], [1.0, 1.0]])
    whole = np.ma.masked_array([[1, 2]], mask=False)
    assert open_table(whole).dtype == whole.dtype
    with pytest.raises(TypeError, match=r"pass pandas.DataFrame\(X\)"):
        open_table(np.zeros(3, dtype=[("a", float), ("b", float)]))


def test_numbers_in_columns_of_objects_are_numbers():
    rows = pd.DataFrame(
        {
            "decimal": [Decimal("1.5"), None],
            "boolean": pd.Series([True, None], dtype=object),
            "integer": pd.Series([3, np.nan], dtype=object),
            "sparse": pd.arrays.SparseArray([0.0, 2.0]),
            "text": ["u", None],
        }
    )
    *numbers, text = [values for _, values in read_columns(rows)]
    expected = [[1.5, np.nan], [1.0, np.nan], [3.0, np.nan], [0.0, 2.0]]
    assert_array_equal(numbers, expected)
    assert text.tolist() == ["u", None]


def test_columns_are_compared_by_name_and_order():
    check_columns(["a b", 1], ["a_b", "1"])
    check_columns([("g", "a"), ("g", 2)], ["g a", "g 2"])
    check_columns([("g", "a")], ["('g', 'a')"])
    for names in (["1", "a b"], [("g", 2), ("g", "a")]):
        with pytest.raises(ValueError, match="another order"):
            check_columns(names, ["a b", "1"] if "1" in names else ["g a", "g 2"])
    with pytest.raises(ValueError, match=r"missing \['x'\], unexpected \['z'\]"):
        check_columns(["z", "y"], ["x", "y"])
