"""From what a cleaning found to its report: figures, verdict, what else to know."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

from treeinf.cleaning.actions import Repair
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.report import (
    Alternative,
    CleaningReport,
    list_settings,
    list_versions,
    write_headline,
)
from treeinf.cleaning.scores.noise_rate import (
    NoiseRate,
    OutOfBag,
    estimate_label_noise,
    estimate_target_noise,
)
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.run import Rehearsal
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

__all__ = ["write_report"]

_FEW_GUARD_ROWS = 100


def write_report(
    cleaner: Any,
    trainer: Learner,
    *,
    rows: LabelledRows,
    part: LabelledRows,
    rehearsal: Rehearsal | None,
    scores: RowScores,
    given: LabelledRows | None,
    repair: Repair,
    verdict: str,
    costs: Costs,
    seed: int,
) -> CleaningReport:
    """Put all figures together.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Whose report it is.
    trainer : Learner
        What trained the copies.
    rows, part : LabelledRows
        All rows, and those that could be cleaned.
    rehearsal : Rehearsal or None
        What was tried; None if nothing was judged.
    scores : RowScores
        Scores of the latter.
    given : LabelledRows or None
        The user's own validation rows, trusted to be clean.
    repair : Repair
        What the decision asked for.
    verdict : str
        What the guard said.
    costs : Costs
        Times.
    seed : int
        Seed of the interval of the noise rate.
    """
    confidence, metric = cleaner.confidence, cleaner._scorer()[0]
    n_suspect = len(repair.touched)
    n_touched = n_suspect if verdict in ("helped", "unguarded") else 0
    choice = guard = primary = None
    alternatives: tuple[Alternative, ...] = ()
    if rehearsal is not None:
        choice = rehearsal.compare_choice(confidence, metric)
        guard = rehearsal.compare_guard(confidence, metric)
        primary = rehearsal.compare_primary(confidence)
        if rehearsal.alternatives is not None:
            alternatives = rehearsal.alternatives.compare(
                confidence, metric, rehearsal.n_classes
            )
    with costs.timed("noise rate"):
        noise = _estimate_noise_rate(part, scores, given, confidence, seed)
    notes = [*_notes(cleaner, rows, part, rehearsal, alternatives)]
    if n_touched and cleaner.action == "relabel":
        notes += _note_others(cleaner, repair)
    given_seed = cleaner.random_state
    return CleaningReport(
        headline=write_headline(
            verdict,
            cleaner.action,
            n_suspect,
            rows.n_rows,
            choice,
            guard,
            primary,
            n_dropped=repair.n_dropped,
        ),
        acted=n_touched > 0,
        action=cleaner.action,
        method=cleaner.method,
        task=cleaner._task,
        n_train=rows.n_rows,
        n_scored=part.n_rows,
        n_removed=n_touched,
        share=n_touched / part.n_rows,
        chosen_share=n_suspect / part.n_rows,
        noise_rate=None if noise is None else noise.rate,
        noise_rate_low=None if noise is None else noise.low,
        noise_rate_high=None if noise is None else noise.high,
        choice=choice,
        guard=guard,
        primary=primary,
        alternatives=alternatives,
        verdict=verdict,
        seconds=costs.seconds,
        n_fits=costs.n_fits,
        settings=list_settings(cleaner.get_params(deep=False), trainer.estimator),
        versions=list_versions(trainer.estimator),
        random_state=(
            int(given_seed) if isinstance(given_seed, numbers.Integral) else None
        ),
        notes=tuple(notes),
    )


def _estimate_noise_rate(
    part: LabelledRows,
    scores: RowScores,
    given: LabelledRows | None,
    confidence: float,
    seed: int,
) -> NoiseRate | None:
    """Estimate how many rows look wrong; None for methods without predictions."""
    if scores.prediction is None:
        return None
    rows = OutOfBag(part.y if part.code is None else part.code, scores.prediction)
    clean = None
    if given is not None and scores.of_clean is not None:
        clean = OutOfBag(given.y if given.code is None else given.code, scores.of_clean)
    estimate = estimate_target_noise if part.code is None else estimate_label_noise
    return estimate(rows, confidence=confidence, seed=seed, clean=clean)


def _notes(
    cleaner: Any,
    rows: LabelledRows,
    part: LabelledRows,
    rehearsal: Rehearsal | None,
    alternatives: tuple[Alternative, ...],
) -> Iterator[str]:
    if rehearsal is None:
        yield "Nothing was judged: the amount was given, and guard=False."
    else:
        n_judges = rehearsal.picked.proper.shape[1]
        if n_judges < _FEW_GUARD_ROWS:
            yield (
                f"Only {n_judges} rows judged the cleaning, so that only a large gain "
                "can be told from noise; with a number of folds as validation every "
                "row judges."
            )
        if rehearsal.chosen:
            yield from _note_rivals(cleaner, alternatives)
    n_held_out = rows.n_rows - part.n_rows
    if n_held_out:
        left = cleaner.refit_on_validation is False
        yield (
            f"{n_held_out:,} of the rows were held out to choose and judge; they were "
            "not cleaned, and the final model was trained "
            f"{'without' if left else 'with'} them."
        )


def _note_others(cleaner: Any, repair: Repair) -> Iterator[str]:
    """Say what became of suspects that were not relabelled."""
    if repair.n_left:
        other = "" if cleaner.relabel_by == "suggestion" else ", or it would not help"
        yield (
            f"{repair.n_left:,} further suspects were left as they are: no other label "
            f"is suggested{other}."
        )
    n_relabelled = len(repair.touched) - repair.n_dropped
    if repair.n_dropped:
        yield (
            f"Of the rows cleaned {n_relabelled:,} were relabelled; the other "
            f"{repair.n_dropped:,} were removed, for that promised more."
        )


def _note_rivals(cleaner: Any, alternatives: tuple[Alternative, ...]) -> Iterator[str]:
    """Say where doing something else with the rows was at least as good."""
    found = {one.key: one for one in alternatives}
    for key in ("random", "appended"):
        if key not in found:
            continue
        own, other = found["cleaned"].guard, found[key].guard
        if other.loss_after <= own.loss_after:
            yield (
                f"On the judging rows the cleaning was no better than this: "
                f"{found[key].name} ({own.loss} {other.loss_after:.4f} against "
                f"{own.loss_after:.4f})."
            )
    if "both" in found and cleaner.refit_on_validation is None:
        yield (
            "The final model was trained without the validation rows given; "
            "refit_on_validation=True adds them."
        )
