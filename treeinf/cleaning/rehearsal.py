"""The cleaning tried out: scored, cleaned by every amount, retrained and judged."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning import judging
from treeinf.cleaning.ranking import METHODS, RowScores, score_rows
from treeinf.cleaning.repair import Repair, repair_rows
from treeinf.cleaning.report import Comparison
from treeinf.cleaning.rounds import Round
from treeinf.cleaning.training import CopyTrainer, Costs, LabelledRows

__all__ = ["Recipe", "Rehearsal", "candidate_shares", "rehearse"]

_AUTO_SHARES = (0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4)


def candidate_shares(amount: Any, n_scored: int, n_fewest: int) -> list[float]:
    """List the shares of the rows to try, from the smallest up.

    Parameters
    ----------
    amount : "auto", float or int
        As the user gave it, checked.
    n_scored : int
        Rows that can be cleaned in the end.
    n_fewest : int
        The fewest that can be cleaned in a round.
    """
    if isinstance(amount, numbers.Integral):
        return [int(amount) / n_scored]
    if not isinstance(amount, str):
        return [float(amount)]
    counts = [0, *(round(share * n_fewest) for share in _AUTO_SHARES)]
    return [
        share
        for share, fewer, more in zip(_AUTO_SHARES, counts, counts[1:], strict=False)
        if more > fewer
    ]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How rows are scored and what is done with them.

    Parameters
    ----------
    method, action : str
        Names in `METHODS` and `ACTIONS`.
    n_repeats : int
        Times the rows are split in halves for the scores.
    threshold : float or None
        Score from which rows are cleaned, in place of a share.
    suspect_weight : float
        What "downweight" multiplies weights by.
    """

    method: str
    action: str
    n_repeats: int
    threshold: float | None
    suspect_weight: float

    def score(
        self,
        trainer: CopyTrainer,
        rows: LabelledRows,
        seed: int,
        target: LabelledRows | None,
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
        )

    def repair(self, rows: LabelledRows, scores: RowScores, share: float) -> Repair:
        """Clean a share of the rows, or those above the threshold."""
        return repair_rows(
            self.action,
            rows,
            scores,
            count=None if self.threshold is not None else round(share * rows.n_rows),
            threshold=self.threshold,
            factor=self.suspect_weight,
        )

    def keep_all(self, rows: LabelledRows) -> Repair:
        """Leave all rows as they are."""
        return Repair(
            rows, np.empty(0, dtype=np.int64), np.ones(rows.n_rows, dtype=bool)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Rehearsal:
    """What the rounds said of every amount; the uncleaned model stands first.

    Parameters
    ----------
    shares : list of float, length n_models
        Amounts, 0 first.
    is_free : bool
        Whether an amount is to be chosen.
    losses : RowLosses, shape (n_models, n_rows)
        Losses on all rows that choose and judge.
    picked : RowLosses, shape (2, n_rows)
        Before and after, where each row judges what others chose: no row here has had
        a say in what it judges.
    score : ndarray of float64, shape (n_models,)
        The reported score.
    score_of_picked : float
        That of what was chosen by others.
    noise : ndarray of float64, shape (n_models,), or None
        Estimated share of wrong labels; None for regression.
    first_scores : RowScores
        Scores of the first round's rows.
    """

    shares: list[float]
    is_free: bool
    losses: judging.RowLosses
    picked: judging.RowLosses
    score: NDArray[np.float64]
    score_of_picked: float
    noise: NDArray[np.float64] | None
    first_scores: RowScores

    @property
    def chosen(self) -> int:
        """Place of the amount that all rows choose together."""
        return judging.choose_candidate(self.losses) if self.is_free else 1

    def compare_choice(self, confidence: float, metric: str) -> Comparison:
        """Compare the chosen amount on the rows that chose it."""
        chosen = self.chosen
        return judging.compare(
            self.losses.robust[[0, chosen]],
            loss=judging.choice_loss(self.noise is None),
            confidence=confidence,
            metric=metric,
            scores=(float(self.score[0]), float(self.score[chosen])),
        )

    def compare_guard(self, confidence: float, metric: str) -> Comparison:
        """Compare what some rows chose on others that had no say in it."""
        return judging.compare(
            self.picked.proper,
            loss=judging.guard_loss(self.noise is None),
            confidence=confidence,
            metric=metric,
            scores=(float(self.score[0]), self.score_of_picked),
        )

    def is_vetoed(self, confidence: float) -> bool:
        """Tell whether the loss that must not get worse did, beyond noise."""
        veto = self.picked.veto
        if veto is None:
            return False
        return judging.paired_interval(veto[0] - veto[1], confidence)[2] < 0.0

    def history(self, n_scored: int, confidence: float) -> list[dict[str, Any]]:
        """List what was tried, in plain types."""
        chosen, lines = self.chosen, []
        for place, share in enumerate(self.shares):
            difference = self.losses.robust[0] - self.losses.robust[place]
            gain, low, high = judging.paired_interval(difference, confidence)
            guard_loss = float(self.losses.proper[place].mean())
            lines.append(
                {
                    "share": share,
                    "n_removed": None if np.isnan(share) else round(share * n_scored),
                    "loss": float(self.losses.robust[place].mean()),
                    "gain": gain,
                    "gain_low": low,
                    "gain_high": high,
                    "score": float(self.score[place]),
                    "guard_loss": guard_loss,
                    "guard_gain": float(self.losses.proper[0].mean()) - guard_loss,
                    "n_rows": self.losses.robust.shape[1],
                    "chosen": place == chosen,
                }
            )
        return lines


def rehearse(
    recipe: Recipe,
    trainer: CopyTrainer,
    rows: LabelledRows,
    rounds: list[Round],
    shares: list[float],
    *,
    is_free: bool,
    score_seeds: list[int],
    fit_seed: int,
    scorer: Callable[..., float],
    costs: Costs,
) -> Rehearsal:
    """Go through all rounds.

    Parameters
    ----------
    recipe : Recipe
        How rows are scored and cleaned.
    trainer : CopyTrainer
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
    """
    losses, picked, places = [], [], []
    score, score_of_picked, codes, chances, all_scores = [], [], [], [], []
    for one, seed in zip(rounds, score_seeds, strict=True):
        train = rows.take(one.train)
        target = one.first.rows if one.one_way else None
        scores = recipe.score(trainer, train, seed, target, costs)
        candidates = [train]
        candidates += [recipe.repair(train, scores, share).rows for share in shares]
        with costs.timed("retrain"):
            tasks = [
                functools.partial(_try, trainer, candidate, fit_seed, one, scorer)
                for candidate in candidates
            ]
            results = list(trainer.run(tasks, "retraining"))
        costs.n_fits += len(tasks)
        # what the copies predict of, and score on, the first rows and the second
        first, second, by_first, by_second = (
            np.array(values) for values in zip(*results, strict=True)
        )
        roles = [
            (one.first.rows, first, one.second, second, by_second),
            (one.second.rows, second, one.first, first, by_first),
        ]
        for chooser, chooser_says, judge, judge_says, reported in (
            roles[:1] if one.one_way else roles
        ):
            own = judging.judge(chooser, chooser_says, chooser, chooser_says)
            pick = judging.choose_candidate(own) if is_free else 1
            judged = judging.judge(judge.rows, judge_says, chooser, chooser_says)
            losses.append(judged)
            picked.append(judged.of_models([0, pick]))
            places.append(judge.place)
            score.append(reported)
            score_of_picked.append(reported[pick])
            if judge.rows.code is not None:
                codes.append(judge.rows.code)
            chances.append(judge_says)
        all_scores.append(scores)
    noise = None
    if rows.code is not None:
        together, code = np.concatenate(chances, axis=1), np.concatenate(codes)
        noise = np.array([judging.estimate_noise(code, one) for one in together])
    return Rehearsal(
        shares=[0.0, *shares],
        is_free=is_free,
        losses=judging.RowLosses.average(losses, places),
        picked=judging.RowLosses.average(picked, places),
        score=np.array([_mean(values) for values in np.transpose(score)]),
        score_of_picked=_mean(np.array(score_of_picked)),
        noise=noise,
        first_scores=all_scores[0],
    )


def _try(
    trainer: CopyTrainer,
    candidate: LabelledRows,
    seed: int,
    one: Round,
    scorer: Callable[..., float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Train on a candidate; predict and score the rows that choose and judge."""
    model = trainer.fit(candidate, seed)
    first, second = one.first.rows, one.second.rows
    return (
        trainer.predict(model, first),
        trainer.predict(model, second),
        _measure(scorer, model, first),
        _measure(scorer, model, second),
    )


def _measure(scorer: Callable[..., float], model: Any, rows: LabelledRows) -> float:
    """Score a model on rows; NaN where the score is not defined on them."""
    try:
        return float(scorer(model, rows.X, rows.y))
    except ValueError:
        return np.nan


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
