"""LeafInfluence as published: each removal pushed forward through all rows.

Sharchilev et al. 2018, algorithm 2, in plain loops: O(n_train^2 n_trees) for each
output. Outputs are handled each on its own, as published.
"""

import math

from tests.naive.boosting import sigmoid


def second_and_third(name, parameter, target, score):
    """Derivatives of gradient and hessian in the row's own output, one an output."""
    if name == "SquaredError":
        return [1.0], [0.0]
    if name in ("Logistic", "CrossEntropy"):
        p = sigmoid(parameter * score[0])
        second = parameter**2 * p * (1.0 - p)
        return [second], [parameter * second * (1.0 - 2.0 * p)]
    if name == "Softmax":
        shifted = [math.exp(s - max(score)) for s in score]
        ps = [e / sum(shifted) for e in shifted]
        # as published: the library's hessian, factor and all, for the slope
        return (
            [parameter * p * (1.0 - p) for p in ps],
            [parameter * p * (1.0 - p) * (1.0 - 2.0 * p) for p in ps],
        )
    if name == "OneVsAll":
        pairs = [second_and_third("Logistic", parameter, target, [s]) for s in score]
        return [a[0] for a, _ in pairs], [b[0] for _, b in pairs]
    if name == "Poisson":
        return [math.exp(score[0])], [math.exp(score[0] + parameter)]
    if name == "Gamma":
        ratio = target * math.exp(-score[0])
        return [ratio], [-ratio]
    if name == "Tweedie":
        a, b = 1.0 - parameter, 2.0 - parameter
        first, second = target * math.exp(a * score[0]), math.exp(b * score[0])
        return [b * second - a * first], [b * b * second - a * a * first]
    if name == "Fair":
        r = score[0] - target
        size = abs(r) + parameter
        slope = parameter**2 / size**2
        return [slope], [-2.0 * math.copysign(1.0, r) * slope / size]
    raise ValueError(name)


def staged_scores(model, leaves):
    """Scores of one row before each tree."""
    score, before = list(model.base), []
    t = 0
    while t < len(leaves):
        end = t
        while end < len(leaves) and model.iterations[end] == model.iterations[t]:
            before.append(list(score))
            end += 1
        for s in range(t, end):
            score[model.outputs[s]] += model.values[s][leaves[s]]
        t = end
    return before, score


def leaf_influence(
    model,
    train_leaves,
    targets,
    weights,
    test_leaves,
    test_targets,
    derivatives,
    single_point=False,
    factors=None,
    removed=None,
):
    """Influence of train row i on test row j by the forward recursion.

    Single point: of the train rows, the removed one alone answers to its new score.
    `factors[i][t]` is what row i counted for in tree t; None for 1.
    `removed` are the rows i; None for all.
    """
    n, n_trees = len(train_leaves), len(model.values)
    naive = [[0.0] * n_trees for _ in range(n)]
    carry = [[0.0] * n_trees for _ in range(n)]
    for i in range(n):
        before, _ = staged_scores(model, train_leaves[i])
        for t in range(n_trees):
            k = model.outputs[t]
            g, h = derivatives(model.name, model.parameter, targets[i], before[t])
            second, third = second_and_third(
                model.name, model.parameter, targets[i], before[t]
            )
            theta = model.values[t][train_leaves[i][t]] / model.shrinkage[t]
            used = weights[i] * (1.0 if factors is None else factors[i][t])
            naive[i][t] = used * (g[k] + theta * h[k])
            carry[i][t] = used * (second[k] + theta * third[k])
    _, hessian = model.leaf_sums(train_leaves, targets, weights, factors)
    final = []
    for leaves, y in zip(test_leaves, test_targets, strict=True):
        _, score = staged_scores(model, leaves)
        final.append(derivatives(model.name, model.parameter, y, score)[0])
    result = []
    for i in range(n) if removed is None else removed:
        n_outputs = len(model.base)
        change = [[0.0] * n_outputs for _ in range(n)]
        line = [0.0] * len(test_leaves)
        for t in range(n_trees):
            k = model.outputs[t]
            sums = [0.0] * len(model.values[t])
            for r in [i] if single_point else range(n):
                sums[train_leaves[r][t]] += change[r][k] * carry[r][t]
            sums[train_leaves[i][t]] += naive[i][t]
            step = [
                -model.shrinkage[t] * s / (hessian[t][leaf] + model.l2[t][leaf])
                for leaf, s in enumerate(sums)
            ]
            if len(step) == 1:
                step = [0.0]
            for r in range(n):
                change[r][k] += step[train_leaves[r][t]]
            for j, leaves in enumerate(test_leaves):
                # minus the derivative of the loss in the logarithm of the weight
                line[j] -= step[leaves[t]] * final[j][k]
        result.append(line)
    return result
