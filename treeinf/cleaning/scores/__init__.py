"""Scores of train rows: higher for rows that look more harmful."""

__all__: list[str] = []
