"""Recalibration by two numbers: a temperature, and a share of labels drawn at random.

References
----------
G. Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach", CVPR 2017, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TINY",
    "calibrated_losses",
    "fit_calibration",
    "pick",
]

TINY = 1e-6
_EXPONENTS = np.array([0.25, 0.35, 0.5, 0.7, 0.85, 1.0])
_NOISE = np.linspace(0.0, 0.9, 46)


def pick(
    probability: NDArray[np.float64], code: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give each row's probability of its own label."""
    values: NDArray[np.float64] = probability[np.arange(len(code)), code]
    return values


def _temper(probability: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Soften probabilities by a power below 1."""
    powered = np.maximum(probability, TINY) ** exponent
    tempered: NDArray[np.float64] = powered / powered.sum(axis=1, keepdims=True)
    return tempered


def _mix(
    own: NDArray[np.float64], noise: float | NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Mix the label's probability with that of a label drawn at random."""
    mixed: NDArray[np.float64] = (1.0 - noise) * own + noise / n_classes
    return mixed


def fit_calibration(
    code: NDArray[np.int64], probability: NDArray[np.float64]
) -> tuple[float, float]:
    """Find the exponent and the share of noise of least log loss, on a grid."""
    best = (np.inf, 1.0, 0.0)
    for exponent in _EXPONENTS:
        own = pick(_temper(probability, exponent), code)
        mixed = _mix(own, _NOISE[:, np.newaxis], probability.shape[1])
        losses = -np.log(np.maximum(mixed, TINY)).mean(axis=1)
        place = int(losses.argmin())
        if losses[place] < best[0]:
            best = (float(losses[place]), float(exponent), float(_NOISE[place]))
    return best[1], best[2]


def calibrated_losses(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    exponent: float,
    noise: float,
) -> NDArray[np.float64]:
    """Give each row's log loss after recalibration."""
    own = pick(_temper(probability, exponent), code)
    mixed = _mix(own, noise, probability.shape[1])
    losses: NDArray[np.float64] = -np.log(np.maximum(mixed, TINY))
    return losses
