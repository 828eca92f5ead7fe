"""LightGBM's row samples, one draw at a time."""

import numpy as np


class Generator:
    """A linear congruence with draws in [0, 1)."""

    def __init__(self, seed):
        self.state = seed % 2**32

    def draw(self):
        self.state = (214013 * self.state + 2531011) % 2**32
        return self.state // 2**16 % 2**15 / 2**15


def start(seed, n_units):
    """List the generators: one for each run of 1,024 units."""
    return [Generator(seed + run) for run in range(-(-n_units // 1024))]


def draw_bag(generators, fractions):
    """Draw whether each unit is in the bag, by its own fraction."""
    return np.array(
        [generators[i // 1024].draw() < share for i, share in enumerate(fractions)]
    )


def draw_goss(generators, size, batch_rows, top_rate, other_rate):
    """Draw the factor of each row by the size of its gradient, part by part."""
    factor = np.zeros(len(size), np.float32)
    for begin in range(0, len(size), batch_rows):
        part = range(begin, min(begin + batch_rows, len(size)))
        n_top = max(1, int(len(part) * top_rate))
        n_other = int(len(part) * other_rate)
        threshold = sorted((size[i] for i in part), reverse=True)[n_top - 1]
        n_big = n_drawn = 0
        for i in part:
            if size[i] >= threshold:
                factor[i] = 1.0
                n_big += 1
                continue
            left = part.stop - i - (n_top - n_big)
            if generators[i // 1024].draw() < (n_other - n_drawn) / left:
                factor[i] = np.float32(len(part) - n_top) / np.float32(n_other)
                n_drawn += 1
    return factor
