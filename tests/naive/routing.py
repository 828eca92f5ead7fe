"""Rows to leaves to raw scores, one row and one node at a time."""

import math

import numpy as np


def find_leaves(ensemble, rows):
    """Leaf of each row in each tree, shape (n_rows, n_trees)."""
    rows = np.asarray(rows, dtype=np.float64)
    leaves = np.empty((len(rows), len(ensemble.iteration)), dtype=np.int64)
    for i, row in enumerate(rows):
        for tree in range(len(ensemble.iteration)):
            leaves[i, tree] = _find_leaf(ensemble, tree, row)
    return leaves


def raw_scores(ensemble, rows):
    """Raw scores, shape (n_rows, n_outputs)."""
    n_outputs = len(ensemble.base_score)
    scores = np.empty((len(rows), n_outputs))
    for i, leaves in enumerate(find_leaves(ensemble, rows)):
        scores[i] = ensemble.base_score
        for tree, leaf in enumerate(leaves):
            value = ensemble.leaf_value[ensemble.leaf_offset[tree] + leaf]
            if ensemble.output[tree] < 0:
                scores[i] += value
            else:
                scores[i, ensemble.output[tree]] += value[0]
    return scores


def _find_leaf(ensemble, tree, row):
    start = ensemble.node_offset[tree]
    if ensemble.node_offset[tree + 1] == start:
        return 0
    child = 0
    while child >= 0:
        node = start + child
        value = float(row[ensemble.feature[node]])
        if ensemble.input_rules.round_to_single:
            value = float(np.float32(value))
        goes_left = _goes_left(ensemble, node, value)
        child = int(ensemble.left[node] if goes_left else ensemble.right[node])
    return ~child


def _goes_left(ensemble, node, value):
    if abs(value) <= ensemble.input_rules.zero_threshold:
        value = 0.0
    if ensemble.is_categorical[node]:
        if math.isnan(value):
            return bool(ensemble.default_left[node])
        first, last = ensemble.category_offset[node : node + 2]
        if value <= ensemble.input_rules.category_floor:
            return False
        return _is_in_set(ensemble.category_bits[first:last], value)
    missing = ensemble.missing[node]
    if math.isnan(value) and missing != 2:
        value = 0.0
    if (missing == 1 and value == 0.0) or (missing == 2 and math.isnan(value)):
        return bool(ensemble.default_left[node])
    return value <= ensemble.threshold[node]


def _is_in_set(words, value):
    if math.isinf(value):
        return False
    category = int(value)  # toward zero
    if category < 0 or category // 32 >= len(words):
        return False
    return bool(int(words[category // 32]) >> (category % 32) & 1)
