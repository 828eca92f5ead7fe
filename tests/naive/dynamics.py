"""Staged gradients and probabilities of one row, and their moments, in plain loops."""

import math

from tests.naive.boosting import derivatives


def stages(model, leaves):
    """Raw scores before each iteration, and after the last; `model` is a NaiveModel."""
    score = [float(value) for value in model.base]
    result = [list(score)]
    iterations = sorted(set(model.iterations))
    for iteration in iterations:
        for tree, leaf in enumerate(leaves):
            if model.iterations[tree] == iteration:
                score[model.outputs[tree]] += float(model.values[tree][leaf])
        result.append(list(score))
    return result


def gradient_moments(name, parameter, target, scores):
    """Mean norm of the gradient, and its variance added up over outputs."""
    gradients = [derivatives(name, parameter, target, score)[0] for score in scores]
    size = sum(math.sqrt(sum(g * g for g in row)) for row in gradients) / len(scores)
    variance = 0.0
    for k in range(len(scores[0])):
        column = [row[k] for row in gradients]
        mean = sum(column) / len(column)
        variance += sum((g - mean) ** 2 for g in column) / len(column)
    return size, variance


def probability_moments(probabilities, target):
    """Mean, deviation and correctness of the own class, from lists over classes."""
    own = [p[target] for p in probabilities]
    mean = sum(own) / len(own)
    deviation = math.sqrt(sum((p - mean) ** 2 for p in own) / len(own))
    hits = [max(range(len(p)), key=p.__getitem__) == target for p in probabilities]
    return mean, deviation, sum(hits) / len(hits)
