"""Kernel ridge regression without each row, by refitting; plain loops, and slow."""

import numpy as np


def place_rows(X):
    """Replace columns by normal scores of ranks; those of two values by z-scores."""
    from statistics import NormalDist

    place = np.empty(X.shape)
    for j in range(X.shape[1]):
        column = X[:, j]
        if len(set(column.tolist())) <= 2:
            place[:, j] = (column - column.mean()) / column.std()
            continue
        for i, value in enumerate(column):
            below = sum(other < value for other in column)
            equal = sum(other == value for other in column)
            rank = below + (equal + 1) / 2
            place[i, j] = NormalDist().inv_cdf((rank - 0.5) / len(column))
    return place


def median_distance(place):
    """Median distance of rows that are apart."""
    n_rows = len(place)
    apart = []
    for i in range(n_rows):
        for j in range(n_rows):
            distance = np.sqrt(((place[i] - place[j]) ** 2).sum())
            if distance > 0:
                apart.append(distance)
    return np.median(apart)


def leave_one_out(place, target, weight, scale, penalty, group=None):
    """Predict each row by a model fitted to other groups; the mean is of all rows."""
    n_rows = len(place)
    group = np.arange(n_rows) if group is None else group
    unit = median_distance(place) * np.sqrt(scale)
    kernel = np.empty((n_rows, n_rows))
    for i in range(n_rows):
        for j in range(n_rows):
            distance = np.sqrt(((place[i] - place[j]) ** 2).sum())
            kernel[i, j] = np.exp(-distance / unit)
    mean = (weight[:, None] * target).sum(axis=0) / weight.sum()
    prediction = np.empty_like(target)
    for i in range(n_rows):
        others = [j for j in range(n_rows) if group[j] != group[i]]
        # least weighted squares plus the penalty times the squared norm
        system = kernel[np.ix_(others, others)] + np.diag(penalty / weight[others])
        coefficient = np.linalg.solve(system, target[others] - mean)
        prediction[i] = mean + kernel[i, others] @ coefficient
    return prediction


def leave_one_out_best(X, target, weight, scales, penalties, group=None):
    """Predict by the scale and the penalty of the least weighted squared error."""
    place, weight = place_rows(X), weight / weight.max()
    best = None
    for scale in scales:
        for penalty in penalties:
            prediction = leave_one_out(place, target, weight, scale, penalty, group)
            error = (weight[:, None] * (target - prediction) ** 2).mean()
            if best is None or error < best[0]:
                best = (error, prediction)
    return best[1]
