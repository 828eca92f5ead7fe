"""Derivatives of losses in the weights of train rows, by refits in plain loops."""

import numpy as np

_CHANGE = 1e-4


def refit(trace, weight):
    """Return the base score and leaf values of a refit with these weights."""
    ensemble, rows = trace.ensemble, trace.rows
    estimate = trace.base_estimate
    base = ensemble.base_score.copy()
    if estimate.kind != "fixed":
        before = estimate.weight * weight
        share = estimate.share
        base += share * (
            estimate.loss.base_score(estimate.target, before)
            - estimate.loss.base_score(estimate.target, estimate.weight)
        )
    score = np.tile(base, (rows.n_rows, 1))
    values = np.empty(ensemble.n_leaves)
    own = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    for iteration in range(ensemble.n_iterations):
        gradient, hessian = ensemble.loss.derivatives(rows.y, score)
        trees = np.flatnonzero(ensemble.iteration == iteration)
        for tree in trees:
            k, factor = ensemble.output[tree], rows.bags.row_factors(tree)
            used = own * weight * (1.0 if factor is None else factor)
            first, last = ensemble.leaf_offset[tree : tree + 2]
            leaf = rows.leaf[ensemble.row_of_tree[tree]].astype(int)
            total = np.bincount(leaf, used * hessian[:, k], last - first)
            total += ensemble.leaf_l2[first:last]
            step = -np.bincount(leaf, used * gradient[:, k], last - first) / total
            if last - first == 1:
                step[:] = 0.0
            values[first:last] = ensemble.shrinkage[tree] * step
        for tree in trees:
            first = ensemble.leaf_offset[tree]
            leaf = rows.leaf[ensemble.row_of_tree[tree]].astype(int)
            score[:, ensemble.output[tree]] += values[first + leaf]
    return base, values


def raw_scores(ensemble, base, values, leaf):
    score = np.tile(base, (leaf.shape[1], 1))
    for tree in range(ensemble.n_trees):
        numbers = ensemble.leaf_offset[tree] + leaf[tree].astype(int)
        score[:, ensemble.output[tree]] += values[numbers]
    return score


def differentiate_losses(trace, rows, X, y):
    """Return the slope of each row's loss in the weight of train rows.

    Leaf values are refitted, splits and bags as they are; central differences. Trees
    hold one output each, and take one Newton step.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    rows : sequence of int
        Train rows.
    X, y : ndarray
        Rows to explain, and their targets as the loss reads them.

    Returns
    -------
    ndarray, shape (n_given, n_test)
    """
    ensemble = trace.ensemble
    leaf = ensemble.apply(X).T
    slopes = []
    for row in rows:
        losses = []
        for change in (_CHANGE, -_CHANGE):
            weight = np.ones(trace.rows.n_rows)
            weight[row] += change
            score = raw_scores(ensemble, *refit(trace, weight), leaf)
            losses.append(ensemble.loss.loss(y, score))
        slopes.append((losses[0] - losses[1]) / (2.0 * _CHANGE))
    return np.array(slopes)
