"""Describe a tree ensemble in text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from treeinf.ensemble.arrays import Missing

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

__all__ = ["describe_ensemble"]


def describe_ensemble(ensemble: TreeEnsemble) -> str:
    """Describe a model in a few printable lines."""
    leaves = np.diff(ensemble.leaf_offset)
    kinds = []
    if ensemble.is_categorical.any():
        kinds.append(f"{int(ensemble.is_categorical.sum()):,} categorical")
    if (ensemble.missing == Missing.ZERO).any():
        kinds.append("zero counts as missing")
    splits = f"{ensemble.n_nodes:,}" + (f" ({', '.join(kinds)})" if kinds else "")
    loss = "unknown to treeinf" if ensemble.loss is None else repr(ensemble.loss)
    if ensemble.base_score_folded.any():
        base = "estimated from the train rows, inside the first tree"
    else:
        base = np.array2string(ensemble.base_score, precision=6, threshold=8)
    rates = np.unique(ensemble.shrinkage)
    shrinkage = (
        f"{rates[0]:g}" if len(rates) == 1 else (f"{rates[0]:g} to {rates[-1]:g}")
    )
    lines = [
        ("library", f"{ensemble.library} {ensemble.library_version}"),
        ("loss", f"{ensemble.loss_name} ({loss})"),
        ("trees", f"{ensemble.n_trees:,} in {ensemble.n_iterations:,} iterations"),
        ("leaves", f"{ensemble.n_leaves:,} ({leaves.min()} to {leaves.max()} a tree)"),
        ("splits", splits),
        ("features", f"{ensemble.n_features:,}"),
        ("outputs", f"{ensemble.n_outputs}"),
        ("base score", base),
        *([("starts from", ensemble.initial_model)] if ensemble.initial_model else []),
        ("shrinkage", shrinkage),
        ("leaf rule", ensemble.leaf_rule.describe(ensemble.leaf_l2)),
    ]
    if ensemble.classes is not None:
        lines.append(("classes", ", ".join(map(str, ensemble.classes[:20]))))
    if ensemble.training.subsample:
        lines.append(("row sampling", ensemble.training.subsample))
    lines += [("approximate", text) for text in ensemble.training.approximations]
    return "\n".join(f"{name:<13}{text}" for name, text in lines)
