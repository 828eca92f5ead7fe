"""Which trees' bags were found, for reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from treeinf.adapters.row_sampling import RecoveredBags
from treeinf.ensemble import TreeEnsemble

__all__ = ["BagReport"]

_MOST_NAMED = 8


@dataclasses.dataclass(frozen=True)
class BagReport:
    """Which trees' bags were found.

    Parameters
    ----------
    n_iterations, n_found : int
        Boosting iterations, and those with the bags of all their trees.
    source : str
        How they were drawn: "LightGBM bagging, seed 3".
    parameters : mapping
        Parameters that were not stored and were found; pass them to
        ``read_model(..., parameters=...)`` next time.
    missing_trees : tuple of int
        Trees whose bag was not found.
    """

    n_iterations: int
    n_found: int
    source: str
    parameters: Mapping[str, Any]
    missing_trees: tuple[int, ...]

    @classmethod
    def of_trees(cls, ensemble: TreeEnsemble, recovered: RecoveredBags) -> BagReport:
        """Count the iterations that were found.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        recovered : RecoveredBags
            The bags.
        """
        starts = ensemble.flat_leaves.iteration_start
        is_found = np.logical_and.reduceat(recovered.is_found, starts[:-1])
        return cls(
            n_iterations=len(is_found),
            n_found=int(is_found.sum()),
            source=recovered.source,
            parameters=recovered.parameters,
            missing_trees=tuple(np.flatnonzero(~recovered.is_found).tolist()),
        )

    def __str__(self) -> str:
        text = (
            f"bags of {self.n_found:,} of {self.n_iterations:,} iterations found: "
            f"{self.source}"
        )
        if self.parameters:
            settings = ", ".join(
                f"{key}={value}" for key, value in self.parameters.items()
            )
            text += f"; not stored, but found: {settings}"
        return text

    @property
    def missing(self) -> str:
        """The missing trees in words, for the start of a sentence."""
        named = ", ".join(map(str, self.missing_trees[:_MOST_NAMED]))
        n_more = len(self.missing_trees) - _MOST_NAMED
        if len(self.missing_trees) == 1:
            return f"Tree {named}"
        return f"Trees {named}" + (f" and {n_more:,} more" if n_more > 0 else "")
