"""Check the files that a command will write, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from treeinf.cli.exits import CommandError, need_pyarrow

__all__ = ["check_outputs"]

_OTHER_FORMATS = {
    ".arrow", ".feather", ".json", ".ods", ".orc", ".pkl", ".sqlite", ".xls", ".xlsx",
    ".zip",
}  # fmt: skip


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Sequence[Path | None], *, force: bool
) -> dict[str, Path]:
    """Refuse files that cannot or must not be written, before any work is done.

    Parameters
    ----------
    outputs : dict of str to path or None
        For each option its file; None where it was not passed.
    inputs : sequence of path or None
        Files that are read, and never written.
    force : bool
        Whether files that exist may be replaced.

    Returns
    -------
    dict of str to pathlib.Path
        Those that are not None.

    Raises
    ------
    CommandError
        If one is an input under any name, exists, is named twice, or cannot be created.
    """
    paths = {option: Path(path) for option, path in outputs.items() if path is not None}
    seen: dict[Path, str] = {}
    for option, path in paths.items():
        for source in inputs:
            if source is not None and _is_same(path, Path(source)):
                raise CommandError(
                    f"{option} {path} is the input {source} itself, which is never "
                    "overwritten; name another file."
                )
        if path.is_dir():
            raise CommandError(f"{option} {path} is a folder; name a file in it.")
        if path.exists() and not path.is_file():
            raise CommandError(f"{option} {path} is not a plain file.")
        if os.path.lexists(path) and not force:
            raise CommandError(f"{option} {path} exists; pass --force to replace it.")
        if path.suffix.lower() in _OTHER_FORMATS:
            raise CommandError(
                f"{option} {path}: {path.suffix} is not written; name it .csv, .csv.gz "
                "or .parquet, or .html for a report.",
                code=2,
            )
        if path.suffix.lower() in (".parquet", ".pq"):
            need_pyarrow(path)
        folder = path.parent
        if not folder.is_dir():
            raise CommandError(
                f"{option} {path}: the folder {folder} does not exist; create it."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CommandError(f"{option} {path}: the folder {folder} is not writable.")
        target = path.resolve()
        if target in seen:
            raise CommandError(f"{seen[target]} and {option} both name {path}.")
        seen[target] = option
    return paths


def _is_same(path: Path, source: Path) -> bool:
    """Whether two paths lead to one file, by links or another spelling too."""
    try:
        return path.samefile(source)
    except OSError:
        return path.resolve() == source.resolve()
