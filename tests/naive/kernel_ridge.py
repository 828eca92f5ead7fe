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


def compute_kernel(first, second, unit, scale):
    """Return the kernel of each row of the first table and each of the second."""
    kernel = np.empty((len(first), len(second)))
    for i in range(len(first)):
        for j in range(len(second)):
            distance = np.sqrt(((first[i] - second[j]) ** 2).sum())
            kernel[i, j] = np.exp(-distance / (unit * np.sqrt(scale)))
    return kernel


def predict(place, target, weight, train, scored, unit, scale, penalty):
    """Predict rows by a model of others: least weighted squares plus a penalty."""
    mean = (weight[train, None] * target[train]).sum(axis=0) / weight[train].sum()
    kernel = compute_kernel(place[train], place[train], unit, scale)
    system = kernel + np.diag(penalty / weight[train])
    coefficient = np.linalg.solve(system, target[train] - mean)
    return mean + compute_kernel(place[scored], place[train], unit, scale) @ coefficient


def leave_one_out_error(place, target, weight, unit, scale, penalty):
    """Sum the weighted squared errors of refits without each row; one mean for all."""
    rows = np.arange(len(place))
    centred = target - (weight[:, None] * target).sum(axis=0) / weight.sum()
    error = 0.0
    for i in rows:
        others = rows[rows != i]
        kernel = compute_kernel(place[others], place[others], unit, scale)
        system = kernel + np.diag(penalty / weight[others])
        coefficient = np.linalg.solve(system, centred[others])
        reach = compute_kernel(place[[i]], place[others], unit, scale)
        error += weight[i] * ((centred[i] - (reach @ coefficient)[0]) ** 2).sum()
    return error


def predict_best(X, target, weight, folds, members, scored, scales, penalties):
    """Predict rows by models of some folds, of the least error within the folds."""
    place, weight = place_rows(X), weight / weight.max()
    unit = median_distance(place)
    best = None
    for scale in scales:
        for penalty in penalties:
            error = sum(
                leave_one_out_error(
                    place[fold], target[fold], weight[fold], unit, scale, penalty
                )
                for fold in (folds[number] for number in members)
            )
            if best is None or error < best[0]:
                best = error, scale, penalty
    train = np.concatenate([folds[number] for number in members])
    return predict(place, target, weight, train, scored, unit, *best[1:])
