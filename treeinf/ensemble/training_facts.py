"""How a model was trained: the leaf rule, and what else a replay needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.field_types import check_types

__all__ = ["LeafRule", "TrainingFacts"]


@dataclasses.dataclass(frozen=True)
class LeafRule:
    """How the library turned the gradients in a leaf into its value.

    Parameters
    ----------
    kind : {"newton", "full newton", "gradient", "quantile", "mean", "unknown"}
        "newton": ``-soft(G, l1) / (H + l2)``; "full newton": the same with the matrix
        of second derivatives of all outputs (softmax, vector leaves); "gradient":
        ``-G / (W + l2)`` with the sum of weights W, which is "newton" with second
        derivatives of 1; "quantile": an order statistic of residuals (not
        differentiable); "mean": the average target of the leaf's rows; "unknown": the
        model does not store it.
    l1_leaf : float, default=0.0
        L1 penalty on leaf values, in units of the gradient sum.
    max_leaf_value : float, default=0.0
        Bound on the absolute leaf value before shrinkage; 0 for no bound.
    path_smooth : float, default=0.0
        Weight of the parent's value, in rows (LightGBM ``path_smooth``).
    n_steps : int, default=1
        Steps per tree, each computed at the scores after the previous one and taken at
        full length; the shrinkage is applied to their sum.
    backtracks : bool, default=False
        A step that does not lower the loss is halved, and each trial counts as one of
        the `n_steps` (CatBoost ``leaf_estimation_backtracking``).
    fits_single_leaf : bool, default=False
        A tree of one leaf holds a fitted value as any other does; else it holds the
        base score alone.
    min_leaf_hessian : float, default=0.0
        A leaf whose hessians sum to less has the value 0 (``min_child_weight`` of
        XGBoost before 3.4).

    Notes
    -----
    L2 penalties are kept leaf by leaf in `TreeEnsemble.leaf_l2`, since LightGBM
    penalises leaves under categorical splits more than others.
    """

    kind: str = "newton"
    l1_leaf: float = 0.0
    max_leaf_value: float = 0.0
    path_smooth: float = 0.0
    n_steps: int = 1
    backtracks: bool = False
    fits_single_leaf: bool = False
    min_leaf_hessian: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        kinds = (*("newton", "full newton", "gradient", "quantile", "mean", "unknown"),)
        if self.kind not in kinds:
            raise ValueError(f"Got kind={self.kind!r}; expected one of {kinds}.")

    def describe(self, leaf_l2: NDArray[np.float64] | None) -> str:
        """Describe the rule in one line.

        Parameters
        ----------
        leaf_l2 : ndarray of float64, shape (n_leaves,), or None
            See `TreeEnsemble`.
        """
        words = [self.kind]
        if leaf_l2 is not None:
            penalties = np.unique(leaf_l2)
            words.append("l2 " + " or ".join(f"{value:g}" for value in penalties[:4]))
        if self.l1_leaf:
            words.append(f"l1 {self.l1_leaf:g}")
        if self.max_leaf_value:
            words.append(f"at most {self.max_leaf_value:g} in absolute value")
        if self.path_smooth:
            words.append(f"path smoothing {self.path_smooth:g}")
        if self.n_steps != 1:
            words.append(f"{self.n_steps} steps a tree")
        return ", ".join(words)


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """Facts about the training that a replay needs.

    Parameters
    ----------
    class_weight : "balanced", tuple of (label, weight) pairs, or None
        Class weights that the library multiplied into the sample weights.
    positive_weight : float, "unbalanced" or None
        Weight of the positive rows in the gradients alone, not in the base score
        (LightGBM ``scale_pos_weight``; "unbalanced" is its ``is_unbalance``).
    single_precision : bool, default=False
        The library keeps labels, weights and gradients in float32.
    single_gradients : bool, default=False
        It keeps gradients and hessians in float32, labels and weights in float64.
    single_inputs : bool, default=False
        It keeps labels and weights in float32, gradients and hessians in float64.
    estimates_base_score : bool, default=False
        The stored base score was estimated from the train rows, unless they had an
        ``init_score``.
    init_score_replaces_base : bool, default=False
        Rows with an ``init_score`` start from it, not from the base score plus it
        (XGBoost's ``base_margin``).
    l2_per_weight : bool, default=False
        The L2 penalties are multiplied by the mean weight of the train rows.
    counts_zero_weights : bool, default=True
        Rows of weight 0 are among the stored leaf counts.
    subsample : str or None
        The library's setting by which each iteration was fitted on a sample of the
        rows.
    row_sampling : tuple of (name, value) pairs, or None
        The parameters of that sampling as the adapter's ``find_sampler`` reads them;
        None where draws cannot be replayed. Values are numbers, strings, None, or
        tuples of them.
    approximations : tuple of str
        Settings that a replay follows only approximately, and how.
    other_hessian_factor : float or None
        Factor on a softmax's hessian in versions of the library whose files look like
        those of versions with another one.
    assumed : str or None
        Training parameters that the model does not store, with the values taken.
    other_rule : str or None
        Another possible cause, in words, of leaf values that are not reproduced, where
        the model does not record which of two rules its library used.
    """

    class_weight: str | tuple[tuple[Any, float], ...] | None = None
    positive_weight: float | str | None = None
    single_precision: bool = False
    single_gradients: bool = False
    single_inputs: bool = False
    estimates_base_score: bool = False
    init_score_replaces_base: bool = False
    l2_per_weight: bool = False
    counts_zero_weights: bool = True
    subsample: str | None = None
    row_sampling: tuple[tuple[str, Any], ...] | None = None
    approximations: tuple[str, ...] = ()
    other_hessian_factor: float | None = None
    assumed: str | None = None
    other_rule: str | None = None

    def __post_init__(self) -> None:
        check_types(self)
