"""Train candidates on some rows, predict others, and compare them."""

__all__: list[str] = []
