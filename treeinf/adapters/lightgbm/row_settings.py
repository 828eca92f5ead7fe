"""The parameters of LightGBM's row sampling, as an ensemble carries them."""

from __future__ import annotations

from typing import Any

import numpy as np

from treeinf.adapters.lightgbm.files import LightGBMFile
from treeinf.adapters.lightgbm.objectives import split_objective
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.kernels.cpu.random_draws import list_lightgbm_steps

__all__ = [
    "DERIVED_SEEDS",
    "derive_bagging_seed",
    "sampling_fractions",
    "sampling_settings",
    "uses_goss",
]

DERIVED_SEEDS = 2**15 - 1
"""Number of values, from 0, that a bagging seed can have if it follows from `seed`."""

_BY_CLASS = ("pos_bagging_fraction", "neg_bagging_fraction")
_DECISIVE = (
    *("bagging_fraction", "bagging_freq", *_BY_CLASS, "boosting"),
    *("data_sample_strategy", "top_rate", "other_rate", "bagging_by_query"),
)
"""Parameters of which one at least is passed where rows were sampled."""


def derive_bagging_seed(seed: int) -> int:
    """Return the bagging seed that LightGBM derives from `seed`.

    It is the second number of a generator that starts at the seed; the first becomes
    ``data_random_seed``.
    """
    factor, shift = (int(of_step[1]) for of_step in list_lightgbm_steps(2))
    return (factor * seed + shift) // 2**16 % 2**15 % DERIVED_SEEDS


def uses_goss(file: LightGBMFile, parameters: LightGBMParameters) -> bool:
    """Return whether rows were sampled by the size of their gradients.

    LightGBM 4.0 and 4.1 write neither ``boosting=goss`` nor ``data_sample_strategy``:
    there, trees on fewer rows after some on all of them are GOSS, if bagging was off.
    """
    if parameters.is_goss:
        return True
    stored = file.parameters
    if stored is None or "data_sample_strategy" in stored or file.version != "v4":
        return False
    trees = file.trees
    has_split = trees.n_leaves > 1
    if trees.leaf_count is None or not has_split.any():
        return False
    if sampling_fractions(file, parameters):
        return False
    first_leaf = np.cumsum(trees.n_leaves) - trees.n_leaves
    n_rows = np.add.reduceat(trees.leaf_count, first_leaf)[has_split]
    is_smaller = n_rows < n_rows[0]
    first = int(np.argmax(is_smaller))
    return bool(first > 0 and is_smaller[first:].all())


def sampling_fractions(
    file: LightGBMFile, parameters: LightGBMParameters
) -> dict[str, float]:
    """Return the fractions below 1 that bagging used; empty if it used all rows.

    Those by class count for binary labels alone.
    """
    if parameters.is_goss or parameters.number("bagging_freq") <= 0:
        return {}
    names = ["bagging_fraction"]
    if split_objective(file)[0] == "binary":
        names += _BY_CLASS
    fractions = {name: parameters.number(name) for name in names}
    return {name: value for name, value in fractions.items() if value < 1.0}


def sampling_settings(
    file: LightGBMFile, parameters: LightGBMParameters
) -> tuple[tuple[str, Any], ...]:
    """Return what `row_sampling.find_sampler` needs, as (name, value) pairs.

    "kind" is "bagging", "goss", "none" or, for a file without these parameters,
    "unknown". The seed is None where it is not known.
    """
    is_stored = file.parameters is not None
    is_known = is_stored or any(map(parameters.is_passed, _DECISIVE))
    below = sampling_fractions(file, parameters)
    kind = "bagging" if below else "none"
    if uses_goss(file, parameters):
        kind = "goss"
    by_class = any(name in below for name in _BY_CLASS)
    learning_rate = parameters.number("learning_rate")
    return (
        ("kind", kind if is_known else "unknown"),
        ("seed", _find_seed(parameters, is_stored)),
        ("fraction", parameters.number("bagging_fraction")),
        ("positive_fraction", parameters.number(_BY_CLASS[0]) if by_class else None),
        ("negative_fraction", parameters.number(_BY_CLASS[1]) if by_class else None),
        ("freq", int(parameters.number("bagging_freq"))),
        ("by_query", parameters.flag("bagging_by_query")),
        ("top_rate", parameters.number("top_rate")),
        ("other_rate", parameters.number("other_rate")),
        ("n_warm_up", int(1.0 / learning_rate) if learning_rate > 0.0 else 0),
        ("n_threads", max(0, int(parameters.number("num_threads")))),
    )


def _find_seed(parameters: LightGBMParameters, is_stored: bool) -> int | None:
    if parameters.is_passed("seed") and not parameters.is_passed("bagging_seed"):
        return derive_bagging_seed(int(parameters.number("seed")))
    if is_stored or parameters.is_passed("bagging_seed"):
        return int(parameters.number("bagging_seed"))
    return None
