"""Files to write: checked before the work, whole or absent after it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from treeinf.cli.exits import CommandError

__all__ = ["check_outputs", "write_together"]


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Sequence[Path | None], *, force: bool
) -> dict[str, Path]:
    """Refuse files that cannot or must not be written, before any work is done.

    Parameters
    ----------
    outputs : dict of str to path or None
        For each option its file; None where it was not given.
    inputs : sequence of path or None
        Files that are read, and never written.
    force : bool
        Whether files that exist may be replaced.

    Returns
    -------
    dict of str to pathlib.Path
        Those that were given.

    Raises
    ------
    CommandError
        If one is an input under any name, exists, is named twice, or lies where nothing
        can be written.
    """
    given = {option: Path(path) for option, path in outputs.items() if path is not None}
    seen: dict[Path, str] = {}
    for option, path in given.items():
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
        folder = path.parent
        if not folder.is_dir():
            raise CommandError(
                f"{option} {path}: there is no folder {folder}; make it."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CommandError(f"{option} {path}: the folder {folder} is not writable.")
        place = path.resolve()
        if place in seen:
            raise CommandError(f"{seen[place]} and {option} both name {path}.")
        seen[place] = option
    return given


def _is_same(path: Path, source: Path) -> bool:
    """Whether two paths lead to one file, by links or another spelling too."""
    try:
        return path.samefile(source)
    except OSError:
        return path.resolve() == source.resolve()


@contextlib.contextmanager
def write_together(paths: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Write files under temporary names and rename all of them at the end.

    Parameters
    ----------
    paths : dict of str to pathlib.Path
        Files to write.

    Yields
    ------
    dict of str to pathlib.Path
        For each the temporary file to fill, in the same folder. Leaving the block by an
        exception, an interrupt included, removes them and renames none.
    """
    temporary: dict[str, Path] = {}
    try:
        for option, path in paths.items():
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=".part", dir=path.parent
            )
            os.close(handle)
            temporary[option] = Path(name)
        yield dict(temporary)
        for option, path in temporary.items():
            _give_usual_mode(path, paths[option])
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        for option in list(temporary):
            os.replace(temporary[option], paths[option])
            del temporary[option]
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _give_usual_mode(path: Path, final: Path) -> None:
    """Give a temporary file the mode that `open` would, in place of a private one."""
    try:
        mode = final.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    path.chmod(mode)
