"""Command line: parse options, call the package, print the result."""

__all__: list[str] = []
