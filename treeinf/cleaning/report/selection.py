"""The result of a selection of rows, as data and as text."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.sentences import write_subset_headline
from treeinf.cleaning.report.settings import list_settings, list_versions
from treeinf.cleaning.trial.comparison import Comparison
from treeinf.cleaning.trial.judging import Evaluation
from treeinf.files import to_plain

__all__ = ["SelectionReport", "write_selection_report"]


@dataclasses.dataclass(frozen=True)
class SelectionReport:
    """Which subset of the rows was kept, compared with all rows and with a random one.

    Parameters
    ----------
    headline : str
        Summary in one sentence.
    strategy : str
        How rows were selected: "influence", "diverse", "random", or "all".
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    n_train, n_scored, n_kept : int
        Rows passed, rows to select from, rows selected.
    share : float
        `n_kept` / `n_scored`.
    against_all, against_random : Comparison
        Guard loss of the chosen subset, on rows that did not choose it; "before" is the
        model of all rows, or of a random subset of the same size.
    primary_against_all, primary_against_random : Comparison
        The same by AUC, accuracy or R2.
    seconds : dict of str to float
        Wall time of "train" and "influence" (ranking), "clusters", "retrain" (all
        subsets), "final" and "total".
    n_fits : int
        Times the estimator was trained.
    settings, versions : dict
        Parameters, and versions of the libraries used.
    random_state : int or None
        The seed passed.
    notes : tuple of str
        Further remarks, one sentence each.
    n_groups : int or None
        Groups of rows, passed or joined; None if each row stands for itself.
    n_joined : int
        Rows joined with others that are equal, or as good as equal.
    n_contradicting : int
        Rows that equal others in all columns and differ in their label or target.
    """

    headline: str
    strategy: str
    task: str
    n_train: int
    n_scored: int
    n_kept: int
    share: float
    against_all: Comparison
    against_random: Comparison
    primary_against_all: Comparison
    primary_against_random: Comparison
    seconds: dict[str, float]
    n_fits: int
    settings: dict[str, Any]
    versions: dict[str, str]
    random_state: int | None
    notes: tuple[str, ...] = ()
    n_groups: int | None = None
    n_joined: int = 0
    n_contradicting: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for `json.dumps`; what is not finite becomes None."""
        plain: dict[str, Any] = to_plain(dataclasses.asdict(self))
        return plain

    def __str__(self) -> str:
        times = ", ".join(f"{name} {t:.2f} s" for name, t in self.seconds.items())
        facts = [
            ("kept", f"{self.n_kept:,} of {self.n_scored:,} rows ({self.share:.1%})"),
            ("strategy", self.strategy),
            ("against all", str(self.against_all)),
            ("against random", str(self.against_random)),
            ("time", f"{times} ({self.n_fits} fits)"),
            *(("note", note) for note in self.notes),
        ]
        lines = [self.headline, ""]
        return "\n".join(lines + [f"{name:<16}{text}" for name, text in facts])


def write_selection_report(
    parameters: Mapping[str, Any],
    estimator: Any,
    *,
    strategy: str,
    task: str,
    n_train: int,
    n_scored: int,
    n_kept: int,
    chosen: Evaluation,
    costs: Costs,
) -> SelectionReport:
    """Build the report of a selection.

    Parameters
    ----------
    parameters : mapping of str to Any
        Parameters of the selector.
    estimator : estimator
        The estimator that was trained.
    strategy, task, n_train, n_scored, n_kept
        See `SelectionReport`.
    chosen : Evaluation
        Evaluation of all rows, of the chosen subsets, and of random ones of the same
        size.
    costs : Costs
        Times and fits.
    """
    confidence, seed = parameters["confidence"], parameters["random_state"]
    (against_all, primary), (against_random, primary_random) = (
        _compare(chosen, before, confidence) for before in (0, 2)
    )
    return SelectionReport(
        headline=write_subset_headline(
            strategy, n_kept, n_scored, against_all, primary, against_random
        ),
        strategy=strategy,
        task=task,
        n_train=n_train,
        n_scored=n_scored,
        n_kept=n_kept,
        share=n_kept / n_scored,
        against_all=against_all,
        against_random=against_random,
        primary_against_all=primary,
        primary_against_random=primary_random,
        seconds=costs.seconds,
        n_fits=costs.n_fits,
        settings=list_settings(parameters, estimator),
        versions=list_versions(estimator),
        random_state=int(seed) if isinstance(seed, numbers.Integral) else None,
        notes=tuple(
            _write_notes(
                n_train - n_scored,
                parameters["refit_on_validation"],
                strategy not in ("all", "random")
                and not against_random.is_beyond_noise,
            )
        ),
    )


def _compare(
    chosen: Evaluation, before: int, confidence: float
) -> tuple[Comparison, Comparison]:
    """Compare the chosen subsets by guard loss and by primary score."""
    primary = chosen.compare_primary(before, 1, confidence)
    loss = chosen.compare_guard(before, 1, confidence, primary.metric)
    loss = dataclasses.replace(
        loss, score_before=primary.score_before, score_after=primary.score_after
    )
    return loss, primary


def _write_notes(
    n_held_out: int, refit: bool, is_random_as_good: bool
) -> Iterator[str]:
    if n_held_out:
        left = "with" if refit else "without"
        yield (
            f"{n_held_out:,} of the rows were held out to rank, choose and evaluate; "
            "the "
            f"final model was trained {left} them."
        )
    if is_random_as_good:
        yield "A random subset of the same size did as well, to within noise."
