"""Baselines that an influence method should outperform."""

__all__: list[str] = []
