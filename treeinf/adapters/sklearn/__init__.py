"""scikit-learn: gradient boosting, forests, bagged and single trees."""

__all__: list[str] = []
