"""Back-propagation through the row factors of one iteration, for a tile of rows.

The adjoint of a row's score is minus the derivative of a query with respect to it. One
iteration adds ``u (dg/dF + theta dh/dF)`` to it, where u is the derivative of the query
with respect to the gradient sum of the row's leaf: its *leaf factor*.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treeinf.kernels.compilation import kernel
from treeinf.kernels.formulas.bags import bag_factor

__all__ = [
    "SweepRule",
    "SweepState",
    "apply_leaf_response",
    "apply_softmax_jacobian",
    "back_propagate_full_newton",
    "back_propagate_tree",
]


class SweepRule(NamedTuple):
    """How the row factors of full LeafInfluence follow from scores.

    Attributes
    ----------
    kind : int
        Bits `CROSS_CLASS` and `FULL_NEWTON` of a `FactorRule`.
    n_steps : int
        Iterations that are steps of one tree.
    theta : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage.
    response : ndarray of float64, shape (n_leaves, leaf_width)
        Derivative of each leaf value with respect to its gradient sum, shrinkage
        included; with `inverse_hessian`, minus the shrinkage.
    inverse_hessian : ndarray of float64, \
shape (n_leaves, leaf_width, leaf_width) or (0, ...)
        What the response is multiplied by under full Newton.
    shrinkage : ndarray of float64, shape (n_trees,)
        Read where trees take several steps.
    """

    kind: int
    n_steps: int
    theta: NDArray[np.float64]
    response: NDArray[np.float64]
    inverse_hessian: NDArray[np.float64]
    shrinkage: NDArray[np.float64]


class SweepState(NamedTuple):
    """What the sweep changes of each row, iteration by iteration.

    Attributes
    ----------
    adjoint : ndarray of float64, shape (n_rows, n_outputs, n_queries)
        Minus the derivative of each query with respect to the row's score, through
        later trees.
    inner : ndarray of float64, shape (n_rows, n_outputs, n_queries) or (0, ...)
        The same through later steps of the same tree, divided by the shrinkage. Empty
        where trees take one step.
    influence : ndarray of float64, shape (n_rows, n_queries) or (0, n_queries)
        Added to in place, for rows of weight 1; left alone if it has no rows.
    """

    adjoint: NDArray[np.float64]
    inner: NDArray[np.float64]
    influence: NDArray[np.float64]


@kernel
def apply_leaf_response(rule, first, last, leaf_factor):
    """Turn derivatives with respect to leaf values into those for gradient sums.

    Parameters
    ----------
    rule : SweepRule
        Response of the leaves.
    first, last : int64
        The first leaf, and the one behind the last.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        Changed in place for these leaves.
    """
    leaf_width, n_queries = leaf_factor.shape[1:]
    of_sum = np.empty((leaf_width, n_queries))
    for number in range(first, last):
        of_value = leaf_factor[number]
        for k in range(leaf_width):
            for t in range(n_queries):
                of_value[k, t] *= rule.response[number, k]
        if rule.inverse_hessian.shape[0] > 0:
            of_sum[:] = 0.0
            for k in range(leaf_width):
                for m in range(leaf_width):
                    for t in range(n_queries):
                        of_sum[k, t] += (
                            rule.inverse_hessian[number, k, m] * of_value[m, t]
                        )
            of_value[:] = of_sum


@kernel
def back_propagate_full_newton(
    tree_leaf,
    first,
    begin,
    n,
    rows,
    tree,
    theta,
    leaf_factor,
    gradient,
    probability,
    mean_factor,
    covariance,
    update,
    influence,
):
    """Write the adjoint update through full Newton leaves of one tree.

    Parameters
    ----------
    tree_leaf, begin, n, rows
        See `treeinf.kernels.flat`.
    first : int64
        Number of the tree's first leaf.
    tree : int64
        The tree, whose bag counts.
    theta, leaf_factor
        See `sweep_segment`.
    gradient : ndarray of float64, shape (n_outputs, >= n)
        Without weights.
    probability : ndarray of float64, shape (n_outputs, >= n)
        Of the softmax.
    mean_factor, covariance : ndarray of float64, shape (n_queries,)
        Overwritten.
    update : ndarray of float64, shape (>= n, n_outputs, n_queries)
        Output, overwritten.
    influence : ndarray of float64, shape (n_rows, n_queries) or (0, n_queries)
        Added to in place; left alone if it has no rows.

    Notes
    -----
    With means over the classes by their probabilities p, the derivative of
    ``u' (g + H theta)`` with respect to the score of class c is
    ``p_c ((u_c - mean(u)) (1 + theta_c - mean(theta)) - cov(u, theta))``.
    """
    n_outputs, n_queries = gradient.shape[0], mean_factor.size
    for i in range(n):
        number = first + tree_leaf[begin + i]
        bag = bag_factor(rows, tree, begin + i)
        w = bag * (rows.weight[begin + i] if rows.weight.size > 0 else 1.0)
        mean_theta = 0.0
        for k in range(n_outputs):
            mean_theta += probability[k, i] * theta[number, k]
        mean_factor[:] = 0.0
        covariance[:] = 0.0
        for k in range(n_outputs):
            p, a = probability[k, i], theta[number, k] - mean_theta
            for t in range(n_queries):
                u = leaf_factor[number, k, t]
                mean_factor[t] += p * u
                covariance[t] += p * a * u
        for k in range(n_outputs):
            p, a = probability[k, i], theta[number, k] - mean_theta
            for t in range(n_queries):
                u = leaf_factor[number, k, t]
                update[i, k, t] = (
                    w * p * ((u - mean_factor[t]) * (1.0 + a) - covariance[t])
                )
                if influence.shape[0] > 0:
                    influence[begin + i, t] += bag * u * (gradient[k, i] + p * a)


@kernel
def back_propagate_tree(
    tree_leaf,
    theta,
    leaf_factor,
    column,
    gradient,
    hessian,
    slope,
    third,
    k,
    update,
    influence,
):
    """Add the adjoint update through one output of one tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the tile within the tree.
    theta : ndarray of float64, shape (>= leaves of the tree, leaf_width)
        Leaf values before shrinkage, from the tree's first leaf on.
    leaf_factor : ndarray of float64, shape (>= leaves of the tree, leaf_width, \
n_queries)
        See `sweep_segment`, from the tree's first leaf on.
    column : int64
        Column of the leaf values.
    gradient, hessian : ndarray of float64, shape (>= n,)
        Derivatives of the loss with respect to the output, without weights.
    slope, third : ndarray of float64, shape (>= n,)
        Derivatives of these, with weights.
    k : int64
        The output.
    update : ndarray of float64, shape (>= n, n_outputs, n_queries)
        Added to in place.
    influence : ndarray of float64, shape (n, n_queries) or (0, n_queries)
        Added to in place; left alone if it has no rows.

    Notes
    -----
    One query is a loop over rows, several are a loop over queries in each row.
    """
    n_queries = update.shape[2]
    has_influence = influence.shape[0] > 0
    if n_queries == 1:
        for i in range(tree_leaf.size):
            u = leaf_factor[tree_leaf[i], column, 0]
            value = theta[tree_leaf[i], column]
            update[i, k, 0] += u * (slope[i] + value * third[i])
            if has_influence:
                influence[i, 0] += u * (gradient[i] + value * hessian[i])
        return
    for i in range(tree_leaf.size):
        number = tree_leaf[i]
        change = slope[i] + theta[number, column] * third[i]
        for t in range(n_queries):
            update[i, k, t] += leaf_factor[number, column, t] * change
        if has_influence:
            factor = gradient[i] + theta[number, column] * hessian[i]
            for t in range(n_queries):
                influence[i, t] += leaf_factor[number, column, t] * factor


@kernel
def apply_softmax_jacobian(probability, is_cross_class, n, mean, update):
    """Multiply adjoint updates by the Jacobian of a softmax.

    Parameters
    ----------
    probability : ndarray of float64, shape (n_outputs, >= n)
        Of the softmax.
    is_cross_class : bool
        Use the whole Jacobian, else its diagonal.
    n : int64
        Rows.
    mean : ndarray of float64, shape (n_queries,)
        Overwritten.
    update : ndarray of float64, shape (>= n, n_outputs, n_queries)
        Changed in place.
    """
    n_outputs, n_queries = update.shape[1:]
    for i in range(n):
        mean[:] = 0.0
        if is_cross_class:
            for k in range(n_outputs):
                for t in range(n_queries):
                    mean[t] += probability[k, i] * update[i, k, t]
        for k in range(n_outputs):
            p = probability[k, i]
            for t in range(n_queries):
                others = mean[t] if is_cross_class else p * update[i, k, t]
                update[i, k, t] = p * (update[i, k, t] - others)
