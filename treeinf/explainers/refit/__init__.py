"""Influence from refitted leaf values, structure held fixed."""

__all__: list[str] = []
