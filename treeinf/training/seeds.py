"""Convert `random_state` to a seed, and derive seeds from it."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

__all__ = ["check_random_state", "derive_seed"]


def derive_seed(*key: int) -> int:
    """Derive a seed from the numbers that identify its purpose.

    Returns
    -------
    int
        In [0, 2**31).
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)


def check_random_state(random_state: Any) -> int:
    """Convert `random_state` to an integer seed; draw one if it is None.

    Raises
    ------
    TypeError, ValueError
        If it is neither None nor an integer of at least 0.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, bool) or not isinstance(random_state, numbers.Integral):
        raise TypeError(
            f"Got random_state={random_state!r}; expected None or an integer."
        )
    if random_state < 0:
        raise ValueError(
            f"Got random_state={random_state!r}; expected an integer of at least 0."
        )
    return int(random_state)
