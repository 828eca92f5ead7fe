"""Predict rows by kernel ridge regressions on others, through common landmarks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from scipy.spatial.distance import cdist, pdist

from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.kernels.threads import one_blas_thread
from treeinf.training.parallel import run_tasks
from treeinf.training.rows import LabelledRows

__all__ = ["predict_by_kernel"]

_N_LANDMARKS = 300
_EXACT_BELOW = 400
"""Rows up to which every row is a landmark, so that the regression is exact."""
_CHUNK_ROWS = 10_000
_TUNING_ROWS = 250
_N_QUANTILES = 1_000
_QUANTILE_ROWS = 100_000
_SCALES = (0.5, 1.5)
_PENALTIES = 10.0 ** np.arange(-2.0, 1.6, 0.5)
_SMALLEST_WEIGHT = 1e-6
_JITTER = 1e-6


@one_blas_thread()
def predict_by_kernel(
    rows: LabelledRows,
    table: EncodedTable,
    target: NDArray[np.float64],
    plan: Sequence[CopyRows],
    seed: int,
    n_jobs: int = 1,
) -> list[NDArray[np.float32]]:
    """Predict rows by a kernel ridge regression for each copy, on its train rows.

    Parameters
    ----------
    rows : LabelledRows
        Rows.
    table : EncodedTable
        Their features. Numbers are replaced by normal scores of their ranks, categories
        by indicators; missing values stand in the middle.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Class indicators, or values.
    plan : sequence of CopyRows
        Train rows and rows to predict of each regression.
    seed : int
        Seed of the landmarks.
    n_jobs : int, default=1
        Threads; any number gives the same bits, as BLAS has one in each.

    Returns
    -------
    list of ndarray of float32, shape (n_scored, n_outputs)
        One for each copy.

    Notes
    -----
    The kernel is ``exp(-distance / scale)``. Predictions are combinations of the kernel
    at landmarks: all rows where there are 400 or fewer, which is exact, else 300
    drawn at random (subset of regressors). With the landmarks' kernel matrix factored,
    the regression is an ordinary ridge regression on transformed features, so that the
    normal equations of a copy are sums over folds of rows, each computed once: time is
    linear in the rows, whatever the number of copies, and memory constant. The weighted
    mean of a copy's targets is subtracted before. Scale and penalty minimise the mean
    square of the leave-one-out residuals on up to 250 rows of each of the copy's folds,
    one row a group.

    References
    ----------
    C. Rasmussen, C. Williams, "Gaussian Processes for Machine Learning" (2006), section
    8.3.1, equation 8.14 (subset of regressors), and section 5.4.2, equation 5.12
    (leave-one-out residuals).
    """
    rng = np.random.default_rng(seed)
    weight = np.ones(rows.n_rows)
    if rows.weight is not None:
        weight = np.maximum(rows.weight / rows.weight.max(), _SMALLEST_WEIGHT)
    points = _Points.fit(table, rng)
    fold, members = _find_folds(plan, rows.n_rows)
    n_landmarks = rows.n_rows if rows.n_rows <= _EXACT_BELOW else _N_LANDMARKS
    landmarks = points.read(np.sort(rng.permutation(rows.n_rows)[:n_landmarks]))
    apart = pdist(landmarks)
    apart = apart[apart > 0.0]
    unit = float(np.median(apart)) if apart.size else 1.0

    def tune(number: int) -> NDArray[np.float64]:
        sample = _sample_fold(np.flatnonzero(fold == number), rows.group, seed)
        scaled = points.read(sample) / unit
        return np.array(
            [
                _left_out_errors(scaled, weight[sample], target[sample], scale)
                for scale in _SCALES
            ]
        )

    tasks = [functools.partial(tune, number) for number in range(members.shape[1])]
    errors = np.array(list(run_tasks(tasks, n_jobs, shares_memory=True)))
    choices = [
        np.unravel_index(errors[line].sum(axis=0).argmin(), errors.shape[1:])
        for line in members
    ]
    predictions = [
        np.empty((len(copy.scored), target.shape[1]), dtype=np.float32) for copy in plan
    ]
    for number, scale in enumerate(_SCALES):
        chosen = [k for k, (at, _) in enumerate(choices) if at == number]
        if not chosen:
            continue
        features = _Features.fit(points, landmarks, unit, scale, n_jobs)
        sums = features.add_up(fold, members.shape[1], weight, target)
        models = [
            sums.solve(members[k], float(_PENALTIES[choices[k][1]])) for k in chosen
        ]
        features.predict(models, [(plan[k].scored, predictions[k]) for k in chosen])
    return predictions


def _find_folds(
    plan: Sequence[CopyRows], n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the smallest sets of rows that copies train on together.

    Returns
    -------
    fold : ndarray of int64, shape (n_rows,)
        Number of each row's set; -1 for rows that no copy trains on.
    members : ndarray of bool, shape (n_copies, n_folds)
        Sets that each copy trains on.
    """
    is_train = np.zeros((len(plan), n_rows), dtype=np.bool_)
    for line, copy in zip(is_train, plan, strict=True):
        line[copy.train] = True
    patterns, fold = np.unique(
        np.packbits(is_train, axis=0), axis=1, return_inverse=True
    )
    members = np.unpackbits(patterns, axis=0, count=len(plan)).astype(np.bool_)
    fold = fold.reshape(-1).astype(np.int64)
    is_used = members.any(axis=0)
    renumbered = np.where(is_used, np.cumsum(is_used) - 1, -1)
    return renumbered[fold], members[:, is_used]


def _sample_fold(
    positions: NDArray[np.int64], group: NDArray[np.int64] | None, seed: int
) -> NDArray[np.int64]:
    """Draw some rows of a fold, of each group at most one."""
    drawn = np.random.default_rng(seed).permutation(positions)
    if group is not None:
        drawn = drawn[np.sort(np.unique(group[drawn], return_index=True)[1])]
    return drawn[:_TUNING_ROWS]


def _kernel(
    first: NDArray[np.float64], second: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    square = (first**2).sum(axis=1)[:, np.newaxis] + (second**2).sum(axis=1)
    square -= 2.0 * (first @ second.T)
    np.sqrt(np.maximum(square, 0.0, out=square), out=square)
    square /= -np.sqrt(scale)
    values: NDArray[np.float64] = np.exp(square, out=square)
    return values


def _left_out_errors(
    points: NDArray[np.float64],
    weight: NDArray[np.float64],
    target: NDArray[np.float64],
    scale: float,
) -> NDArray[np.float64]:
    """Return the sum of squared leave-one-out residuals for each penalty."""
    root = np.sqrt(weight)[:, np.newaxis]
    centred = root * (target - np.average(target, axis=0, weights=weight))
    values, vectors = np.linalg.eigh(root * _kernel(points, points, scale) * root.T)
    values = np.maximum(values, 0.0)
    rotated, squares = vectors.T @ centred, vectors**2
    errors = np.empty(len(_PENALTIES))
    for number, penalty in enumerate(_PENALTIES):
        inverse = 1.0 / (values + penalty)
        coefficient = vectors @ (inverse[:, np.newaxis] * rotated)
        left_out = coefficient / (squares @ inverse)[:, np.newaxis]
        errors[number] = (left_out**2).sum()
    return errors


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
    """Rows as points whose distances do not depend on units and tails.

    Parameters
    ----------
    table : EncodedTable
        The rows.
    knots : list of (ndarray, ndarray)
        For each column of numbers, values and their normal scores, between which others
        are interpolated; empty for categories.
    """

    table: EncodedTable
    knots: list[tuple[NDArray[np.float64], NDArray[np.float64]]]

    @classmethod
    def fit(cls, table: EncodedTable, rng: np.random.Generator) -> _Points:
        """Find the normal scores of each column's values.

        Exact, tied values at their middle rank, where a column has at most 1,000
        values; else at 1,000 quantiles. Of at most 100,000 rows.
        """
        n_rows = len(table.values)
        sample = np.sort(rng.permutation(n_rows)[:_QUANTILE_ROWS])
        knots = []
        for n_labels, column in zip(table.n_labels, table.values.T, strict=True):
            empty = np.empty(0), np.empty(0)
            knots.append(empty if n_labels else _find_knots(column[sample]))
        return cls(table, knots)

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some of the rows as points.

        Missing numbers take the middle; each category is an indicator times the square
        root of 1/2, so that two categories have distance 1; missing ones have none.
        """
        values = self.table.values[positions]
        columns = []
        for n_labels, knots, column in zip(
            self.table.n_labels, self.knots, values.T, strict=True
        ):
            if n_labels:
                is_label = column[:, np.newaxis] == np.arange(n_labels)
                columns.append(is_label * np.sqrt(0.5))
            elif len(knots[0]) > 1:
                scores = np.interp(column, *knots)
                scores[np.isnan(column)] = 0.0
                columns.append(scores[:, np.newaxis])
        if not columns:
            return np.zeros((len(positions), 1))
        return np.hstack(columns)


def _find_knots(
    column: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values and their normal scores; of two values, their z-scores."""
    present = column[~np.isnan(column)].astype(np.float64)
    values, count = np.unique(present, return_counts=True)
    if len(values) <= 2:
        spread = float(present.std()) if present.size else 0.0
        return values, (values - present.mean()) / spread if spread else values
    rank = np.cumsum(count) - 0.5 * count
    if len(values) > _N_QUANTILES:
        at = np.linspace(0, len(values) - 1, _N_QUANTILES).round().astype(np.int64)
        values, rank = values[at], rank[at]
    return values, special.ndtri(rank / len(present))


@dataclasses.dataclass(frozen=True, eq=False)
class _NormalEquations:
    """Sums over the rows of each fold: of products of features, and with targets."""

    product: NDArray[np.float64]
    moment: NDArray[np.float64]
    feature: NDArray[np.float64]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]

    def solve(
        self, folds: NDArray[np.bool_], penalty: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the coefficients and the mean of a ridge regression on some folds."""
        total = self.weight[folds].sum()
        mean = self.target[folds].sum(axis=0) / total
        system = self.product[folds].sum(axis=0)
        system[np.diag_indices(len(system))] += penalty
        moment = self.moment[folds].sum(axis=0)
        moment = moment - np.outer(self.feature[folds].sum(axis=0), mean)
        return linalg.solve(system, moment, assume_a="pos"), mean


@dataclasses.dataclass(frozen=True, eq=False)
class _Features:
    """Features whose products are the kernel, as far as landmarks represent it."""

    points: _Points
    landmarks: NDArray[np.float64]
    unit: float
    scale: float
    factor: NDArray[np.float64]
    n_jobs: int

    @classmethod
    def fit(
        cls,
        points: _Points,
        landmarks: NDArray[np.float64],
        unit: float,
        scale: float,
        n_jobs: int,
    ) -> _Features:
        """Factor the kernel matrix of the landmarks."""
        scaled = landmarks / unit
        # exact distances: equal landmarks would make it indefinite
        kernel = np.exp(cdist(scaled, scaled) / -np.sqrt(scale))
        kernel[np.diag_indices(len(kernel))] += _JITTER
        factor = linalg.cholesky(kernel, lower=True, overwrite_a=True)
        return cls(points, scaled, unit, scale, factor, n_jobs)

    def _read(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        kernel = _kernel(
            self.landmarks, self.points.read(positions) / self.unit, self.scale
        )
        features: NDArray[np.float64] = linalg.solve_triangular(
            self.factor, kernel, lower=True, overwrite_b=True, check_finite=False
        ).T
        return features

    def _map(self, function: Any, positions: NDArray[np.int64]) -> Iterator[Any]:
        """Apply a function to chunks of rows and their features, in order."""
        tasks = [
            functools.partial(lambda chunk: function(chunk, self._read(chunk)), chunk)
            for chunk in np.array_split(positions, -(-len(positions) // _CHUNK_ROWS))
        ]
        return run_tasks(tasks, self.n_jobs, shares_memory=True)

    def add_up(
        self,
        fold: NDArray[np.int64],
        n_folds: int,
        weight: NDArray[np.float64],
        target: NDArray[np.float64],
    ) -> _NormalEquations:
        """Add up the normal equations of each fold."""
        n_features, n_outputs = len(self.landmarks), target.shape[1]

        def add(
            chunk: NDArray[np.int64], features: NDArray[np.float64]
        ) -> tuple[NDArray[np.float64], ...]:
            weighted = features * weight[chunk, np.newaxis]
            return (
                weighted.T @ features,
                weighted.T @ target[chunk],
                weighted.sum(axis=0),
                weight[chunk] @ target[chunk],
                weight[chunk].sum(),
            )

        sums = _NormalEquations(
            np.zeros((n_folds, n_features, n_features)),
            np.zeros((n_folds, n_features, n_outputs)),
            np.zeros((n_folds, n_features)),
            np.zeros((n_folds, n_outputs)),
            np.zeros(n_folds),
        )
        fields = [getattr(sums, field.name) for field in dataclasses.fields(sums)]
        for number in range(n_folds):
            for added in self._map(add, np.flatnonzero(fold == number)):
                for total, value in zip(fields, added, strict=True):
                    total[number] += value
        return sums

    def predict(
        self,
        models: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
        outputs: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
    ) -> None:
        """Predict rows by models; features of a row are computed once for all."""
        rows = np.unique(np.concatenate([positions for positions, _ in outputs]))
        coefficients = np.hstack([coefficient for coefficient, _ in models])
        n_outputs = len(models[0][1])

        def multiply(
            chunk: NDArray[np.int64], features: NDArray[np.float64]
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            return chunk, features @ coefficients

        for chunk, values in self._map(multiply, rows):
            for number, (positions, prediction) in enumerate(outputs):
                begin = int(np.searchsorted(positions, chunk[0]))
                end = int(np.searchsorted(positions, chunk[-1], side="right"))
                inside = np.searchsorted(chunk, positions[begin:end])
                columns = slice(number * n_outputs, (number + 1) * n_outputs)
                prediction[begin:end] = values[inside, columns] + models[number][1]
