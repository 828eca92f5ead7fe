"""Baselines: what any influence method has to beat."""

__all__: list[str] = []
