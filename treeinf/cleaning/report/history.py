"""Lines of ``history_``: one for each amount or subset tried, in plain types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treeinf.cleaning.trial.cleanings import CleaningTrial
from treeinf.cleaning.trial.comparison import paired_interval
from treeinf.cleaning.trial.judging import Evaluation

__all__ = ["list_amounts", "list_subset_lines"]


def list_amounts(trial: CleaningTrial | None, n_scored: int) -> list[dict[str, Any]]:
    """List the treatments tried, the uncleaned model first.

    Parameters
    ----------
    trial : CleaningTrial or None
        Evaluations of the treatments; None for none.
    n_scored : int
        Rows that can be cleaned.
    """
    if trial is None:
        return []
    lines = []
    evaluation = trial.outcome.candidates
    losses = evaluation.losses
    unclean = losses.selection_loss[0]
    treatments = [None, *trial.treatments]
    for number, (treatment, share) in enumerate(
        zip(treatments, trial.shares, strict=True)
    ):
        gain = paired_interval(
            unclean - losses.selection_loss[number], trial.confidence
        )
        by_chance: tuple[float | None, ...] = (None, None, None)
        if number and number == trial.chosen and trial.controls is not None:
            random = trial.controls.compare_selection(0, 2, trial.confidence, "")
            by_chance = random.gain, random.gain_low, random.gain_high
        guard_loss = float(losses.guard_loss[number].mean())
        lines.append(
            {
                "action": None if treatment is None else treatment.action,
                "amount": None if treatment is None else str(treatment.amount),
                "share": share,
                "n_removed": None if np.isnan(share) else round(share * n_scored),
                "loss": float(losses.selection_loss[number].mean()),
                **_interval("gain", gain),
                **_interval("random_gain", by_chance),
                "score": float(evaluation.score[number]),
                "guard_loss": guard_loss,
                "guard_gain": float(losses.guard_loss[0].mean()) - guard_loss,
                "primary": 1.0 - float(losses.primary_loss[number].mean()),
                "n_rows": evaluation.n_rows,
                "chosen": number == trial.chosen,
            }
        )
    return lines


def list_subset_lines(
    evaluation: Evaluation,
    subsets: Sequence[tuple[str, float]],
    n_scored: int,
    confidence: float,
) -> list[dict[str, Any]]:
    """List the subsets tried, by strategy and share, all rows first."""
    lines = []
    for number, (strategy, share) in enumerate(subsets):
        loss = evaluation.compare_guard(0, number, confidence, "")
        primary = evaluation.compare_primary(0, number, confidence)
        lines.append(
            {
                "strategy": strategy,
                "share": share,
                "n_kept": round(share * n_scored),
                "loss": loss.loss_after,
                **_interval("gain", (loss.gain, loss.gain_low, loss.gain_high)),
                "primary": primary.score_after,
                **_interval(
                    "primary_gain", (primary.gain, primary.gain_low, primary.gain_high)
                ),
                "score": float(evaluation.score[number]),
                "n_rows": loss.n_rows,
            }
        )
    return lines


def _interval(name: str, values: tuple[float | None, ...]) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
