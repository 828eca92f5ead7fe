"""Train rows as the tree kernels read them, and predictions on the scale of y."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.losses import CrossEntropy, SquaredError
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.tree_kernel.features import TREE_KERNELS
from treeinf.frames import count_rows
from treeinf.kernels.device import CPU, Device
from treeinf.trace import StagedRows, as_trained

__all__ = ["predict_targets", "read_train_rows"]


def read_train_rows(
    ensemble: TreeEnsemble,
    kernel: str,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    init_score: Any = None,
    device: Device = CPU,
) -> tuple[TreeEnsemble, StagedRows]:
    """Read train rows with the weights and the base score of the training.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    kernel : str
        Tree kernel that is to be used.
    X, y, sample_weight, init_score
        See `StagedRows.read`; `y` may be None if the kernel reads no values.
    device : Device, default=CPU
        Device that routes them.

    Returns
    -------
    ensemble : TreeEnsemble
        With its base score apart from the first tree, where that is known.
    rows : StagedRows
        Train rows, class weights included in their weights; `y` is arbitrary if none
        was given.

    Raises
    ------
    UnsupportedModelError
        If the kernel reads leaf values that include a base score which is a quantile.
    ValueError, TypeError
        If the rows do not fit.
    """
    loss = ensemble.loss
    is_folded = bool(ensemble.base_score_folded.any())
    reads_values = TREE_KERNELS[kernel].holds_values
    has_y = y is not None
    if is_folded and reads_values and init_score is None:
        if not has_y:
            raise ValueError(
                f"kernel={kernel!r} reads leaf values; those of the first tree include "
                "a base score that is estimated from y. Pass y, or use a path kernel."
            )
        if loss is None or not loss.is_differentiable:
            raise UnsupportedModelError(
                f"kernel={kernel!r} reads leaf values; those of the first tree include "
                f"a base score that is not known for {ensemble.loss_name!r}. Use a "
                "path kernel, or train with boost_from_average=False."
            )
    if not has_y:
        # a label that every loss accepts: nothing reads it
        label = 1 if ensemble.classes is None else ensemble.classes[0]
        y = np.full(count_rows(X), label)
    rows = StagedRows.read(
        ensemble,
        X,
        y,
        sample_weight=sample_weight,
        init_score=init_score,
        device=device,
    )
    if loss is not None and has_y and (loss.is_differentiable or not is_folded):
        ensemble, rows, _ = as_trained(ensemble, rows)
    return ensemble, rows


def predict_targets(
    ensemble: TreeEnsemble, raw_score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn raw scores into predictions on the scale of y.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)

    Returns
    -------
    ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
        Class probabilities for classifiers. Where the model boosts a transformed
        target, the prediction is of that.
    """
    loss = ensemble.loss
    if loss is None or isinstance(loss, SquaredError):
        return raw_score[:, 0].copy()
    probability = loss.link(raw_score)
    if isinstance(loss, CrossEntropy) or probability.ndim == 1:
        return probability
    total = probability.sum(axis=1, keepdims=True)
    return probability / np.where(total > 0.0, total, 1.0)
