"""Trial: candidates trained on parts of the rows and judged on the others."""

__all__: list[str] = []
