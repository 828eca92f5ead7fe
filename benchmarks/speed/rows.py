"""Lines of the speed table: what was measured, against what, and what to reach."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from treeinf.evaluation.timing import Timing

__all__ = ["Curve", "Reach", "Row", "fit_slope"]


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a figure is to reach.

    Parameters
    ----------
    side : {"at least", "at most"}
        Which side of the bound is good.
    bound : float
        In the unit of the figure.
    """

    side: str
    bound: float

    def is_met(self, figure: float) -> bool:
        """Tell whether a figure is on the good side."""
        return figure >= self.bound if self.side == "at least" else figure <= self.bound


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; all fields but `work` may be unknown.

    Parameters
    ----------
    work : str
        What was done.
    unit : str
        Of the figure: "x quicker", "x the time", "s", "MiB", ...
    figure : float or None
        The measured figure; None where the peer is not installed.
    low, high : float or None
        Its least and most over the turns; for ratios, those of each turn's own.
    reach : Reach or None
        What it is to reach; None for a figure that stands beside the others.
    seconds : dict or None
        ``median``, ``low``, ``high`` and ``repeats`` of treeinf's own time.
    peer : str
        Whom it is compared with.
    peer_seconds : dict or None
        The same of the peer.
    must_move : float or None
        Bytes that the work must read and write whatever the algorithm: inputs once,
        outputs once.
    size : str
        On how much.
    note : str
        What else is to be known.
    """

    work: str
    unit: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    reach: Reach | None = None
    seconds: dict[str, Any] | None = None
    peer: str = ""
    peer_seconds: dict[str, Any] | None = None
    must_move: float | None = None
    size: str = ""
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the figure reaches what it is to; None where one of them lacks."""
        if self.reach is None or self.figure is None or not math.isfinite(self.figure):
            return None
        return self.reach.is_met(self.figure)

    @classmethod
    def quicker(
        cls,
        work: str,
        own: Timing,
        peer: str,
        other: Timing | None,
        at_least: float | None = None,
        **more: Any,
    ) -> Row:
        """Say how many times the peer's time treeinf's own goes into.

        Parameters
        ----------
        work, peer, **more
            See `Row`.
        own, other : Timing
            Times; `other` is None where the peer is not installed.
        at_least : float, optional
            What the ratio is to reach.
        """
        reach = None if at_least is None else Reach("at least", at_least)
        if other is None:
            note = ". ".join(
                x for x in (f"{peer}: not installed", more.get("note")) if x
            )
            more = {**more, "note": note}
        ratio: dict[str, Any] = {} if other is None else _divide(other, own)
        return cls(
            work,
            "x quicker",
            **ratio,
            reach=reach,
            seconds=_sum_up(own),
            peer=peer,
            peer_seconds=_sum_up(other),
            **more,
        )

    @classmethod
    def share(
        cls,
        work: str,
        own: Timing,
        peer: str,
        other: Timing,
        at_most: float | None = None,
        **more: Any,
    ) -> Row:
        """Say how many times the peer's time treeinf takes; see `quicker`."""
        return cls(
            work,
            "x the time",
            **_divide(own, other),
            reach=None if at_most is None else Reach("at most", at_most),
            seconds=_sum_up(own),
            peer=peer,
            peer_seconds=_sum_up(other),
            **more,
        )

    @classmethod
    def clock(
        cls, work: str, own: Timing, at_most: float | None = None, **more: Any
    ) -> Row:
        """Say how long something takes."""
        low, high = own.spread
        return cls(
            work,
            "s",
            own.median,
            low,
            high,
            None if at_most is None else Reach("at most", at_most),
            seconds=_sum_up(own),
            **more,
        )

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Row:
        """Read what `dataclasses.asdict` wrote."""
        reach = facts["reach"]
        return cls(**{**facts, "reach": None if reach is None else Reach(**reach)})


@dataclasses.dataclass(frozen=True)
class Curve:
    """How the time of an operation grows.

    Parameters
    ----------
    name : str
        The operation.
    axis : str
        What grows.
    sizes : sequence of int
        How large it was.
    seconds : sequence of float
        Medians.
    slope : float
        Exponent of the growth, fitted to those sizes that `fit_slope` takes.
    is_peer : bool, default=False
        Not treeinf's own.
    """

    name: str
    axis: str
    sizes: Sequence[int]
    seconds: Sequence[float]
    slope: float
    is_peer: bool = False


def fit_slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit the exponent of growth: a line through the logarithms.

    Parameters
    ----------
    sizes : sequence of float
        Growing.
    seconds : sequence of float
        Time at each.

    Returns
    -------
    float
        Of the upper half of the sizes, three at least: at small ones what does not grow
        makes part of the time, and the exponent too small. NaN for fewer than two.
    """
    if len(sizes) < 2:
        return math.nan
    used = slice(-max(3, -(-len(sizes) // 2)), None)
    line = np.polyfit(np.log(np.asarray(sizes)[used]), np.log(seconds[used]), 1)
    return float(line[0])


def _divide(upper: Timing, lower: Timing) -> dict[str, Any]:
    """Give the ratio of the medians, and the spread of the ratios turn by turn."""
    n = max(len(upper.seconds), len(lower.seconds))
    # what ran a single time stands against every turn of the other
    above, below = (
        np.resize(timing.seconds, n) if len(timing.seconds) == 1 else timing.seconds
        for timing in (upper, lower)
    )
    ratios = np.asarray(above) / np.asarray(below)
    return {
        "figure": upper.median / lower.median,
        "low": float(ratios.min()),
        "high": float(ratios.max()),
    }


def _sum_up(timing: Timing | None) -> dict[str, Any] | None:
    if timing is None:
        return None
    low, high = timing.spread
    return {
        "median": timing.median,
        "low": low,
        "high": high,
        "repeats": len(timing.seconds),
    }
