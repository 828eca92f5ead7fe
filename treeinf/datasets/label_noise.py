"""Add noise to labels and targets, to measure how well it is detected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LABEL_KINDS", "TARGET_KINDS", "flip_labels", "shift_targets"]

# A separate stream: with default_rng(seed), a baseline that removes random rows under
# the same seed would remove exactly the flipped ones.
_STREAM = 0x666C6970

LABEL_KINDS = ("uniform", "pairs", "boundary")
TARGET_KINDS = ("outliers", "shuffle")
_MOST_OF_A_CLASS = 0.45
_LEAST_CHANCE = 0.01


def flip_labels(
    y: ArrayLike,
    share: float = 0.2,
    *,
    kind: str = "uniform",
    probability: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Change the labels of a random share of the rows.

    Parameters
    ----------
    y : array-like, shape (n_rows,)
        Labels of two or more classes.
    share : float, default=0.2
        Share of the rows to change, in [0, 1]; exactly ``round(share * n_rows)`` rows.
    kind : {"uniform", "pairs", "boundary"}, default="uniform"
        Which rows, and which labels they get.

        - "uniform": any row, any other class;
        - "pairs" depends on the class: the next one in sorted order (the first, for the
          last). Rows of every second class, from the first, are three times as likely
          to be changed as the others, but at most 45 % of a class are;
        - "boundary" depends on the row: the chance grows with the probability that the
          best other class has in `probability`, and that class is what the row gets.
    probability : array-like, shape (n_rows, n_classes), optional
        For "boundary": class probabilities of the rows, classes in sorted order, by a
        model that was trained on true labels and has not seen these rows.
    seed : int, default=0
        Seed of the choice; other random choices under the same seed are independent.

    Returns
    -------
    noisy : ndarray, shape (n_rows,)
        Labels, some of them wrong; for "uniform", all other classes are equally likely.
    is_flipped : ndarray of bool, shape (n_rows,)
        Whether each is wrong.

    Raises
    ------
    ValueError
        If there are fewer than two classes, labels are missing, the kind is unknown,
        the share is out of range or too large for the kind, or probabilities are
        missing or of another shape.
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}; expected one label a row.")
    _check_share(share)
    if kind not in LABEL_KINDS:
        raise ValueError(f"Got kind={kind!r}; expected one of {LABEL_KINDS}.")
    if labels.dtype.kind in "fO" and any(label != label for label in labels.tolist()):
        raise ValueError("y has missing labels; drop these rows first.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has {len(classes)} classes; at least 2 are needed to flip."
        )
    rng = np.random.default_rng([seed, _STREAM])
    n_flipped = round(share * len(labels))
    if kind == "uniform":
        flipped = rng.choice(len(labels), size=n_flipped, replace=False)
        step = rng.integers(1, len(classes), size=n_flipped)
        wrong = (codes[flipped] + step) % len(classes)
    elif kind == "pairs":
        flipped = _draw_pairs(codes, n_flipped, rng)
        wrong = (codes[flipped] + 1) % len(classes)
    else:
        chances = _check_probability(probability, len(labels), len(classes))
        flipped, wrong = _draw_at_boundary(codes, chances, n_flipped, rng)
    codes = codes.copy()
    codes[flipped] = wrong
    is_flipped = np.zeros(len(labels), dtype=bool)
    is_flipped[flipped] = True
    return classes[codes], is_flipped


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"Got share={share!r}; expected a number from 0 to 1.")


def _draw_pairs(
    codes: NDArray[np.int64], n_flipped: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rows, those of every second class with three times the probability."""
    size = np.bincount(codes)
    limit = np.floor(_MOST_OF_A_CLASS * size).astype(np.int64)
    if n_flipped > limit.sum():
        raise ValueError(
            f"kind='pairs' changes at most {_MOST_OF_A_CLASS:.0%} of each class, "
            f"{limit.sum():,} of these rows; share={n_flipped / len(codes):g} needs "
            f"{n_flipped:,}."
        )
    chance = np.where(np.arange(len(size)) % 2 == 0, 3.0, 1.0)
    # rows in random order, the likelier ones earlier; each class up to its limit
    order = np.argsort(rng.exponential(size=len(codes)) / chance[codes], kind="stable")
    taken: list[int] = []
    for row in order.tolist():
        if len(taken) == n_flipped:
            break
        if limit[codes[row]]:
            limit[codes[row]] -= 1
            taken.append(row)
    return np.array(taken, dtype=np.int64)


def _check_probability(
    probability: ArrayLike | None, n_rows: int, n_classes: int
) -> NDArray[np.float64]:
    if probability is None:
        raise ValueError(
            "kind='boundary' needs probability, of a model that has not seen the rows."
        )
    chances = np.asarray(probability, dtype=np.float64)
    if chances.shape != (n_rows, n_classes):
        raise ValueError(
            f"probability has shape {chances.shape}; expected {(n_rows, n_classes)}."
        )
    if not (chances >= 0.0).all():
        raise ValueError("probability has negative or missing values.")
    return chances


def _draw_at_boundary(
    codes: NDArray[np.int64],
    probability: NDArray[np.float64],
    n_flipped: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw rows by the probability of their best other class; return rows and classes.

    Weighted sampling without replacement: the smallest exponential variables, scaled by
    the inverse probabilities.
    """
    rows = np.arange(len(codes))
    of_label = probability[rows, codes]
    others = probability.copy()
    others[rows, codes] = -1.0
    best = others.argmax(axis=1)
    other = others[rows, best]
    both = of_label + other
    chance = np.divide(other, both, out=np.full(len(both), 0.5), where=both > 0.0)
    clock = rng.exponential(size=len(codes)) / np.maximum(chance, _LEAST_CHANCE)
    flipped = np.argsort(clock, kind="stable")[:n_flipped]
    return flipped, best[flipped]


def shift_targets(
    y: ArrayLike, share: float = 0.2, *, kind: str = "outliers", seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Add noise to a random share of regression targets.

    Parameters
    ----------
    y : array-like, shape (n_rows,)
        Targets.
    share : float, default=0.2
        Share of the rows to change, in [0, 1]; exactly ``round(share * n_rows)`` rows.
    kind : {"outliers", "shuffle"}, default="outliers"
        "outliers" moves a target up or down by 2 to 4 standard deviations of all
        targets; "shuffle" permutes the targets of the rows drawn, so that they look
        like any other and some hardly change.
    seed : int, default=0
        Seed of the choice; other random choices under the same seed are independent.

    Returns
    -------
    noisy : ndarray of float64, shape (n_rows,)
        Targets, some of them wrong.
    is_shifted : ndarray of bool, shape (n_rows,)
        Whether each row was drawn.

    Raises
    ------
    ValueError
        If the targets are not finite numbers, one a row, the kind is unknown or the
        share is not in [0, 1].
    """
    target = np.asarray(y, dtype=np.float64)
    if target.ndim != 1:
        raise ValueError(f"y has shape {target.shape}; expected one target a row.")
    _check_share(share)
    if kind not in TARGET_KINDS:
        raise ValueError(f"Got kind={kind!r}; expected one of {TARGET_KINDS}.")
    if not np.isfinite(target).all():
        raise ValueError("y has missing or infinite targets; drop these rows first.")
    rng = np.random.default_rng([seed, _STREAM])
    n_shifted = round(share * len(target))
    shifted = rng.choice(len(target), size=n_shifted, replace=False)
    noisy = target.copy()
    if kind == "outliers":
        sign = rng.choice([-1.0, 1.0], size=n_shifted)
        noisy[shifted] += sign * rng.uniform(2.0, 4.0, size=n_shifted) * target.std()
    else:
        noisy[shifted] = np.roll(target[shifted], 1)
    is_shifted = np.zeros(len(target), dtype=bool)
    is_shifted[shifted] = True
    return noisy, is_shifted
