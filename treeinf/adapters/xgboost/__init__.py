"""XGBoost: estimators, boosters, JSON and UBJSON files."""

__all__: list[str] = []
