"""Results of explanations: influence and rankings, with the labels of the rows."""

from __future__ import annotations

import dataclasses
import html
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from treeinf.frames import as_plain
from treeinf.validation import check_count

__all__ = ["Influence", "RankedRows", "make_frame"]

_SIGNS = {"helpful": 1, "harmful": -1, "magnitude": 0}


def make_frame(columns: dict[str, Any], like: str = "pandas") -> Any:
    """Make a frame of the caller's library.

    Parameters
    ----------
    columns : dict of str to array-like
        Columns.
    like : {"pandas", "polars", "pyarrow"}, default="pandas"
        Library to use, or another if it is not installed.

    Returns
    -------
    Frame of pandas, polars or pyarrow

    Raises
    ------
    ImportError
        If none is installed.
    """
    import narwhals.stable.v2 as nw

    backends: list[Any] = [
        like,
        *(name for name in ("pandas", "polars", "pyarrow") if name != like),
    ]
    for backend in backends:
        try:
            __import__(backend)
        except ImportError:
            continue
        data = {
            name: _plain_values(values, backend) for name, values in columns.items()
        }
        return nw.from_dict(data, backend=backend).to_native()
    raise ImportError("A frame needs pandas, polars or pyarrow; install one of them.")


def _plain_values(values: Any, library: str) -> Any:
    """Return values as a column holds them; polars and pyarrow need one type of all."""
    if np.asarray(values).dtype.kind != "O":
        return values
    values = [as_plain(value) for value in values]
    kinds = {type(value) for value in values if value is not None}
    if library != "pandas" and (len(kinds) > 1 or tuple in kinds):
        return [None if value is None else str(value) for value in values]
    return values


def _unique_names(labels: list[Any], taken: str) -> list[str]:
    """Return the labels as text, numbered where two are alike: a, a (2), a (3)."""
    names: list[str] = [taken]
    for label in labels:
        candidates = (f"{label} ({n})" for n in itertools.count(2))
        name = str(label)
        while name in names:
            name = next(candidates)
        names.append(name)
    return names[1:]


def frame_library(X: Any) -> str:
    """Return the name of the rows' frame library; pandas for arrays."""
    module = type(X).__module__.partition(".")[0]
    return module if module in ("polars", "pyarrow") else "pandas"


def check_ranking(k: int, order: str, most: int) -> tuple[int, int]:
    """Check the number of rows to rank, and the order.

    Returns
    -------
    k : int
        At most `most`.
    sign : int
        1 for the most helpful first, -1 for the most harmful, 0 for the largest size.

    Raises
    ------
    ValueError
        If `k` is not positive or there is no such order.
    TypeError
        If `k` is no integer.
    """
    if order not in _SIGNS:
        raise ValueError(f"Got order={order!r}; expected one of {tuple(_SIGNS)}.")
    check_count("k", k)
    return min(int(k), most), _SIGNS[order]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RankedRows:
    """Train rows in order of influence, overall or for each of several test rows.

    Iterating gives `positions` and `values`: ``rows, values = ranked``.

    Parameters
    ----------
    positions : ndarray of int64, shape (k,) or (n_test, k)
        Train rows by position, the first ranked first; -1 where no more rows help (or
        harm).
    values : ndarray of float64, same shape
        Their influence; NaN where there is none.
    labels : ndarray, same shape
        Their labels in the caller's own index, or the positions; None where there is
        none.
    test_labels : ndarray, shape (n_test,), or None
        Labels of the test rows.
    library : str
        Frame library that `to_frame` uses.
    """

    positions: NDArray[np.int64]
    values: NDArray[np.float64]
    labels: NDArray[Any]
    test_labels: NDArray[Any] | None = None
    library: str = "pandas"

    @classmethod
    def select(
        cls,
        positions: NDArray[np.int64],
        values: NDArray[np.float64],
        sign: int,
        *,
        train_labels: NDArray[Any] | None,
        test_labels: NDArray[Any] | None = None,
        library: str = "pandas",
    ) -> RankedRows:
        """Leave out rows that do not help (sign 1) or harm (sign -1)."""
        is_row = ~np.isnan(values) if sign == 0 else sign * values > 0
        if positions.ndim == 1:
            positions, values, is_row = (
                positions[is_row],
                values[is_row],
                is_row[is_row],
            )
        positions = np.where(is_row, positions, -1)
        labels: NDArray[Any] = positions
        if train_labels is not None:
            labels = train_labels[positions]
        if not is_row.all():
            labels = labels.astype(object)
            labels[~is_row] = None
        values = np.where(is_row, values, np.nan)
        return cls(positions, values, labels, test_labels, library)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.positions, self.values))

    def __len__(self) -> int:
        return len(self.positions)

    def to_frame(self) -> Any:
        """Return a frame with one line for each ranked row.

        Returns
        -------
        Frame with columns ``row``, ``influence``, ``rank`` and, for several test
        rows, ``test_row``
        """
        k = self.positions.shape[-1]
        columns: dict[str, Any] = {}
        if self.positions.ndim == 2:
            tests = self.test_labels
            if tests is None:
                tests = np.arange(len(self.positions))
            columns["test_row"] = np.repeat(tests, k)
        columns["rank"] = np.tile(np.arange(1, k + 1), self.positions.size // max(k, 1))
        columns["row"] = self.labels.ravel()
        columns["influence"] = self.values.ravel()
        is_row = self.positions.ravel() >= 0
        named = {name: values[is_row] for name, values in columns.items()}
        return make_frame(named, self.library)

    def __repr__(self) -> str:
        if self.positions.ndim == 1:
            lines = [
                f"{label!s:>12}  {value: .6g}"
                for label, value in zip(self.labels, self.values, strict=True)
            ]
            return "\n".join([f"{'row':>12}  influence", *(lines or ["(none)"])])
        return (
            f"RankedRows of {len(self)} test rows, {self.positions.shape[1]} rows each"
        )


class Influence(NDArrayOperatorsMixin):
    """Influence of train rows on the loss; behaves as an array.

    Parameters
    ----------
    values : ndarray of float64, shape (n_train, n_test) or (n_train,)
        ``values[i, t]`` estimates (loss of test row t without train row i) minus (loss
        of test row t): positive helps, negative harms. In the second form, of the sum
        over the test rows. Unit: the training loss.
    train_labels : ndarray, shape (n_train,), optional
        The caller's labels of the train rows.
    test_labels : ndarray, shape (n_test,), optional
        The caller's labels of the test rows.
    method : str, default=""
        Name of the explainer.
    library : str, default="pandas"
        Frame library that `to_frame` uses.
    kinds : tuple of str, default=("train row", "test row")
        What a line is, and what a column is: groups of rows and labels are others.
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        *,
        train_labels: NDArray[Any] | None = None,
        test_labels: NDArray[Any] | None = None,
        method: str = "",
        library: str = "pandas",
        kinds: tuple[str, str] = ("train row", "test row"),
    ) -> None:
        self.values = values
        self.train_labels = train_labels
        self.test_labels = test_labels
        self.method = method
        self.library = library
        self.kinds = kinds

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `values`."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of `values`."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """1 or 2."""
        return self.values.ndim

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if dtype is not None and np.dtype(dtype) != self.values.dtype:
            return self.values.astype(dtype)
        return self.values.copy() if copy else self.values

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        plain = [x.values if isinstance(x, Influence) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self.values[key]

    def sum(self, axis: int | None = 1) -> Any:
        """Sum, by default over the test rows to one number for each train row."""
        if self.ndim == 1:
            return self.values.sum() if axis is None else self
        if axis != 1:
            return self.values.sum(axis=axis)
        return Influence(
            self.values.sum(axis=1),
            train_labels=self.train_labels,
            method=self.method,
            library=self.library,
            kinds=self.kinds,
        )

    def top(self, k: int = 10, order: str = "magnitude") -> RankedRows:
        """Rank the train rows, for each test row.

        Parameters
        ----------
        k : int, default=10
            Rows to return, at most all.
        order : {"helpful", "harmful", "magnitude"}, default="magnitude"
            Most helpful first, most harmful first, or largest size first. The first two
            return only rows that help or harm.

        Returns
        -------
        RankedRows
        """
        k, sign = check_ranking(k, order, len(self.values))
        columns = self.values if self.ndim == 2 else self.values[:, np.newaxis]
        keys = np.abs(columns) if sign == 0 else sign * columns
        positions = np.argsort(-keys, axis=0, kind="stable")[:k].T
        values = np.take_along_axis(columns.T, positions, axis=1)
        if self.ndim == 1:
            positions, values = positions[0], values[0]
        return RankedRows.select(
            positions,
            values,
            sign,
            train_labels=self.train_labels,
            test_labels=self.test_labels,
            library=self.library,
        )

    def helpful(self, k: int = 10) -> RankedRows:
        """Return the rows whose removal would raise the loss most; see `harmful`."""
        return self.top(k, "helpful")

    def harmful(self, k: int = 10) -> RankedRows:
        """Return the rows whose removal would lower the loss most; see `top`.

        Notes
        -----
        That is to first order, one row at a time, and through the leaves of this model:
        the splits stay. What removing a set of rows does to the leaves,
        ``LeafRefit().fit(model, X, y).group_influence([rows.positions], X_test,
        y_test)`` computes in a moment; whether a newly trained model is better without
        them, only training shows, which `InfluenceCleaner` does on held-out rows.
        """
        return self.top(k, "harmful")

    def to_frame(self) -> Any:
        """Return a frame with one line for each train row.

        Returns
        -------
        Frame
            pandas: indexed by the train rows' labels, one column
            ``influence`` or one for each test row, named by its label. Others: labels
            in a column ``row``; of columns with the same name the later ones are
            numbered.
        """
        labels = self._labels()
        tests: list[Any] = ["influence"]
        if self.ndim == 2:
            tests = list(range(self.shape[1]))
            if self.test_labels is not None:
                tests = list(self.test_labels)
        values = self.values.reshape(len(labels), -1)
        if self.library == "pandas" and _is_installed("pandas"):
            import pandas as pd

            columns = pd.Index(tests)
            if self.ndim == 2 and columns.nlevels == 1:
                columns.name = self.kinds[1].replace(" ", "_")
            index = pd.Index(labels)
            if index.nlevels == 1:
                index.name = "row"
            return pd.DataFrame(values, index=index, columns=columns)
        names = _unique_names(tests, "row")
        return make_frame(
            {"row": labels, **dict(zip(names, values.T, strict=True))}, self.library
        )

    def plot(self, test_row: int | None = None, k: int = 10, ax: Any = None) -> Any:
        """Draw the most helpful and most harmful rows; needs matplotlib.

        Parameters
        ----------
        test_row : int, optional
            Position of one test row; None for the sum over all.
        k : int, default=10
            Rows on each side.
        ax : matplotlib Axes, optional
            Axes to draw on.

        Returns
        -------
        matplotlib Axes
        """
        from treeinf import plots

        return plots.plot_influence(self, test_row=test_row, k=k, ax=ax)

    def _labels(self) -> NDArray[Any]:
        if self.train_labels is None:
            return np.arange(len(self.values))
        return self.train_labels

    def __repr__(self) -> str:
        name = f"{self.method} influence" if self.method else "Influence"
        what = f"of {len(self):,} {self.kinds[0]}s"
        if self.ndim == 2:
            preposition = "on" if self.kinds[1] == "test row" else "by"
            what += f" {preposition} {self.shape[1]:,} {self.kinds[1]}s"
        helpful = int((self.values > 0).sum())
        harmful = int((self.values < 0).sum())
        return f"<{name} {what}: {helpful:,} helpful, {harmful:,} harmful>"

    def _repr_html_(self) -> str:
        total = self if self.ndim == 1 else self.sum()
        tables = []
        for heading, ranked in (
            ("most helpful", total.helpful(5)),
            ("most harmful", total.harmful(5)),
        ):
            lines = "".join(
                f"<tr><td>{html.escape(str(label))}</td><td>{value:.4g}</td></tr>"
                for label, value in zip(ranked.labels, ranked.values, strict=True)
            )
            tables.append(
                f"<td style='vertical-align:top'><table><tr><th>row</th>"
                f"<th>{heading}</th></tr>{lines}</table></td>"
            )
        title = html.escape(repr(self))
        return f"<div>{title}</div><table><tr>{''.join(tables)}</tr></table>"


def _is_installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None
