"""LeafRefit in plain loops: boosting and forests fitted again without some rows.

Nothing of treeinf is used but plain attributes of its data classes. Slow on purpose.
"""

import math

from tests.naive.boosting import derivatives


def newton_step(gradient, hessian, l2, l1=0.0, most=0.0, lightest=0.0):
    """One leaf value before shrinkage."""
    if hessian + l2 <= 0.0 or hessian < lightest or abs(gradient) <= l1:
        return 0.0
    step = -(gradient - math.copysign(l1, gradient)) / (hessian + l2)
    return max(-most, min(most, step)) if most > 0.0 else step


def refit(
    model,
    leaves,
    targets,
    weights,
    removed=(),
    base=None,
    offsets=None,
    l2_factor=1.0,
    unit_hessian=False,
    fits_single_leaf=False,
    late=False,
    factors=None,
    **bounds,
):
    """Leaf values [tree][leaf] without the removed rows.

    `factors[i][tree]` is the factor of row i in the bag of a tree; None for 1.

    `late` takes the gradients for each tree after its own update by the old values, as
    the published implementation does.
    """
    kept = [i for i in range(len(leaves)) if i not in set(removed)]
    base = list(model.base if base is None else base)
    scores = {
        i: [b + o for b, o in zip(base, offsets[i], strict=True)]
        if offsets
        else list(base)
        for i in kept
    }
    values = []
    t = 0
    while t < len(model.values):
        end = t
        while end < len(model.values) and model.iterations[end] == model.iterations[t]:
            end += 1
        if late:
            seen = {i: list(scores[i]) for i in kept}
            for i in kept:
                for s in range(t, end):
                    seen[i][model.outputs[s]] += model.values[s][leaves[i][s]]
        else:
            seen = scores
        found = {
            i: derivatives(model.name, model.parameter, targets[i], seen[i])
            for i in kept
        }
        for s in range(t, end):
            k, size = model.outputs[s], len(model.values[s])
            if size == 1 and not fits_single_leaf:
                values.append(list(model.values[s]))
                continue
            gradient, hessian = [0.0] * size, [0.0] * size
            for i in kept:
                g, h = found[i][0][k], 1.0 if unit_hessian else found[i][1][k]
                weight = weights[i] * (factors[i][s] if factors else 1.0)
                gradient[leaves[i][s]] += weight * g
                hessian[leaves[i][s]] += weight * h
            values.append(
                [
                    model.shrinkage[s]
                    * newton_step(
                        gradient[leaf],
                        hessian[leaf],
                        model.l2[s][leaf] * l2_factor,
                        model.l1,
                        **bounds,
                    )
                    for leaf in range(size)
                ]
            )
        for i in kept:
            for s in range(t, end):
                scores[i][model.outputs[s]] += values[s][leaves[i][s]]
        t = end
    return values


def score(model, values, leaves, base=None):
    """Raw scores of one row under given leaf values."""
    total = list(model.base if base is None else base)
    for t, leaf in enumerate(leaves):
        total[model.outputs[t]] += values[t][leaf]
    return total


def forest_scores(
    paths, train_leaves, rows_value, tree_weights, test_leaves, removed=()
):
    """Mean prediction of one test row by a forest without the removed rows.

    `paths[t][leaf]` is the set of leaves below each node from the leaf itself to the
    root: the first that still holds rows gives the mean.
    """
    width = len(rows_value[0])
    total = [0.0] * width
    for t, leaf in enumerate(test_leaves):
        for below in paths[t][leaf]:
            mass, sums = 0.0, [0.0] * width
            for i, own in enumerate(train_leaves):
                if i in removed or own[t] not in below:
                    continue
                mass += tree_weights[t][i]
                for k in range(width):
                    sums[k] += tree_weights[t][i] * rows_value[i][k]
            if mass > 0.0:
                break
        for k in range(width):
            total[k] += sums[k] / mass / len(test_leaves)
    return total
