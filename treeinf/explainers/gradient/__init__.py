"""Influence from gradients and leaf sums, structure held fixed."""

__all__: list[str] = []
