"""The demo's report.html, with the handwritten digits as pictures."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning import InfluenceCleaner
from treeinf.cli.commands.cleaned_files import to_lines
from treeinf.cli.commands.demo.explanation import COLUMNS, Explanation
from treeinf.cli.tables.training_data import TrainingData
from treeinf.datasets import Dataset
from treeinf.files import write_whole

__all__ = ["TITLE", "draw_thumbnail", "write_demo_report"]

TITLE = "treeinf demo"
"""Title by which a report of the demo is recognized."""


def write_demo_report(
    path: Path,
    cleaner: InfluenceCleaner,
    dataset: Dataset,
    train: TrainingData,
    is_flipped: NDArray[np.bool_],
    changes: Sequence[Any],
    explanation: Explanation,
    table: tuple[list[str], list[list[str]]],
    sentence: str,
) -> None:
    """Write the report.

    Parameters
    ----------
    path : pathlib.Path
        File to write; replaced if it exists.
    cleaner : InfluenceCleaner
        Fitted.
    dataset : Dataset
        Data set of the rows.
    train : TrainingData
        Train rows that were cleaned.
    is_flipped : ndarray of bool, shape (n_train,)
        Rows whose label was flipped.
    changes : sequence of ScoreChange
        Scores on the test rows before and after.
    explanation : Explanation
        Explanation of one error.
    table : tuple of columns and lines
        Scores of all models.
    sentence : str
        Summary of the flipped rows that were removed.
    """
    from treeinf.reports import ReportTable, write_cleaning_report

    suspects = np.asarray(cleaner.suspects_["position"], dtype=np.int64)
    features = train.X.iloc[suspects].to_numpy()
    values = [
        ["yes" if is_flipped[row] else "no", *numbers.tolist()]
        for row, numbers in zip(suspects.tolist(), features, strict=True)
    ]
    columns = list(train.columns)
    thumbnails = None
    if dataset.name.startswith("digits"):
        thumbnails = [draw_thumbnail(row.reshape(8, 8), 16.0) for row in features]
        values, columns = [row[:1] for row in values], []
    with write_whole(path) as temporary:
        write_cleaning_report(
            temporary,
            cleaner,
            overwrite=True,
            title=f"{TITLE}: {dataset.name} with a known share of wrong labels",
            values=(["was flipped", *columns], values),
            comparisons=to_lines(changes, "test rows, true labels"),
            tables=[
                ReportTable(
                    "One error, and the train rows behind it",
                    COLUMNS,
                    explanation.cells,
                    text=f"{explanation.question} {explanation.answer}",
                ),
                ReportTable(
                    "Against the alternatives",
                    *table,
                    text="One model trained on each and scored on the same test rows. "
                    "The true labels, known here, bound what cleaning can reach.",
                ),
            ],
            is_noisy=is_flipped,
            thumbnails=thumbnails,
            notes=[sentence],
            X=train.X,
        )


def draw_thumbnail(pixels: NDArray[np.float64], highest: float) -> str:
    """Write a grey picture as a ``data:image/png`` address.

    Parameters
    ----------
    pixels : ndarray of float64, shape (height, width)
        Brightness in [0, highest].
    highest : float
        Value drawn as white.

    Returns
    -------
    str
    """
    grey = np.clip(255.0 * pixels / highest, 0.0, 255.0).astype(np.uint8)
    height, width = grey.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, check = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", size) + kind + content + struct.pack(">I", check)

    lines = b"".join(b"\0" + line.tobytes() for line in grey)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()
