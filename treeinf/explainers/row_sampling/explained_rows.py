"""The bags that explainers were fitted with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from treeinf.explainers.row_sampling.recovery import (
    count_bags,
    find_bags,
    tabulate,
)
from treeinf.trace import TrainingTrace

__all__ = ["HasBags"]


class HasBags:
    """Mixin of explainers that know which rows each tree was fitted on.

    They have a `trace_`, or for forests a `forest_`.
    """

    forest_: Any

    def in_bag(self) -> NDArray[np.bool_] | NDArray[np.int32] | NDArray[np.float32]:
        """Return which train rows each tree was fitted on; see `treeinf.in_bag`.

        Returns
        -------
        ndarray of bool, int32 or float32, shape (n_train, n_trees)
            Whether each row was in the bag of each tree, how often it was drawn
            (forests), or its factor where sampling weighs rows.

        Raises
        ------
        BagsNotFoundError
            If some tree's bag was not found.
        """
        check_is_fitted(self)
        trace: TrainingTrace | None = getattr(self, "trace_", None)
        if trace is not None:
            return tabulate(trace.source, find_bags(trace))
        ensemble, rows = self.forest_.ensemble, self.forest_.rows
        return tabulate(ensemble, count_bags(ensemble, rows))
