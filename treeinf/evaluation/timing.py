"""Time operations in turns, so that drifts of speed affect all equally."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Timing", "take_turns", "time_call"]

_SHORT_TURN = 0.2
_MOST_MORE = 8


@dataclasses.dataclass(frozen=True)
class Timing:
    """Wall seconds of one operation.

    Parameters
    ----------
    seconds : sequence of float
        In the order of measurement.
    """

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """Median, in seconds."""
        return float(statistics.median(self.seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """Minimum and maximum, in seconds."""
        return min(self.seconds), max(self.seconds)


def time_call(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall seconds of a call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def take_turns(
    work: Mapping[str, Callable[..., Any]],
    repeats: int,
    *,
    once: Collection[str] = (),
    prepare: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, Timing]:
    """Time operations in turns.

    Parameters
    ----------
    work : dict of str to callable
        The operations.
    repeats : int
        Turns; up to 8 times as many where one takes less than a fifth of a second.
    once : collection of str
        Operations too long to repeat: run a single time, at the end, and not before
        untimed. Only for what compiles nothing.
    prepare : dict of str to callable, optional
        For some of the operations, what is called before each of its turns, untimed;
        its result is passed to the operation.

    Returns
    -------
    dict of str to Timing

    Notes
    -----
    Each runs once untimed (compilation, page faults), then all take turns.
    """
    repeated = [name for name in work if name not in once]

    def spend(name: str) -> float:
        arguments = [prepare[name]()] if prepare and name in prepare else []
        return time_call(functools.partial(work[name], *arguments))[0]

    for name in repeated:
        spend(name)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    turns = repeats
    turn = 0
    while turn < turns:
        for name in repeated:
            seconds[name].append(spend(name))
        if turn == 0 and repeated:
            whole = sum(values[0] for values in seconds.values() if values)
            more = int(np.clip(_SHORT_TURN / max(whole, 1e-9), 1, _MOST_MORE))
            turns = repeats * more
        turn += 1
    for name in once:
        seconds[name].append(spend(name))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
