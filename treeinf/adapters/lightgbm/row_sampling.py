"""Replay the row sampling of LightGBM."""

from __future__ import annotations

from treeinf.adapters.row_sampling import RowSampler
from treeinf.ensemble import TreeEnsemble

__all__ = ["find_sampler"]


def find_sampler(ensemble: TreeEnsemble, *, is_wide: bool = False) -> RowSampler | None:
    """Return what replays the row sampling of a model, if anything does."""
    return None
