"""Tree kernels as dense features, and TreeSim, in plain loops.

Nothing of treeinf is used but plain attributes of its data classes. Slow on purpose.
"""

import math


def list_nodes(ensemble, tree, leaf):
    """Nodes from the root to a leaf, by trying every way down; the leaf is ~leaf."""
    first, last = (int(k) for k in ensemble.node_offset[tree : tree + 2])
    if first == last:
        return [~leaf]

    def search(child):
        if child < 0:
            return [child] if child == ~leaf else None
        for following in (ensemble.left, ensemble.right):
            below = search(int(following[first + child]))
            if below is not None:
                return [child, *below]
        return None

    return search(0)


def tree_values(ensemble, tree, leaf):
    """Values of a leaf, one an output the tree holds; of two classes the second."""
    values = ensemble.leaf_value[int(ensemble.leaf_offset[tree]) + leaf].tolist()
    return values[1:] if ensemble.is_averaged and len(values) == 2 else values


def dense_features(ensemble, kernel, train_leaves, leaves):
    """Features of rows as lists of numbers; `leaves[i][t]` is a row's leaf in tree t.

    A tree that holds several outputs is as many trees.
    """
    weighted = kernel.startswith("weighted_")
    kind = kernel.removeprefix("weighted_")

    def entries(row_leaves):
        """Keys and values of the features of a row that are not 0."""
        found = {}
        for tree, leaf in enumerate(row_leaves):
            for output, value in enumerate(tree_values(ensemble, tree, leaf)):
                if kind == "tree_output":
                    found[tree, output] = value
                    continue
                own = value if kind.endswith("output") else 1.0
                if kind.startswith("leaf"):
                    found[tree, output, ~leaf] = own
                    continue
                for node in list_nodes(ensemble, tree, leaf):
                    found[tree, output, node] = own if node < 0 else 1.0
        return found

    train = [entries(row) for row in train_leaves]
    count = {}
    for row in train:
        for key in row:
            count[key] = count.get(key, 0) + 1
    rows = [entries(row) for row in leaves]
    keys = sorted({key for row in [*train, *rows] for key in row})
    table = []
    for row in rows:
        line = []
        for key in keys:
            value = row.get(key, 0.0)
            if weighted:
                value = value / count[key] if key in count else 0.0
            line.append(value)
        table.append(line)
    return table


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def similarity(a, b, measure):
    """Similarity of two rows of features."""
    if measure == "dot":
        return dot(a, b)
    if measure == "cosine":
        lengths = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
        return dot(a, b) / lengths if lengths > 0.0 else 0.0
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    return 1.0 / (1.0 + math.sqrt(dot(gaps, gaps)))


def agreement(train_target, target, prediction):
    """1 or -1; `prediction` of the test row, None where targets are classes."""
    if prediction is None:
        return 1.0 if train_target == target else -1.0
    return 1.0 if (train_target >= prediction) == (target >= prediction) else -1.0
