"""Likelihood of labels of which a share is wrong, row by row in plain loops."""

import math


def label_log_likelihood(code, probability, chance, scale, power, offsets):
    """Follow the notes of `estimate_label_noise`; chances from 0.00001 to 1."""
    n_classes = len(offsets)
    centred = []
    for row in probability:
        logs = [math.log(min(max(p, 1e-5), 1.0)) for p in row]
        mean = sum(logs) / n_classes
        centred.append([one - mean for one in logs])
    length = math.sqrt(sum(z * z for row in centred for z in row) / len(centred))
    total = 0.0
    for label, row in zip(code, centred, strict=True):
        weights = []
        for z, offset in zip(row, offsets, strict=True):
            z *= 2.0 / length
            bent = math.copysign(((1.0 + abs(z)) ** power - 1.0) / power, z)
            weights.append(math.exp(scale * bent + offset))
        right = weights[label] / sum(weights)
        total += math.log((1.0 - chance) * right + chance / n_classes)
    return total


def target_log_likelihood(
    place, values, shares, prediction, chance, unit, shift, slope, log_scale, tilt, free
):
    """Follow the notes of `estimate_target_noise`; `shift` and scales in units."""
    n_rows = len(prediction)
    centre = sum(prediction) / n_rows
    spread = math.sqrt(sum((f - centre) ** 2 for f in prediction) / n_rows)
    total = 0.0
    for own, f in zip(place, prediction, strict=True):
        step = min(max((f - centre) / spread, -3.0), 3.0)
        scale = unit * math.exp(log_scale + tilt * step)
        middle = centre + unit * shift + slope * (f - centre)
        weights = []
        for value, share in zip(values, shares, strict=True):
            distance = (value - middle) / scale
            weights.append(share * (1.0 + distance**2 / free) ** (-0.5 * (free + 1.0)))
        right = weights[own] / sum(weights)
        total += math.log((1.0 - chance) * right + chance * shares[own])
    return total
