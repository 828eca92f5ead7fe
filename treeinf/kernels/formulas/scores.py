"""Raw scores of a tile of rows."""

from __future__ import annotations

from treeinf.kernels.compilation import kernel

__all__ = ["add_iteration", "add_tree", "apply_weights", "start_scores"]


@kernel
def start_scores(base_score, offset, begin, n, raw_score):
    """Set raw scores to those before the first tree.

    Parameters
    ----------
    base_score : ndarray of float64, shape (n_outputs,)
        Base score of the ensemble.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Initial score of each row, on top; empty for none.
    begin, n : int64
        See `treeinf.kernels.flat`.
    raw_score : ndarray of float64, shape (n_outputs, >= n)
        Output, overwritten.
    """
    for k in range(base_score.size):
        for i in range(n):
            raw_score[k, i] = base_score[k]
    if offset.shape[0] > 0:
        for i in range(n):
            for k in range(base_score.size):
                raw_score[k, i] += offset[begin + i, k]


@kernel
def add_tree(leaf, leaves, tree, begin, n, raw_score):
    """Add the leaf values of one tree to raw scores.

    Parameters
    ----------
    leaf, leaves, begin, n
        See `treeinf.kernels.flat`.
    tree : int64
        The tree.
    raw_score : ndarray of float64, shape (n_outputs, >= n)
        Changed in place.
    """
    tree_leaf = leaf[leaves.leaf_row[tree]]
    leaf_width = leaves.leaf_value.shape[1]
    # without an offset in the index, LLVM need not check it for counting from the end
    value = leaves.leaf_value[leaves.leaf_offset[tree] :]
    for column in range(leaf_width):
        k = leaves.output[tree] if leaf_width == 1 else column
        for i in range(n):
            raw_score[k, i] += value[tree_leaf[begin + i], column]


@kernel
def add_iteration(leaf, leaves, iteration, begin, n, raw_score):
    """Add the leaf values of the trees of one iteration; see `add_tree`."""
    start = leaves.iteration_start
    for tree in range(start[iteration], start[iteration + 1]):
        add_tree(leaf, leaves, tree, begin, n, raw_score)


@kernel
def apply_weights(weight, begin, n, values):
    """Multiply values of a tile by the weights of its rows.

    Parameters
    ----------
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights; empty for weights of 1.
    begin, n : int64
        See `treeinf.kernels.flat`.
    values : ndarray of float64, shape (n_lines, >= n)
        Changed in place.
    """
    if weight.size > 0:
        for k in range(values.shape[0]):
            for i in range(n):
                values[k, i] *= weight[begin + i]
