"""Registry of the measures: function, column that ranks methods, description."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from treeinf.datasets.tables import Split
from treeinf.evaluation.measures.agreement import agreement
from treeinf.evaluation.measures.cost import cost
from treeinf.evaluation.measures.detection import detection
from treeinf.evaluation.measures.faithfulness import faithfulness
from treeinf.evaluation.measures.fixing import fixing
from treeinf.evaluation.measures.flipping import rows_to_flip
from treeinf.evaluation.measures.label_edit import label_edit
from treeinf.evaluation.measures.poisoning import poisoning
from treeinf.evaluation.measures.pruning import pruning
from treeinf.evaluation.measures.removal import removal
from treeinf.evaluation.measures.stability import stability

__all__ = ["MEASURES", "Measure"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of a suite.

    Parameters
    ----------
    run : callable
        Function that measures.
    figure : str
        Column that ranks the methods, averaged over the lines of a cell.
    title : str
        Description of `figure`, for reports.
    higher_is_better : bool, default=True
        Whether larger figures rank better.
    curve : str, default=""
        Column of the x axis of curves.
    scores_rows : bool, default=False
        Whether it also accepts methods that only score train rows, such as `Loss`.
    only_classes : bool, default=False
        Whether it is for classifiers only.
    shares_work : bool, default=False
        Whether all methods share one cell, since they need a costly reference.
    split_by : str, default=""
        Column whose values make separate methods, such as "BoostIn, self".
    keep : dict, default={}
        Column and value of the lines that rank.
    references : tuple of str, default=()
        Explainers used as references, and therefore not as methods.
    has_test_rows : bool, default=True
        Whether it takes test rows.
    missing : float, default=NaN
        Value that replaces NaN in `figure`.
    details : tuple of str, default=()
        Other columns to report.
    note : str, default=""
        Remark on `details`, for reports.
    """

    run: Callable[..., Any]
    figure: str
    title: str
    higher_is_better: bool = True
    curve: str = ""
    scores_rows: bool = False
    only_classes: bool = False
    shares_work: bool = False
    split_by: str = ""
    keep: dict[str, str] = dataclasses.field(default_factory=dict)
    references: tuple[str, ...] = ()
    has_test_rows: bool = True
    missing: float = np.nan
    details: tuple[str, ...] = ()
    note: str = ""

    def __call__(
        self, estimator: Any, methods: Any, rows: Split, options: dict[str, Any]
    ) -> Any:
        """Measure methods on a split, with the options that `run` accepts."""
        tests = (rows.X_test, rows.y_test) if self.has_test_rows else ()
        accepted = inspect.signature(self.run).parameters
        arguments = {name: value for name, value in options.items() if name in accepted}
        return self.run(
            estimator, methods, rows.X_train, rows.y_train, *tests, **arguments
        )

    def figures(self, frame: Any) -> Any:
        """Return the figure that each method is ranked by, as a series."""
        for column, value in self.keep.items():
            if column in frame and (frame[column] == value).any():
                frame = frame[frame[column] == value]
        names = self.names(frame)
        return frame[self.figure].fillna(self.missing).groupby(names, sort=False).mean()

    def names(self, frame: Any) -> Any:
        """Name the method of each line."""
        if not self.split_by:
            return frame["method"]
        return frame["method"] + ", " + frame[self.split_by]


_OF_ANOTHER_UNIT = (
    "Slopes and errors are meaningless for methods in another unit: similarities, the "
    "random baseline, and variants that divide by leaf counts."
)

MEASURES: dict[str, Measure] = {
    "removal": Measure(
        removal, "loss_increase", "rise of the loss of a test row", curve="share"
    ),
    "removal_set": Measure(
        removal, "loss_increase", "rise of the mean test loss", curve="share"
    ),
    "rows_to_flip": Measure(
        rows_to_flip,
        "share_to_flip",
        "share of the rows to remove to flip a prediction; 1 where none was found",
        higher_is_better=False,
        only_classes=True,
        missing=1.0,
    ),
    "label_edit": Measure(
        label_edit, "loss_increase", "rise of the loss of a test row", curve="share"
    ),
    "detection": Measure(
        detection,
        "average_precision",
        "average precision of finding wrong targets",
        scores_rows=True,
        split_by="score",
        has_test_rows=False,
        details=("average_precision", "auroc", "precision"),
        note="Expected at random: the share of wrong targets, 1/2, and that share.",
    ),
    "fixing": Measure(
        fixing,
        "loss_decrease",
        "fall of the mean test loss",
        curve="share",
        scores_rows=True,
        split_by="ranked_by",
    ),
    "poisoning": Measure(
        poisoning, "loss_increase", "rise of the mean test loss", curve="share"
    ),
    "agreement": Measure(
        agreement,
        "spearman",
        "rank correlation with LOO, 0 where there is none",
        shares_work=True,
        references=("LeafRefit", "LOO"),
        keep={"reference": "LOO"},
        missing=0.0,
        details=("spearman", "pearson", "slope"),
        note=_OF_ANOTHER_UNIT,
    ),
    "faithfulness": Measure(
        faithfulness,
        "spearman",
        "rank correlation of group influence with retraining, 0 where there is none",
        shares_work=True,
        keep={"reference": "retraining"},
        missing=0.0,
        details=("spearman", "pearson", "slope", "relative_error"),
        note=f"{_OF_ANOTHER_UNIT} A method that predicts 0 has a relative error of 1.",
    ),
    "pruning": Measure(
        pruning, "loss_decrease", "fall of the mean test loss", curve="share"
    ),
    "stability": Measure(
        stability, "spearman", "rank correlation between seeds", missing=0.0
    ),
    "cost": Measure(
        cost,
        "per_training",
        "seconds to explain, in trainings of the model",
        higher_is_better=False,
        keep={"step": "explain"},
    ),
}
"""Measures by name. "removal_set" is `removal` with ``together=True``."""

_FIXED: dict[str, dict[str, Any]] = {"removal_set": {"together": True}}


def options_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Add the options that the name of a measure implies."""
    return {**options, **_FIXED.get(name, {})}
