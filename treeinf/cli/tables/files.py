"""Read CSV and Parquet tables, and write rows back byte for byte."""

from __future__ import annotations

import dataclasses
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError, need_pyarrow
from treeinf.cli.tables.csv_text import CsvRecords, decode, find_records, unpack
from treeinf.cli.tables.format import TableFormat
from treeinf.cli.tables.formulas import escape_formula, escape_frame
from treeinf.cli.tables.number_columns import read_numbers
from treeinf.cli.tables.number_texts import NumberColumn, list_formats

__all__ = ["Table", "read_table", "write_frame"]

_PARQUET = b"PAR1"
_MOST_MISSING = 1_000  # rows in which texts that mean missing are looked up


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that was read.

    Parameters
    ----------
    path : pathlib.Path
        Its file.
    frame : pandas.DataFrame
        Its values as pandas reads them, rows numbered from 0.
    records : CsvRecords or None
        The rows as bytes; None for Parquet.
    arrow : pyarrow.Table or None
        The rows of a Parquet file; None for CSV.
    numbers : dict of str to NumberColumn
        Columns of a CSV file whose numbers pandas does not read.
    date_order : str or None
        Order of year, month and day, where dates leave it open.
    """

    path: Path
    frame: Any
    records: CsvRecords | None = None
    arrow: Any = None
    numbers: Mapping[str, NumberColumn] = dataclasses.field(default_factory=dict)
    date_order: str | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)

    @property
    def kind(self) -> str:
        """Either "csv" or "parquet"."""
        return "parquet" if self.records is None else "csv"

    @property
    def text_columns(self) -> list[str]:
        """Names of the columns that hold text."""
        from pandas.api.types import infer_dtype

        return [
            name
            for name, column in self.frame.items()
            if infer_dtype(column, skipna=True) == "string"
        ]

    @property
    def formula_columns(self) -> list[str]:
        """Names of the columns with texts that a spreadsheet would run."""
        return [
            name
            for name in self.text_columns
            if any(t != escape_formula(t) for t in self.frame[name].dropna().unique())
        ]

    def missing_words(self, column: str) -> list[str]:
        """Texts of a column that were read as missing, the first few."""
        if self.records is None:
            return []
        rows = np.flatnonzero(self.frame[column].isna())[:_MOST_MISSING]
        number = list(self.frame.columns).index(column)
        cells = (cells[number].strip() for cells in self.records.values(rows))
        return sorted({cell for cell in cells if cell})

    def locate(self, row: int) -> str:
        """Return where a row is in the file, for error messages."""
        if self.records is None:
            return f"row {row} of {self.path.name}"
        return f"row {row} (line {self.records.line[row + 1]}) of {self.path.name}"

    def texts(self, rows: NDArray[np.integer[Any]]) -> list[list[str]]:
        """Return the values of some rows as the file writes them."""
        if self.records is not None:
            return self.records.values(rows)
        return [
            ["" if _is_missing(value) else str(value) for value in row]
            for row in self.frame.iloc[rows].itertuples(index=False, name=None)
        ]

    def with_values_of(self, column: str, source: NDArray[np.integer[Any]]) -> Table:
        """Copy values of one column from other rows.

        Parameters
        ----------
        column : str
            The column.
        source : ndarray of integer, shape (n_rows,)
            For each row the row to copy from; itself for no change.
        """
        changed = np.flatnonzero(source != np.arange(self.n_rows))
        frame = self.frame.copy()
        frame[column] = self.frame[column].iloc[source].array
        if self.records is not None:
            number = list(self.frame.columns).index(column)
            sources = self.records.values(source[changed])
            texts = {
                int(row): cells[number]
                for row, cells in zip(changed, sources, strict=True)
            }
            records = self.records.with_texts(list(frame.columns), column, texts)
            return dataclasses.replace(self, frame=frame, records=records)
        number = self.arrow.column_names.index(column)
        values = self.arrow.column(number).take(source)
        arrow = self.arrow.set_column(number, self.arrow.field(number), values)
        return dataclasses.replace(self, frame=frame, arrow=arrow)

    def with_numbers(self, column: str, values: NDArray[np.float64]) -> Table:
        """Replace the numbers of a column, or append a new one.

        Parameters
        ----------
        column : str
            The column.
        values : ndarray of float64, shape (n_rows,)
            Numbers; unchanged ones keep the text they have in the file.
        """
        frame = self.frame.copy()
        is_new = column not in frame.columns
        changed = np.ones(self.n_rows, dtype=bool)
        if not is_new:
            changed = frame[column].to_numpy(dtype=np.float64) != values
        frame[column] = values
        if self.records is not None:
            texts = {
                int(row): self._write_number(column, float(values[row]))
                for row in np.flatnonzero(changed)
            }
            names = list(self.frame.columns)
            records = self.records.with_texts(names, column, texts)
            return dataclasses.replace(self, frame=frame, records=records)
        import pyarrow

        if is_new:
            arrow = self.arrow.append_column(column, pyarrow.array(values))
        else:
            number = self.arrow.column_names.index(column)
            arrow = self.arrow.set_column(number, column, pyarrow.array(values))
        return dataclasses.replace(self, frame=frame, arrow=arrow)

    def _write_number(self, column: str, value: float) -> str:
        written = self.numbers.get(column)
        marks = {other.decimal for other in self.numbers.values()} - {""}
        mark = (
            written.decimal if written and written.decimal else min(marks, default=".")
        )
        unit = "%" if written and written.unit == "%" else ""
        return repr(value).replace(".", mark) + unit

    def write_rows(
        self,
        path: Path,
        rows: NDArray[np.integer[Any]],
        final: Path,
        *,
        escapes: bool = False,
    ) -> None:
        """Write some rows as they were read.

        Parameters
        ----------
        path : pathlib.Path
            File to write.
        rows : ndarray of integer
            Rows by position.
        final : pathlib.Path
            Name that the file will have; its ending decides the format.
        escapes : bool, default=False
            Whether to escape texts that a spreadsheet would run, in CSV files.
        """
        if _is_parquet_name(final) != (self.kind == "parquet"):
            write_frame(path, self.frame.iloc[rows], final, escapes=escapes)
        elif self.records is not None:
            _write_bytes(path, self.records.join(rows, escapes=escapes), final)
        else:
            import pyarrow.parquet

            pyarrow.parquet.write_table(self.arrow.take(rows), path)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _is_parquet_name(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _write_bytes(path: Path, data: bytes, final: Path) -> None:
    if final.suffix.lower() == ".gz":
        # no timestamp or name in the file: the same rows give the same bytes
        data = gzip.compress(data, mtime=0)
    path.write_bytes(data)


def write_frame(path: Path, frame: Any, final: Path, *, escapes: bool) -> None:
    """Write a pandas frame without its index.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    frame : pandas.DataFrame
        Rows to write.
    final : pathlib.Path
        Name that the file will have: .parquet, .csv, or .gz for a compressed CSV.
    escapes : bool
        Whether to escape texts that a spreadsheet would run, in CSV files.
    """
    if _is_parquet_name(final):
        need_pyarrow(final)
        frame.to_parquet(path, index=False)
    else:
        frame = escape_frame(frame) if escapes else frame
        text = frame.to_csv(index=False, lineterminator="\n")
        if "\r" in text:  # in a value, which is quoted only with these line ends
            text = frame.to_csv(index=False, lineterminator="\r\n")
        _write_bytes(path, text.encode(), final)


def read_table(
    path: Path,
    form: TableFormat | None = None,
    *,
    option: str = "TRAIN",
    like: Table | None = None,
    is_text: Callable[[str], bool] = lambda name: False,
) -> Table:
    """Read a CSV or Parquet file; its content decides which it is.

    Parameters
    ----------
    path : pathlib.Path
        The file; a CSV may be compressed with gzip, or be alone in a zip archive.
    form : TableFormat, optional
        How CSV files, and dates in any, are written.
    option : str
        Name of the option, for messages.
    like : Table, optional
        The train rows: what is text in them is text here, and what they write with a
        decimal comma is read so where both readings are possible.
    is_text : callable
        Whether a column of this name is text, whatever it looks like.

    Returns
    -------
    Table

    Raises
    ------
    CommandError
        If it is not a complete table with a header and at least one row.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"{option} {path} cannot be read: {reason}.") from error
    where, form = f"{option} {path}", form or TableFormat()
    if data.startswith(_PARQUET):
        table = _read_parquet(path, where)
    else:
        table = _read_csv(path, data, where, form, like, is_text)
    if table.n_rows == 0:
        raise CommandError(f"{where} has a header and no rows.")
    return dataclasses.replace(table, date_order=form.date_order)


def _read_parquet(path: Path, where: str) -> Table:
    need_pyarrow(path)
    import pyarrow
    import pyarrow.parquet

    try:
        arrow = pyarrow.parquet.read_table(path)
        _refuse_duplicates(arrow.column_names, where)
        frame = arrow.to_pandas().reset_index(drop=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise CommandError(
            f"{where} is not a valid Parquet file: {str(error).splitlines()[0]}"
        ) from error
    frame.columns = [str(name) for name in frame.columns]
    return Table(path, frame, arrow=arrow)


def _read_csv(
    path: Path,
    data: bytes,
    where: str,
    form: TableFormat,
    like: Table | None,
    is_text: Callable[[str], bool],
) -> Table:
    import pandas as pd

    text, encoding = decode(unpack(data, where), form.encoding, where)
    names, records = find_records(text, encoding, form.separator, where)
    _refuse_duplicates(names, where)

    def read(dtype: Any) -> Any:
        frame = pd.read_csv(
            io.StringIO(text[records.header :]),
            sep=records.separator,
            skipinitialspace=True,
            low_memory=False,
            keep_default_na=False,
            na_values=list(form.missing),
            dtype=dtype,
        )
        if len(frame) != len(records.line) - 1 or len(frame.columns) != len(names):
            raise CommandError(
                f"{where} has {len(records.line) - 1:,} rows by its line ends and "
                f"quotes, but pandas reads {len(frame):,}; check its quotes."
            )
        frame.columns = [
            name or f"Unnamed: {number}" for number, name in enumerate(names)
        ]
        return frame

    of_train = () if like is None else like.text_columns
    texts = [name for name in names if name in of_train or is_text(name)]
    try:
        frame = read(dtype={names.index(name): str for name in texts})
        numbers = read_numbers(
            frame,
            lambda: read(dtype=str),
            list_formats(form.decimal, form.thousands),
            locate=lambda row: f"row {row} (line {records.line[row + 1]}) of {where}",
            texts=texts,
            like=None if like is None else like.numbers,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        message = f"{where} cannot be read as CSV: {error}"
        if "EOF inside string" in str(error):
            line = records.line[-1]
            message = f"{where} has a quote in line {line} that no other one closes."
        raise CommandError(message) from error
    return Table(path, frame, records=records, numbers=numbers)


def _refuse_duplicates(names: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise CommandError(
                f"{where} has two columns named {name!r}; rename one of them. The "
                "first line must hold the names."
            )
        seen.add(name)
