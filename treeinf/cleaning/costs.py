"""Time taken and copies trained."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

__all__ = ["Costs"]


@dataclasses.dataclass(eq=False)
class Costs:
    """Time taken and copies trained, added up as the work goes on.

    Parameters
    ----------
    seconds : dict of str to float
        Wall time by what it was spent on.
    n_fits : int
        Copies trained.
    """

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    n_fits: int = 0

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time inside the ``with`` block to an entry of `seconds`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = (
                self.seconds.get(name, 0.0) + time.perf_counter() - begin
            )
