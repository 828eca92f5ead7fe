"""Draw the plots of the report of a cleaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf import plots
from treeinf.cleaning import CleaningReport
from treeinf.frames import read_columns
from treeinf.reports.pictures import draw_svg
from treeinf.reports.rows import positions

__all__ = ["draw_pictures"]


def draw_pictures(
    cleaner: Any, is_noisy: ArrayLike | None, X: Any
) -> list[dict[str, str]]:
    """Draw the available plots: amounts, scores, features, wrong rows found.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Fitted.
    is_noisy : array-like of bool, shape (n_train,), or None
        Rows known to be wrong.
    X : frame or array-like, shape (n_train, n_features), or None
        The train rows, for the picture of the features.

    Returns
    -------
    list of dict
        With "title", "caption" and "svg".
    """
    report: CleaningReport = cleaner.report_
    scores = np.asarray(cleaner.scores_, dtype=np.float64)
    cleaned = np.zeros(len(scores), dtype=bool)
    cleaned[positions(cleaner.removed_)] = True
    pictures = []
    # weighting changes all rows, so that it is no point of this curve
    history = [
        entry
        for entry in cleaner.history_
        if math.isfinite(entry["share"])
        and (entry.get("action") != "weight" or report.action == "weight")
    ]
    history.sort(key=lambda entry: entry["share"])
    if len(history) > 2:
        pictures.append(_draw_amounts(history, report))
    shown = "Bars count train rows on a logarithmic axis"
    pictures.append(
        _picture(
            "score-distribution",
            "Scores of the train rows",
            f"{shown}; colour marks rows that were cleaned."
            if cleaned.any()
            else f"{shown}; no row was cleaned.",
            lambda ax: plots.plot_score_distribution(
                scores, cleaned, label=f"score by {report.method!r}", ax=ax
            ),
        )
    )
    if X is not None and cleaned.any() and not cleaned.all() and _has_numbers(X):
        pictures.append(
            _picture(
                "features",
                "Where the cleaned rows lie",
                "Features in which they differ most from the other rows (in brackets "
                "the Kolmogorov-Smirnov distance, 0 to 1): median, quartiles and 10 % "
                "to 90 % range of the cleaned rows, as quantiles among the other rows. "
                "The shade is the interquartile range of the other rows.",
                lambda ax: plots.plot_features(X, cleaned, k=8, ax=ax),
            )
        )
    if is_noisy is not None:
        truth = np.asarray(is_noisy, dtype=bool)
        n_cleaned = int(cleaned.sum())
        pictures.append(
            _picture(
                "detection",
                "Known wrong rows found",
                "Rows are checked in decreasing order of their scores.",
                lambda ax: plots.plot_detection_curve(
                    scores, truth, n_checked=n_cleaned, ax=ax
                ),
            )
        )
    return pictures


def _draw_amounts(
    history: Sequence[Mapping[str, Any]], report: CleaningReport
) -> dict[str, str]:
    def column(name: str) -> NDArray[np.float64]:
        return np.array(
            [np.nan if entry[name] is None else entry[name] for entry in history],
            dtype=np.float64,
        )

    chosen = [entry["share"] for entry in history if entry["chosen"]]
    by_chance = column("random_gain")
    by_chance[0] = 0.0
    levels = {
        control.name: control.choice.gain
        for control in report.alternatives
        if control.key == "appended"
    }
    loss = "loss" if report.choice is None else report.choice.loss
    return _picture(
        "amount",
        "Gain of each amount",
        f"Gain in {loss} on the selection sets after retraining with each amount "
        "(where rows are weighted: those that keep less than half of it). The "
        "mildest that does as well as the best is chosen; the guard sets then "
        "evaluate it on other rows. Dashed: as many rows removed at random"
        + (", and the clean rows appended with nothing else done." if levels else "."),
        lambda ax: plots.plot_amount_curve(
            column("share"),
            column("gain"),
            column("gain_low"),
            column("gain_high"),
            chosen=chosen[0] if chosen and chosen[0] > 0 else None,
            label="gain over no cleaning",
            others={"removed at random": by_chance},
            levels=levels,
            ax=ax,
        ),
    )


def _picture(
    name: str, title: str, caption: str, draw: Callable[[Any], Any]
) -> dict[str, str]:
    svg = draw_svg(draw, name=name, description=f"{title}. {caption}")
    return {"title": title, "caption": caption, "svg": svg}


def _has_numbers(X: Any) -> bool:
    """Return whether a table has a numeric column."""
    return any(values.dtype.kind == "f" for _, values in read_columns(X))
