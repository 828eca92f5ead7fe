"""Labels made wrong on purpose, so that finding them can be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["flip_labels"]

# Drawn from a stream of its own: with that of default_rng(seed), a baseline that
# removes rows at random under the same seed would remove exactly the flipped ones.
_STREAM = 0x666C6970


def flip_labels(
    y: ArrayLike, share: float = 0.2, *, seed: int = 0
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Give a random share of the rows another label.

    Parameters
    ----------
    y : array-like, shape (n_rows,)
        Labels of two or more classes.
    share : float, default=0.2
        Share of the rows to change, in [0, 1]; exactly ``round(share * n_rows)`` rows.
    seed : int, default=0
        Seed of the choice; other random choices under the same seed are independent.

    Returns
    -------
    noisy : ndarray, shape (n_rows,)
        Labels of which some are wrong: each one of the other classes, all with the same
        chance.
    is_flipped : ndarray of bool, shape (n_rows,)
        Which are wrong.

    Raises
    ------
    ValueError
        If there are fewer than two classes, labels are missing, or the share is not in
        [0, 1].
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}; expected one label a row.")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"Got share={share!r}; expected a number from 0 to 1.")
    if labels.dtype.kind in "fO" and any(label != label for label in labels.tolist()):
        raise ValueError("y has missing labels; drop these rows first.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has {len(classes)} classes; at least 2 are needed to flip."
        )
    rng = np.random.default_rng([seed, _STREAM])
    flipped = rng.choice(len(labels), size=round(share * len(labels)), replace=False)
    step = rng.integers(1, len(classes), size=len(flipped))
    codes = codes.copy()
    codes[flipped] = (codes[flipped] + step) % len(classes)
    is_flipped = np.zeros(len(labels), dtype=bool)
    is_flipped[flipped] = True
    return classes[codes], is_flipped
