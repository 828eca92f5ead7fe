"""The result of a cleaning and the evidence for it, as data and as text."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

from treeinf.cleaning.actions import Cleaning
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.sentences import (
    describe_excess,
    why_kept,
    write_headline,
    write_notes,
)
from treeinf.cleaning.report.settings import list_settings, list_versions
from treeinf.cleaning.report.suspects import Suspects
from treeinf.cleaning.scores.noise_rate import NoiseRate
from treeinf.cleaning.trial.choice import ACCEPTED
from treeinf.cleaning.trial.cleanings import CleaningTrial
from treeinf.cleaning.trial.comparison import Alternative, Comparison
from treeinf.files import to_plain

__all__ = ["CleaningReport", "write_report"]


@dataclasses.dataclass(frozen=True)
class CleaningReport:
    """What was done with the train rows, and the evidence for it.

    Parameters
    ----------
    headline : str
        Summary in one sentence.
    acted : bool
        Whether any row was removed, relabelled or given less weight.
    action : str
        What is done with flagged rows: "drop", "relabel", "downweight" or "weight".
    method : str
        Name of the scores.
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    n_train : int
        Rows given to `fit`.
    n_scored : int
        Of them, rows that could be cleaned; validation rows cannot, nor those that no
        earlier rows can score where time matters.
    n_removed : int
        Rows cleaned.
    share : float
        `n_removed` / `n_scored`.
    chosen_share : float
        Share that was chosen, before the guard decided.
    noise_rate, noise_rate_low, noise_rate_high : float or None
        Estimated share of labels that were replaced by any other, or of targets that
        look like those of any other row, and its interval, from what copies without the
        rows predict of those that could be cleaned; None without copies. If the lower
        end is 0, all labels may be right and some rows hard to predict. See
        `treeinf.cleaning.scores.noise_rate`.
    choice : Comparison or None
        The chosen amount on the rows that chose it, an optimistic estimate; None if
        nothing was tried.
    guard : Comparison or None
        The chosen amount, on rows that neither its scores nor the choice have seen;
        None if nothing was tried.
    primary : Comparison or None
        The guard's rows by the score that must not fall: AUC of two classes, accuracy
        of more, R2.
    alternatives : tuple of Alternative
        The cleaning and its alternatives; empty if nothing was
        tried or ``baselines=False``.
    verdict : {"helped", "noise is certain", "not beyond noise", \
"worse beyond noise", "vetoed", "nothing to remove", "unguarded"}
        What the guard decided; "helped": the loss or the primary score got better
        beyond noise, and neither worse; "noise is certain": neither got better or worse
        beyond noise, and the interval of the noise rate begins above 2 %;
        "worse beyond noise": the loss rose; "vetoed": the loss fell, but the primary
        score got worse beyond noise, or R2 at all. Rows are cleaned after "helped",
        "noise is certain" and "unguarded" only.
    seconds : dict of str to float
        Wall time of "train" (copies for the scores), "influence", "stacking",
        "retrain" (all candidates), "baselines", "final" (the final model), "explain"
        (opponents and helpers), "noise rate" (its estimate) and "total".
    n_fits : int
        Times the estimator was trained.
    settings : dict of str to Any
        Parameters of the cleaner and of its estimator.
    versions : dict of str to str
        Of Python, treeinf and the libraries used.
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
    suspects : Suspects
        The rows in `suspects_` of the cleaner, and the share of wrong labels that can
        be expected among them.
    """

    headline: str
    acted: bool
    action: str
    method: str
    task: str
    n_train: int
    n_scored: int
    n_removed: int
    share: float
    chosen_share: float
    noise_rate: float | None
    noise_rate_low: float | None
    noise_rate_high: float | None
    choice: Comparison | None
    guard: Comparison | None
    primary: Comparison | None
    alternatives: tuple[Alternative, ...]
    verdict: str
    seconds: dict[str, float]
    n_fits: int
    settings: dict[str, Any]
    versions: dict[str, str]
    random_state: int | None
    notes: tuple[str, ...] = ()
    n_groups: int | None = None
    n_joined: int = 0
    n_contradicting: int = 0
    suspects: Suspects = dataclasses.field(default_factory=lambda: Suspects(0))

    @property
    def evidence(self) -> Comparison | None:
        """Comparison on the guard set; on the selection set if there is no guard."""
        return self.choice if self.guard is None else self.guard

    @property
    def metric(self) -> str:
        """Name of the score reported; empty without any comparison."""
        return "" if self.evidence is None else self.evidence.metric

    @property
    def score_before(self) -> float:
        """Score of the model of all rows; NaN without any comparison."""
        return math.nan if self.evidence is None else self.evidence.score_before

    @property
    def score_after(self) -> float:
        """Score of the model of the cleaned rows; NaN without any comparison."""
        return math.nan if self.evidence is None else self.evidence.score_after

    @property
    def target_word(self) -> str:
        """Plural of what is predicted: "labels", or "targets" where it is numbers."""
        return "targets" if self.task == "regression" else "labels"

    @property
    def noise_rate_text(self) -> str:
        """The estimated noise rate, or the most it may be; empty without any."""
        if self.noise_rate is None:
            return ""
        what = self.target_word
        text = f"about {self.noise_rate:.1%} of the {what}"
        if self.noise_rate_low is None or self.noise_rate_high is None:
            return text
        if self.noise_rate_low == 0.0:
            return f"at most {self.noise_rate_high:.1%} of the {what}, perhaps none"
        return f"{text} ({self.noise_rate_low:.1%} to {self.noise_rate_high:.1%})"

    @property
    def suspects_text(self) -> str:
        """What can be expected of the suspects; why they were kept, if they were."""
        texts = [f"{self.suspects.n_rows:,} rows look wrong most"]
        if not self.acted:
            texts.append(f"kept, because {why_kept(self.verdict, self.evidence)}")
        texts.append(self.suspects.text(self.target_word))
        return "; ".join(filter(None, texts))

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for `json.dumps`; what is not finite becomes None."""
        plain: dict[str, Any] = to_plain(dataclasses.asdict(self))
        return plain

    def __str__(self) -> str:
        lines = [self.headline, ""]
        share = f"{self.share:.1%} of {self.n_scored:,} scored"
        facts = [
            ("train rows", f"{self.n_train:,}"),
            ("cleaned", f"{self.n_removed:,} rows ({share}), action {self.action!r}"),
            ("scores", self.method),
            ("verdict", self.verdict),
        ]
        if self.noise_rate_text:
            facts.append(("noise rate", self.noise_rate_text))
        if self.suspects.n_rows:
            facts.append(("suspects", self.suspects_text))
        if self.choice is not None:
            facts.append(("choice", str(self.choice)))
        if self.guard is not None:
            facts.append(("guard", str(self.guard)))
        if self.primary is not None:
            facts.append(("primary", str(self.primary)))
        facts += [
            ("alternative", f"{other.name}: {other.guard}")
            for other in self.alternatives
            if other.key not in ("all", "cleaned")
        ]
        times = ", ".join(f"{name} {t:.2f} s" for name, t in self.seconds.items())
        facts.append(("time", f"{times} ({self.n_fits} fits)"))
        lines += [f"{name:<14}{text}" for name, text in facts]
        lines += [f"{'note':<14}{note}" for note in self.notes]
        return "\n".join(lines)


def write_report(
    parameters: Mapping[str, Any],
    estimator: Any,
    *,
    task: str,
    metric: str,
    n_train: int,
    n_scored: int,
    n_unscored: int,
    trial: CleaningTrial | None,
    action: str,
    cleaning: Cleaning,
    verdict: str,
    noise: NoiseRate | None,
    suspects: Suspects,
    costs: Costs,
) -> CleaningReport:
    """Build the report of a cleaning.

    Parameters
    ----------
    parameters : mapping of str to Any
        Parameters of the cleaner.
    estimator : estimator
        The estimator that was trained.
    task, n_train, n_scored, verdict
        See `CleaningReport`.
    metric : str
        Name of the score reported.
    n_unscored : int
        Rows that could not be scored, since none are earlier.
    trial : CleaningTrial or None
        The amounts tried; None if nothing was tried.
    action : str
        What the chosen cleaning does with flagged rows.
    cleaning : Cleaning
        The chosen cleaning, whether carried out or not.
    noise : NoiseRate or None
        The estimated noise rate.
    suspects : Suspects
        The rows that look wrong most.
    costs : Costs
        Times and fits.
    """
    n_chosen = len(cleaning.changed)
    n_changed = n_chosen if verdict in ACCEPTED else 0
    choice = guard = primary = None
    alternatives: tuple[Alternative, ...] = ()
    if trial is not None:
        tried, chosen = trial.outcome.candidates, trial.outcome.chosen
        confidence = trial.confidence
        choice = tried.compare_selection(0, trial.chosen, confidence, metric)
        guard = chosen.compare_guard(0, 1, confidence, metric)
        primary = chosen.compare_primary(0, 1, confidence)
        alternatives = trial.compare_controls(metric)
    seed = parameters["random_state"]
    return CleaningReport(
        headline=write_headline(
            verdict,
            action,
            n_chosen,
            n_train,
            choice,
            guard,
            primary,
            n_dropped=cleaning.n_dropped,
        ),
        acted=n_changed > 0,
        action=action,
        method=parameters["method"],
        task=task,
        n_train=n_train,
        n_scored=n_scored,
        n_removed=n_changed,
        share=n_changed / n_scored,
        chosen_share=n_chosen / n_scored,
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
        settings=list_settings(parameters, estimator),
        versions=list_versions(estimator),
        random_state=int(seed) if isinstance(seed, numbers.Integral) else None,
        suspects=suspects,
        notes=tuple(
            write_notes(
                n_guard=None if guard is None else guard.n_rows,
                has_choice=trial is not None and trial.chosen > 0,
                alternatives=alternatives,
                n_held_out=n_train - n_scored - n_unscored,
                refit=parameters["refit_on_validation"],
                relabelled=cleaning if n_changed and action == "relabel" else None,
                relabel_by=parameters["relabel_by"],
                excess=describe_excess(
                    action,
                    n_changed / n_scored if verdict in ACCEPTED[:2] else 0.0,
                    None if noise is None else noise.high,
                    "targets" if task == "regression" else "labels",
                ),
            )
        ),
    )
