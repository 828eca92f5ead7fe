"""What models of several kinds say of each row, none of which has seen its label.

One kind of model is blind somewhere: boosted trees to smooth boundaries, kernels to
columns that do not matter, and copies of a large model fit wrong labels of neighbours.
Their errors differ more than their truths do, so that a pool finds wrong labels better
than the best of them.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special, stats
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesRegressor

from treeinf.cleaning.training import LabelledRows
from treeinf.explainers.tables import TableEncoder

__all__ = ["VIEWS", "Pool", "leave_out_by_forest", "leave_out_by_kernel", "pool_views"]

_N_TREES = 300
_LEAF_ROWS = 3
_BLOCK_ROWS = 3000
_CHOICE_ROWS = 1000
_SCALES = (0.5, 1.5)
_PENALTIES = 10.0 ** np.arange(-2.0, 1.6, 0.5)
_LEAST_WEIGHT = 1e-6
_SHRINKAGE = 0.1
_TRUSTED_WEIGHT = 3.0


def leave_out_by_forest(
    rows: LabelledRows, target: NDArray[np.float64], seed: int
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

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
        The mean of all for rows that every tree has seen.

    Notes
    -----
    300 trees on bootstrap samples. Leaves hold at least 3 rows: a single wrong label
    then convinces no leaf. A regression tree on class indicators splits by the Gini
    index.

    References
    ----------
    P. Geurts, D. Ernst, L. Wehenkel, "Extremely Randomized Trees", Machine Learning 63
    (2006); L. Breiman, "Random Forests", Machine Learning 45 (2001), section 3.1.
    """
    table = TableEncoder.fit(rows.X).number(rows.X)
    forest = ExtraTreesRegressor(
        _N_TREES,
        min_samples_leaf=_LEAF_ROWS,
        max_features=1.0 if rows.code is None else "sqrt",
        bootstrap=True,
        oob_score=True,
        random_state=seed,
    )
    flat = target[:, 0] if target.shape[1] == 1 else target
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
        forest.fit(table, flat, sample_weight=rows.weight)
    found = np.asarray(forest.oob_prediction_, np.float64).reshape(target.shape)
    silent = ~found.any(axis=1)
    if silent.any():
        # zeros, or no tree at all: a row that has most of the weight is always drawn
        for drawn in forest.estimators_samples_:
            silent &= np.isin(np.arange(rows.n_rows), drawn)
        found[silent] = np.average(target, axis=0, weights=rows.weight)
    return found


def _place(rows: LabelledRows) -> NDArray[np.float64]:
    """Put rows where distances mean something, whatever the units and tails."""
    place = TableEncoder.fit(rows.X).standardise(rows.X)
    for column in place.T:
        if len(np.unique(column)) > 2:
            column[:] = special.ndtri((stats.rankdata(column) - 0.5) / len(column))
    return place


def leave_out_by_kernel(
    rows: LabelledRows, target: NDArray[np.float64], seed: int
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
    up to as many, each on its own: time grows linearly, and memory does not grow.

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
    scale, penalty = _Ridge.read(place, weight, target, order[:_CHOICE_ROWS]).choose()
    left_out = np.empty_like(target)
    for block in np.array_split(order, -(-n_rows // _BLOCK_ROWS)):
        ridge = _Ridge.read(place, weight, target, block)
        left_out[block] = ridge.residuals(scale, penalty)
    prediction: NDArray[np.float64] = target - left_out / np.sqrt(weight)[:, np.newaxis]
    return prediction


@dataclasses.dataclass(frozen=True, eq=False)
class _Ridge:
    """Kernel ridge regression of one block, rows scaled by the roots of their weights.

    Parameters
    ----------
    distance : ndarray of float64, shape (n_rows, n_rows)
        Between rows, the median being 1.
    root : ndarray of float64, shape (n_rows, 1)
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
        distance = cdist(place[block], place[block])
        apart = distance[distance > 0.0]
        unit = float(np.median(apart)) if apart.size else 1.0
        root = np.sqrt(weight[block])[:, np.newaxis]
        return cls(distance / unit, root, (target[block] - centre) * root)

    def _kernel(self, scale: float) -> NDArray[np.float64]:
        kernel: NDArray[np.float64] = np.exp(self.distance / -(scale**0.5))
        kernel *= self.root
        kernel *= self.root.T
        return kernel

    def choose(self) -> tuple[float, float]:
        """Give the scale and the penalty of the least residuals of rows left out."""
        best = (np.inf, _SCALES[0], float(_PENALTIES[0]))
        for scale in _SCALES:
            values, vectors = linalg.eigh(self._kernel(scale), driver="evd")
            values = np.maximum(values, 0.0)
            turned, squares = vectors.T @ self.target, vectors**2
            for penalty in _PENALTIES:
                inverse = 1.0 / (values + penalty)
                coefficient = vectors @ (inverse[:, np.newaxis] * turned)
                left_out = coefficient / (squares @ inverse)[:, np.newaxis]
                error = float((left_out**2).mean())
                if error < best[0]:
                    best = (error, scale, float(penalty))
        return best[1], best[2]

    def residuals(self, scale: float, penalty: float) -> NDArray[np.float64]:
        """Give the residuals of rows left out, scaled."""
        kernel = self._kernel(scale)
        kernel[np.diag_indices_from(kernel)] += penalty
        inverse = linalg.inv(kernel, overwrite_a=True, assume_a="pos")
        residuals: NDArray[np.float64] = (inverse @ self.target) / np.diag(inverse)[
            :, np.newaxis
        ]
        return residuals


VIEWS: dict[
    str, Callable[[LabelledRows, NDArray[np.float64], int], NDArray[np.float64]]
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


def pool_views(
    rows: LabelledRows,
    n_classes: int,
    *,
    own: NDArray[np.float64] | None = None,
    names: Iterable[str] = tuple(VIEWS),
    is_trusted: NDArray[np.bool_] | None = None,
    seed: int = 0,
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
    views = {name: VIEWS[name](rows, target, seed) for name in names}
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
