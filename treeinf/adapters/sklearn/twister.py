"""Step NumPy's legacy generator, a Mersenne twister, back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.kernels.cpu import random_draws

__all__ = ["step_back"]

_STATE_WORDS = 624


def step_back(
    words: NDArray[np.uint32], position: int, n_words: int
) -> np.random.RandomState:
    """Return a generator as it was before some words were drawn.

    Parameters
    ----------
    words : ndarray of uint32, shape (624,)
        State; overwritten.
    position : int
        Next word, from 0 to 624.
    n_words : int
        Words of 32 bits that were drawn since.
    """
    position -= n_words
    n_twists = max(0, -(position // _STATE_WORDS))
    random_draws.step_twister_back(words, n_twists)
    generator = np.random.RandomState(0)
    position += n_twists * _STATE_WORDS
    generator.set_state(("MT19937", words, position, 0, 0.0))
    return generator
