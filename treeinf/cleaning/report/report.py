"""What a cleaning did, and the evidence for it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import math
import platform
from typing import Any

from treeinf.files import to_plain

__all__ = [
    "Alternative",
    "CleaningReport",
    "Comparison",
    "list_settings",
    "list_versions",
    "name_score",
    "write_headline",
]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The model of the cleaned rows against that of all rows, on the same rows.

    Parameters
    ----------
    n_rows : int
        Rows on which the two were compared, none of them a train row of either.
    loss : str
        Name of the loss of a row; smaller is better.
    loss_before, loss_after : float
        Mean loss of the model of all rows, and of the cleaned rows.
    gain : float
        Mean over the rows of the paired difference, before minus after: positive if
        the cleaning helps.
    gain_low, gain_high : float
        Ends of the confidence interval of `gain`; NaN for fewer than two rows.
    confidence : float
        Its confidence, such as 0.9.
    metric : str
        Name of the score reported beside the loss; greater is better.
    score_before, score_after : float
        That score of both models; NaN where it is undefined on these rows.
    """

    n_rows: int
    loss: str
    loss_before: float
    loss_after: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float
    metric: str
    score_before: float
    score_after: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain_low > 0.0

    def __str__(self) -> str:
        return (
            f"{name_score(self.metric)} {self.score_before:.4f} -> "
            f"{self.score_after:.4f}, "
            f"{self.loss} {self.loss_before:.4f} -> {self.loss_after:.4f} "
            f"(gain {self.gain:+.4f}, {self.confidence:.0%} interval "
            f"{self.gain_low:+.4f} to {self.gain_high:+.4f}) on {self.n_rows:,} rows"
        )


@dataclasses.dataclass(frozen=True)
class Alternative:
    """What else could have been done with the rows, against leaving them as they are.

    Parameters
    ----------
    key : {"all", "cleaned", "random", "appended", "both"}
        Rows as they are; cleaned; as many removed at random; clean rows given as
        validation appended and nothing else done; cleaned and these appended. Clean
        rows are appended half at a time, the other half judges.
    name : str
        The same in words.
    choice, guard, primary : Comparison
        By the losses that choose and that judge, and by the primary score.
    """

    key: str
    name: str
    choice: Comparison
    guard: Comparison
    primary: Comparison


@dataclasses.dataclass(frozen=True)
class CleaningReport:
    """What was done with the train rows, why, and what it brought.

    Parameters
    ----------
    headline : str
        All of it in one sentence.
    acted : bool
        Whether any row was removed, relabelled or given less weight.
    action : str
        What is done with suspect rows: "drop", "relabel" or "downweight".
    method : str
        Name of the scores.
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    n_train : int
        Rows given to `fit`.
    n_scored : int
        Of them, rows that could be cleaned; validation rows cannot.
    n_removed : int
        Rows cleaned.
    share : float
        `n_removed` / `n_scored`.
    chosen_share : float
        Share that the decision asked for, before the guard spoke.
    noise_rate, noise_rate_low, noise_rate_high : float or None
        Share of labels that look replaced by any other, or of targets that look like
        those of any other row, and its interval, by what copies without the rows say of
        those that could be cleaned; None without copies. A lower end of 0 says that
        they could as well be hard by nature. See `treeinf.cleaning.scores.noise_rate`.
    choice : Comparison or None
        The chosen amount on the rows that chose it, which flatters it; None if nothing
        was judged.
    guard : Comparison or None
        Each row judges what was chosen without it, by scores that have not seen it;
        None if nothing was judged.
    primary : Comparison or None
        The guard's rows by the score that must not fall: AUC of two classes, accuracy
        of more, R2.
    alternatives : tuple of Alternative
        What the cleaning must be better than, itself among them; empty if nothing was
        judged or ``baselines=False``.
    verdict : {"helped", "not beyond noise", "vetoed", "nothing to remove", "unguarded"}
        What the guard said; "vetoed": the primary score got worse beyond noise, or R2
        at all. Rows are cleaned after "helped" and "unguarded" only.
    seconds : dict of str to float
        Wall time of "train" (copies for the scores), "influence", "views", "retrain"
        (all candidates), "baselines", "final" (the final model), "explain" (opponents
        and helpers), "noise rate" (its estimate) and "total".
    n_fits : int
        Times the estimator was trained.
    settings : dict of str to Any
        Parameters of the cleaner and of its estimator.
    versions : dict of str to str
        Of Python, treeinf and the libraries used.
    random_state : int or None
        The seed given.
    notes : tuple of str
        What the reader should know besides, a sentence each.
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

    @property
    def evidence(self) -> Comparison | None:
        """The most honest comparison there is: of the guard, else of the choice."""
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
        """What the rows are told by: "labels", or "targets" where they are numbers."""
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

    def to_dict(self) -> dict[str, Any]:
        """Give plain types that `json.dumps` takes; what is not finite becomes None."""
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
            facts.append(("looks wrong", self.noise_rate_text))
        if self.choice is not None:
            facts.append(("choice", str(self.choice)))
        if self.guard is not None:
            facts.append(("guard", str(self.guard)))
        if self.primary is not None:
            facts.append(("primary", str(self.primary)))
        facts += [
            ("beside it", f"{one.name}: {one.guard}")
            for one in self.alternatives
            if one.key not in ("all", "cleaned")
        ]
        times = ", ".join(f"{name} {t:.2f} s" for name, t in self.seconds.items())
        facts.append(("time", f"{times} ({self.n_fits} fits)"))
        lines += [f"{name:<14}{text}" for name, text in facts]
        lines += [f"{'note':<14}{note}" for note in self.notes]
        return "\n".join(lines)


def name_score(metric: str) -> str:
    """Write a score's name as people do."""
    return "R2" if metric == "r2" else metric


_DONE = {"drop": "Removed", "relabel": "Relabelled", "downweight": "Down-weighted"}
_DOING = {"drop": "removing", "relabel": "relabelling", "downweight": "down-weighting"}


def write_headline(
    verdict: str,
    action: str,
    n_suspect: int,
    n_train: int,
    choice: Comparison | None,
    guard: Comparison | None,
    primary: Comparison | None = None,
    n_dropped: int = 0,
) -> str:
    """Say in one sentence what was done and what it brought."""
    kept = f"Kept all {n_train:,} rows"
    if verdict == "nothing to remove":
        return f"{kept}: no cleaning promised a gain."
    seen = guard or choice
    scores = losses = unseen = ""
    if seen is not None:
        unseen = f"{seen.n_rows:,} unseen rows"
        losses = f"{seen.loss} {seen.loss_before:.4f} -> {seen.loss_after:.4f}"
        name = name_score(seen.metric)
        scores = f"{name} {seen.score_before:.3f} -> {seen.score_after:.3f}"
    if verdict == "vetoed" and primary is not None:
        beyond = " beyond noise" if primary.gain_high < 0.0 else ""
        return (
            f"{kept}: {_DOING[action]} {n_suspect:,} of them made the {primary.metric} "
            f"worse{beyond} on {unseen} ({primary.score_before:.4f} -> "
            f"{primary.score_after:.4f})."
        )
    if verdict == "not beyond noise":
        return (
            f"{kept}: {_DOING[action]} {n_suspect:,} of them brought no gain beyond "
            f"noise on {unseen} ({losses}; {scores})."
        )
    done = f"{_DONE[action]} {n_suspect:,}"
    if action == "relabel" and n_dropped:
        done = f"Relabelled {n_suspect - n_dropped:,} and removed {n_dropped:,}"
    what = f"{done} of {n_train:,} rows ({n_suspect / n_train:.1%})"
    if verdict == "unguarded":
        judged = f"{scores} on {unseen}" if seen else "not judged"
        return f"{what}, {judged}; the guard was off."
    return f"{what}: {scores} on {unseen}, {losses}, a gain beyond noise."


def list_settings(parameters: dict[str, Any], estimator: Any) -> dict[str, Any]:
    """Name the parameters of the cleaner and of its estimator, in plain types."""

    def plain(value: Any) -> Any:
        is_plain = value is None or isinstance(value, bool | int | float | str)
        return value if is_plain else repr(value)

    settings = {
        name: plain(value)
        for name, value in parameters.items()
        if name not in ("estimator", "validation")
    }
    validation = parameters["validation"]
    if isinstance(validation, tuple):
        validation = f"(X_val, y_val) of {len(validation[1]):,} rows"
    return {
        "estimator": type(estimator).__name__,
        "validation": plain(validation),
        **settings,
        "estimator_parameters": {
            name: plain(value)
            for name, value in estimator.get_params(deep=True).items()
            if value is not None
        },
    }


def list_versions(estimator: Any) -> dict[str, str]:
    """Name the versions of what computed the result."""
    from treeinf import __version__

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    versions = {"python": platform.python_version(), "treeinf": __version__}
    library = type(last).__module__.partition(".")[0]
    for name in ("numpy", "numba", "scikit-learn", library):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
