"""LeafRefit, against the same refits in NumPy and against training again."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from benchmarks.speed.bench import (
    N_LEAVES,
    N_TREES,
    Bench,
    Case,
    Measured,
    count_leaf_ids,
)
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.explainers import LeafRefit

__all__ = ["measure_refit", "refit_one_by_one"]

_NUMPY = "the same refits, removal by removal (NumPy)"
_AGAIN = "LightGBM trained again without each row"
_N_REMOVED = {_NUMPY: 20, _AGAIN: 3}
# labels are summed in single precision for the base score
_SAME = 1e-6


def measure_refit(bench: Bench) -> Measured:
    """Time `explain` of 100 test rows, which refits all leaf values once a train row.

    NumPy's refits find all leaves of a tree at once, from leaf ids that they are given,
    and give the same influence. Training again, which may find other splits, is the
    effect that LeafRefit stands for. Of both a few removals are timed, and the time for
    all is in proportion.

    Raises
    ------
    ArithmeticError
        If NumPy's refits give another influence.
    """
    n_rows, n_test = bench.size(2_000, 200), bench.size(100, 20)
    case = bench.fit(n_rows, n_test)
    explainer = LeafRefit(n_jobs=bench.n_jobs).fit(case.model, case.X, case.y)
    tests = case.X_test, case.y_test
    leaves = explainer.ensemble_.apply(case.X).T, explainer.ensemble_.apply(tests[0]).T
    removed = {
        peer: np.linspace(0, n_rows - 1, n).astype(int)
        for peer, n in _N_REMOVED.items()
    }
    refit = functools.partial(
        refit_one_by_one, explainer, case, *leaves, removed[_NUMPY]
    )
    expected = refit()
    found = explainer.explain(*tests).values[removed[_NUMPY]]
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error < _SAME:
        raise ArithmeticError(f"LeafRefit and NumPy's refits differ by {error:.2g}.")
    times = take_turns(
        {
            "explain": functools.partial(explainer.explain, *tests),
            _NUMPY: refit,
            _AGAIN: functools.partial(_train_again, case, removed[_AGAIN]),
        },
        min(bench.repeats, 5),
    )
    must_move = count_leaf_ids(explainer.ensemble_, n_rows) + 8 * n_rows * n_test
    notes = {
        peer: f"{n} of {n_rows:,} removals timed, the time scaled up"
        for peer, n in _N_REMOVED.items()
    }
    notes[_NUMPY] += f"; largest difference {error:.0e} of the largest influence"
    return Measured(
        [
            Row.quicker(
                f"LeafRefit explain of {n_test} test rows",
                times["explain"],
                peer,
                Timing([n_rows / n_removed * s for s in times[peer].seconds]),
                must_move=float(must_move),
                size=f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves",
                note=notes[peer],
            )
            for peer, n_removed in _N_REMOVED.items()
        ]
    )


def refit_one_by_one(
    explainer: LeafRefit,
    case: Case,
    leaf: NDArray[Any],
    leaf_test: NDArray[Any],
    removals: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Refit leaf values of a LightGBM model of two classes, and its base score.

    Parameters
    ----------
    explainer : LeafRefit
        Fitted; its leaf values are not read.
    case : Case
        The rows.
    leaf, leaf_test : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaves of the train and the test rows.
    removals : ndarray of int64
        Train rows to leave out, one at a time.

    Returns
    -------
    ndarray of float64, shape (n_removals, n_test)
        Log loss of the test rows without the row, less that with all rows.
    """
    ensemble = explainer.ensemble_
    sizes = np.diff(ensemble.leaf_offset)
    y, y_test = case.y.astype(float), case.y_test.astype(float)

    def lose(is_kept: NDArray[np.float64]) -> NDArray[np.float64]:
        base = logit(np.average(y, weights=is_kept))
        score, score_test = np.full(len(y), base), np.full(len(y_test), base)
        for tree, size in enumerate(sizes):
            p = expit(score)
            gradient = np.bincount(leaf[tree], is_kept * (p - y), size)
            hessian = np.bincount(leaf[tree], is_kept * p * (1.0 - p), size)
            step = np.divide(gradient, hessian, where=hessian > 0.0, out=0 * hessian)
            value = -ensemble.shrinkage[tree] * step
            score += value[leaf[tree]]
            score_test += value[leaf_test[tree]]
        return np.logaddexp(0.0, score_test) - y_test * score_test

    is_kept = np.ones(len(y))
    before = lose(is_kept)
    influence = np.empty((len(removals), len(y_test)))
    for number, row in enumerate(removals):
        is_kept[row] = 0.0
        influence[number] = lose(is_kept) - before
        is_kept[row] = 1.0
    return influence


def _train_again(case: Case, removals: NDArray[np.int64]) -> None:
    for row in removals:
        kept = np.arange(len(case.y)) != row
        model = type(case.model)(**case.model.get_params())
        model.fit(case.X[kept], case.y[kept])
        model.booster_.predict(case.X_test, raw_score=True)
