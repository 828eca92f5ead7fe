"""Leaf values from sums of gradients and hessians, leaf by leaf and along paths."""

from __future__ import annotations

import numpy as np

from treeinf.kernels.compilation import kernel
from treeinf.kernels.rules import newton_step

__all__ = ["fit_leaves", "smooth_tree", "smooth_trees"]


@kernel
def fit_leaves(gradient, hessian, l2, l1, max_value, min_hessian, step, response):
    """Apply `newton_step` to every leaf.

    Parameters
    ----------
    gradient, hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Sums over each leaf's train rows.
    l2 : ndarray of float64, shape (n_leaves,)
        L2 penalties.
    l1, max_value, min_hessian : float64
        See `newton_step`.
    step, response : ndarray of float64, shape (n_leaves, leaf_width)
        Outputs, overwritten.
    """
    for number in range(gradient.shape[0]):
        for column in range(gradient.shape[1]):
            step[number, column], response[number, column] = newton_step(
                *(gradient[number, column], hessian[number, column], l2[number]),
                *(l1, max_value, min_hessian),
            )


@kernel
def smooth_tree(
    left, right, l2, l1, max_value, path_smooth, gradient, hessian, count, value
):
    """Shrink the values of one output of a tree towards their parents', from the root.

    A node of n rows keeps n / (n + path_smooth) of its own value, the root all of it;
    the l2 of an inner node is the smallest of the tree's leaves.

    Parameters
    ----------
    left, right : ndarray of int32, shape (n_nodes,)
        Children; ``~leaf`` for a leaf.
    l2 : ndarray of float64, shape (n_leaves,)
        L2 penalties.
    l1, max_value : float64
        See `newton_step`.
    path_smooth : float64
        Strength of the smoothing.
    gradient, hessian, count : ndarray of float64, shape (n_leaves,)
        Sums over each leaf's train rows, and their number.
    value : ndarray of float64, shape (n_leaves,)
        Leaf values before shrinkage; changed in place.
    """
    n_nodes = left.size
    if n_nodes == 0:
        return
    smallest_l2 = l2.min()
    order = np.empty(n_nodes, np.int64)
    order[0] = 0
    n_ordered = 1
    for i in range(n_nodes):
        for child in (left[order[i]], right[order[i]]):
            if child >= 0:
                order[n_ordered] = child
                n_ordered += 1
    node_sum = np.zeros((n_nodes, 3))
    for i in range(n_nodes - 1, -1, -1):
        node = order[i]
        for child in (left[node], right[node]):
            if child >= 0:
                node_sum[node] += node_sum[child]
            else:
                node_sum[node, 0] += gradient[~child]
                node_sum[node, 1] += hessian[~child]
                node_sum[node, 2] += count[~child]
    parent_value = np.zeros(n_nodes)
    for i in range(n_nodes):
        node = order[i]
        share = node_sum[node, 2] / (node_sum[node, 2] + path_smooth)
        step, _ = newton_step(
            node_sum[node, 0], node_sum[node, 1], smallest_l2, l1, max_value, 0.0
        )
        # LightGBM leaves the root's own value as it is
        smoothed = step
        if i > 0:
            smoothed = share * step + (1.0 - share) * parent_value[node]
        for child in (left[node], right[node]):
            if child >= 0:
                parent_value[child] = smoothed
            else:
                share = count[~child] / (count[~child] + path_smooth)
                value[~child] = share * value[~child] + (1.0 - share) * smoothed


@kernel
def smooth_trees(
    node_offset,
    leaf_offset,
    left,
    right,
    l2,
    l1,
    max_value,
    path_smooth,
    gradient,
    hessian,
    count,
    value,
):
    """Apply `smooth_tree` to every output of every tree.

    Parameters
    ----------
    node_offset, leaf_offset, left, right
        See `FlatTrees`.
    l2, l1, max_value, path_smooth
        See `smooth_tree`.
    gradient, hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Sums over each leaf's train rows.
    count : ndarray of float64, shape (n_leaves,)
        Train rows in each leaf.
    value : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage; changed in place.
    """
    for tree in range(node_offset.size - 1):
        first, last = leaf_offset[tree], leaf_offset[tree + 1]
        nodes = slice(node_offset[tree], node_offset[tree + 1])
        for column in range(value.shape[1]):
            smooth_tree(
                *(left[nodes], right[nodes], l2[first:last]),
                *(l1, max_value, path_smooth),
                *(gradient[first:last, column], hessian[first:last, column]),
                *(count[first:last], value[first:last, column]),
            )
