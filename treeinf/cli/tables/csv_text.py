"""Text of CSV files: encoding, separator, and where each row begins and ends."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import itertools
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.formulas import escape_formula

__all__ = ["CsvRecords", "decode", "find_records", "unpack"]

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_WAY_OUT = "open it in a spreadsheet and save it as CSV"
_OTHER_FILES = {
    b"\xd0\xcf\x11\xe0": f"an old Excel workbook; {_WAY_OUT}",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it, or use gzip",
    b"BZh": "compressed with bzip2; decompress it, or use gzip",
    b"\xfd7zXZ": "compressed with xz; decompress it, or use gzip",
    b"\x80": "a pickle; expected CSV or Parquet",
    b"ARROW1": "an Arrow (Feather) file; expected CSV or Parquet",
    b"SQLite format 3": "an SQLite database; expected CSV or Parquet",
    b"%PDF": "a PDF file; expected CSV or Parquet",
}
# longest first: the mark of UTF-32 begins with that of UTF-16
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_SEPARATORS = (",", ";", "\t", "|")
_N_SAMPLED = 100  # records that show the separator


def unpack(data: bytes, where: str) -> bytes:
    """Return the content of a file, decompressed.

    Raises
    ------
    CommandError
        If it is damaged, or no text.
    """
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise CommandError(
                f"{where} is not a complete gzip file: {error}."
            ) from error
    if data.startswith(_ZIP):
        data = _unzip(data, where)
    for start, kind in _OTHER_FILES.items():
        if data.startswith(start):
            raise CommandError(f"{where} is {kind}.")
    return data


def _unzip(data: bytes, where: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if any(name.startswith(("xl/", "content.xml")) for name in names):
                raise CommandError(f"{where} is a spreadsheet workbook; {_WAY_OUT}.")
            if len(names) != 1:
                raise CommandError(
                    f"{where} is a zip archive of {len(names)} files; extract the "
                    "table and pass its file."
                )
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
        raise CommandError(
            f"{where} is a zip archive or an Excel workbook that cannot be read: "
            f"{error}."
        ) from error


def decode(data: bytes, encoding: str | None, where: str) -> tuple[str, str]:
    """Decode text.

    Parameters
    ----------
    data : bytes
        Content of the file.
    encoding : str or None
        Its encoding; None for UTF-8, or what its byte order mark names.
    where : str
        Name of the file, for messages.

    Returns
    -------
    text, encoding : str
        Text without byte order mark, and encoding to write it with.
    """
    marked = next((n for m, n in _BYTE_ORDER_MARKS.items() if data.startswith(m)), None)
    name = encoding or marked or "utf-8"
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} in line {line}"
        if encoding:
            raise CommandError(f"{where} is not {encoding} text ({what}).") from error
        shown = data[max(error.start - 12, 0) : error.start + 12].split(b"\n")
        wrong = data[error.start : error.start + 1]
        nearby = next(line for line in shown if wrong in line)
        raise CommandError(
            f"{where} is not UTF-8 text ({what}). Name its encoding: --encoding cp1252 "
            f"(Windows, Western Europe) reads {nearby.decode('cp1252', 'replace')!r} "
            "there; others are cp1250, latin-1, shift_jis."
        ) from error
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise CommandError(f"{where} is empty; expected a header and rows.")
    if "\0" in text:
        side = "le" if text[1:2] == "\0" else "be"
        raise CommandError(
            f"{where} holds zero bytes; expected CSV or Parquet. If it is UTF-16, pass "
            f"--encoding utf-16-{side}."
        )
    return text, name


@dataclasses.dataclass(frozen=True)
class CsvRecords:
    """The rows of a CSV file as text.

    Parameters
    ----------
    text : str
        Content of the file.
    encoding : str
        Encoding to write it with.
    start, stop : ndarray of int64, shape (n_rows + 1,)
        Where each record begins and ends in `text`, line end included; the header
        first, with what stands before it.
    line : ndarray of int64, shape (n_rows + 1,)
        Line that each begins on, from 1.
    separator : str
        Delimiter between values.
    header : int
        Where the header begins: after a line that names the separator.
    """

    text: str
    encoding: str
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    line: NDArray[np.int64]
    separator: str
    header: int

    def join(self, rows: NDArray[np.integer[Any]], *, escapes: bool = False) -> bytes:
        """Return the header and some rows, byte for byte.

        Parameters
        ----------
        rows : ndarray of integer
            Rows by position.
        escapes : bool, default=False
            Whether to escape texts that a spreadsheet would run.
        """
        line_end = "\r\n" if self.text[: self.stop[0]].endswith("\r\n") else "\n"
        lines = []
        for row in (-1, *rows):
            line = self._line(row)
            is_named = row >= 0 or self.header == self.start[0]
            cells = self._cells(line) if escapes and is_named else []
            escaped = [escape_formula(cell) for cell in cells]
            if escaped != cells:
                line = self._write(escaped) + line_end
            # the last row of the file may lack its line end
            lines.append(line if line.endswith(("\n", "\r")) else line + line_end)
        return "".join(lines).encode(self.encoding)

    def _line(self, row: int) -> str:
        return self.text[self.start[row + 1] : self.stop[row + 1]]

    def _cells(self, line: str) -> list[str]:
        lines = io.StringIO(line, newline="")
        return next(csv.reader(lines, delimiter=self.separator, skipinitialspace=True))

    def with_texts(
        self, names: Sequence[str], column: str, texts: Mapping[int, str]
    ) -> CsvRecords:
        """Replace texts of one column; keep all others.

        Parameters
        ----------
        names : sequence of str
            Names of the columns.
        column : str
            The column; a new one is appended.
        texts : dict of int to str
            Texts by row position; a new column needs a text for every row.
        """
        lines = [self.text[self.start[k] : self.stop[k]] for k in range(len(self.line))]
        ends = [line[len(line.rstrip("\r\n")) :] for line in lines]
        if column not in names:
            for k, line in enumerate(lines):
                added = self._write([column if k == 0 else texts[k - 1]])
                lines[k] = line.rstrip("\r\n") + self.separator + added + ends[k]
        else:
            number = list(names).index(column)
            for row, text in texts.items():
                cells = self.values(np.array([row]))[0]
                cells[number] = text
                lines[row + 1] = self._write(cells) + ends[row + 1]
        stop = np.cumsum([len(line) for line in lines], dtype=np.int64)
        start = np.concatenate([[0], stop[:-1]]).astype(np.int64)
        return dataclasses.replace(self, text="".join(lines), start=start, stop=stop)

    def _write(self, cells: Sequence[str]) -> str:
        line = io.StringIO(newline="")
        # values with line ends are quoted only if the writer knows of these
        csv.writer(line, delimiter=self.separator, lineterminator="\r\n").writerow(
            cells
        )
        return line.getvalue()[:-2]

    def values(self, rows: NDArray[np.integer[Any]]) -> list[list[str]]:
        """Return the texts of some rows."""
        return [self._cells(self._line(row)) for row in rows]


def find_records(
    text: str, encoding: str, separator: str | None, where: str
) -> tuple[list[str], CsvRecords]:
    """Find where each row begins and ends; check that all have as many values.

    Parameters
    ----------
    text : str
        Content of a file.
    encoding : str
        Encoding to write it with.
    separator : str or None
        Delimiter between values; None to find it.
    where : str
        Name of the file, for messages.

    Returns
    -------
    names : list of str
        Names in the header.
    records : CsvRecords
    """
    first_line = next(_Lines(text))
    # Excel's own way to name the separator
    named = re.fullmatch(r'"?sep=(.)"?[\r\n]*', first_line, flags=re.IGNORECASE)
    header = len(first_line) if named else 0
    if separator is None:
        separator = named[1] if named else _find_separator(text, where)
    lines = _Lines(text, header)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    names: list[str] = []
    records: list[tuple[int, int, int]] = []
    try:
        while True:
            begin, first_number = lines.offset, lines.number + 1
            fields = next(reader, None)
            if fields is None:
                break
            if not text[begin : lines.offset].strip():
                continue
            if not records:
                names = [name.strip() for name in fields]
                begin = 0 if named else begin
            elif len(fields) != len(names):
                n_lines = lines.number - first_number + 1
                spans = f" (which a quote extends over {n_lines:,} lines)"
                raise CommandError(
                    f"{where} has {len(fields)} values in line {first_number}"
                    f"{spans if n_lines > 1 else ''}, its header has {len(names)}; "
                    f"values are separated by {separator!r} (change it with --sep)."
                )
            records.append((begin, lines.offset, first_number))
    except csv.Error as error:
        raise CommandError(
            f"{where} cannot be read as CSV, line {lines.number}: {error}; check its "
            "quotes."
        ) from error
    if len(names) == 1:
        raise CommandError(
            f"{where} has the single column {names[0]!r}; if values are separated by "
            f"another sign than {separator!r}, name it with --sep (blanks: --sep ' ')."
        )
    start, stop, line = np.array(records, dtype=np.int64).T
    return names, CsvRecords(text, encoding, start, stop, line, separator, header)


def _find_separator(text: str, where: str) -> str:
    """Return the separator that gives all rows as many values as the header."""
    n_values = {}
    for separator in _SEPARATORS:
        sample = csv.reader(_Lines(text), delimiter=separator, skipinitialspace=True)
        try:
            rows = [row for row in itertools.islice(sample, _N_SAMPLED) if any(row)]
        except csv.Error:
            continue
        if rows and len(rows[0]) > 1:
            n_values[separator] = {len(row) for row in rows}
    steady = [name for name, counts in n_values.items() if len(counts) == 1]
    if len(steady) > 1:
        raise CommandError(
            f"{where} may be separated by {' or '.join(map(repr, steady))}; name one "
            "with --sep."
        )
    if steady:
        return steady[0]
    first_line = next(line for line in _Lines(text) if line.strip())
    return max(_SEPARATORS, key=first_line.count)


class _Lines:
    """Iterate over lines, counting signs and lines."""

    def __init__(self, text: str, offset: int = 0) -> None:
        self.offset = offset
        self.number = int(offset > 0)
        self._lines = io.StringIO(text, newline="")
        self._lines.seek(offset)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.offset += len(line)
        self.number += 1
        return line
