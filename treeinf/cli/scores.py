"""Score two models on test rows, with confidence intervals of the gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from treeinf.cli.printing import Printer
from treeinf.cli.tables.training_data import TrainingData

__all__ = [
    "ScoreChange",
    "compare_on_test_rows",
    "predict_for_scores",
    "print_changes",
    "score_on_test_rows",
]

CONFIDENCE = 0.9
N_RESAMPLES = 400
_TINY = 1e-15

Metric = Callable[[NDArray[Any], NDArray[Any]], float]


@dataclasses.dataclass(frozen=True)
class ScoreChange:
    """A score of the model of all rows and of the model of the cleaned rows.

    Parameters
    ----------
    name : str
        Name of the score.
    greater_is_better : bool
        Whether greater is better.
    before, after : float
        Score of the model of all rows, and of the model of the cleaned rows.
    gain : float
        Improvement; positive if `after` is better.
    gain_low, gain_high : float
        Bounds of a bootstrap interval of the gain over paired test rows.
    confidence : float
        Confidence level of the interval, in (0, 1).
    n_rows : int
        Number of test rows.
    """

    name: str
    greater_is_better: bool
    before: float
    after: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float
    n_rows: int

    def __str__(self) -> str:
        return (
            f"{self.name} {self.before:.4f} -> {self.after:.4f} (gain "
            f"{self.gain:+.4f}, {self.confidence:.0%} interval {self.gain_low:+.4f} to "
            f"{self.gain_high:+.4f})"
        )


def predict_for_scores(model: Any, data: TrainingData) -> NDArray[np.float64]:
    """Predict probabilities or values.

    Parameters
    ----------
    model : estimator
        Fitted.
    data : TrainingData
        Test rows.

    Returns
    -------
    ndarray of float64, shape (n_test, n_classes) or (n_test,)
        Probabilities in the order of the train rows' classes, or values.
    """
    if data.task == "regression":
        return np.asarray(model.predict(data.X), dtype=np.float64)
    probability = np.asarray(model.predict_proba(data.X), dtype=np.float64)
    result = np.zeros((len(probability), len(data.classes)))
    numbers = {label: number for number, label in enumerate(data.classes)}
    for column, label in enumerate(np.asarray(model.classes_).tolist()):
        result[:, numbers[label]] = probability[:, column]
    return result


def score_on_test_rows(
    data: TrainingData, prediction: NDArray[np.float64]
) -> dict[str, float]:
    """Score one model.

    Parameters
    ----------
    data : TrainingData
        Test rows.
    prediction : ndarray of float64
        From `predict_for_scores`.

    Returns
    -------
    dict of str to float
        The scores of `compare_on_test_rows`, by name.
    """
    y = data.codes
    return {name: metric(y, prediction) for name, _, metric in _metrics(data, y)}


def compare_on_test_rows(
    data: TrainingData,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    seed: int,
) -> list[ScoreChange]:
    """Score two models on the same test rows.

    Parameters
    ----------
    data : TrainingData
        Test rows.
    before, after : ndarray of float64
        Predictions of the model of all rows and of the cleaned rows, from
        `predict_for_scores`.
    seed : int
        Seed of the resampling.

    Returns
    -------
    list of ScoreChange
        AUC (for two classes that both occur), accuracy and log loss; or R2 and RMSE.
    """
    y = data.codes
    rng = np.random.default_rng(seed)
    samples = [rng.integers(0, len(y), len(y)) for _ in range(N_RESAMPLES)]
    changes = []
    for name, greater_is_better, metric in _metrics(data, y):
        sign = 1.0 if greater_is_better else -1.0
        first, second = metric(y, before), metric(y, after)
        gains = np.array(
            [sign * (metric(y[s], after[s]) - metric(y[s], before[s])) for s in samples]
        )
        gains = gains[np.isfinite(gains)]
        tail = 0.5 * (1.0 - CONFIDENCE)
        low, high = (
            np.quantile(gains, [tail, 1.0 - tail]) if len(gains) else (np.nan, np.nan)
        )
        changes.append(
            ScoreChange(
                name,
                greater_is_better,
                first,
                second,
                # 0.0 added turns the -0.0 of equal losses into 0.0
                sign * (second - first) + 0.0,
                float(low) + 0.0,
                float(high) + 0.0,
                CONFIDENCE,
                len(y),
            )
        )
    return changes


def print_changes(changes: Sequence[ScoreChange], printer: Printer, title: str) -> None:
    """Print scores before and after as a table."""
    if changes:
        printer.table(
            ["", "before", "after", "gain", f"{changes[0].confidence:.0%} interval"],
            [
                (
                    change.name,
                    f"{change.before:.4f}",
                    f"{change.after:.4f}",
                    f"{change.gain:+.4f}",
                    f"{change.gain_low:+.4f} to {change.gain_high:+.4f}",
                )
                for change in changes
            ],
            title=title,
        )


def _metrics(data: TrainingData, y: NDArray[Any]) -> list[tuple[str, bool, Metric]]:
    if data.task == "regression":
        return [("R2", True, _r2), ("RMSE", False, _rmse)]
    metrics: list[tuple[str, bool, Metric]] = [
        ("accuracy", True, _accuracy),
        ("log loss", False, _log_loss),
    ]
    if len(data.classes) == 2 and len(np.unique(y)) == 2:
        metrics.insert(0, ("AUC", True, _auc))
    return metrics


def _auc(y: NDArray[Any], probability: NDArray[np.float64]) -> float:
    is_positive = y == 1
    n_positive = int(is_positive.sum())
    n_negative = len(y) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    rank_sum = float(rankdata(probability[:, 1])[is_positive].sum())
    return (rank_sum - 0.5 * n_positive * (n_positive + 1)) / (n_positive * n_negative)


def _accuracy(y: NDArray[Any], probability: NDArray[np.float64]) -> float:
    return float((probability.argmax(axis=1) == y).mean())


def _log_loss(y: NDArray[Any], probability: NDArray[np.float64]) -> float:
    of_label = probability[np.arange(len(y)), y]
    return float(-np.log(np.maximum(of_label, _TINY)).mean())


def _r2(y: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    spread = float(((y - y.mean()) ** 2).sum())
    return (
        1.0 - float(((y - prediction) ** 2).sum()) / spread if spread else float("nan")
    )


def _rmse(y: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    return float(np.sqrt(((y - prediction) ** 2).mean()))
