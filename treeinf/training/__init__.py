"""Copies of an estimator: trained on parts of the rows, in parallel, resumable."""

__all__: list[str] = []
