"""Train copies of an estimator on subsets of rows, in parallel and resumably."""

__all__: list[str] = []
