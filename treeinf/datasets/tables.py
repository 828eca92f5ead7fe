"""Data sets, with methods to split, sample and encode their rows."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.frames import read_columns, take_rows

__all__ = ["Dataset", "Split"]

SPLITS = ("published", "random", "grouped", "time")
ENCODINGS = ("one_hot", "ordinal")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Train and test rows of a data set.

    Parameters
    ----------
    X_train, X_test : pandas.DataFrame, or ndarray of float64 once encoded
        Rows.
    y_train, y_test : ndarray, shape (n_train,) and (n_test,)
        Their targets.
    train_rows, test_rows : ndarray of intp, shape (n_train,) and (n_test,), optional
        Their positions in the data set.
    feature_names : tuple of str, default=()
        Names of the columns.
    """

    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    train_rows: NDArray[np.intp] | None = None
    test_rows: NDArray[np.intp] | None = None
    feature_names: tuple[str, ...] = ()

    def encode(self, encoding: str = "one_hot", *, impute: bool = True) -> Split:
        """Encode all columns as numbers, fitted on the train rows.

        Parameters
        ----------
        encoding : {"one_hot", "ordinal"}, default="one_hot"
            One indicator column per category; or the category's number, in sorted
            order. Categories without train rows are encoded as zeros, or as missing.
        impute : bool, default=True
            Replace missing values by the median or most frequent category of the train
            rows. The defaults are those of Brophy et al. (2023).

        Returns
        -------
        Split
            With ndarrays of float64, numeric columns first.

        Raises
        ------
        ValueError
            If the encoding is none of those.
        """
        train, test, names = _encode_rows(
            self.X_train, self.X_test, encoding=encoding, impute=impute
        )
        return dataclasses.replace(
            self, X_train=train, X_test=test, feature_names=names
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A table of real data.

    Parameters
    ----------
    name : str
        Its name.
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    X : pandas.DataFrame, or ndarray of float64, shape (n_rows, n_features)
        Rows; in a frame categories are pandas categoricals, missing values NaN.
    y : ndarray, shape (n_rows,)
        Targets: 0 and 1, labels, or values.
    n_test : int, default=0
        Number of rows at the end that are the published test rows; 0 without a
        published split.
    classes : tuple of str, default=()
        Names of the class numbers in `y`.
    licence, source : str
        Terms of use, and source.
    groups : ndarray, shape (n_rows,), optional
        Group of each row, such as a patient.
    times : ndarray of float64 or datetime64, shape (n_rows,), optional
        Time of each row.
    feature_names : tuple of str, default=()
        Names of the columns of `X` where that is an ndarray.
    """

    name: str
    task: str
    X: Any
    y: NDArray[Any]
    n_test: int = 0
    classes: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    groups: NDArray[Any] | None = None
    times: NDArray[Any] | None = None
    feature_names: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def encode(self, encoding: str = "ordinal") -> Dataset:
        """Encode all columns as numbers, the same for every split.

        Parameters
        ----------
        encoding : {"ordinal", "one_hot"}, default="ordinal"
            The category's number in sorted order; or one indicator column per category.
            Missing values stay missing, or have no column. To use the train rows alone,
            split first and call `Split.encode`.

        Returns
        -------
        Dataset
            With an ndarray of float64, numeric columns first.

        Raises
        ------
        ValueError
            If the encoding is none of those.
        """
        X, _, names = _encode_rows(self.X, self.X[:0], encoding=encoding, impute=False)
        return dataclasses.replace(self, X=X, feature_names=names)

    def sample(self, n_rows: int, *, random_state: int = 0) -> Dataset:
        """Draw rows without replacement; they keep their order.

        Parameters
        ----------
        n_rows : int
            Number of rows; if the set has no more, it is returned whole.
        random_state : int, default=0
            Seed of the draw.

        Returns
        -------
        Dataset
            Stratified by class, and by the published split if there is one. The index
            of a frame holds the rows drawn.

        Raises
        ------
        ValueError
            If `n_rows` is below 1.
        """
        if n_rows < 1:
            raise ValueError(f"Got n_rows={n_rows!r}; expected 1 or more.")
        if n_rows >= self.n_rows:
            return self
        rng = np.random.default_rng(random_state)
        is_test = np.arange(self.n_rows) >= self.n_rows - self.n_test
        labels = np.zeros(self.n_rows) if self.task == "regression" else self.y
        strata = np.unique(np.stack([is_test, labels]), axis=1, return_inverse=True)[1]
        strata = strata.ravel()
        counts = _share_out(np.bincount(strata), n_rows)
        drawn = [
            rng.choice(np.flatnonzero(strata == stratum), size=count, replace=False)
            for stratum, count in enumerate(counts)
        ]
        rows = np.sort(np.concatenate(drawn))
        return dataclasses.replace(
            self,
            X=take_rows(self.X, rows),
            y=self.y[rows],
            n_test=int(is_test[rows].sum()),
            groups=take_rows(self.groups, rows),
            times=take_rows(self.times, rows),
        )

    def split(
        self, *, test_size: float = 0.2, seed: int = 1, kind: str = "published"
    ) -> Split:
        """Split into train and test rows.

        Parameters
        ----------
        test_size : float, default=0.2
            Share of the rows to test on, above 0 and below 1.
        seed : int, default=1
            Seed of the shuffle. The defaults are those of Brophy et al. (2023).
        kind : {"published", "random", "grouped", "time"}, default="published"
            "published" is the published split, or "random" if there is none: stratified
            by the label. "grouped" keeps the rows of a group on one side.
            "time" tests on the latest rows; rows of one time stay on one side, so the
            share may be missed, and the seed is not used.

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If the kind is none of these, the set has no groups or times, or these are
            too few to split.
        """
        if kind not in SPLITS:
            raise ValueError(f"Got kind={kind!r}; expected one of {', '.join(SPLITS)}.")
        if not 0 < test_size < 1:
            raise ValueError(
                f"Got test_size={test_size!r}; expected a number between 0 and 1."
            )
        if kind == "grouped":
            is_test = self._split_groups(test_size, seed)
        elif kind == "time":
            is_test = self._split_times(test_size)
        elif kind == "published" and self.n_test:
            is_test = np.arange(self.n_rows) >= self.n_rows - self.n_test
        else:
            return self._take(*self._shuffle(test_size, seed))
        return self._take(np.flatnonzero(~is_test), np.flatnonzero(is_test))

    def _take(self, train: NDArray[np.intp], test: NDArray[np.intp]) -> Split:
        return Split(
            take_rows(self.X, train),
            self.y[train],
            take_rows(self.X, test),
            self.y[test],
            train,
            test,
            self.feature_names,
        )

    def _shuffle(
        self, test_size: float, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        from sklearn.model_selection import train_test_split

        train, test = train_test_split(
            np.arange(self.n_rows),
            test_size=test_size,
            random_state=seed,
            stratify=None if self.task == "regression" else self.y,
        )
        return train, test

    def _split_groups(self, test_size: float, seed: int) -> NDArray[np.bool_]:
        if self.groups is None:
            raise ValueError(f"{self.name} has no groups; use kind='random'.")
        codes = np.unique(self.groups, return_inverse=True)[1]
        sizes = np.bincount(codes)
        if len(sizes) < 2:
            raise ValueError(f"{self.name} has a single group, which cannot be split.")
        order = np.random.default_rng(seed).permutation(len(sizes))
        reached = np.cumsum(sizes[order])
        # number of groups nearest to the share that leaves one to train
        taken = 1 + np.argmin(np.abs(reached[:-1] - test_size * self.n_rows))
        is_chosen = np.zeros(len(sizes), dtype=bool)
        is_chosen[order[:taken]] = True
        return is_chosen[codes]

    def _split_times(self, test_size: float) -> NDArray[np.bool_]:
        if self.times is None:
            raise ValueError(f"{self.name} has no times; use kind='random'.")
        values, counts = np.unique(self.times, return_counts=True)
        if len(values) < 2:
            raise ValueError(f"{self.name} has a single time, which cannot be split.")
        # number of test rows if they start at each time
        later = np.cumsum(counts[::-1])[::-1]
        first = 1 + np.argmin(np.abs(later[1:] - test_size * self.n_rows))
        is_test: NDArray[np.bool_] = self.times >= values[first]
        return is_test

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name}: {self.task}, {self.n_rows:,} rows, "
            f"{self.X.shape[1]:,} columns>"
        )


def _share_out(sizes: NDArray[np.intp], n_rows: int) -> NDArray[np.intp]:
    """Distribute rows over strata by their sizes, and the rest by largest remainder."""
    exact = sizes * (n_rows / sizes.sum())
    counts = np.floor(exact).astype(np.intp)
    rest = n_rows - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts


def _encode_rows(
    X_train: Any, X_test: Any, *, encoding: str, impute: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Encode two frames by the medians and categories of the first.

    Returns
    -------
    train, test : ndarray of float64, shape (n_train, n_encoded) and (n_test, n_encoded)
        Numeric columns first, then those of the categories, in the order of the frame.
    names : tuple of str
        Names of the columns; ``column=category`` with one-hot encoding.

    References
    ----------
    Brophy, Hammoudeh and Lowd (2023), Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees, JMLR 24(154), section 5 (the
    preprocessing, with ``encoding="one_hot"`` and ``impute=True``).
    """
    if encoding not in ENCODINGS:
        raise ValueError(
            f"Got encoding={encoding!r}; expected one of {', '.join(ENCODINGS)}."
        )
    if not hasattr(X_train, "select_dtypes"):
        raise TypeError(
            f"X is a {type(X_train).__name__}, expected a pandas frame; an encoded set "
            "cannot be encoded again."
        )
    numbers: list[tuple[str, Any]] = []
    categories: list[tuple[str, Any]] = []
    columns = zip(read_columns(X_train), read_columns(X_test), strict=True)
    for (name, train), (_, test) in columns:
        if train.dtype == REAL:
            pair = _impute_median(train, test) if impute else (train, test)
            numbers.append((name, pair))
            continue
        labels, codes = _number_categories(train, test, impute=impute)
        if encoding == "ordinal":
            pair = tuple(np.where(code < 0, np.nan, code) for code in codes)
            categories.append((name, pair))
        else:
            categories += [
                (f"{name}={label}", tuple(code == number for code in codes))
                for number, label in enumerate(labels)
            ]
    names, pairs = zip(*numbers, *categories, strict=True)
    train, test = (
        np.column_stack(side).astype(REAL, order="C")
        for side in zip(*pairs, strict=True)
    )
    return train, test, names


def _impute_median(
    train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[Any], ...]:
    if np.isnan(train).all():  # no median: stays missing
        return train, test
    median = np.nanmedian(train)
    return tuple(np.where(np.isnan(side), median, side) for side in (train, test))


def _number_categories(
    train: NDArray[Any], test: NDArray[Any], *, impute: bool
) -> tuple[list[Any], list[NDArray[np.float64]]]:
    """Return the labels of the train rows and the rows' label numbers, -1 for none."""
    counts = collections.Counter(label for label in train if label is not None)
    labels = sorted(counts, key=str)
    codes = {label: number for number, label in enumerate(labels)}
    if impute and labels:
        # of equally frequent labels the first in sorted order
        codes[None] = codes[max(labels, key=counts.__getitem__)]
    return labels, [
        np.array([codes.get(label, -1) for label in side], dtype=REAL)
        for side in (train, test)
    ]
