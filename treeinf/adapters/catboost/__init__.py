"""CatBoost: estimators, binary and JSON files."""

__all__: list[str] = []
