"""Read CSV and Parquet tables, and write rows back byte for byte."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError

__all__ = ["Table", "read_table", "write_frame"]

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_OTHER_FILES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x80": "a pickle",
    b"ARROW1": "an Arrow (Feather) file",
}
_SEPARATORS = (",", ";", "\t", "|")


@dataclasses.dataclass(frozen=True)
class CsvRecords:
    """The rows of a CSV file as bytes.

    Parameters
    ----------
    data : bytes
        Content of the file, decompressed.
    start, stop : ndarray of int64, shape (n_rows + 1,)
        Offsets in bytes where each record begins and ends, line end included; the
        header first.
    line : ndarray of int64, shape (n_rows + 1,)
        Line that each begins on, from 1.
    separator : str
        Delimiter between values.
    """

    data: bytes
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    line: NDArray[np.int64]
    separator: str

    def join(self, rows: NDArray[np.integer[Any]]) -> bytes:
        """Return the header and some rows, byte for byte."""
        line_end = b"\r\n" if self.data[: self.stop[0]].endswith(b"\r\n") else b"\n"
        lines = []
        for record in (0, *(int(row) + 1 for row in rows)):
            line = self.data[self.start[record] : self.stop[record]]
            # the last row of the file may lack its line end
            lines.append(line if line.endswith((b"\n", b"\r")) else line + line_end)
        return b"".join(lines)

    def with_texts(
        self, names: Sequence[str], column: str, texts: Mapping[int, str]
    ) -> CsvRecords:
        """Replace texts of one column; keep all other bytes.

        Parameters
        ----------
        names : sequence of str
            Names of the columns.
        column : str
            The column; a new one is appended.
        texts : dict of int to str
            Texts by row position; a new column needs a text for every row.
        """
        lines = [self.data[self.start[k] : self.stop[k]] for k in range(len(self.line))]
        ends = [line[len(line.rstrip(b"\r\n")) :] for line in lines]
        if column not in names:
            separator = self.separator.encode()
            for k, line in enumerate(lines):
                added = self._write([column if k == 0 else texts[k - 1]])
                lines[k] = line.rstrip(b"\r\n") + separator + added + ends[k]
        else:
            number = list(names).index(column)
            for row, text in texts.items():
                cells = self.values(np.array([row]))[0]
                cells[number] = text
                lines[row + 1] = self._write(cells) + ends[row + 1]
        stop = np.cumsum([len(line) for line in lines], dtype=np.int64)
        start = np.concatenate([[0], stop[:-1]]).astype(np.int64)
        return dataclasses.replace(self, data=b"".join(lines), start=start, stop=stop)

    def _write(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=self.separator, lineterminator="").writerow(cells)
        return line.getvalue().encode()

    def values(self, rows: NDArray[np.integer[Any]]) -> list[list[str]]:
        """Return the texts of some rows."""
        lines = [
            self.data[self.start[row + 1] : self.stop[row + 1]].decode() for row in rows
        ]
        cells: list[list[str]] = []
        for line in lines:
            cells += csv.reader(
                io.StringIO(line, newline=""),
                delimiter=self.separator,
                skipinitialspace=True,
            )
        return cells


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
    """

    path: Path
    frame: Any
    records: CsvRecords | None = None
    arrow: Any = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)

    @property
    def kind(self) -> str:
        """Either "csv" or "parquet"."""
        return "parquet" if self.records is None else "csv"

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
                int(row): repr(float(values[row])) for row in np.flatnonzero(changed)
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

    def write_rows(
        self, path: Path, rows: NDArray[np.integer[Any]], final: Path
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
        """
        if _is_parquet_name(final) != (self.kind == "parquet"):
            write_frame(path, self.frame.iloc[rows], final)
        elif self.records is not None:
            _write_bytes(path, self.records.join(rows), final)
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


def write_frame(path: Path, frame: Any, final: Path) -> None:
    """Write a pandas frame without its index.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    frame : pandas.DataFrame
        Rows to write.
    final : pathlib.Path
        Name that the file will have: .parquet, .csv, or .gz for a compressed CSV.
    """
    if _is_parquet_name(final):
        _need_pyarrow(final)
        frame.to_parquet(path, index=False)
    else:
        text = frame.to_csv(index=False, lineterminator="\n")
        _write_bytes(path, text.encode(), final)


def _need_pyarrow(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise CommandError(
            f"{path} is Parquet, which needs pyarrow; pip install 'treeinf[parquet]'."
        ) from None


def read_table(
    path: Path, *, option: str = "TRAIN", text_columns: Sequence[str] = ()
) -> Table:
    """Read a CSV or Parquet file; its content decides which it is.

    Parameters
    ----------
    path : pathlib.Path
        The file; a CSV may be compressed with gzip.
    option : str
        Name of the option, for messages.
    text_columns : sequence of str
        Columns that are text even if all values look like numbers.

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
    where = f"{option} {path}"
    if data.startswith(_PARQUET):
        table = _read_parquet(path, where)
    else:
        table = _read_csv(path, data, where, text_columns)
    if table.n_rows == 0:
        raise CommandError(f"{where} has a header and no rows.")
    return table


def _read_parquet(path: Path, where: str) -> Table:
    _need_pyarrow(path)
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
    path: Path, data: bytes, where: str, text_columns: Sequence[str]
) -> Table:
    import pandas as pd

    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise CommandError(
                f"{where} is not a complete gzip file: {error}."
            ) from error
    for start, kind in _OTHER_FILES.items():
        if data.startswith(start):
            raise CommandError(f"{where} is {kind}; expected CSV or Parquet.")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if not data.strip():
        raise CommandError(f"{where} is empty; expected a header and rows.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"{where} is not UTF-8 text (byte 0x{data[error.start]:02x} in line "
            f"{line}); save it as UTF-8."
        ) from error
    if "\0" in text:
        raise CommandError(f"{where} holds zero bytes; expected CSV or Parquet.")
    names, records = _find_records(text, data, where)
    _refuse_duplicates(names, where)
    try:
        frame = pd.read_csv(
            io.BytesIO(data),
            sep=records.separator,
            skipinitialspace=True,
            low_memory=False,
            dtype={name: str for name in text_columns if name in names},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CommandError(f"{where} cannot be read as CSV: {error}") from error
    if len(frame) != len(records.start) - 1 or len(frame.columns) != len(names):
        raise CommandError(
            f"{where} has {len(records.start) - 1:,} rows by its line ends and quotes, "
            f"but pandas reads {len(frame):,}; check its quotes."
        )
    frame.columns = [
        name if name else str(default)
        for name, default in zip(names, frame.columns, strict=True)
    ]
    return Table(path, frame, records=records)


def _find_records(text: str, data: bytes, where: str) -> tuple[list[str], CsvRecords]:
    """Find where each row begins and ends; check that all have as many values."""
    end = min((text + "\n").find("\n"), (text + "\r").find("\r"))
    separator = max(_SEPARATORS, key=text[:end].count)
    lines = _LineCounter(data)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    names: list[str] = []
    records: list[tuple[int, int, int]] = []
    try:
        while True:
            begin, first_line = lines.offset, lines.number + 1
            fields = next(reader, None)
            if fields is None:
                break
            if not data[begin : lines.offset].strip():
                continue
            if not records:
                names = [name.strip() for name in fields]
            elif len(fields) != len(names):
                raise CommandError(
                    f"{where} has {len(fields)} values in line {first_line}, its "
                    f"header has {len(names)}."
                )
            records.append((begin, lines.offset, first_line))
    except csv.Error as error:
        raise CommandError(
            f"{where} cannot be read as CSV, line {lines.number}: {error}."
        ) from error
    start, stop, line = np.array(records, dtype=np.int64).T
    return names, CsvRecords(data, start, stop, line, separator)


class _LineCounter:
    """Iterate over lines, counting bytes and lines."""

    def __init__(self, data: bytes) -> None:
        self.offset = 0
        self.number = 0
        self._lines = iter(data.splitlines(keepends=True))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.offset += len(line)
        self.number += 1
        return line.decode()


def _refuse_duplicates(names: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise CommandError(
                f"{where} has two columns named {name!r}; rename one of them."
            )
        seen.add(name)
