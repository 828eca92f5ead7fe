"""Infer training parameters from the statistics that XGBoost stores with its nodes."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from treeinf.adapters.xgboost.trees import XGBoostTrees
from treeinf.dtypes import REAL

__all__ = ["INFERRED", "infer_parameters"]

INFERRED = ("eta", "lambda", "alpha", "max_delta_step")
"""Parameters that the values in trees imply."""

_MOST_NODES = 4096
"""Limit on nodes used, evenly spread: the unknowns are three."""
_SLACK = 1.5
"""Residuals may grow by this factor for a rounder number."""
_ROUNDING = 1e-6
"""Size of the residuals that single precision leaves."""
_EVIDENT = 1e-3
"""Residuals from here on show that a value does not follow from the penalties."""
_LARGEST = 1e30
"""Limit on the statistics used, so that their squares are finite."""


class _Nodes:
    """Inner nodes with their children: values w, sums of hessians H and gains.

    The sum of gradients of a node, ``-(w (H + lambda) + sign(w) alpha)``, is that of
    its children, and its gain is the sum of ``w^2 (H + lambda)`` over the children less
    that of the node. Leaves store `w` times the learning rate.
    """

    def __init__(self, trees: XGBoostTrees, nodes: NDArray[np.intp]) -> None:
        assert trees.node_hessian is not None
        assert trees.leaf_hessian is not None
        assert trees.node_weight is not None
        assert trees.node_gain is not None
        nodes = nodes[:: max(1, -(-len(nodes) // _MOST_NODES))]
        tree = np.searchsorted(trees.node_offset, nodes, side="right") - 1
        child = np.stack([trees.left[nodes], trees.right[nodes]]).astype(np.int64)
        self.is_leaf = child < 0
        leaf = np.where(self.is_leaf, trees.leaf_offset[tree] + ~child, 0)
        inner = np.where(self.is_leaf, 0, trees.node_offset[tree] + child)
        self.weight = trees.node_weight[nodes]
        self.hessian = trees.node_hessian[nodes]
        self.gain = trees.node_gain[nodes]
        self.child_weight = np.where(
            self.is_leaf, trees.leaf_value[leaf, 0], trees.node_weight[inner]
        )
        self.child_hessian = np.where(
            self.is_leaf, trees.leaf_hessian[leaf], trees.node_hessian[inner]
        )

    def take(self, chosen: NDArray[np.bool_]) -> _Nodes:
        """Return some of the nodes."""
        taken = copy.copy(self)
        for name, array in vars(self).items():
            setattr(taken, name, array[..., chosen])
        return taken

    def at_bound(self, trees: XGBoostTrees, bound: float) -> NDArray[np.bool_]:
        """Return whether a value of the node or a child may be held by a bound.

        If the bound is not known, these are the largest values that occur repeatedly.
        """
        assert trees.node_weight is not None
        node_size, leaf_size = np.abs(trees.node_weight), np.abs(trees.leaf_value[:, 0])
        limits = []
        for size in (node_size, leaf_size):
            limit = size.max() * (1.0 - _ROUNDING)
            limits.append(limit if (size >= limit).sum() > 1 else np.inf)
        of_nodes, of_leaves = limits
        if bound:
            of_nodes = bound * (1.0 - _ROUNDING)
        limit = np.where(self.is_leaf, of_leaves, of_nodes)
        return (np.abs(self.weight) >= of_nodes) | (
            np.abs(self.child_weight) >= limit
        ).any(axis=0)

    def residuals(self, l2: float, l1: float, rate: float) -> NDArray[np.float64]:
        """Return the relative errors of the two equations, shape (2, n_nodes)."""
        value = np.where(self.is_leaf, self.child_weight / rate, self.child_weight)
        penalised = self.child_hessian + l2
        below = value * penalised + np.sign(value) * l1
        above = self.weight * (self.hessian + l2) + np.sign(self.weight) * l1
        score = (value**2 * penalised).sum(axis=0)
        gain = score - self.weight**2 * (self.hessian + l2)
        tiny = np.finfo(REAL).tiny
        return np.stack(
            [
                (below.sum(axis=0) - above) / (np.abs(below).sum(axis=0) + tiny),
                (gain - self.gain) / (score + tiny),
            ]
        )

    def fit(self, **fixed: float) -> tuple[dict[str, float], float]:
        """Fit the unknowns that are not fixed; return all, and the residuals' size."""
        start = {"l2": 1.0, "l1": 0.0, "rate": self._start_rate(), **fixed}
        free = [name for name in start if name not in fixed]

        def errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
            unknowns = {**start, **dict(zip(free, values, strict=True))}
            return self.residuals(**unknowns).ravel()

        values = start
        if free:
            first = [start[name] for name in free]
            solution = least_squares(errors, first, bounds=(-1e-9, np.inf)).x
            values = {**start, **dict(zip(free, solution.tolist(), strict=True))}
        return values, float(np.sqrt(np.mean(self.residuals(**values) ** 2)))

    def roundest(
        self, name: str, usual: tuple[float, ...], fixed: dict[str, float], factor: int
    ) -> float:
        """Return the roundest value, over a factor, that explains the nodes."""
        values, best = self.fit(**fixed)
        value = values[name] * factor
        rounded = [float(f"{value:.{digits}g}") for digits in range(1, 6)]
        for number in (*usual, *rounded):
            candidate = number / factor
            _, size = self.fit(**fixed, **{name: candidate})
            if size <= _SLACK * best + _ROUNDING:
                return candidate
        return values[name]

    def _start_rate(self) -> float:
        """Return the learning rate by nodes above two leaves, without penalties."""
        above = self.weight * self.hessian
        below = (self.child_weight * self.child_hessian).sum(axis=0)
        is_used = self.is_leaf.all(axis=0) & (above * below > 0.0)
        ratio = below[is_used] / above[is_used]
        return float(np.median(ratio)) if len(ratio) else 0.3


def infer_parameters(
    trees: XGBoostTrees, n_parallel: int, bound: float
) -> dict[str, float]:
    """Infer learning rate, penalties and bound from the nodes' statistics.

    Parameters
    ----------
    trees : XGBoostTrees
        The trees.
    n_parallel : int
        Trees for each iteration and output, which share the learning rate.
    bound : float
        `max_delta_step` if the objective stores it, else 0.

    Returns
    -------
    dict of str to float
        Values of XGBoost's parameters: the default, or the roundest number that agrees
        with the nodes as well as the best one does; empty where the file lacks what is
        needed, or the nodes do not follow from such parameters.
    """
    statistics = (trees.node_weight, trees.node_gain, trees.node_hessian)
    if any(values is None for values in statistics) or trees.leaf_hessian is None:
        return {}
    sizes = np.abs(np.array(statistics, REAL))
    is_usable = (sizes < _LARGEST).all(axis=0) & (sizes[0] > 0.0)
    if not is_usable.any():
        return {}
    nodes = _Nodes(trees, np.flatnonzero(is_usable))
    is_extreme = nodes.at_bound(trees, bound)
    child_size = np.abs(nodes.child_weight)
    is_used = (child_size > 0.0) & (child_size < _LARGEST) & ~is_extreme
    used = nodes.take(is_used[0] & is_used[1])
    if not len(used.weight):
        return {}
    penalties = used
    _, best = used.fit()
    if best > _EVIDENT:  # of rates that change, nodes above nodes know nothing
        penalties = used.take(~(used.is_leaf[0] | used.is_leaf[1]))
        if not len(penalties.weight):
            return {}
        _, best = penalties.fit()
    if best > _EVIDENT:
        return {}
    fixed: dict[str, float] = {}
    for name, usual in (("l1", (0.0,)), ("l2", (1.0, 0.0))):
        fixed[name] = penalties.roundest(name, usual, fixed, 1)
    fixed["rate"] = used.roundest("rate", (0.3,), fixed, n_parallel)
    if not bound and is_extreme.any():
        extremes = nodes.take(is_extreme)
        if np.abs(extremes.residuals(**fixed)[0]).max() > _EVIDENT:
            value = np.where(extremes.is_leaf, 1.0 / fixed["rate"], 1.0)
            value = np.abs(value * extremes.child_weight)
            bound = float(max(value.max(), np.abs(extremes.weight).max()))
            bound = float(f"{bound:.5g}")
    lightest = trees.leaf_hessian[trees.leaf_value[:, 0] != 0.0]
    return {
        "eta": fixed["rate"] * n_parallel,
        "lambda": fixed["l2"],
        "alpha": fixed["l1"],
        "max_delta_step": bound,
        # light leaves with a value are evidence against the default
        "min_child_weight": min(1.0, float(lightest.min(initial=1.0))),
    }
