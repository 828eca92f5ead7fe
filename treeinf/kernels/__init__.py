"""Numbers in, numbers out: compiled loops that know arrays only."""

__all__: list[str] = []
