"""Try several amounts of cleaning, and the controls of the chosen one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from treeinf.cleaning.actions import Cleaning
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.candidates import (
    CONTROLS,
    Candidate,
    list_cleanings,
    list_controls,
    random_amounts,
)
from treeinf.cleaning.trial.choice import choose_amount
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

__all__ = ["CleaningTrial", "try_cleanings"]

# makes random removals independent of other uses of a seed
_RANDOM_STREAM = 0x72616E64


@dataclasses.dataclass(frozen=True, eq=False)
class CleaningTrial:
    """Evaluations of the amounts tried; the uncleaned rows come first.

    Parameters
    ----------
    shares : list of float
        Amounts, 0 first.
    chosen : int
        Number of the amount that all selection sets choose together.
    outcome : Outcome
        Of the amounts, and of random removals after them.
    random : dict of int to int
        Amounts at which random removals were tried: number of the amount to that of the
        removal.
    controls : Evaluation or None
        Of the first of `CONTROLS`, on the guard sets.
    """

    shares: list[float]
    chosen: int
    outcome: Outcome
    random: dict[int, int]
    controls: Evaluation | None

    def compare_controls(
        self, confidence: float, metric: str
    ) -> tuple[Alternative, ...]:
        """Compare each control with the uncleaned rows."""
        if self.controls is None:
            return ()
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
    scores: Sequence[RowScores],
    shares: Sequence[float],
    *,
    clean: Callable[..., Cleaning],
    run: Callable[..., list[list[Predictions]]],
    seeds: Sequence[int],
    costs: Costs,
    is_free: bool,
    controls: bool,
    append: bool,
) -> CleaningTrial:
    """Train on every amount in every split, let selection sets choose, and evaluate.

    Parameters
    ----------
    splits : sequence of Split
        Rows to clean and train on, to choose and to evaluate by.
    scores : sequence of RowScores
        Scores of the train rows of each split.
    shares : sequence of float
        Amounts to try, ascending.
    clean : callable
        Returns the cleaning of rows by scores and share.
    run : callable
        Trains candidates, see `treeinf.cleaning.trial.run`.
    seeds : sequence of int
        One for each split, of its random removals.
    costs : Costs
        Added to.
    is_free : bool
        Choose among the amounts; if False, take the first.
    controls : bool
        Try random removals and appended rows too.
    append : bool
        Whether the sets are trusted rows, to be appended.
    """
    rngs = [np.random.default_rng([seed, _RANDOM_STREAM]) for seed in seeds]
    candidates = [
        list_cleanings(
            split.train.rows,
            shares,
            split_scores,
            clean,
            rng,
            controls=controls,
        )
        for split, split_scores, rng in zip(splits, scores, rngs, strict=True)
    ]
    with costs.timed("retrain"):
        predictions = run(candidates, splits, stage="retraining")
    pairs = [
        (of_sets[selection], of_sets[guard])
        for split, of_sets in zip(splits, predictions, strict=True)
        for selection, guard in split.roles
    ]
    n_amounts = 1 + len(shares)

    def choose(losses: RowLosses) -> list[int]:
        return [0, choose_amount(losses.of_models(range(n_amounts))) if is_free else 1]

    outcome = evaluate_trial(pairs, choose, groups=np.arange(len(candidates[0])))
    evaluation = None
    if controls:
        with costs.timed("baselines"):
            evaluation = _try_controls(
                splits, candidates, pairs, outcome.choices, rngs, run, append
            )
    return CleaningTrial(
        [0.0, *shares],
        choose(outcome.candidates.losses)[1],
        outcome,
        {
            amount: n_amounts + k
            for k, amount in enumerate(random_amounts(len(shares)) if controls else ())
        },
        evaluation,
    )


def _try_controls(
    splits: Sequence[Split],
    candidates: Sequence[Sequence[Candidate]],
    pairs: Sequence[tuple[Predictions, Predictions]],
    choices: Sequence[Sequence[int]],
    rngs: Sequence[np.random.Generator],
    run: Callable[..., list[list[Predictions]]],
    append: bool,
) -> Evaluation:
    """Train the controls of what each selection set chose, and evaluate them."""
    controls, guard_splits = [], []
    choice = iter(choices)
    for split, split_candidates, rng in zip(splits, candidates, rngs, strict=True):
        for selection, unseen in split.roles:
            cleaned = split_candidates[next(choice)[1]]
            trusted = split.sets[selection].rows if append else None
            train = split.train.rows
            controls.append(
                list_controls(train.code, cleaned, trusted, rng, train.group)
            )
            guard_splits.append(Split(split.train, (split.sets[unseen],)))
    n_controls = 3 if append else 1
    losses, scores = [], []
    tried = run(controls, guard_splits, stage="baselines", announce=True)
    for (_, guard), models, (of_controls,) in zip(pairs, choices, tried, strict=True):
        # nothing was cleaned, so there is no random removal: use all rows in its place
        n_missing = n_controls - len(of_controls.score)
        predictions = guard.join([*models, *[0] * n_missing], of_controls)
        losses.append(losses_within(predictions))
        scores.append(predictions.score)
    return average_evaluations(losses, scores, [guard for _, guard in pairs])
