"""Similarity of rows by the leaves that they share."""

__all__: list[str] = []
