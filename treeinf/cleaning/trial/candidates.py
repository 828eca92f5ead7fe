"""Candidates of a trial: cleanings of several amounts, their controls, and subsets.

A gain over the uncleaned model does not show that the scores caused it. As many rows
removed at random show whether any removal would do; and where trusted rows are passed,
the fair alternative is to append them to the train rows without cleaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.actions import Cleaning, drop_rows, flag_rows, keep_all
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.subsets import STRATEGIES, Ranking, select_subset
from treeinf.training.row_groups import number_groups
from treeinf.training.rows import LabelledRows

__all__ = [
    "CONTROLS",
    "Candidate",
    "list_cleanings",
    "list_controls",
    "list_subsets",
    "random_amounts",
    "remove_at_random",
]

CONTROLS = {
    "all": "all rows, uncleaned",
    "cleaned": "cleaned",
    "random": "as many rows removed at random",
    "appended": "trusted rows appended, nothing else",
    "both": "cleaned, and trusted rows appended",
}
"""Names of what is compared, by key; the last two only with trusted rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """What a model is trained on: rows of a split's train set, cleaned or appended to.

    Parameters
    ----------
    name : str
        Key of `CONTROLS`, or of a subset its strategy.
    share : float
        Share of the rows that are cleaned, or kept.
    cleaning : Cleaning
        What is done with the train rows.
    appended : LabelledRows, optional
        Rows appended to them.
    model : estimator, optional
        Its model, if trained already.
    """

    name: str
    share: float
    cleaning: Cleaning
    appended: LabelledRows | None = None
    model: Any = None

    def apply(self, train: LabelledRows) -> LabelledRows:
        """Return the rows to train on."""
        rows = self.cleaning.apply(train)
        return rows if self.appended is None else join_rows(rows, self.appended)


def remove_at_random(
    code: NDArray[np.int64] | None,
    n_rows: int,
    n_removed: int,
    rng: np.random.Generator,
    group: NDArray[np.int64] | None = None,
) -> Cleaning:
    """Remove rows at random, under the rules for flagged rows.

    Groups are removed one after another, the last of them in part: of a row that stands
    in the table twice, removing one alone changes little.
    """
    if group is None:
        score = 1.0 - rng.random(n_rows)
    else:
        number = number_groups(group)
        score = 1.0 - rng.random(int(number.max()) + 1)[number]
    drawn = flag_rows(score, code, count=n_removed)
    return drop_rows(n_rows, drawn)


def random_amounts(n_shares: int) -> list[int]:
    """Return the amounts (0 for no cleaning) at which random removals are tried too.

    The largest amount and the middle one: enough for a curve, and few trainings.
    """
    return sorted({(n_shares + 1) // 2, n_shares} - {0})


def list_cleanings(
    train: LabelledRows,
    shares: Sequence[float],
    scores: RowScores,
    clean: Callable[[LabelledRows, RowScores, float], Cleaning],
    rng: np.random.Generator,
    *,
    controls: bool,
) -> list[Candidate]:
    """List the uncleaned rows, the cleanings by share, and random removals.

    Parameters
    ----------
    train : LabelledRows
        Train rows of a split.
    shares : sequence of float
        Shares to clean, ascending.
    scores : RowScores
        Scores of the train rows.
    clean : callable
        Returns the cleaning of rows by scores and share.
    rng : numpy Generator
        For the random removals.
    controls : bool
        Whether to remove rows at random, see `random_amounts`.
    """
    candidates = [Candidate("all", 0.0, keep_all(train.n_rows))]
    candidates += [
        Candidate("cleaned", share, clean(train, scores, share)) for share in shares
    ]
    for amount in random_amounts(len(shares)) if controls else ():
        cleaned = candidates[amount]
        n_removed = len(cleaned.cleaning.changed)
        cleaning = remove_at_random(
            train.code, train.n_rows, n_removed, rng, train.group
        )
        candidates.append(Candidate("random", cleaned.share, cleaning))
    return candidates


def list_controls(
    code: NDArray[np.int64] | None,
    cleaned: Candidate,
    trusted: LabelledRows | None,
    rng: np.random.Generator,
    group: NDArray[np.int64] | None = None,
) -> list[Candidate]:
    """List the controls of a chosen cleaning.

    Parameters
    ----------
    code : ndarray of int64, shape (n_rows,), or None
        Class numbers of the train rows.
    cleaned : Candidate
        The chosen cleaning.
    trusted : LabelledRows or None
        Rows to append.
    rng : numpy Generator
        For the random removal.
    group : ndarray of int64, shape (n_rows,), optional
        Groups of the train rows.
    """
    cleaning, share = cleaned.cleaning, cleaned.share
    n_rows, n_changed = len(cleaning.kept), len(cleaning.changed)
    random = remove_at_random(code, n_rows, n_changed, rng, group)
    controls = [Candidate("random", share, random)] if n_changed else []
    if trusted is not None:
        controls += [
            Candidate("appended", 0.0, keep_all(n_rows), trusted),
            Candidate("both", share, cleaning, trusted),
        ]
    return controls


def list_subsets(
    ranking: Ranking,
    shares: Sequence[float],
    n_random: int,
    rng: np.random.Generator,
    model: Any,
) -> list[Candidate]:
    """List all rows and their subsets by strategy and share.

    Parameters
    ----------
    ranking : Ranking
        Train rows of a split.
    shares : sequence of float
        Shares to keep, ascending.
    n_random : int
        Random subsets of each size.
    rng : numpy Generator
        For the random subsets.
    model : estimator
        Trained on all rows.
    """
    n_rows = ranking.n_rows
    candidates = [Candidate("all", 1.0, keep_all(n_rows), model=model)]
    for strategy in STRATEGIES:
        for share in shares:
            for _ in range(n_random if strategy == "random" else 1):
                n_kept = max(1, round(share * n_rows))
                kept = select_subset(strategy, ranking, n_kept, rng)
                dropped = np.setdiff1d(np.arange(n_rows), kept)
                candidates.append(
                    Candidate(strategy, share, drop_rows(n_rows, dropped))
                )
    return candidates
