"""Tables of the command line: from files to features and targets, and back."""

__all__: list[str] = []
