"""The rows, one line each: why they were cleaned, and who speaks against them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treeinf.cleaning.scores.methods import Method, explain_model
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.errors import TreeinfWarning, UnsupportedModelError
from treeinf.explainers.influence import make_frame
from treeinf.training.rows import LabelledRows

__all__ = ["list_scores", "list_touched_rows"]

_N_SPEAKERS = 3
_MOST_WORK = 3e9


def list_touched_rows(
    rows: LabelledRows,
    position: NDArray[np.int64],
    touched: NDArray[np.int64],
    scores: RowScores,
    *,
    row_labels: NDArray[Any] | None,
    suggestions: NDArray[Any] | None,
    method: Method,
    actions: NDArray[Any],
    model: Any,
    library: str,
) -> Any:
    """Make the table of cleaned rows.

    Parameters
    ----------
    rows : LabelledRows
        Scored rows, as they were given.
    position : ndarray of int64, shape (n_scored,)
        Their positions among all train rows.
    touched : ndarray of int64, shape (n_touched,)
        Which of the scored rows were cleaned, most suspicious first.
    scores : RowScores
        Scores of the scored rows.
    row_labels : ndarray or None
        The caller's labels of all train rows; None for positions.
    suggestions : ndarray or None
        Suggested label or value of all train rows.
    method : Method
        What made the scores.
    actions : ndarray of str, shape (n_touched,)
        What was done with each.
    model : estimator or None
        Model of all scored rows, to find the opponents; None for none.
    library : {"pandas", "polars", "pyarrow"}
        Kind of frame wanted.

    Returns
    -------
    Frame, or dict of str to list where no frame library is installed
    """
    own = position[touched]
    order = scores.order()
    rank = np.empty(rows.n_rows, dtype=np.int64)
    rank[order] = np.arange(1, rows.n_rows + 1)
    percentile = 100.0 * stats.rankdata(scores.score, method="max") / rows.n_rows
    labels = own if row_labels is None else row_labels[own]
    columns: dict[str, Any] = {
        "row": labels,
        "position": own,
        "rank": rank[touched],
        "score": scores.score[touched],
        "percentile": percentile[touched],
        "action": actions.astype(object),
        "label": rows.y[touched],
    }
    suggested = None if suggestions is None else suggestions[own]
    if suggested is not None:
        columns["suggestion"] = (
            suggested.astype(rows.y.dtype)
            if all(value is not None for value in suggested.tolist())
            else suggested
        )
    gains = scores.gains
    if gains is not None:
        columns["relabel_gain"] = gains.relabel[touched]
        columns["drop_gain"] = gains.drop[touched]
    if model is not None:
        for kind, speakers in _find_speakers(model, rows, touched).items():
            for place in range(speakers.shape[1]):
                found = speakers[:, place]
                names = np.full(len(touched), None, dtype=object)
                for line in np.flatnonzero(found >= 0):
                    name = position[found[line]]
                    names[line] = (
                        name.item() if row_labels is None else row_labels[name]
                    )
                columns[f"{kind}_{place + 1}"] = names
    columns["reason"] = np.empty(len(touched), dtype=object)
    for number, row in enumerate(touched.tolist()):
        label = rows.y[row]
        suggestion = None if suggested is None else suggested[number]
        why = describe_row(
            method.reason,
            label,
            suggestion,
            float(scores.error[row]),
            rows.code is None,
        )
        if gains is not None:
            gain = float(gains.relabel[row]), float(gains.drop[row])
            why += describe_repair(actions[number], label, suggestion, *gain)
        columns["reason"][number] = why
    return _as_frame(columns, library)


def list_scores(
    score: NDArray[np.float64],
    label: NDArray[Any],
    *,
    row_labels: NDArray[Any] | None,
    suggestions: NDArray[Any] | None,
    gains: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    touched: NDArray[np.int64],
    library: str,
) -> Any:
    """Make the table of all rows.

    Parameters
    ----------
    score : ndarray of float64, shape (n_train,)
        Scores; NaN for rows without.
    label : ndarray, shape (n_train,)
        Labels or values as given.
    row_labels, suggestions, library
        See `list_touched_rows`.
    gains : tuple of ndarray of float64, shape (n_train,), or None
        What each suggestion, and each row's removal, would bring others.
    touched : ndarray of int64
        Positions of the rows that were cleaned.

    Returns
    -------
    Frame, or dict of str to list where no frame library is installed
    """
    is_scored = np.isfinite(score)
    n_scored = int(is_scored.sum())
    rank = np.full(len(score), np.nan)
    percentile = np.full(len(score), np.nan)
    order = np.flatnonzero(is_scored)
    order = order[np.argsort(-score[order], kind="stable")]
    rank[order] = np.arange(1, n_scored + 1)
    ranked = stats.rankdata(score[is_scored], method="max")
    percentile[is_scored] = 100.0 * ranked / max(n_scored, 1)
    position = np.arange(len(score))
    columns: dict[str, Any] = {
        "row": position if row_labels is None else row_labels,
        "position": position,
        "score": score,
        "rank": rank,
        "percentile": percentile,
        "label": label,
    }
    if suggestions is not None:
        columns["suggestion"] = suggestions
    if gains is not None:
        columns["relabel_gain"], columns["drop_gain"] = gains
    columns["is_touched"] = np.isin(position, touched)
    return _as_frame(columns, library)


def _as_frame(columns: dict[str, Any], library: str) -> Any:
    try:
        return make_frame(columns, library)
    except ImportError:
        return {name: list(values) for name, values in columns.items()}


def _find_speakers(
    model: Any, rows: LabelledRows, touched: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Find the train rows that raise and that lower the loss of each touched row most.

    Returns
    -------
    dict of str to ndarray of int64, shape (n_touched, 3)
        "opponent" and "helper": positions among `rows`; -1 where there is none, or
        beyond the first rows of a table so long that the search would take minutes. A
        row does not speak for itself.
    """
    with warnings.catch_warnings():
        # the touched rows are train rows, and are asked about on purpose
        warnings.simplefilter("ignore", TreeinfWarning)
        try:
            explainer = explain_model(model, rows)
        except UnsupportedModelError:
            # of a class that is read, but not with these settings; scores did not ask
            return {}
        n_trees = max(explainer.ensemble_.n_trees, 1)
        asked = touched[: max(1, int(_MOST_WORK / (rows.n_rows * n_trees)))]
        part = rows.take(asked)
        speakers = {}
        for kind, order in (("opponent", "harmful"), ("helper", "helpful")):
            ranked = explainer.top_k(part.X, part.y, _N_SPEAKERS + 1, order=order)
            found = np.full((len(touched), _N_SPEAKERS), -1, dtype=np.int64)
            for line, (own, names) in enumerate(
                zip(asked, ranked.positions, strict=True)
            ):
                others = names[(names >= 0) & (names != own)][:_N_SPEAKERS]
                found[line, : len(others)] = others
            speakers[kind] = found
    return speakers


def describe_row(
    reason: str, label: Any, suggestion: Any, error: float, is_regression: bool
) -> str:
    """Say in plain words why a row is suspect."""
    reason = reason[0].upper() + reason[1:]
    if suggestion is None:
        return f"{reason}."
    if is_regression:
        return (
            f"{reason}: without it they predict {suggestion:.4g}, its target is "
            f"{label:.4g}."
        )
    share = f"{1.0 - error:.0%}"
    if suggestion == label:
        return f"{reason}; without it they give its label {label!s} only {share}."
    return (
        f"{reason}: without it they say {suggestion!s} and give its label {label!s} "
        f"{share}."
    )


def describe_repair(
    action: str, label: Any, suggestion: Any, relabel_gain: float, drop_gain: float
) -> str:
    """Say in plain words why a suspect was relabelled or dropped."""
    if suggestion is None or suggestion == label or suggestion != suggestion:
        return " Removed: no other label is suggested."
    new = f"{suggestion:.4g}" if isinstance(suggestion, float) else f"{suggestion!s}"
    gains = (
        f"the mean loss of other rows changes by {-relabel_gain:+.2g} with {new}, by "
        f"{-drop_gain:+.2g} without the row"
    )
    if action == "relabel":
        return f" Relabelled, for it then does other rows the most good: {gains}."
    if relabel_gain <= 0.0:
        return f" Removed, for with {new} it does other rows no good: {gains}."
    return f" Removed, for that does other rows at least as much good: {gains}."
