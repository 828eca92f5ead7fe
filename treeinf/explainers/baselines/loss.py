"""Training loss of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.train_rows import read_with_rows
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.baselines.row_score import RowScore
from treeinf.explainers.queries import EnsembleQueries

__all__ = ["Loss"]


class Loss(RowScore):
    """Training loss of each row by the model that was trained on it.

    Parameters
    ----------
    n_jobs : int or None, default=None
        See `RowScore`.

    Attributes
    ----------
    scores_
        See `RowScore`.

    Notes
    -----
    In units of the objective. A model with many trees fits wrong labels too, so their
    training loss is small; see `OutOfFoldLoss`.
    """

    def _score(
        self,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        group: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        ensemble, X, init_score = read_with_rows(model, X)
        if ensemble.loss is None:
            raise UnsupportedModelError(
                f"The objective {ensemble.loss_name!r} has no loss in treeinf; "
                "use OutOfFoldLoss."
            )
        queries = EnsembleQueries.read(ensemble, X, y, init_score=init_score)
        return queries.value(queries.raw_score())
