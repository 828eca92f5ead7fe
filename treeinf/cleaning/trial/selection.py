"""Parts of the rows tried out: picked, trained on, and judged by rows left out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.report import Comparison
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.scoring import score_rows
from treeinf.cleaning.trial import judging
from treeinf.cleaning.trial.candidates import (
    STRATEGIES,
    Ranking,
    find_leaf_clusters,
    pick_subset,
)
from treeinf.cleaning.trial.controls import measure
from treeinf.cleaning.trial.losses import primary_metric
from treeinf.cleaning.trial.splits import Round
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

__all__ = ["Trial", "Trials", "rank_rows", "try_subsets"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A part of the rows.

    Parameters
    ----------
    strategy : str
        Name in `STRATEGIES`, or "all".
    share : float
        Share of the rows, in (0, 1].
    """

    strategy: str
    share: float


@dataclasses.dataclass(frozen=True, eq=False)
class Trials:
    """Losses of models of parts of the rows; the model of all rows stands first.

    Parameters
    ----------
    trials : list of Trial
        What was tried.
    losses : RowLosses, shape (n_trials, n_rows)
        Losses on rows left out.
    picked : RowLosses, shape (3, n_rows)
        Of all rows, of the part that other rows chose, and of a random one of the same
        size.
    score : ndarray of float64, shape (n_trials,)
        The reported score.
    n_classes : int
        0 for regression.
    """

    trials: list[Trial]
    losses: judging.RowLosses
    picked: judging.RowLosses
    score: NDArray[np.float64]
    n_classes: int

    def compare(
        self, pair: judging.RowLosses, confidence: float, metric: str
    ) -> tuple[Comparison, Comparison]:
        """Compare the second model with the first: by loss, and by primary score."""
        primary = judging.compare_primary(
            pair.primary,
            confidence=confidence,
            metric=primary_metric(self.n_classes),
        )
        loss = judging.compare(
            pair.proper,
            loss=judging.guard_loss(self.n_classes == 0),
            confidence=confidence,
            metric=primary.metric,
            scores=(primary.score_before, primary.score_after),
        )
        return loss, primary

    def history(self, n_scored: int, confidence: float) -> list[dict[str, Any]]:
        """List what was tried, in plain types."""
        lines = []
        for place, trial in enumerate(self.trials):
            loss, primary = self.compare(
                self.losses.of_models([0, place]), confidence, ""
            )
            lines.append(
                {
                    "strategy": trial.strategy,
                    "share": trial.share,
                    "n_kept": round(trial.share * n_scored),
                    "loss": loss.loss_after,
                    "gain": loss.gain,
                    "gain_low": loss.gain_low,
                    "gain_high": loss.gain_high,
                    "primary": primary.score_after,
                    "primary_gain": primary.gain,
                    "primary_gain_low": primary.gain_low,
                    "primary_gain_high": primary.gain_high,
                    "score": float(self.score[place]),
                    "n_rows": loss.n_rows,
                }
            )
        return lines


def choose_trial(
    trials: Sequence[Trial],
    losses: judging.RowLosses,
    *,
    strategies: Sequence[str],
    shares: Sequence[float],
    is_free: bool,
    tolerance: float,
    confidence: float,
) -> int:
    """Choose the smallest part that is shown to be enough.

    Parameters
    ----------
    trials : sequence of Trial
        What was tried, all rows first.
    losses : RowLosses
        Their losses.
    strategies : sequence of str
        Which may be chosen.
    shares : sequence of float
        Shares to choose from.
    is_free : bool
        Take one that is enough; else the smallest in any case.
    tolerance : float
        How much the mean loss may be above that of all rows, as a part of it.
    confidence : float
        Of the interval whose far end must be within that.

    Returns
    -------
    int
        Place of the trial; 0, all rows, where no part is shown to be enough.
    """
    proper = losses.proper
    allowed = tolerance * float(proper[0].mean())
    for share in sorted(shares):
        places = [
            place
            for place, trial in enumerate(trials)
            if trial.share == share and trial.strategy in strategies
        ]
        best = min(places, key=lambda place: float(proper[place].mean()))
        if not is_free:
            return best
        _, low, _ = judging.paired_interval(proper[0] - proper[best], confidence)
        if low >= -allowed:
            return best
    return 0


def rank_rows(
    trainer: Learner,
    rows: LabelledRows,
    target: LabelledRows | None,
    *,
    model: Any,
    n_repeats: int,
    n_clusters: int,
    seed: int,
    costs: Costs,
) -> Ranking:
    """Measure the total influence of rows, and cluster them in leaf space.

    Parameters
    ----------
    trainer : Learner
        Trains the copies that measure.
    rows : LabelledRows
        Rows to rank.
    target : LabelledRows or None
        Rows whose loss counts; None for those out of each copy's bag.
    model : estimator
        Trained on the rows; its leaves are the space.
    n_repeats, n_clusters, seed, costs
        See `score_rows` and `find_leaf_clusters`.
    """
    scores = score_rows(
        METHODS["boostin_total"],
        trainer,
        rows,
        n_repeats=n_repeats,
        seed=seed,
        costs=costs,
        target=target,
    )
    with costs.timed("clusters"):
        cluster = find_leaf_clusters(model, rows, n_clusters, seed)
    return Ranking(-scores.score, cluster, rows.code)


def try_subsets(
    trainer: Learner,
    rows: LabelledRows,
    rounds: list[Round],
    shares: Sequence[float],
    *,
    choose: Callable[[Sequence[Trial], judging.RowLosses], int],
    n_repeats: int,
    n_random: int,
    n_clusters: int,
    seeds: list[int],
    fit_seed: int,
    scorer: Callable[..., float],
    costs: Costs,
) -> Trials:
    """Train on parts of the rows in all rounds, and judge.

    Parameters
    ----------
    trainer : Learner
        Trains the models.
    rows : LabelledRows
        All rows.
    rounds : list of Round
        Each ranks its train rows by their influence on the first rows; these choose and
        the second judge.
    shares : sequence of float
        Shares of the rows to try, ascending.
    choose : callable
        Gives the place of the trial that losses choose, see `choose_trial`.
    n_repeats, n_clusters
        See `rank_rows`.
    n_random : int
        Random parts of each size; their losses are averaged.
    seeds : list of int
        One for each round.
    fit_seed : int
        Seed of every model.
    scorer : callable
        Gives the reported score of a model, rows and labels.
    costs : Costs
        Added to.
    """
    trials = [Trial("all", 1.0)]
    trials += [Trial(name, share) for name in STRATEGIES for share in shares]
    losses, picked, places, scores = [], [], [], []
    for one, seed in zip(rounds, seeds, strict=True):
        train, guide, judge = rows.take(one.train), one.first, one.second
        with costs.timed("retrain"):
            whole = next(
                iter(trainer.run([trainer.fit_task(train, fit_seed)], "all rows"))
            )
        ranking = rank_rows(
            trainer,
            train,
            guide.rows,
            model=whole,
            n_repeats=n_repeats,
            n_clusters=n_clusters,
            seed=seed,
            costs=costs,
        )
        rng = np.random.default_rng(seed)
        owner, tasks = [], []
        for place, trial in enumerate(trials[1:], start=1):
            n_picked = max(1, round(trial.share * train.n_rows))
            for _ in range(n_random if trial.strategy == "random" else 1):
                part = train.take(pick_subset(trial.strategy, ranking, n_picked, rng))
                owner.append(place)
                tasks.append(
                    functools.partial(_try, trainer, part, fit_seed, one, scorer)
                )
        with costs.timed("retrain"):
            results = [_say(trainer, whole, one, scorer)]
            results += trainer.run(tasks, "parts of the rows")
        costs.n_fits += len(tasks) + 1
        owners = np.array([0, *owner])
        by_guide, by_judge, score = zip(*results, strict=True)
        guided = _average(judging.judge_within(guide.rows, np.array(by_guide)), owners)
        judged = _average(judging.judge_within(judge.rows, np.array(by_judge)), owners)
        pick = choose(trials, guided)
        losses.append(judged)
        picked.append(judged.of_models([0, pick, _random_of(trials, pick)]))
        places.append(judge.place)
        scores.append([_mean(np.array(score)[owners == k]) for k in range(len(trials))])
    return Trials(
        trials,
        judging.RowLosses.average(losses, places),
        judging.RowLosses.average(picked, places),
        np.array([_mean(values) for values in np.transpose(scores)]),
        0 if trainer.classes is None else len(trainer.classes),
    )


def _random_of(trials: Sequence[Trial], place: int) -> int:
    """Give the place of the random part of the same size."""
    if not place:
        return 0
    return trials.index(Trial("random", trials[place].share))


def _try(
    trainer: Learner,
    part: LabelledRows,
    seed: int,
    one: Round,
    scorer: Callable[..., float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    return _say(trainer, trainer.fit(part, seed), one, scorer)


def _say(
    trainer: Learner, model: Any, one: Round, scorer: Callable[..., float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Predict the rows that guide and judge, and score the latter."""
    return (
        trainer.predict(model, one.first.rows.X),
        trainer.predict(model, one.second.rows.X),
        measure(scorer, model, one.second.rows),
    )


def _average(losses: judging.RowLosses, owners: NDArray[Any]) -> judging.RowLosses:
    """Average the lines of each owner, row by row."""

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([values[owners == k].mean(axis=0) for k in np.unique(owners)])

    return judging.RowLosses(
        mean(losses.robust), mean(losses.proper), mean(losses.primary)
    )


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
