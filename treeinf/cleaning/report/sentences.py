"""Sentences of the reports: headlines and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treeinf.cleaning.actions import Cleaning
from treeinf.cleaning.trial.comparison import Alternative, Comparison, name_score

__all__ = ["write_headline", "write_notes", "write_subset_headline"]

_FEW_GUARD_ROWS = 100

_DONE = {
    "drop": "Removed",
    "relabel": "Relabelled",
    "downweight": "Down-weighted",
    "weight": "Gave less than half the weight to",
}
_DOING = {
    "drop": "removing",
    "relabel": "relabelling",
    "downweight": "down-weighting",
    "weight": "giving less than half the weight to",
}
_STRATEGIES = {
    "influence": "the most helpful",
    "diverse": "the most helpful of each cluster",
    "random": "drawn at random",
}


def write_headline(
    verdict: str,
    action: str,
    n_changed: int,
    n_train: int,
    choice: Comparison | None,
    guard: Comparison | None,
    primary: Comparison | None = None,
    n_dropped: int = 0,
) -> str:
    """Summarize a cleaning and its gain in one sentence."""
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
            f"{kept}: {_DOING[action]} {n_changed:,} of them made the {primary.metric} "
            f"worse{beyond} on {unseen} ({primary.score_before:.4f} -> "
            f"{primary.score_after:.4f})."
        )
    if verdict.endswith("beyond noise"):
        brought = _name_outcome(verdict, seen)
        return (
            f"{kept}: {_DOING[action]} {n_changed:,} of them {brought} on {unseen} "
            f"({losses}; {scores})."
        )
    done = f"{_DONE[action]} {n_changed:,}"
    if action == "relabel" and n_dropped:
        done = f"Relabelled {n_changed - n_dropped:,} and removed {n_dropped:,}"
    what = f"{done} of {n_train:,} rows ({n_changed / n_train:.1%})"
    if verdict == "unguarded":
        evidence = f"{scores} on {unseen}" if seen else "not evaluated"
        return f"{what}, {evidence}; the guard was off."
    beyond = "a gain beyond noise"
    if seen is not None and primary is not None and not seen.is_beyond_noise:
        beyond = (
            f"{primary.metric} {primary.score_before:.4f} -> "
            f"{primary.score_after:.4f}, a gain beyond noise"
        )
    if verdict == "noise is certain":
        beyond = "within noise, but wrong labels are certain"
    return f"{what}: {scores} on {unseen}, {losses}, {beyond}."


def _name_outcome(verdict: str, seen: Comparison | None) -> str:
    if verdict == "worse beyond noise" and seen is not None:
        return f"made the {seen.loss} worse beyond noise"
    return "brought no gain beyond noise"


def why_kept(verdict: str, seen: Comparison | None) -> str:
    """Describe why suspects were kept, to stand after "because"."""
    if verdict == "nothing to remove":
        return "no cleaning promised a gain"
    if verdict == "vetoed":
        return "cleaning them made the score worse"
    return f"cleaning them {_name_outcome(verdict, seen)}"


def describe_excess(action: str, share: float, high: float | None, labels: str) -> str:
    """Explain why more rows were cleaned than seem wrong; empty if they were not.

    Parameters
    ----------
    action : str
        What was done with the rows.
    share : float
        Share of the scored rows that were cleaned.
    high : float or None
        Upper end of the noise rate.
    labels : {"labels", "targets"}
        What is predicted.
    """
    if high is None or share <= high:
        return ""
    return (
        f"{_DONE[action]} were {share:.1%} of the rows, though at most {high:.1%} of "
        f"the {labels} seem wrong: the others are right and hard to predict, and the "
        "model is better on unseen rows without them."
    )


def write_notes(
    *,
    n_guard: int | None,
    has_choice: bool,
    alternatives: Sequence[Alternative],
    n_held_out: int,
    refit: bool | None,
    relabelled: Cleaning | None,
    relabel_by: str,
    excess: str = "",
) -> Iterator[str]:
    """Yield further remarks for the report of a cleaning.

    Parameters
    ----------
    n_guard : int or None
        Number of guard rows; None if nothing was tried.
    has_choice : bool
        Whether a cleaning was chosen.
    alternatives : sequence of Alternative
        Alternatives to the cleaning.
    n_held_out : int
        Train rows that were not scored.
    refit : bool or None
        The cleaner's `refit_on_validation`.
    relabelled : Cleaning or None
        The cleaning carried out, if that is relabelling.
    relabel_by : str
        One of `RELABEL_RULES`.
    excess : str
        See `describe_excess`.
    """
    if excess:
        yield excess
    if n_guard is None:
        yield "Nothing was evaluated: the amount was fixed, and guard=False."
    elif n_guard < _FEW_GUARD_ROWS:
        yield (
            f"Only {n_guard} rows evaluated the cleaning, so only a large gain is "
            "beyond "
            "noise; pass a number of folds as validation to use all rows."
        )
    if has_choice:
        yield from _compare_alternatives(alternatives)
        if refit is None and any(other.key == "both" for other in alternatives):
            yield (
                "The final model was trained without the validation rows passed; "
                "refit_on_validation=True adds them."
            )
    if n_held_out:
        left = "without" if refit is False else "with"
        yield (
            f"{n_held_out:,} of the rows were held out to choose and evaluate; they "
            "were "
            f"not cleaned, and the final model was trained {left} them."
        )
    if relabelled is None:
        return
    if relabelled.n_left:
        other = "" if relabel_by == "suggestion" else ", or it would not help"
        yield (
            f"{relabelled.n_left:,} further flagged rows were left as they are: no "
            f"other label is suggested{other}."
        )
    if relabelled.n_dropped:
        n_relabelled = len(relabelled.changed) - relabelled.n_dropped
        yield (
            f"Of the rows cleaned {n_relabelled:,} were relabelled; the other "
            f"{relabelled.n_dropped:,} were removed, which is estimated to help more."
        )


def _compare_alternatives(alternatives: Sequence[Alternative]) -> Iterator[str]:
    """Yield notes on alternatives that were at least as good as the cleaning."""
    by_key = {alternative.key: alternative for alternative in alternatives}
    for key in ("random", "appended"):
        if key not in by_key:
            continue
        cleaned, other = by_key["cleaned"].guard, by_key[key].guard
        if other.loss_after <= cleaned.loss_after:
            yield (
                f"On the guard rows the cleaning was no better than this: "
                f"{by_key[key].name} ({cleaned.loss} {other.loss_after:.4f} against "
                f"{cleaned.loss_after:.4f})."
            )


def write_subset_headline(
    strategy: str,
    n_kept: int,
    n_scored: int,
    against_all: Comparison,
    primary: Comparison,
    against_random: Comparison,
) -> str:
    """Summarize a selection and its cost in one sentence."""
    if strategy == "all":
        return (
            f"Kept all {n_scored:,} rows: no smaller subset stayed within the "
            "tolerance on "
            f"{against_all.n_rows:,} unseen rows."
        )
    return (
        f"Kept {n_kept:,} of {n_scored:,} rows ({n_kept / n_scored:.0%}), "
        f"{_STRATEGIES[strategy]}: {primary.metric} {primary.score_before:.4f} with "
        f"all rows, {primary.score_after:.4f} with these, on {primary.n_rows:,} unseen "
        f"rows; {against_random.loss} {against_random.loss_after:.4f} against "
        f"{against_random.loss_before:.4f} with as many random ones."
    )
