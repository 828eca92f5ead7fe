"""Candidates of a trial: cleanings of several amounts, their controls, and subsets.

A gain over the uncleaned model does not show that the scores caused it. As many rows
removed at random show whether any removal would do; and where trusted rows are passed,
the fair alternative is to append them to the train rows without cleaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from treeinf.cleaning.actions import (
    Cleaning,
    Treatment,
    drop_rows,
    flag_rows,
    keep_all,
)
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.subsets import STRATEGIES, Ranking, select_subset
from treeinf.training.rows import LabelledRows

__all__ = [
    "CONTROLS",
    "Candidate",
    "list_cleanings",
    "list_controls",
    "list_subsets",
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
    rows: LabelledRows, n_removed: int, rng: np.random.Generator
) -> Cleaning:
    """Remove rows, or whole groups, at random, under the rules for flagged rows."""
    drawn = 1.0 - rng.random(rows.n_rows)
    if rows.group is not None:
        drawn = drawn[np.unique(rows.group, return_inverse=True)[1].reshape(-1)]
    flagged = flag_rows(drawn, rows.code, count=n_removed)
    return drop_rows(rows.n_rows, flagged)


def list_cleanings(
    train: LabelledRows, scores: RowScores, treatments: Sequence[Treatment]
) -> list[Candidate]:
    """List the uncleaned rows and their treatments.

    Parameters
    ----------
    train : LabelledRows
        Train rows of a split.
    scores : RowScores
        Scores of the train rows.
    treatments : sequence of Treatment
        What is tried.
    """
    candidates = [Candidate("all", 0.0, keep_all(train.n_rows))]
    for treatment in treatments:
        cleaning = treatment.apply(train, scores)
        share = len(cleaning.changed) / train.n_rows
        candidates.append(Candidate("cleaned", share, cleaning))
    return candidates


def list_controls(
    train: LabelledRows,
    cleaned: Candidate,
    trusted: LabelledRows | None,
    rng: np.random.Generator,
) -> list[Candidate]:
    """List the controls of a chosen cleaning.

    Parameters
    ----------
    train : LabelledRows
        Train rows of a split.
    cleaned : Candidate
        The chosen cleaning.
    trusted : LabelledRows or None
        Rows to append.
    rng : numpy Generator
        For the random removal.
    """
    cleaning, share = cleaned.cleaning, cleaned.share
    n_changed = len(cleaning.changed)
    random = remove_at_random(train, n_changed, rng)
    controls = [Candidate("random", share, random)] if n_changed else []
    if trusted is not None:
        controls += [
            Candidate("appended", 0.0, keep_all(train.n_rows), trusted),
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
