"""What models of several kinds say of each row, none of which has seen its label.

One kind of model is blind somewhere: boosted trees to smooth boundaries, kernels to
columns that do not matter, and copies of a large model fit wrong labels of neighbours.
Their errors differ more than their truths do, so that a pool finds wrong labels better
than the best of them.
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
from sklearn import config_context
from sklearn.tree import ExtraTreeRegressor

from treeinf.kernels.cholesky import invert_factor
from treeinf.kernels.threads import one_blas_thread
from treeinf.training.encoding import TableEncoder
from treeinf.training.parallel import run_tasks
from treeinf.training.rows import LabelledRows

__all__ = ["VIEWS", "Pool", "leave_out_by_forest", "leave_out_by_kernel", "pool_views"]

_N_TREES = 300
_LEAF_ROWS = 3
_TREES_A_TASK = 10
_MOST_SEED = np.iinfo(np.int32).max
_LARGEST = np.finfo(np.float32).max
_BLOCK_ROWS = 3000
_CHOICE_ROWS = 1000
_SCALES = (0.5, 1.5)
_PENALTIES = 10.0 ** np.arange(-2.0, 1.6, 0.5)
_LEAST_WEIGHT = 1e-6
_SHRINKAGE = 0.1
_TRUSTED_WEIGHT = 3.0

_OutOfBag = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows that a tree has not seen, and what it predicts of them."""


def leave_out_by_forest(
    rows: LabelledRows, target: NDArray[np.float64], seed: int, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Predict each row by those extremely randomised trees that have not seen it.

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
        The mean of all for rows that every tree has seen.

    Notes
    -----
    300 trees on bootstrap samples, drawn by the weights. Leaves hold at least 3 rows: a
    single wrong label then convinces no leaf. A regression tree on class indicators
    splits by the Gini index.

    The same bits as scikit-learn's `ExtraTreesRegressor` from version 1.9 on, in two
    thirds of its time: that draws each sample twice, and copies each tree's parameters.

    References
    ----------
    P. Geurts, D. Ernst, L. Wehenkel, "Extremely Randomized Trees", Machine Learning 63
    (2006); L. Breiman, "Random Forests", Machine Learning 45 (2001), section 3.1.
    """
    table = TableEncoder.fit(rows.X).number(rows.X)
    table = np.clip(table, -_LARGEST, _LARGEST).astype(np.float32)
    has_missing = bool(np.isnan(table).any())
    limit = None
    if rows.weight is not None:
        limit = np.cumsum(rows.weight / rows.weight.sum())
        limit /= limit[-1]

    def grow(seeds: NDArray[np.int64]) -> list[_OutOfBag]:
        with config_context(skip_parameter_validation=True):
            return [grow_one(int(one)) for one in seeds]

    def grow_one(seed: int) -> _OutOfBag:
        count = _draw_counts(np.random.RandomState(seed), rows.n_rows, limit)
        tree = ExtraTreeRegressor(
            min_samples_leaf=_LEAF_ROWS,
            max_features=1.0 if rows.code is None else "sqrt",
            random_state=seed,
        )
        # only a checked table is searched for missing values
        tree.fit(table, target, sample_weight=count, check_input=has_missing)
        unseen = np.flatnonzero(count == 0)
        if not len(unseen):
            return unseen, target[:0]
        found = tree.predict(table[unseen], check_input=False)
        return unseen, found.reshape(len(unseen), -1)

    seeds = np.random.RandomState(seed).randint(_MOST_SEED, size=_N_TREES)
    parts = np.array_split(seeds, -(-_N_TREES // _TREES_A_TASK))
    total, n_asked = np.zeros_like(target), np.zeros((rows.n_rows, 1))
    for part in run_tasks(
        [functools.partial(grow, part) for part in parts], n_jobs, shares_memory=True
    ):
        for unseen, found in part:
            total[unseen] += found
            n_asked[unseen] += 1.0
    mean = np.average(target, axis=0, weights=rows.weight)
    return np.where(n_asked > 0.0, total / np.maximum(n_asked, 1.0), mean)


def _draw_counts(
    rng: np.random.RandomState, n_rows: int, limit: NDArray[np.float64] | None
) -> NDArray[np.int64]:
    """Draw as many rows as there are, with replacement, and count how often each came.

    The same as counting what ``rng.choice`` draws by weights, but for its searches in
    no order, which take longer than a tree of many rows.

    Parameters
    ----------
    rng : RandomState
        Source.
    n_rows : int
        Number of rows.
    limit : ndarray of float64, shape (n_rows,), or None
        Sum of the weights up to each row, the last being 1; None for equal weights.
    """
    if limit is None:
        return np.bincount(rng.randint(0, n_rows, n_rows), minlength=n_rows)
    place = np.sort(rng.random_sample(n_rows))
    return np.diff(np.searchsorted(place, limit), prepend=0)


def _place(rows: LabelledRows) -> NDArray[np.float64]:
    """Put rows where distances mean something, whatever the units and tails."""
    place = TableEncoder.fit(rows.X).standardise(rows.X)
    for column in place.T:
        if len(np.unique(column)) > 2:
            column[:] = special.ndtri((stats.rankdata(column) - 0.5) / len(column))
    return place


@one_blas_thread()
def leave_out_by_kernel(
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
        Seed of the blocks.
    n_jobs : int, default=1
        Threads; any number gives the same bits, as BLAS has one in each.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)

    Notes
    -----
    The kernel is ``exp(-distance / scale)``. With a matrix C, the inverse of the kernel
    matrix plus the penalty on its diagonal, and coefficients c = C y, the residual of a
    row left out is ``c_i / C_ii``. The mean of all targets is taken off before, the
    row's own among them. Scale and penalty are those of the least mean square
    of these, on up to 1,000 of the rows. More than 3,000 rows are dealt into blocks of
    up to as many, each on its own: time grows linearly, and memory does not grow, but
    for some 150 MB a thread.

    References
    ----------
    C. Rasmussen, C. Williams, "Gaussian Processes for Machine Learning" (2006), section
    5.4.2, equation 5.12.
    """
    place = _place(rows)
    n_rows = len(place)
    weight = np.ones(n_rows) if rows.weight is None else rows.weight / rows.weight.max()
    weight = np.maximum(weight, _LEAST_WEIGHT)
    order = np.random.default_rng(seed).permutation(n_rows)
    blocks = np.array_split(order, -(-n_rows // _BLOCK_ROWS))
    left_out = np.empty_like(target)
    some = _Ridge.read(place, weight, target, order[:_CHOICE_ROWS])
    scales = [functools.partial(some.errors, scale) for scale in _SCALES]
    tried = list(run_tasks(scales, n_jobs, shares_memory=True))
    at_scale, at_penalty = np.unravel_index(np.argmin(tried), np.shape(tried))
    scale, penalty = _SCALES[at_scale], float(_PENALTIES[at_penalty])

    def leave_out(block: NDArray[np.int64]) -> NDArray[np.float64]:
        return _Ridge.read(place, weight, target, block).residuals(scale, penalty)

    tasks = [functools.partial(leave_out, block) for block in blocks]
    for block, residuals in zip(
        blocks, run_tasks(tasks, n_jobs, shares_memory=True), strict=True
    ):
        left_out[block] = residuals
    prediction: NDArray[np.float64] = target - left_out / np.sqrt(weight)[:, np.newaxis]
    return prediction


@dataclasses.dataclass(frozen=True, eq=False)
class _Ridge:
    """Kernel ridge regression of one block, rows scaled by the roots of their weights.

    Parameters
    ----------
    distance : ndarray of float64, shape (n_rows * (n_rows - 1) / 2,)
        Between rows, each pair once, line by line; the median is 1.
    root : ndarray of float64, shape (n_rows,)
        Roots of the weights.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Targets without their mean, scaled.
    """

    distance: NDArray[np.float64]
    root: NDArray[np.float64]
    target: NDArray[np.float64]

    @classmethod
    def read(
        cls,
        place: NDArray[np.float64],
        weight: NDArray[np.float64],
        target: NDArray[np.float64],
        block: NDArray[np.int64],
    ) -> _Ridge:
        """Set up the rows of one block."""
        centre = np.average(target[block], axis=0, weights=weight[block])
        distance = pdist(place[block])
        apart = distance[distance > 0.0]
        if apart.size:
            distance /= np.median(apart, overwrite_input=True)
        root = np.sqrt(weight[block])
        return cls(distance, root, (target[block] - centre) * root[:, np.newaxis])

    def _kernel(self, scale: float, penalty: float = 0.0) -> NDArray[np.float64]:
        """Give the upper triangle of the kernel matrix, zeros below."""
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
        """Give the mean squared residual of rows left out, for each penalty."""
        values, vectors = np.linalg.eigh(self._kernel(scale).T)
        values = np.maximum(values, 0.0)
        turned, squares = vectors.T @ self.target, vectors**2
        found = []
        for penalty in _PENALTIES:
            inverse = 1.0 / (values + penalty)
            coefficient = vectors @ (inverse[:, np.newaxis] * turned)
            left_out = coefficient / (squares @ inverse)[:, np.newaxis]
            found.append(float((left_out**2).mean()))
        return found

    def residuals(self, scale: float, penalty: float) -> NDArray[np.float64]:
        """Give the residuals of rows left out, scaled."""
        factor = self._kernel(scale, penalty)
        invert_factor(factor)
        diagonal = np.einsum("ij,ij->i", factor, factor)
        residuals: NDArray[np.float64] = (
            factor @ (factor.T @ self.target) / diagonal[:, np.newaxis]
        )
        return residuals


VIEWS: dict[
    str, Callable[[LabelledRows, NDArray[np.float64], int, int], NDArray[np.float64]]
] = {"forest": leave_out_by_forest, "kernel": leave_out_by_kernel}
"""Models that are no copies of the user's, by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Predictions of rows that no model has seen, of several kinds of model together.

    Parameters
    ----------
    prediction : ndarray of float64, shape (n_rows, n_classes) or (n_rows,)
        Probabilities, or values.
    weight : dict of str to float
        Share of each view, by name; they add up to 1.
    """

    prediction: NDArray[np.float64]
    weight: dict[str, float]


@one_blas_thread()
def pool_views(
    rows: LabelledRows,
    n_classes: int,
    *,
    own: NDArray[np.float64] | None = None,
    names: Iterable[str] = tuple(VIEWS),
    is_trusted: NDArray[np.bool_] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> Pool:
    """Predict rows by models of several kinds that have not seen them, and pool these.

    Parameters
    ----------
    rows : LabelledRows
        Rows, trusted ones among them.
    n_classes : int
        Number of classes; 0 for regression.
    own : ndarray of float64, shape (n_rows, n_classes) or (n_rows,), optional
        What copies of the user's estimator predict of rows that they have not seen; a
        view called "own". NaN, where they know nothing, leaves it to the other views.
    names : iterable of str, default=all
        Names in `VIEWS`.
    is_trusted : ndarray of bool, shape (n_rows,), optional
        Rows whose labels are known to be right; the models here give them three times
        the weight.
    seed : int, default=0
        Seed of the models.
    n_jobs : int, default=1
        Threads; any number gives the same bits.

    Returns
    -------
    Pool

    Notes
    -----
    The shares are those, none negative and with a sum of 1, of the least squared error
    of the pool, plus a tenth of the views' mean squared error times the sum of squared
    shares, which draws them together. Labels that are wrong at random add the same
    error to every pool, and so do not mislead the shares.

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
    # a single view has little to share out on a few rows, and much on many
    side_by_side, each = (n_jobs, 1) if rows.n_rows <= _BLOCK_ROWS else (1, n_jobs)
    names = tuple(names)
    tasks = [functools.partial(VIEWS[name], rows, target, seed, each) for name in names]
    views = dict(
        zip(names, run_tasks(tasks, side_by_side, shares_memory=True), strict=True)
    )
    if own is not None:
        others = np.mean(list(views.values()), axis=0) if views else np.zeros(())
        given = own.reshape(target.shape)
        known = np.isfinite(given)
        views["own"] = np.where(known, given, others)
    if rows.code is not None:
        views = {name: _as_probabilities(view) for name, view in views.items()}
    errors = [view - target for view in views.values()]
    share = _find_shares(errors, weight)
    stacked = np.stack(list(views.values()))
    prediction = np.tensordot(share, stacked, axes=1)
    return Pool(
        prediction[:, 0] if rows.code is None else prediction,
        dict(zip(views, share.tolist(), strict=True)),
    )


def _as_probabilities(view: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring predicted indicators into [0, 1], with a sum of 1."""
    clipped = np.clip(view, 0.0, 1.0)
    total = clipped.sum(axis=1, keepdims=True)
    even = np.full_like(clipped, 1.0 / view.shape[1])
    return np.divide(clipped, total, out=even, where=total > 0.0)


def _find_shares(
    errors: Sequence[NDArray[np.float64]], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find shares of the least squared error, drawn together; see `pool_views`."""
    n_views = len(errors)
    flat = np.stack([(np.sqrt(weight)[:, np.newaxis] * e).ravel() for e in errors])
    product = flat @ flat.T
    scale = float(np.trace(product)) / n_views
    equal = np.full(n_views, 1.0 / n_views)
    if n_views == 1 or scale == 0.0:
        return equal
    product = product / scale + _SHRINKAGE * np.eye(n_views)
    found = minimize(
        lambda share: (share @ product @ share, 2.0 * product @ share),
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_views,
        constraints={
            "type": "eq",
            "fun": lambda share: share.sum() - 1.0,
            "jac": lambda share: np.ones(n_views),
        },
    )
    share = np.maximum(found.x, 0.0)
    return np.asarray(share / share.sum())
