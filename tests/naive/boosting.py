"""Boosting, its replay and BoostIn in plain loops, straight from the papers.

Nothing of treeinf is used but plain attributes of its data classes. Slow on purpose.
"""

import itertools
import math


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def derivatives(name, parameter, target, score):
    """Gradient and hessian of one row, one entry an output, by the textbook."""
    if name == "SquaredError":
        return [score[0] - target], [1.0]
    if name in ("Logistic", "CrossEntropy"):
        p = sigmoid(parameter * score[0])
        return [parameter * (p - target)], [parameter**2 * p * (1.0 - p)]
    if name == "Softmax":
        shifted = [math.exp(s - max(score)) for s in score]
        p = [e / sum(shifted) for e in shifted]
        return (
            [p[k] - (1.0 if target == k else 0.0) for k in range(len(p))],
            [parameter * p[k] * (1.0 - p[k]) for k in range(len(p))],
        )
    if name == "OneVsAll":
        pairs = [
            derivatives("Logistic", parameter, 1.0 if target == k else 0.0, [s])
            for k, s in enumerate(score)
        ]
        return [g[0] for g, _ in pairs], [h[0] for _, h in pairs]
    if name == "Poisson":
        mean = math.exp(score[0])
        return [mean - target], [math.exp(score[0] + parameter)]
    if name == "Gamma":
        return [1.0 - target * math.exp(-score[0])], [target * math.exp(-score[0])]
    if name == "Tweedie":
        a = target * math.exp((1.0 - parameter) * score[0])
        b = math.exp((2.0 - parameter) * score[0])
        return [b - a], [(2.0 - parameter) * b - (1.0 - parameter) * a]
    if name == "HuberExact":
        r = score[0] - target
        inside = abs(r) < parameter
        return [max(-parameter, min(parameter, r))], [1.0 if inside else 0.0]
    if name == "Huber":
        r = score[0] - target
        return [max(-parameter, min(parameter, r))], [1.0]
    if name == "PseudoHuber":
        r = score[0] - target
        root = math.sqrt(1.0 + (r / parameter) ** 2)
        return [r / root], [1.0 / root**3]
    if name == "SquaredLogError":
        s = max(score[0], -1.0 + 1e-6)
        d = math.log(1.0 + s) - math.log(1.0 + target)
        return [d / (s + 1.0)], [max((1.0 - d) / (s + 1.0) ** 2, 1e-6)]
    if name == "Fair":
        r = score[0] - target
        return (
            [parameter * r / (abs(r) + parameter)],
            [parameter**2 / (abs(r) + parameter) ** 2],
        )
    if name == "Exponential":
        if target == 1:
            return [-math.exp(-score[0])], [math.exp(-score[0])]
        return [math.exp(score[0])], [math.exp(score[0])]
    raise ValueError(name)


def staged(leaves, values, outputs, iterations, base, target, name, parameter):
    """Gradient and hessian of one row before each tree, in the tree's output.

    `leaves[t]` is the row's leaf in tree t and `values[t]` that tree's leaf values.
    """
    score = list(base)
    result = []
    for t in range(len(leaves)):
        if t == 0 or iterations[t] != iterations[t - 1]:
            g, h = derivatives(name, parameter, target, score)
        result.append((g[outputs[t]], h[outputs[t]]))
        following = t + 1 == len(leaves) or iterations[t + 1] != iterations[t]
        if following:
            first = t
            while first > 0 and iterations[first - 1] == iterations[t]:
                first -= 1
            for s in range(first, t + 1):
                score[outputs[s]] += values[s][leaves[s]]
    return result, score


class NaiveModel:
    """The parts of an ensemble as lists of lists."""

    def __init__(self, ensemble):
        first = ensemble.leaf_offset.tolist()
        stored = ensemble.leaf_value[:, 0].tolist()
        l2 = ensemble.leaf_l2.tolist()
        self.values = [stored[a:b] for a, b in itertools.pairwise(first)]
        self.l2 = [l2[a:b] for a, b in itertools.pairwise(first)]
        self.outputs = [max(k, 0) for k in ensemble.output.tolist()]
        self.iterations = ensemble.iteration.tolist()
        self.shrinkage = ensemble.shrinkage.tolist()
        self.base = ensemble.base_score.tolist()
        self.name = ensemble.loss.name
        self.parameter = ensemble.loss.parameter
        self.l1 = ensemble.leaf_rule.l1_leaf

    def staged(self, leaves, target):
        return staged(
            leaves,
            self.values,
            self.outputs,
            self.iterations,
            self.base,
            target,
            self.name,
            self.parameter,
        )

    def leaf_sums(self, leaves, targets, weights, factors=None):
        """Sums of weighted gradients and hessians: [tree][leaf].

        `factors[i][t]` is what row i counted for in tree t; None for 1.
        """
        gradient = [[0.0] * len(v) for v in self.values]
        hessian = [[0.0] * len(v) for v in self.values]
        for i, (row, target) in enumerate(zip(leaves, targets, strict=True)):
            for t, (g, h) in enumerate(self.staged(row, target)[0]):
                used = weights[i] * (1.0 if factors is None else factors[i][t])
                gradient[t][row[t]] += used * g
                hessian[t][row[t]] += used * h
        return gradient, hessian


def boostin(
    model,
    train_leaves,
    train_targets,
    weights,
    test_leaves,
    test_targets,
    theta="exact",
    count_power=0,
):
    """BoostIn, equation by equation: influence[i][j], positive is helpful."""
    gradient, hessian = model.leaf_sums(train_leaves, train_targets, weights)
    counts = [[0] * len(v) for v in model.values]
    for row in train_leaves:
        for t, leaf in enumerate(row):
            counts[t][leaf] += 1
    tests = [
        model.staged(row, y)[0]
        for row, y in zip(test_leaves, test_targets, strict=True)
    ]
    result = []
    for row, y, w in zip(train_leaves, train_targets, weights, strict=True):
        line = []
        own = model.staged(row, y)[0]
        for other, test in zip(test_leaves, tests, strict=True):
            total = 0.0
            for t in range(len(row)):
                leaf = row[t]
                if other[t] != leaf or len(model.values[t]) == 1:
                    continue
                if abs(gradient[t][leaf]) <= model.l1 and model.l1 > 0:
                    continue
                value = model.values[t][leaf]
                if theta == "exact":
                    value /= model.shrinkage[t]
                g, h = own[t]
                change = w * (g + value * h) / (hessian[t][leaf] + model.l2[t][leaf])
                change *= model.shrinkage[t] / counts[t][leaf] ** count_power
                total += change * test[t][0]
            line.append(total)
        result.append(line)
    return result
