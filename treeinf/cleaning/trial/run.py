"""The cleaning tried out: scored, cleaned by every amount, retrained and judged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.actions import Handling, Repair, repair_rows
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.report import Comparison
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.scoring import RowScores, score_rows
from treeinf.cleaning.trial import judging
from treeinf.cleaning.trial.controls import (
    Alternatives,
    AlternativesOfRound,
    measure,
    remove_at_random,
)
from treeinf.cleaning.trial.losses import primary_metric
from treeinf.cleaning.trial.splits import Round
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

__all__ = ["Recipe", "Rehearsal", "random_places", "rehearse"]

# keeps random removals apart from all other uses of a seed
_RANDOM_STREAM = 0x72616E64


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How rows are scored and what is done with them.

    Parameters
    ----------
    method, action : str
        Names in `METHODS` and `ACTIONS`.
    n_repeats : int
        Times the rows are split in halves for the scores.
    amount : Amount
        How many are cleaned.
    suspect_weight : float
        What "downweight" multiplies weights by.
    relabel_by : str
        Which suspects "relabel" gives another label, one of `RELABEL_RULES`.
    """

    method: str
    action: str
    n_repeats: int
    amount: Amount
    suspect_weight: float
    relabel_by: str

    @property
    def n_copies(self) -> int:
        """Copies trained for the scores."""
        return 2 * self.n_repeats if METHODS[self.method].needs_copies else 0

    @property
    def weighs_labels(self) -> bool:
        """Whether influence is asked about the suggested labels."""
        return self.action == "relabel" and self.relabel_by != "suggestion"

    @property
    def looks_at_others(self) -> bool:
        """Whether scores or actions look at validation rows, where such are given."""
        return METHODS[self.method].looks_at_others or self.weighs_labels

    def score(
        self,
        trainer: Learner,
        rows: LabelledRows,
        seed: int,
        target: LabelledRows | None,
        clean: LabelledRows | None,
        costs: Costs,
    ) -> RowScores:
        """Score rows; see `score_rows`."""
        return score_rows(
            METHODS[self.method],
            trainer,
            rows,
            n_repeats=self.n_repeats,
            seed=seed,
            costs=costs,
            target=target,
            clean=clean,
            weighs_labels=self.weighs_labels,
        )

    def repair(self, rows: LabelledRows, scores: RowScores, share: float) -> Repair:
        """Clean a share of the rows, or those above the threshold."""
        is_score = self.amount.kind == "threshold"
        return repair_rows(
            self.action,
            rows,
            scores,
            count=None if is_score else round(share * rows.n_rows),
            threshold=float(self.amount.value or 0.0) if is_score else None,
            handling=Handling(self.suspect_weight, self.relabel_by),
        )

    def keep_all(self, rows: LabelledRows) -> Repair:
        """Leave all rows as they are."""
        return Repair(
            rows, np.empty(0, dtype=np.int64), np.ones(rows.n_rows, dtype=bool)
        )


def random_places(n_shares: int) -> list[int]:
    """Give the places (0 for no cleaning) at which random removals are tried too.

    The largest amount and the middle one: enough for a curve, and few trainings.
    """
    return sorted({(n_shares + 1) // 2, n_shares} - {0})


@dataclasses.dataclass(frozen=True, eq=False)
class Rehearsal:
    """What the rounds said of every amount; the uncleaned model stands first.

    Parameters
    ----------
    shares : list of float
        Amounts, 0 first.
    is_free : bool
        Whether an amount is to be chosen.
    n_classes : int
        0 for regression.
    losses : RowLosses, shape (n_models, n_rows)
        Losses on all rows that choose and judge.
    picked : RowLosses, shape (2, n_rows)
        Before and after, where each row judges what others chose: no row here has had
        a say in what it judges.
    score : ndarray of float64, shape (n_models,)
        The reported score.
    score_of_picked : float
        That of what was chosen by others.
    random : dict of int to ndarray of float64, shape (n_rows,)
        For some places in `shares`, the loss that chooses after as many rows were
        removed at random.
    alternatives : Alternatives or None
        What the cleaning must be better than.
    first_scores : RowScores
        Scores of the first round's rows.
    """

    shares: list[float]
    is_free: bool
    n_classes: int
    losses: judging.RowLosses
    picked: judging.RowLosses
    score: NDArray[np.float64]
    score_of_picked: float
    random: dict[int, NDArray[np.float64]]
    alternatives: Alternatives | None
    first_scores: RowScores

    @functools.cached_property
    def chosen(self) -> int:
        """Place of the amount that all rows choose together."""
        return judging.choose_candidate(self.losses) if self.is_free else 1

    def compare_choice(self, confidence: float, metric: str) -> Comparison:
        """Compare the chosen amount on the rows that chose it."""
        chosen = self.chosen
        return judging.compare(
            self.losses.robust[[0, chosen]],
            loss=judging.choice_loss(self.n_classes == 0),
            confidence=confidence,
            metric=metric,
            scores=(float(self.score[0]), float(self.score[chosen])),
        )

    def compare_guard(self, confidence: float, metric: str) -> Comparison:
        """Compare what some rows chose on others that had no say in it."""
        return judging.compare(
            self.picked.proper,
            loss=judging.guard_loss(self.n_classes == 0),
            confidence=confidence,
            metric=metric,
            scores=(float(self.score[0]), self.score_of_picked),
        )

    def compare_primary(self, confidence: float) -> Comparison:
        """Compare the same by the score that must not fall."""
        return judging.compare_primary(
            self.picked.primary,
            confidence=confidence,
            metric=primary_metric(self.n_classes),
        )

    def history(self, n_scored: int, confidence: float) -> list[dict[str, Any]]:
        """List what was tried, in plain types."""
        chosen, lines = self.chosen, []
        before = self.losses.robust[0]
        for place, share in enumerate(self.shares):
            gain, low, high = judging.paired_interval(
                before - self.losses.robust[place], confidence
            )
            by_chance: tuple[float | None, ...] = (None, None, None)
            if place in self.random:
                by_chance = judging.paired_interval(
                    before - self.random[place], confidence
                )
            guard_loss = float(self.losses.proper[place].mean())
            lines.append(
                {
                    "share": share,
                    "n_removed": None if np.isnan(share) else round(share * n_scored),
                    "loss": float(self.losses.robust[place].mean()),
                    "gain": gain,
                    "gain_low": low,
                    "gain_high": high,
                    "random_gain": by_chance[0],
                    "random_gain_low": by_chance[1],
                    "random_gain_high": by_chance[2],
                    "score": float(self.score[place]),
                    "guard_loss": guard_loss,
                    "guard_gain": float(self.losses.proper[0].mean()) - guard_loss,
                    "primary": 1.0 - float(self.losses.primary[place].mean()),
                    "n_rows": self.losses.robust.shape[1],
                    "chosen": place == chosen,
                }
            )
        return lines


def rehearse(
    recipe: Recipe,
    trainer: Learner,
    rows: LabelledRows,
    rounds: list[Round],
    shares: list[float],
    *,
    is_free: bool,
    score_seeds: list[int],
    fit_seed: int,
    scorer: Callable[..., float],
    costs: Costs,
    baselines: bool,
    clean: LabelledRows | None,
) -> Rehearsal:
    """Go through all rounds.

    Parameters
    ----------
    recipe : Recipe
        How rows are scored and cleaned.
    trainer : Learner
        Trains the copies.
    rows : LabelledRows
        All rows.
    rounds : list of Round
        Which rows are scored, choose and judge.
    shares : list of float
        Amounts to try, from the smallest up.
    is_free : bool
        Choose among them; else the first is taken.
    score_seeds : list of int
        A seed for the scores of each round.
    fit_seed : int
        Seed of every model, so that only their rows tell them apart.
    scorer : callable
        Gives the reported score of a model, rows and labels.
    costs : Costs
        Added to.
    baselines : bool
        Try random removals and appended clean rows too.
    clean : LabelledRows or None
        Clean rows given by the user, which choose and judge.
    """
    losses, picked, places = [], [], []
    score, score_of_picked, all_scores = [], [], []
    n_models = 1 + len(shares)
    drawn = random_places(len(shares)) if baselines else []
    others = AlternativesOfRound(trainer, scorer, fit_seed, clean is not None)
    for one, seed in zip(rounds, score_seeds, strict=True):
        train = rows.take(one.train)
        target = one.first.rows if one.one_way else None
        scores = recipe.score(trainer, train, seed, target, clean, costs)
        repairs = [recipe.keep_all(train)]
        repairs += [recipe.repair(train, scores, share) for share in shares]
        rng = np.random.default_rng([seed, _RANDOM_STREAM])
        at_random = [
            remove_at_random(train, len(repairs[place].touched), rng) for place in drawn
        ]
        with costs.timed("retrain"):
            tasks = [
                functools.partial(_try, trainer, candidate.rows, fit_seed, one, scorer)
                for candidate in (*repairs, *at_random)
            ]
            results = list(trainer.run(tasks, "retraining"))
        costs.n_fits += len(tasks)
        # what the copies predict of, and score on, the first rows and the second
        first, second, by_first, by_second = (
            np.array(values) for values in zip(*results, strict=True)
        )
        roles = [
            (one.first, first, one.second, second, by_second),
            (one.second, second, one.first, first, by_first),
        ]
        for chooser, chooser_says, judge, judge_says, reported in (
            roles[:1] if one.one_way else roles
        ):
            own = judging.judge(chooser.rows, chooser_says, chooser.rows, chooser_says)
            pick = (
                judging.choose_candidate(own.of_models(list(range(n_models))))
                if is_free
                else 1
            )
            judged = judging.judge(judge.rows, judge_says, chooser.rows, chooser_says)
            losses.append(judged)
            picked.append(judged.of_models([0, pick]))
            places.append(judge.place)
            score.append(reported[:n_models])
            score_of_picked.append(reported[pick])
            if baselines:
                with costs.timed("baselines"):
                    costs.n_fits += others.add(
                        train,
                        repairs[pick],
                        chooser,
                        judge,
                        judge_says[[0, pick]],
                        (reported[0], reported[pick]),
                        rng,
                    )
        all_scores.append(scores)
    together = judging.RowLosses.average(losses, places)
    return Rehearsal(
        shares=[0.0, *shares],
        is_free=is_free,
        n_classes=0 if trainer.classes is None else len(trainer.classes),
        losses=together.of_models(list(range(n_models))),
        picked=judging.RowLosses.average(picked, places),
        score=np.array([_mean(values) for values in np.transpose(score)]),
        score_of_picked=_mean(np.array(score_of_picked)),
        random=dict(zip(drawn, together.robust[n_models:], strict=True)),
        alternatives=others.finish() if baselines else None,
        first_scores=all_scores[0],
    )


def _try(
    trainer: Learner,
    candidate: LabelledRows,
    seed: int,
    one: Round,
    scorer: Callable[..., float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Train on a candidate; predict and score the rows that choose and judge."""
    model = trainer.fit(candidate, seed)
    first, second = one.first.rows, one.second.rows
    return (
        trainer.predict(model, first.X),
        trainer.predict(model, second.X),
        measure(scorer, model, first),
        measure(scorer, model, second),
    )


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
