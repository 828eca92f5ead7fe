"""Store the results of cells, one Parquet file each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from treeinf.evaluation.suite import Cell
from treeinf.training.checkpoint import ResultFolder

__all__ = ["DONE", "FAILED", "UNSUPPORTED", "CellStore", "Outcome"]

DONE, UNSUPPORTED, FAILED = "done", "unsupported", "failed"
_KEY = b"treeinf"


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Outcome of a cell: its status, and why there is no result.

    Parameters
    ----------
    cell : Cell
        The cell.
    status : {"done", "unsupported", "failed"}
        Whether there is a result; "unsupported", which is final, if the method cannot
        explain the model or the measure does not apply to the data.
    reason : str, default=""
        Why there is no result.
    seconds : float, default=0.0
        Wall time.
    notes : sequence of str, default=()
        Warnings raised, and methods left out.
    versions : dict of str to str
        Versions of the libraries.
    """

    cell: Cell
    status: str
    reason: str = ""
    seconds: float = 0.0
    notes: Iterable[str] = ()
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


class CellStore:
    """Folder that stores the cells of a suite; needs pandas and pyarrow.

    Parameters
    ----------
    folder : path-like
        Folder of the run; cells are in its subfolder ``cells``.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "Suites are stored as Parquet, which needs pyarrow; pip install "
                "'treeinf[parquet]'."
            ) from error
        self.folder = Path(folder)
        self._cells = ResultFolder(self.folder / "cells", suffix="")
        self._records = ResultFolder(self.folder, suffix="")

    @property
    def cells(self) -> Path:
        """Folder of the cells."""
        return self._cells.folder

    def __len__(self) -> int:
        return len(self._cells)

    def sweep(self) -> None:
        """Remove unfinished files of runs that were killed."""
        self._cells.sweep()
        self._records.sweep()

    def write(self, outcome: Outcome, frame: Any) -> None:
        """Store a cell atomically.

        Parameters
        ----------
        outcome : Outcome
            Outcome of the cell.
        frame : pandas.DataFrame or None
            Result of the cell, if it has one.
        """
        import pyarrow
        import pyarrow.parquet

        table = (
            pyarrow.table({"empty": pyarrow.nulls(0)})
            if frame is None
            else pyarrow.Table.from_pandas(frame, preserve_index=False)
        )
        text = json.dumps(dataclasses.asdict(outcome))
        metadata = table.schema.metadata or {}
        table = table.replace_schema_metadata({**metadata, _KEY: text.encode()})
        with self._cells.writing(outcome.cell.file_name) as temporary:
            pyarrow.parquet.write_table(table, temporary)

    def outcome(self, cell: Cell) -> Outcome | None:
        """Return the outcome of a cell; None if it has not run."""
        import pyarrow.parquet

        if cell.file_name not in self._cells:
            return None
        schema = pyarrow.parquet.read_schema(self._cells.path(cell.file_name))
        metadata = schema.metadata or {}
        facts = json.loads(metadata[_KEY])
        return Outcome(**{**facts, "cell": Cell(**facts["cell"])})

    def read(self, cell: Cell) -> Any:
        """Read the result of a cell that is done: a pandas frame."""
        import pandas as pd

        return pd.read_parquet(self._cells.path(cell.file_name))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file beside the cells."""
        self._records.write(name, content)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file beside the cells; empty if it is not there."""
        return dict(self._records.read(name)) if name in self._records else {}
