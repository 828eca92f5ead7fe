"""The result of a cleaning, and the rows it flagged."""

__all__: list[str] = []
