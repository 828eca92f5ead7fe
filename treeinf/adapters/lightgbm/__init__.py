"""LightGBM: estimators, boosters, model text and dumped JSON."""

__all__: list[str] = []
