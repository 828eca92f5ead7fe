"""Measures of influence estimates, one file each, and their registry."""

__all__: list[str] = []
