"""Infer learning rates and initial scores included in LightGBM's leaf values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.files import LightGBMFile
from treeinf.adapters.lightgbm.objectives import estimates_initial_score
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.dtypes import FLAG, REAL

__all__ = ["find_folded_scores", "folded_share", "tree_shrinkage"]


def find_folded_scores(
    file: LightGBMFile, parameters: LightGBMParameters, leaf_offset: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Find the outputs whose first tree holds an initial score.

    LightGBM sets the shrinkage of a tree to 1 when it adds the initial score to its
    leaves. So a first tree with another shrinkage includes none, whatever the
    parameters (the rows had an init_score, or the estimate was 0). All averaged trees
    include it, but they are never replayed.
    """
    trees = file.trees
    folded = np.zeros(file.n_outputs, FLAG)
    if file.average_output or not estimates_initial_score(file):
        return folded
    for output in range(file.n_outputs):
        if trees.n_leaves[output] == 1:
            folded[output] = trees.leaf_value[leaf_offset[output]] != 0.0
        elif parameters.is_dart:
            folded[output] = parameters.flag("boost_from_average")
        elif trees.shrinkage[output] == 1.0:
            rate = _next_rate(file, output)
            is_evident = parameters.number("learning_rate") != 1.0 and rate != 1.0
            folded[output] = is_evident or parameters.flag("boost_from_average")
    return folded


def folded_share(
    file: LightGBMFile, parameters: LightGBMParameters, folded: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the share of the initial score in each output's first tree.

    A first tree that dart scaled later holds an initial score scaled like it.
    """
    share = folded.astype(REAL)
    if parameters.is_dart:
        share *= file.trees.shrinkage[: file.n_outputs]
    return share


def _next_rate(file: LightGBMFile, output: int) -> float | None:
    """Return the shrinkage of an output's first later tree of more than one leaf."""
    trees = file.trees
    later = np.arange(output + file.n_outputs, len(trees.n_leaves), file.n_outputs)
    later = later[trees.n_leaves[later] > 1]
    return float(trees.shrinkage[later[0]]) if len(later) else None


def tree_shrinkage(
    file: LightGBMFile,
    parameters: LightGBMParameters,
    folded: NDArray[np.bool_],
    notes: list[str],
    assumed: list[str],
) -> NDArray[np.float64]:
    """Return the learning rate inside each tree's leaf values.

    The file has six digits of it, and 1 for a tree that includes an initial score.
    """
    trees = file.trees
    if file.average_output:
        n_iterations = len(trees.n_leaves) // file.n_outputs
        return np.full(len(trees.n_leaves), 1.0 / n_iterations, REAL)
    shrinkage = trees.shrinkage.copy()
    is_dart = parameters.is_dart
    has_rate = trees.n_leaves > 1
    is_first = np.arange(len(shrinkage)) < file.n_outputs
    for output in np.flatnonzero(folded & has_rate[: file.n_outputs]).tolist():
        rate = _next_rate(file, output)
        if is_dart:
            shrinkage[output] *= parameters.number("learning_rate")
        elif rate is not None:
            shrinkage[output] = rate
        else:
            shrinkage[output] = parameters.number("learning_rate")
            assumed.append("learning_rate")
    rates = np.unique(shrinkage[has_rate & ~is_first])
    if len(rates) > 1 and not is_dart and folded.any():
        notes.append(
            "Learning rates change from iteration to iteration and that of the first "
            f"one is not in the file; {shrinkage[0]:g}, the next one's, is assumed."
        )
    for rate in np.unique(shrinkage):
        shrinkage[shrinkage == rate] = parameters.unround("learning_rate", float(rate))
    return shrinkage
