"""Predict rows by extremely randomised trees that have not seen them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.tree import ExtraTreeRegressor

from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.training.parallel import run_tasks
from treeinf.training.rows import LabelledRows

__all__ = ["predict_by_trees"]

_N_TREES = 300
_FEWEST_TREES = 30
_TREE_ROWS = 3_000
_LEAF_ROWS = 3
_CHUNK_ROWS = 50_000


def predict_by_trees(
    rows: LabelledRows,
    table: EncodedTable,
    target: NDArray[np.float64],
    plan: Sequence[CopyRows],
    seed: int,
    n_jobs: int = 1,
) -> list[NDArray[np.float32]]:
    """Predict rows by a forest for each copy, grown on the copy's train rows.

    Parameters
    ----------
    rows : LabelledRows
        Rows.
    table : EncodedTable
        Their features.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Class indicators, or values.
    plan : sequence of CopyRows
        Train rows and rows to predict of each forest.
    seed : int
        Seed of the trees.
    n_jobs : int, default=1
        Threads; any number gives the same bits.

    Returns
    -------
    list of ndarray of float32, shape (n_scored, n_outputs)
        One for each copy.

    Notes
    -----
    300 trees in all, and at least 30 a copy, each on a bootstrap sample of up to 3,000
    rows, drawn by the weights: the time of growing does not depend on the number of
    rows. Leaves hold 3 rows or more, so that no leaf is made of a single wrong label. A
    regression tree on class indicators splits by the Gini index.

    References
    ----------
    P. Geurts, D. Ernst, L. Wehenkel, "Extremely Randomized Trees", Machine Learning 63
    (2006).
    """
    has_missing = bool(np.isnan(table.values).any())
    n_trees = max(_FEWEST_TREES, -(-_N_TREES // len(plan)))
    seeds = np.random.default_rng(seed).integers(2**31, size=len(plan))
    tree = ExtraTreeRegressor(
        min_samples_leaf=_LEAF_ROWS,
        max_features=1.0 if rows.code is None else "sqrt",
    )

    def grow(train: NDArray[np.int64], copy_seed: int) -> list[ExtraTreeRegressor]:
        rng = np.random.default_rng(copy_seed)
        probability = None
        if rows.weight is not None:
            probability = rows.weight[train] / rows.weight[train].sum()
        n_drawn = min(len(train), _TREE_ROWS)
        samples = [
            np.unique(rng.choice(train, n_drawn, p=probability), return_counts=True)
            for _ in range(n_trees)
        ]
        trees = []
        for drawn, count in samples:
            grown = ExtraTreeRegressor(**tree.get_params())
            grown.set_params(random_state=int(rng.integers(2**31)))
            # only a checked table is searched for missing values
            grown.fit(
                table.values[drawn],
                target[drawn],
                sample_weight=count,
                check_input=has_missing,
            )
            trees.append(grown)
        return trees

    def predict(copy: CopyRows, trees: list[ExtraTreeRegressor]) -> NDArray[np.float32]:
        shape = len(copy.scored), target.shape[1]
        total = np.zeros(shape, dtype=np.float32)
        for begin in range(0, len(copy.scored), _CHUNK_ROWS):
            chunk = slice(begin, begin + _CHUNK_ROWS)
            values = table.values[copy.scored[chunk]]
            for grown in trees:
                prediction = grown.predict(values, check_input=False)
                total[chunk] += prediction.reshape(len(values), -1)
        return total / np.float32(n_trees)

    def fit_and_predict(copy: CopyRows, copy_seed: int) -> NDArray[np.float32]:
        with config_context(skip_parameter_validation=True):
            return predict(copy, grow(copy.train, copy_seed))

    tasks = [
        functools.partial(fit_and_predict, copy, int(copy_seed))
        for copy, copy_seed in zip(plan, seeds, strict=True)
    ]
    return list(run_tasks(tasks, n_jobs, shares_memory=True))
