"""Tables of confusions by counting and stepping row by row; plain loops, and slow."""

import numpy as np


def find_confusions(probability, code, n_rounds=15, sharpness=4.0, prior_rows=0.3):
    """Find the confusions and the true classes; see the function of the package."""
    n_rows, n_classes = probability.shape
    truth = np.empty((n_rows, n_classes))
    for i in range(n_rows):
        powers = [float(p) ** sharpness for p in probability[i]]
        truth[i] = [power / sum(powers) for power in powers]
    for _ in range(n_rounds):
        counts = np.zeros((n_classes, n_classes))
        for i in range(n_rows):
            for t in range(n_classes):
                counts[t, code[i]] += truth[i, t]
        right = sum(counts[t, t] for t in range(n_classes)) / n_rows
        extra = prior_rows * n_rows / n_classes
        confusion = np.empty((n_classes, n_classes))
        for t in range(n_classes):
            for j in range(n_classes):
                equal = right if t == j else (1.0 - right) / (n_classes - 1)
                confusion[t, j] = counts[t, j] + extra * equal
            confusion[t] /= confusion[t].sum()
        stepped = np.empty_like(truth)
        for i in range(n_rows):
            for t in range(n_classes):
                factor = 0.0
                for j in range(n_classes):
                    fitted = sum(
                        truth[i, s] * confusion[s, j] for s in range(n_classes)
                    )
                    factor += probability[i, j] / fitted * confusion[t, j]
                stepped[i, t] = truth[i, t] * factor
            stepped[i] /= stepped[i].sum()
        truth = stepped
    return confusion, truth


def doubt_labels(probability, code):
    """Give the probability that each label is wrong."""
    confusion, truth = find_confusions(probability, code)
    doubt = np.empty(len(code))
    for i, label in enumerate(code):
        joint = [truth[i, t] * confusion[t, label] for t in range(len(confusion))]
        doubt[i] = 1.0 - joint[label] / sum(joint)
    return doubt
