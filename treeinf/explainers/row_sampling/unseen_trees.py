"""Score train rows by the trees that did not see them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import COUNT, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.influence import frame_library, make_frame
from treeinf.explainers.row_sampling.recovery import SampledTraining, recover_training
from treeinf.frames import count_rows, row_labels
from treeinf.kernels.threads import limit_threads
from treeinf.training.row_groups import read_groups
from treeinf.validation import open_rows

__all__ = [
    "OutOfBagScores",
    "check_unseen",
    "find_unseen",
    "leaf_values",
    "out_of_bag",
    "sum_unseen",
    "tree_outputs",
]


@dataclasses.dataclass(frozen=True, eq=False)
class OutOfBagScores:
    """Raw scores of train rows by the trees that did not see them.

    Parameters
    ----------
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Base score plus the leaf values of those trees; for forests their mean, NaN for
        a row that every tree has seen.
    n_trees : ndarray of int64, shape (n_rows,)
        How many trees those are.
    labels : ndarray, shape (n_rows,), or None
        Labels of the rows, if they came in a pandas frame.
    library : str, default="pandas"
        The rows' frame library.
    """

    raw_score: NDArray[np.float64]
    n_trees: NDArray[np.int64]
    labels: NDArray[Any] | None = None
    library: str = "pandas"

    def to_frame(self) -> Any:
        """Return a frame with one line for each row.

        Returns
        -------
        Frame
            Columns ``raw_score`` (numbered from ``raw_score_0`` where there are
            several) and ``n_trees``; pandas frames are indexed by the rows' labels.
        """
        names = ["raw_score"]
        if self.raw_score.shape[1] > 1:
            names = [f"raw_score_{k}" for k in range(self.raw_score.shape[1])]
        columns: dict[str, Any] = dict(zip(names, self.raw_score.T, strict=True))
        columns["n_trees"] = self.n_trees
        frame = make_frame(columns, self.library)
        if self.labels is not None and hasattr(frame, "set_axis"):
            import pandas as pd

            return frame.set_axis(pd.Index(self.labels), axis=0)
        return frame

    def __repr__(self) -> str:
        return (
            f"<OutOfBagScores of {len(self.n_trees):,} rows: {self.n_trees.mean():.1f} "
            "trees each on average>"
        )


def out_of_bag(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    init_score: Any = None,
    group: Any = None,
    search_seed: bool = False,
    groups: Any = None,
    n_jobs: int | None = None,
) -> OutOfBagScores:
    """Compute raw scores of train rows by the trees that did not see them.

    Parameters
    ----------
    model, X, y, sample_weight, init_score, group, search_seed, n_jobs
        See `in_bag`. `y` is needed, too, where the base score was estimated from it.
    groups : array-like of labels, shape (n_train,), optional
        Rows that belong together, such as those of a patient or a machine: each row is
        scored by the trees that saw no row of its group. `group`, in contrast, has the
        sizes of a ranking model's queries.

    Returns
    -------
    OutOfBagScores
        Base score, and initial score where there is one, plus the leaf values of the
        trees that did not see the row; of forests the mean over those trees, which are
        scikit-learn's ``oob_prediction_`` and ``oob_decision_function_``.

    Raises
    ------
    BagsNotFoundError
        If some tree's bag is not found.
    UnsupportedModelError
        If every tree was fitted on all rows, or the first tree holds a base score that
        is not known.
    ValueError, TypeError
        If the rows do not fit the model, or `y` is needed.

    Notes
    -----
    For a boosted model this is no validation: a row's sum holds a part of the trees
    (30 % under a bagging fraction of .7), so it is closer to the base score than the
    model's predictions are, and the row has moved the scores of other rows, to which
    later trees answer. It ranks rows; see `OutOfBagLoss`.
    """
    X = open_rows(
        X, y=y, sample_weight=sample_weight, init_score=init_score, groups=groups
    )
    together = None if groups is None else read_groups(groups, count_rows(X))[0]
    with limit_threads(n_jobs):
        training = recover_training(
            model,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            group=group,
            search_seed=search_seed,
        )
        raw_score, n_trees = sum_unseen(training, together)
    return OutOfBagScores(raw_score, n_trees, row_labels(X), frame_library(X))


def sum_unseen(
    training: SampledTraining, group: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up the leaf values of the trees that did not see each row.

    Parameters
    ----------
    training : SampledTraining
        The model, its rows and bags.
    group : ndarray of int64, shape (n_rows,), optional
        Groups of the rows, see `find_unseen`.

    Returns
    -------
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        See `OutOfBagScores`.
    n_trees : ndarray of int64, shape (n_rows,)
        How many those are.

    Raises
    ------
    UnsupportedModelError
        If there are none, or the base score is not known.
    """
    ensemble, rows = training.ensemble, training.rows
    check_unseen(training)
    raw_score = np.zeros((rows.n_rows, ensemble.n_outputs), REAL)
    n_added = np.zeros((rows.n_rows, ensemble.n_outputs), COUNT)
    n_trees = np.zeros(rows.n_rows, COUNT)
    for tree in range(ensemble.n_trees):
        unseen = find_unseen(training, tree, group)
        outputs = tree_outputs(ensemble, tree)
        raw_score[unseen, outputs] += leaf_values(training, tree)[unseen]
        n_added[unseen, outputs] += 1
        n_trees[unseen] += 1
    if ensemble.is_averaged:
        n_of_output = ensemble.n_trees // (
            ensemble.n_outputs if ensemble.leaf_width == 1 else 1
        )
        with np.errstate(invalid="ignore"):
            raw_score *= n_of_output / np.where(n_added, n_added, np.nan)
    raw_score += ensemble.base_score
    if rows.offset.size:
        raw_score += rows.offset
    return raw_score, n_trees


def find_unseen(
    training: SampledTraining, tree: int, group: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the positions of the rows out of a tree's bag.

    With groups, numbered from 0 without gaps, those whose whole group is out of it.
    """
    factor = training.bags.row_factors(tree)
    if factor is None:
        return np.empty(0, np.int64)
    if group is None:
        return np.flatnonzero(factor == 0)
    n_seen = np.bincount(group, factor != 0)
    return np.flatnonzero(n_seen[group] == 0)


def tree_outputs(ensemble: TreeEnsemble, tree: int) -> slice:
    """Return the raw scores that a tree adds to."""
    if ensemble.leaf_width > 1:
        return slice(0, ensemble.n_outputs)
    return slice(int(ensemble.output[tree]), int(ensemble.output[tree]) + 1)


def leaf_values(training: SampledTraining, tree: int) -> NDArray[np.float64]:
    """Return what a tree adds to each row, shape (n_rows, leaf_width)."""
    ensemble = training.ensemble
    leaf = training.rows.leaf[ensemble.row_of_tree[tree]].astype(OFFSET)
    return ensemble.leaf_value[ensemble.leaf_offset[tree] + leaf]


def check_unseen(training: SampledTraining) -> None:
    """Refuse models without out-of-bag rows, and those of unknown base score."""
    ensemble = training.ensemble
    if not training.bags.of_tree.size or (training.bags.of_tree < 0).all():
        raise UnsupportedModelError(
            "Every tree of this model was fitted on all rows, so none is out of bag. "
            "Train with row sampling: LightGBM bagging_fraction=0.7, bagging_freq=1 "
            "(subsample, subsample_freq), XGBoost and GradientBoosting subsample=0.7, "
            "forests bootstrap=True."
        )
    if not training.knows_base_score:
        raise UnsupportedModelError(
            f"The first tree of this {ensemble.library} model holds a base score that "
            f"was estimated from the targets under {ensemble.loss_name!r}: pass y; if "
            "you did, treeinf does not know how that objective estimates it. Train "
            "with boost_from_average=False."
        )
