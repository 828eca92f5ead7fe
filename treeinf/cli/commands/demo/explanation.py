"""Explain the demo model's worst prediction by the train rows behind it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.printing import Printer
from treeinf.cli.tables.training_data import TrainingData
from treeinf.explainers import LeafInfluence

__all__ = ["Explanation", "InfluentialRow", "explain_worst_row"]

N_ROWS = 5
"""Number of helpful and of harmful train rows to list."""

COLUMNS = ("pushes towards", "train row", "label", "influence", "flipped")


@dataclasses.dataclass(frozen=True)
class InfluentialRow:
    """A train row with influence on the test row.

    Parameters
    ----------
    row : int
        Position of the row.
    label : object
        Its label, as in training.
    influence : float
        How much the test row's log loss would rise without it; negative for a row that
        harms.
    is_flipped : bool
        Whether the label was flipped.
    """

    row: int
    label: Any
    influence: float
    is_flipped: bool


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Prediction of one test row, and the most influential train rows.

    Parameters
    ----------
    test_row : int
        Position of the test row.
    label, predicted : object
        Its true and its predicted label; equal if the model makes no error.
    other : object
        The most probable label other than the true one.
    probability : float
        Predicted probability of the true label, in [0, 1].
    harmful, helpful : list of InfluentialRow
        Rows that pushed hardest away from the true label and towards it, in order.
    """

    test_row: int
    label: Any
    predicted: Any
    other: Any
    probability: float
    harmful: list[InfluentialRow]
    helpful: list[InfluentialRow]

    @property
    def question(self) -> str:
        """Question about the test row, as a sentence."""
        if self.predicted == self.label:
            return (
                f"Test row {self.test_row} is {self.label}; of all "
                f"test rows the model is least sure here ({self.probability:.0%}). "
                "Which "
                "train rows lower its confidence?"
            )
        return (
            f"Test row {self.test_row} is {self.label}; the model predicts "
            f"{self.predicted} ({1.0 - self.probability:.0%} sure). Which train "
            "rows caused this?"
        )

    @property
    def answer(self) -> str:
        """How many of the listed rows have flipped labels, as a sentence."""
        wrong, right = (
            sum(row.is_flipped for row in side) for side in (self.harmful, self.helpful)
        )
        return (
            f"{wrong} of the {len(self.harmful)} train rows that pushed hardest "
            f"towards {self.other} have a flipped label; so do {right} of the "
            f"{len(self.helpful)} that pushed hardest towards {self.label}."
        )

    @property
    def cells(self) -> list[list[str]]:
        """The table, a line for each row; see `COLUMNS`."""
        sides = ((self.other, self.harmful), (self.label, self.helpful))
        return [
            [
                str(towards),
                str(row.row),
                str(row.label),
                f"{row.influence:+.4f}",
                "yes" if row.is_flipped else "no",
            ]
            for towards, side in sides
            for row in side
        ]

    def print(self, printer: Printer) -> None:
        """Print question, table and answer."""
        printer.say()
        printer.say(self.question)
        printer.table(COLUMNS, self.cells)
        printer.say(self.answer)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the answer as a dictionary."""
        return {**dataclasses.asdict(self), "answer": self.answer}


def explain_worst_row(
    model: Any,
    train: TrainingData,
    test: TrainingData,
    is_flipped: NDArray[np.bool_],
    n_jobs: int | None,
) -> Explanation:
    """Explain the test row whose true label the model gives the least probability.

    Parameters
    ----------
    model : estimator
        A classifier fitted to the train rows.
    train, test : TrainingData
        The rows.
    is_flipped : ndarray of bool, shape (n_train,)
        Train rows whose label was flipped.
    n_jobs : int or None
        Threads.

    Returns
    -------
    Explanation
    """
    classes = np.asarray(model.classes_)
    probability = np.asarray(model.predict_proba(test.X))
    truth = np.searchsorted(classes, test.y)
    of_truth = probability[np.arange(len(truth)), truth]
    row = int(np.argmin(of_truth))
    others = probability[row].copy()
    others[truth[row]] = -1.0
    explainer = LeafInfluence(on_mismatch="warn", n_jobs=n_jobs)
    explainer.fit(model, train.X, train.y)
    influence = explainer.explain(test.X.iloc[row : row + 1], test.y[row : row + 1])

    def list_side(side: str) -> list[InfluentialRow]:
        top = influence.top(N_ROWS, side)
        return [
            InfluentialRow(i, train.y[i], value, bool(is_flipped[i]))
            for i, value in zip(
                top.positions[0].tolist(), top.values[0].tolist(), strict=True
            )
            if i >= 0
        ]

    return Explanation(
        test_row=row,
        label=test.y[row],
        predicted=classes[np.argmax(probability[row])],
        other=classes[np.argmax(others)],
        probability=float(of_truth[row]),
        harmful=list_side("harmful"),
        helpful=list_side("helpful"),
    )
