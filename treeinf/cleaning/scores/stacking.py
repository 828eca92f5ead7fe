"""Pool out-of-bag predictions of base models of several kinds.

Every kind of model has a weakness: boosted trees fit smooth boundaries badly, kernels
irrelevant columns, and copies of a large model fit wrong labels of neighbours. They
agree more where they are right than where they are wrong, so that the pool finds wrong
labels better than the best of them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from sklearn.tree import ExtraTreeRegressor

from treeinf.kernels.cholesky import invert_factor
from treeinf.kernels.threads import one_blas_thread
from treeinf.training.encoding import TableEncoder
from treeinf.training.out_of_bag import predict_out_of_bag
from treeinf.training.parallel import run_tasks
from treeinf.training.row_groups import number_groups
from treeinf.training.rows import LabelledRows

__all__ = [
    "BASE_MODELS",
    "Stack",
    "predict_by_forest",
    "predict_by_kernel",
    "stack_base_models",
]

_N_TREES = 300
_LEAF_ROWS = 3
_BATCH_ROWS = 3000
_TUNING_ROWS = 1000
_SCALES = (0.5, 1.5)
_PENALTIES = 10.0 ** np.arange(-2.0, 1.6, 0.5)
_SMALLEST_WEIGHT = 1e-6
_SHRINKAGE = 0.1
_TRUSTED_WEIGHT = 3.0


def predict_by_forest(
    rows: LabelledRows, target: NDArray[np.float64], seed: int, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Predict each row by the extremely randomised trees that have not seen it.

    Parameters
    ----------
    rows : LabelledRows
        Rows; categories are numbered in order, missing values stay missing.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Class indicators, or values.
    seed : int
        Seed of the trees.
    n_jobs : int, default=1
        Threads; any number gives the same bits.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
        The mean of all targets for rows that every tree has seen.

    Notes
    -----
    300 trees on bootstrap samples, drawn by the weights. Leaves hold 3 rows or more, so
    that no leaf is made of a single wrong label. A regression tree on class indicators
    splits by the Gini index.

    References
    ----------
    P. Geurts, D. Ernst, L. Wehenkel, "Extremely Randomized Trees", Machine Learning 63
    (2006).
    """
    tree = ExtraTreeRegressor(
        min_samples_leaf=_LEAF_ROWS,
        max_features=1.0 if rows.code is None else "sqrt",
    )
    prediction = predict_out_of_bag(
        tree,
        rows.X,
        target,
        rows.weight,
        n_trees=_N_TREES,
        seed=seed,
        n_jobs=n_jobs,
        group=None if rows.group is None else number_groups(rows.group),
        twin=None if rows.twin is None else number_groups(rows.twin),
    )
    mean = np.average(target, axis=0, weights=rows.weight)
    return np.where(np.isnan(prediction), mean, prediction)


def _standardise(rows: LabelledRows) -> NDArray[np.float64]:
    """Map rows to points whose distances do not depend on units and tails."""
    points = TableEncoder.fit(rows.X).standardise(rows.X)
    for column in points.T:
        if len(np.unique(column)) > 2:
            column[:] = special.ndtri((stats.rankdata(column) - 0.5) / len(column))
    return points


@one_blas_thread()
def predict_by_kernel(
    rows: LabelledRows, target: NDArray[np.float64], seed: int, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Predict each row by kernel ridge regression on the others, in closed form.

    Parameters
    ----------
    rows : LabelledRows
        Rows. Numbers are replaced by normal scores of their ranks, categories by
        indicators; missing values stand in the middle.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Class indicators, or values.
    seed : int
        Seed of the batches.
    n_jobs : int, default=1
        Threads; any number gives the same bits, as BLAS has one in each.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)

    Notes
    -----
    The kernel is ``exp(-distance / scale)``. With C the inverse of the kernel matrix
    plus the penalty on its diagonal, and coefficients c = C y, the leave-one-out
    residual is ``c_i / C_ii``; of the rows of a group g, left out together, the
    residuals solve ``C_gg r_g = c_g``. The mean of all targets, the row's own included,
    is subtracted before. Of a set of m equal rows each has 1/m of its weight, so that
    they count as one. Scale and penalty minimise the mean square of these residuals
    on up to 1,000 of the rows. More than 3,000 rows are split at random into batches of
    at most as many, each fitted by itself: time is linear in the rows, memory constant,
    at some 150 MB a thread.

    References
    ----------
    C. Rasmussen, C. Williams, "Gaussian Processes for Machine Learning" (2006), section
    5.4.2, equation 5.12.
    """
    points = _standardise(rows)
    n_rows = len(points)
    weight = np.ones(n_rows) if rows.weight is None else rows.weight / rows.weight.max()
    weight = np.maximum(weight, _SMALLEST_WEIGHT)
    order = np.random.default_rng(seed).permutation(n_rows)
    batches = np.array_split(order, -(-n_rows // _BATCH_ROWS))
    left_out = np.empty_like(target)
    read = functools.partial(_Ridge.read, points, weight, target, rows)
    tuning = read(order[:_TUNING_ROWS])
    scales = [functools.partial(tuning.errors, scale) for scale in _SCALES]
    errors = list(run_tasks(scales, n_jobs, shares_memory=True))
    at_scale, at_penalty = np.unravel_index(np.argmin(errors), np.shape(errors))
    scale, penalty = _SCALES[at_scale], float(_PENALTIES[at_penalty])

    def leave_out(batch: NDArray[np.int64]) -> NDArray[np.float64]:
        return read(batch).residuals(scale, penalty)

    tasks = [functools.partial(leave_out, batch) for batch in batches]
    for batch, residuals in zip(
        batches, run_tasks(tasks, n_jobs, shares_memory=True), strict=True
    ):
        left_out[batch] = residuals
    prediction: NDArray[np.float64] = target - left_out
    return prediction


@dataclasses.dataclass(frozen=True, eq=False)
class _Ridge:
    """Kernel ridge regression of one batch, rows scaled by the roots of their weights.

    Parameters
    ----------
    distance : ndarray of float64, shape (n_rows * (n_rows - 1) / 2,)
        Between rows, each pair once, line by line; the median is 1.
    root : ndarray of float64, shape (n_rows,)
        Roots of the weights.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Targets without their mean, scaled.
    left_out_groups : list of ndarray of int64, shape (n_groups, n_rows of a group)
        Rows that are left out together, by the size of their group; empty if each row
        is left out alone.
    """

    distance: NDArray[np.float64]
    root: NDArray[np.float64]
    target: NDArray[np.float64]
    left_out_groups: list[NDArray[np.int64]]

    @classmethod
    def read(
        cls,
        points: NDArray[np.float64],
        weight: NDArray[np.float64],
        target: NDArray[np.float64],
        rows: LabelledRows,
        batch: NDArray[np.int64],
    ) -> _Ridge:
        """Set up the rows of one batch; equal rows share the weight of one."""
        weight = weight[batch]
        if rows.twin is not None:
            twin = number_groups(rows.twin[batch])
            weight = weight / np.bincount(twin)[twin]
        centre = np.average(target[batch], axis=0, weights=weight)
        distance = pdist(points[batch])
        apart = distance[distance > 0.0]
        if apart.size:
            distance /= np.median(apart, overwrite_input=True)
        root = np.sqrt(weight)
        scaled = (target[batch] - centre) * root[:, np.newaxis]
        group = rows.group
        left_out_groups = [] if group is None else _list_groups(group[batch])
        return cls(distance, root, scaled, left_out_groups)

    def _kernel(self, scale: float, penalty: float = 0.0) -> NDArray[np.float64]:
        """Return the upper triangle of the kernel matrix, zeros below."""
        n_rows, end = len(self.root), 0
        pairs = np.exp(self.distance / -(scale**0.5))
        kernel = np.zeros((n_rows, n_rows))
        for row, root in enumerate(self.root):
            begin, end = end, end + n_rows - row - 1
            np.multiply(pairs[begin:end], root, out=kernel[row, row + 1 :])
        kernel *= self.root
        kernel[np.diag_indices(n_rows)] = self.root**2 + penalty
        return kernel

    def errors(self, scale: float) -> list[float]:
        """Return the mean squared leave-one-out residual for each penalty."""
        values, vectors = np.linalg.eigh(self._kernel(scale).T)
        values = np.maximum(values, 0.0)
        rotated, squares = vectors.T @ self.target, vectors**2
        errors = []
        for penalty in _PENALTIES:
            inverse = 1.0 / (values + penalty)
            coefficient = vectors @ (inverse[:, np.newaxis] * rotated)
            if self.left_out_groups:
                half = vectors * np.sqrt(inverse)
                left_out = _leave_out_groups(half, coefficient, self.left_out_groups)
            else:
                left_out = coefficient / (squares @ inverse)[:, np.newaxis]
            errors.append(float((left_out**2).mean()))
        return errors

    def residuals(self, scale: float, penalty: float) -> NDArray[np.float64]:
        """Return the leave-one-out residuals."""
        root = self.root[:, np.newaxis]
        factor = self._kernel(scale, penalty)
        invert_factor(factor)
        if self.left_out_groups:
            coefficient = factor @ (factor.T @ self.target)
            left_out = _leave_out_groups(factor, coefficient, self.left_out_groups)
            return left_out / root
        diagonal = np.einsum("ij,ij->i", factor, factor)
        residuals: NDArray[np.float64] = (
            factor @ (factor.T @ self.target) / diagonal[:, np.newaxis] / root
        )
        return residuals


def _list_groups(group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each group, those of groups of the same size in one array."""
    order = np.argsort(group, kind="stable")
    size = np.unique(group, return_counts=True)[1]
    first = np.cumsum(size) - size
    return [order[first[size == n, np.newaxis] + np.arange(n)] for n in np.unique(size)]


def _leave_out_groups(
    half: NDArray[np.float64],
    coefficient: NDArray[np.float64],
    left_out_groups: Sequence[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Return the residuals of rows that are left out together.

    Parameters
    ----------
    half : ndarray of float64, shape (n_rows, n_rows)
        The inverse of the penalised kernel matrix is its product with its transpose.
    coefficient : ndarray of float64, shape (n_rows, n_outputs)
        That inverse times the targets.
    left_out_groups : sequence of ndarray of int64
        See `_Ridge`.
    """
    residuals = np.empty_like(coefficient)
    for members in left_out_groups:
        lines = half[members]
        residuals[members] = np.linalg.solve(
            lines @ lines.transpose(0, 2, 1), coefficient[members]
        )
    return residuals


BASE_MODELS: dict[
    str, Callable[[LabelledRows, NDArray[np.float64], int, int], NDArray[np.float64]]
] = {"forest": predict_by_forest, "kernel": predict_by_kernel}
"""Base models besides the copies of the user's estimator, by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """Pooled predictions of rows by models that have not seen them.

    Parameters
    ----------
    prediction : ndarray of float64, shape (n_rows, n_classes) or (n_rows,)
        Probabilities, or values.
    weight : dict of str to float
        Weight of each base model, by name; they add up to 1.
    """

    prediction: NDArray[np.float64]
    weight: dict[str, float]


@one_blas_thread()
def stack_base_models(
    rows: LabelledRows,
    n_classes: int,
    *,
    copies: NDArray[np.float64] | None = None,
    names: Iterable[str] = tuple(BASE_MODELS),
    is_trusted: NDArray[np.bool_] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> Stack:
    """Predict rows by base models that have not seen them, and pool the predictions.

    Parameters
    ----------
    rows : LabelledRows
        Rows, trusted ones among them.
    n_classes : int
        Number of classes; 0 for regression.
    copies : ndarray of float64, shape (n_rows, n_classes) or (n_rows,), optional
        Out-of-bag predictions by copies of the user's estimator, a further base model
        called "copies". NaN is replaced by the mean of the other base models.
    names : iterable of str, default=all
        Names in `BASE_MODELS`.
    is_trusted : ndarray of bool, shape (n_rows,), optional
        Rows whose labels are known to be right; the base models here give them three
        times the weight.
    seed : int, default=0
        Seed of the base models.
    n_jobs : int, default=1
        Threads; any number gives the same bits.

    Returns
    -------
    Stack

    Notes
    -----
    The weights are not negative and add up to 1. They minimise the squared error of the
    pool, plus a tenth of the base models' mean squared error times the sum of squared
    weights, which draws them together. Labels that are wrong at random add the same
    error to every pool, and so do not bias the weights.

    References
    ----------
    L. Breiman, "Stacked Regressions", Machine Learning 24 (1996).
    """
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    if is_trusted is not None:
        weight = np.where(is_trusted, _TRUSTED_WEIGHT, 1.0) * weight
        rows = dataclasses.replace(rows, weight=weight)
    if rows.code is None:
        target = np.asarray(rows.y, dtype=np.float64)[:, np.newaxis]
    else:
        target = np.eye(n_classes)[rows.code]
    # on few rows, run base models in parallel; on many, the tasks inside each
    side_by_side, inside = (n_jobs, 1) if rows.n_rows <= _BATCH_ROWS else (1, n_jobs)
    names = tuple(names)
    tasks = [
        functools.partial(BASE_MODELS[name], rows, target, seed, inside)
        for name in names
    ]
    results = run_tasks(tasks, side_by_side, shares_memory=True)
    predictions = dict(zip(names, results, strict=True))
    if copies is not None:
        others = np.zeros(())
        if predictions:
            others = np.mean(list(predictions.values()), axis=0)
        by_copies = copies.reshape(target.shape)
        predictions["copies"] = np.where(np.isfinite(by_copies), by_copies, others)
    if rows.code is not None:
        predictions = {
            name: _as_probabilities(prediction)
            for name, prediction in predictions.items()
        }
    errors = [prediction - target for prediction in predictions.values()]
    share = _minimise_error(errors, weight)
    pooled = np.tensordot(share, np.stack(list(predictions.values())), axes=1)
    return Stack(
        pooled[:, 0] if rows.code is None else pooled,
        dict(zip(predictions, share.tolist(), strict=True)),
    )


def _as_probabilities(prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring predicted indicators into [0, 1], with a sum of 1."""
    clipped = np.clip(prediction, 0.0, 1.0)
    total = clipped.sum(axis=1, keepdims=True)
    even = np.full_like(clipped, 1.0 / prediction.shape[1])
    return np.divide(clipped, total, out=even, where=total > 0.0)


def _minimise_error(
    errors: Sequence[NDArray[np.float64]], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of the base models; see `stack_base_models`."""
    n_models = len(errors)
    flat = np.stack([(np.sqrt(weight)[:, np.newaxis] * e).ravel() for e in errors])
    product = flat @ flat.T
    scale = float(np.trace(product)) / n_models
    equal = np.full(n_models, 1.0 / n_models)
    if n_models == 1 or scale == 0.0:
        return equal
    product = product / scale + _SHRINKAGE * np.eye(n_models)
    solution = minimize(
        lambda share: (share @ product @ share, 2.0 * product @ share),
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_models,
        constraints={
            "type": "eq",
            "fun": lambda share: share.sum() - 1.0,
            "jac": lambda share: np.ones(n_models),
        },
    )
    share = np.maximum(solution.x, 0.0)
    return np.asarray(share / share.sum())
