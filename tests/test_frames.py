"""Rows of every kind users hold, in the caller's own type."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from treeinf.frames import count_rows, row_labels, take_rows, to_pandas


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
