"""Try several treatments of the rows split by split, until the gain is beyond doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from treeinf.cleaning.actions import Treatment
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.scores.noise_rate import NoiseRate
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.candidates import (
    CONTROLS,
    Candidate,
    list_cleanings,
    list_controls,
)
from treeinf.cleaning.trial.choice import choose_treatment, decide
from treeinf.cleaning.trial.comparison import Alternative
from treeinf.cleaning.trial.judging import (
    Evaluation,
    Outcome,
    Predictions,
    average_evaluations,
    evaluate_trial,
    losses_within,
)
from treeinf.cleaning.trial.losses import RowLosses
from treeinf.cleaning.trial.splits import Split
from treeinf.training.rows import LabelledRows

__all__ = ["CleaningTrial", "count_looks", "try_cleanings"]

# makes random removals independent of other uses of a seed
_RANDOM_STREAM = 0x72616E64
_INTERIM_ERRORS = 3.0
_MOST_LOOKS = ((5_000, 5), (50_000, 3), (200_000, 2))


def count_looks(n_splits: int, n_rows: int) -> int:
    """Return how many of the splits are tried at most: fewer, the more rows there are.

    A fold of many rows decides what many folds of few rows cannot.
    """
    most = next((looks for below, looks in _MOST_LOOKS if n_rows < below), 1)
    return min(n_splits, most)


@dataclasses.dataclass(frozen=True, eq=False)
class CleaningTrial:
    """Evaluations of the treatments tried; the uncleaned rows come first.

    Parameters
    ----------
    treatments : list of Treatment
        Those tried.
    shares : list of float
        Mean share of the train rows that each changes, 0 of the uncleaned rows first.
    chosen : int
        Number of the treatment that all selection sets choose together, from 1; 0 for
        none.
    outcome : Outcome
        Of the uncleaned rows and the treatments.
    controls : Evaluation or None
        Of the first of `CONTROLS`, on the guard sets.
    n_looks : int
        Splits tried.
    confidence : float
        Confidence level of the intervals: higher if the trial ended early.
    least_noise : float
        Lower end of the noise rate's interval, of the train rows of the first split.
    """

    treatments: list[Treatment]
    shares: list[float]
    chosen: int
    outcome: Outcome
    controls: Evaluation | None
    n_looks: int
    confidence: float
    least_noise: float

    def compare_controls(self, metric: str) -> tuple[Alternative, ...]:
        """Compare each control with the uncleaned rows."""
        if self.controls is None:
            return ()
        confidence = self.confidence
        return tuple(
            Alternative(
                key=key,
                name=name,
                choice=self.controls.compare_selection(0, number, confidence, metric),
                guard=self.controls.compare_guard(0, number, confidence, metric),
                primary=self.controls.compare_primary(0, number, confidence),
            )
            for number, (key, name) in zip(
                range(len(self.controls.score)), CONTROLS.items(), strict=False
            )
        )


def try_cleanings(
    splits: Sequence[Split],
    score: Callable[[Split], RowScores],
    estimate_noise: Callable[[LabelledRows, RowScores], NoiseRate | None],
    treatments: Sequence[Treatment],
    *,
    run: Callable[..., list[list[Predictions]]],
    seeds: Sequence[int],
    costs: Costs,
    is_free: bool,
    controls: bool,
    append: bool,
    confidence: float,
) -> CleaningTrial:
    """Try every treatment, split by split, until the guard's interval decides.

    Parameters
    ----------
    splits : sequence of Split
        Rows to clean and train on, to choose and to evaluate by, in the order of the
        looks; not all may be needed.
    score : callable
        Scores the train rows of a split.
    estimate_noise : callable
        Estimates the noise rate of rows, given their scores.
    treatments : sequence of Treatment
        What is tried, from the mildest to the strongest.
    run : callable
        Trains candidates, see `treeinf.cleaning.trial.run`.
    seeds : sequence of int
        One for each split, of its random removals.
    costs : Costs
        Added to.
    is_free : bool
        Choose among the treatments; if False, take the first.
    controls : bool
        Try random removals and appended rows too.
    append : bool
        Whether the sets are trusted rows, to be appended.
    confidence : float
        Confidence level after the last look. Before it a trial ends only if the gain,
        or the loss, of the chosen treatment is beyond three standard errors.

    Notes
    -----
    The boundary of three standard errors for all looks but the last is that of
    Haybittle and Peto; it leaves the last interval as good as unchanged.

    References
    ----------
    R. Peto et al., "Design and analysis of randomized clinical trials requiring
    prolonged observation of each patient", British Journal of Cancer 34 (1976).
    """
    interim = max(confidence, float(2.0 * stats.norm.cdf(_INTERIM_ERRORS) - 1.0))
    rngs = [np.random.default_rng([seed, _RANDOM_STREAM]) for seed in seeds]

    least_noise = 0.0

    def choose(losses: RowLosses) -> list[int]:
        return [0, choose_treatment(losses, least_noise) if is_free else 1]

    candidates: list[list[Candidate]] = []
    tried_sets: list[list[Predictions]] = []
    for look, split in enumerate(splits, start=1):
        scores = score(split)
        if look == 1:
            noise = estimate_noise(split.train.rows, scores)
            least_noise = 0.0 if noise is None else noise.low
        tried = list_cleanings(split.train.rows, scores, treatments)
        with costs.timed("retrain"):
            (of_sets,) = run([tried], [split], stage="retraining")
        candidates.append(tried)
        tried_sets.append(of_sets)
        turns = _list_turns(splits[:look])
        pairs = [_join_sets(turn, tried_sets) for turn in turns]
        outcome = evaluate_trial(pairs, choose, groups=np.arange(len(tried)))
        is_last = look == len(splits)
        level = confidence if is_last else interim
        chosen = choose(outcome.candidates.losses)[1]
        if is_last or (chosen and _is_decided(outcome.chosen, level)):
            break
    evaluation = None
    if controls:
        with costs.timed("baselines"):
            evaluation = _try_controls(
                splits, candidates, turns, pairs, outcome.choices, rngs, run, append
            )
    shares = [[c.share for c in tried] for tried in candidates]
    return CleaningTrial(
        list(treatments),
        np.mean(shares, axis=0).tolist(),
        chosen,
        outcome,
        evaluation,
        look,
        level,
        least_noise,
    )


def _is_decided(chosen: Evaluation, confidence: float) -> bool:
    """Return whether further splits would hardly change the verdict."""
    verdict = decide(chosen, 1, guard=True, confidence=confidence)
    return verdict in ("helped", "worse beyond noise")


_Turn = list[tuple[int, int, int]]
"""Splits with the numbers of their selection and guard set, which are joined."""


def _list_turns(splits: Sequence[Split]) -> list[_Turn]:
    """List which sets of which splits choose together, and which evaluate.

    Sets of all splits are joined, so that calibrations and choices are of many rows.
    Splits with a single turn stand alone: the set that chooses is one that scores use,
    or earlier rows, and those of other splits would be neither.
    """
    turns: dict[tuple[int, int], _Turn] = {}
    for k, split in enumerate(splits):
        for number, role in enumerate(split.roles):
            key = (k if len(split.roles) == 1 else 0), number
            turns.setdefault(key, []).append((k, *role))
    return list(turns.values())


def _join_sets(
    turn: _Turn, of_sets: Sequence[Sequence[Predictions]]
) -> tuple[Predictions, Predictions]:
    """Join the selection sets of a turn, and its guard sets."""
    return (
        Predictions.concatenate([of_sets[k][selection] for k, selection, _ in turn]),
        Predictions.concatenate([of_sets[k][guard] for k, _, guard in turn]),
    )


def _try_controls(
    splits: Sequence[Split],
    candidates: Sequence[Sequence[Candidate]],
    turns: Sequence[_Turn],
    pairs: Sequence[tuple[Predictions, Predictions]],
    choices: Sequence[Sequence[int]],
    rngs: Sequence[np.random.Generator],
    run: Callable[..., list[list[Predictions]]],
    append: bool,
) -> Evaluation:
    """Train the controls of what each turn chose, and evaluate them."""
    n_looks = len(candidates)
    listed: list[list[Candidate]] = [[] for _ in range(n_looks)]
    # both turns mostly choose the same, which has the same controls
    numbers: dict[tuple[int, int, int], range] = {}
    for turn, (_, choice) in zip(turns, choices, strict=True):
        for k, selection, _ in turn:
            key = k, choice, selection if append else -1
            if key in numbers:
                continue
            split, first = splits[k], len(listed[k])
            trusted = split.sets[selection].rows if append else None
            cleaned = candidates[k][choice]
            listed[k] += list_controls(split.train.rows, cleaned, trusted, rngs[k])
            numbers[key] = range(first, len(listed[k]))
    tried = run(listed, splits[:n_looks], stage="baselines", announce=True)
    n_controls = 3 if append else 1
    losses, scores, guards = [], [], []
    for turn, (_, guard), models in zip(turns, pairs, choices, strict=True):
        own_controls = [
            numbers[k, models[1], selection if append else -1]
            for k, selection, _ in turn
        ]
        # nothing was cleaned, so there is no random removal: use all rows in its place
        n_own = min(len(several) for several in own_controls)
        predictions = guard.of_models([*models, *[0] * (n_controls - n_own)])
        if n_own:
            controls = [
                tried[k][unseen].of_models(several[-n_own:])
                for (k, _, unseen), several in zip(turn, own_controls, strict=True)
            ]
            predictions = predictions.append(Predictions.concatenate(controls))
        losses.append(losses_within(predictions))
        scores.append(predictions.score)
        guards.append(guard)
    return average_evaluations(losses, scores, guards)
