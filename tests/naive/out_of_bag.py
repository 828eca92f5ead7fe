"""Out-of-bag sums and steps, row by row and tree by tree.

`factors[t]` is the factor of the row in tree t.
"""


def out_of_bag_sum(model, leaves, factors):
    """Base score plus the leaf values of the trees without the row; their number."""
    score, n = list(model.base), 0
    for t, (leaf, factor) in enumerate(zip(leaves, factors, strict=True)):
        if factor == 0:
            score[model.outputs[t]] += model.values[t][leaf]
            n += 1
    return score, n


def out_of_bag_step(model, leaves, target, factors):
    """Mean of gradient before the tree times leaf value, over trees without the row."""
    products = [
        g * model.values[t][leaves[t]]
        for t, (g, _) in enumerate(model.staged(leaves, target)[0])
        if factors[t] == 0
    ]
    return sum(products) / len(products) if products else 0.0
