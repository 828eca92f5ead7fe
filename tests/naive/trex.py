"""The surrogate of Trex on dense features, and its influence, in plain loops.

Nothing of treeinf is used. Slow on purpose.
"""

import math

from tests.naive.similarity import dot


def predict(kind, score):
    """What the surrogate predicts at the raw scores of one row."""
    if kind == "squared":
        return list(score)
    if kind == "logistic":
        return [1.0 / (1.0 + math.exp(-score[0]))]
    shifted = [math.exp(s - max(score)) for s in score]
    return [e / sum(shifted) for e in shifted]


def scores(table, coefficients):
    """Raw scores of rows; `coefficients[k]` has one number a feature."""
    return [[dot(row, column) for column in coefficients] for row in table]


def gradient(kind, table, targets, weights, l2, coefficients):
    """Gradient of mean loss + l2 |W|^2 in each coefficient, by the textbook."""
    factor = 2.0 if kind == "squared" else 1.0
    result = [[2.0 * l2 * w for w in column] for column in coefficients]
    for i, score in enumerate(scores(table, coefficients)):
        for k, p in enumerate(predict(kind, score)):
            slope = factor * weights[i] / sum(weights) * (p - targets[i][k])
            for f, x in enumerate(table[i]):
                result[k][f] += slope * x
    return result


def loss(kind, target, score):
    """Loss of one row: half the squared difference, or the cross-entropy."""
    if kind == "squared":
        return 0.5 * (score[0] - target) ** 2
    p = predict(kind, score)
    if kind == "logistic":
        return -math.log(p[0] if target == 1 else 1.0 - p[0])
    return -math.log(p[int(target)])


def influence(kind, alpha, table, test_table, test_targets):
    """Loss without each train row's term, less the loss with it."""
    result = []
    for i, row in enumerate(table):
        line = []
        for j, test_row in enumerate(test_table):
            score = [
                math.fsum(
                    alpha[m][k] * dot(table[m], test_row) for m in range(len(table))
                )
                for k in range(len(alpha[0]))
            ]
            without = [
                s - alpha[i][k] * dot(row, test_row) for k, s in enumerate(score)
            ]
            line.append(
                loss(kind, test_targets[j], without)
                - loss(kind, test_targets[j], score)
            )
        result.append(line)
    return result
