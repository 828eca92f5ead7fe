"""The command line: parse, call, print; no science."""

__all__: list[str] = []
