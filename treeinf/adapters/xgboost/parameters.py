"""The training parameters of an XGBoost model, and what its trees say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.files import shorten
from treeinf.adapters.xgboost.trees import XGBoostTrees
from treeinf.dtypes import REAL

__all__ = ["DEFAULTS", "XGBoostParameters", "find_rates"]

DEFAULTS: dict[str, str] = {
    "alpha": "0",
    "device": "cpu",
    "eta": "0.300000012",
    "lambda": "1",
    "max_delta_step": "0",
    "min_child_weight": "1",
    "monotone_constraints": "()",
    "process_type": "default",
    "sampling_method": "uniform",
    "subsample": "1",
}
"""XGBoost's defaults, as its configuration writes them."""

_NAMES = {"learning_rate": "eta", "reg_lambda": "lambda", "reg_alpha": "alpha"}

_CONTRADICTION = 1e-3
_AGREEMENT = 1e-4
_WITNESS = 1e-2


class XGBoostParameters:
    """Training parameters from a live booster or from the caller.

    Parameters
    ----------
    configuration : dict or None
        What ``save_config`` of a live booster gives; None for a file.
    from_caller : dict or None
        What the caller knows better, under any of XGBoost's names.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any] | None,
        from_caller: Mapping[str, Any] | None,
    ) -> None:
        self.is_known = configuration is not None or from_caller is not None
        """Whether anything at all is known of the parameters."""
        self._values: dict[str, Any] = {}
        _collect(configuration, self._values)
        for given, value in (from_caller or {}).items():
            if value is not None:
                self._values[_NAMES.get(given, given)] = value

    def get(self, name: str) -> Any:
        """Give a parameter as it was given, or its default."""
        return self._values.get(name, DEFAULTS[name])

    def number(self, name: str) -> float:
        """Give a parameter as XGBoost keeps it: in single precision."""
        value = self.get(name)
        try:
            number = float(np.float32(value))
        except (TypeError, ValueError, OverflowError):
            number = np.nan
        if not np.isfinite(number):
            raise ValueError(f"Got {name}={shorten(value)}; expected a finite number.")
        return number

    def version(self, written: tuple[int, ...]) -> tuple[int, ...]:
        """Give the version that trained the model.

        Parameters
        ----------
        written : tuple of int
            The version that wrote it, which is taken where the caller names none.

        Returns
        -------
        tuple of int
        """
        given = self._values.get("version")
        if given is None:
            return written
        parts = given.split(".") if isinstance(given, str) else given
        try:
            return tuple(int(part) for part in parts)
        except (TypeError, ValueError):
            raise ValueError(
                f"Got version={shorten(given)}; expected that of the XGBoost that "
                "trained the model, such as '3.2.0'."
            ) from None

    def rates(self, n_iterations: int) -> NDArray[np.float64]:
        """Give the learning rate of each iteration."""
        given = self.get("eta")
        if not isinstance(given, (Sequence, np.ndarray)) or isinstance(given, str):
            return np.full(n_iterations, self.number("eta"), REAL)
        if len(given) < n_iterations:
            raise ValueError(
                f"Got {len(given)} learning rates for {n_iterations} iterations."
            )
        return np.asarray(given, np.float32)[:n_iterations].astype(REAL)

    @property
    def is_monotone(self) -> bool:
        """Whether some feature's effect was constrained to rise or to fall."""
        given = self.get("monotone_constraints")
        if isinstance(given, Mapping):
            return any(given.values())
        if isinstance(given, str):
            return any(digit in "123456789" for digit in given)
        return any(np.asarray(given).ravel().tolist())

    @property
    def objective(self) -> str | None:
        """The objective that the caller names; "custom" for a function."""
        given = self._values.get("objective")
        return "custom" if callable(given) else given

    @property
    def subsample(self) -> str | None:
        """The row sampling in XGBoost's own words, or None."""
        share = self.number("subsample")
        if share >= 1.0:
            return None
        method = self.get("sampling_method")
        words = f"subsample={share:g}"
        return words if method == "uniform" else f"{words}, sampling_method={method}"


def _collect(configuration: Any, found: dict[str, Any]) -> None:
    """Flatten the configuration down to what this module knows."""
    if isinstance(configuration, Mapping):
        for key, value in configuration.items():
            if key in DEFAULTS and isinstance(value, str):
                found[key] = value
            elif key != "objective":
                _collect(value, found)


def find_rates(
    trees: XGBoostTrees, known: XGBoostParameters, rates: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Hold the learning rates and penalties against what the trees themselves say.

    Parameters
    ----------
    trees : XGBoostTrees
        The trees.
    known : XGBoostParameters
        Training parameters.
    rates : ndarray of float64, shape (n_trees,)
        Shrinkage of each tree by the parameters.

    Returns
    -------
    ndarray of float64, shape (n_trees,), or None
        Shrinkage of each tree: as given where the tree agrees or does not say, what it
        was where it was another (a schedule, training continued). None if the penalties
        cannot be those of training: a booster that was loaded from a file has
        XGBoost's defaults, whatever it was trained with.

    Notes
    -----
    A node above two leaves keeps its own value w without shrinkage. The gradients of
    its rows, ``w (H + l2) + sign(w) l1``, are the sum of those of its two leaves, which
    are known up to the learning rate. Where several leaves of a tree share the largest
    value, it is the bound times the learning rate.
    """
    if trees.node_hessian is None or trees.leaf_hessian is None:
        return rates
    if trees.node_weight is None:
        return rates
    node = np.flatnonzero((trees.left < 0) & (trees.right < 0))
    if not len(node):
        return rates
    tree = np.searchsorted(trees.node_offset, node, side="right") - 1
    l1, l2 = known.number("alpha"), known.number("lambda")
    bound = known.number("max_delta_step")
    weight = trees.node_weight[node]
    above = weight * (trees.node_hessian[node] + l2) + np.sign(weight) * l1
    below = np.zeros(len(node))
    size = np.zeros(len(node))
    is_free = np.isfinite(above)
    lightest = known.number("min_child_weight") * (1.0 - _AGREEMENT)
    # leaves at the bound are the largest of their tree
    largest = np.maximum.reduceat(
        np.abs(trees.leaf_value[:, 0]), trees.leaf_offset[:-1]
    )
    if l1 > 0.0:
        is_free &= weight != 0.0
    if bound > 0.0:
        is_free &= np.abs(weight) < bound * (1.0 - _AGREEMENT)
    for child in (trees.left, trees.right):
        leaf = trees.leaf_offset[tree] + ~child[node].astype(np.int64)
        value = trees.leaf_value[leaf, 0]
        part = value * (trees.leaf_hessian[leaf] + l2)
        below += part
        size += np.abs(part)
        above -= np.sign(value) * l1
        if l1 > 0.0:
            is_free &= value != 0.0
        if bound > 0.0:
            is_free &= np.abs(value) < largest[tree] * (1.0 - _AGREEMENT)
        is_free &= trees.leaf_hessian[leaf] >= lightest
    chosen = np.flatnonzero(is_free)
    tree, above, below, size = tree[chosen], above[chosen], below[chosen], size[chosen]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(tree, values, len(rates)).astype(REAL)

    squares = total(above**2)
    says = squares * rates**2 > _WITNESS**2 * total(size**2)
    found = np.where(says, total(above * below) / np.where(says, squares, 1.0), rates)
    if bound > 0.0:
        size_of_leaf = np.abs(trees.leaf_value[:, 0])
        at_bound = size_of_leaf == np.repeat(largest, np.diff(trees.leaf_offset))
        n_at_bound = np.add.reduceat(at_bound.astype(np.int64), trees.leaf_offset[:-1])
        found = np.where(~says & (n_at_bound > 1), largest / bound, found)
    found = np.where(np.abs(found - rates) <= _AGREEMENT * rates, rates, found)
    gap = np.abs(below - found[tree] * above)
    if np.any(gap > _CONTRADICTION * size) or np.any(found <= 0.0):
        return None
    return found
