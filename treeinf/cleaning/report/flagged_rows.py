"""Tables of scores and of flagged rows, with reasons and influential train rows."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treeinf.cleaning.scores.methods import explain_model
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.splits import RowSet
from treeinf.errors import TreeinfWarning, UnsupportedModelError
from treeinf.explainers import LeafInfluence
from treeinf.explainers.influence import frame_library, make_frame
from treeinf.frames import row_labels
from treeinf.training.rows import LabelledRows

__all__ = ["RowTable", "find_influential_rows"]

_MOST_OWN = 64
_N_INFLUENTIAL = 3
_MOST_WORK = 3e9
_MOST_EXPLAINED = 50
_MOST_SEARCHED = 50_000


@dataclasses.dataclass(frozen=True, eq=False)
class RowTable:
    """Scores, labels and suggestions of all train rows, to be written into frames.

    Parameters
    ----------
    score : ndarray of float64, shape (n_train,)
        Scores; NaN for rows without.
    error : ndarray of float64, shape (n_train,)
        Out-of-bag errors.
    label : ndarray, shape (n_train,)
        Labels or values as given.
    row_labels : ndarray or None
        The caller's labels of the rows; None for positions.
    suggestions : ndarray or None
        Suggested labels or values.
    gains : tuple of ndarray of float64, or None
        Decrease of the loss of other rows by each suggestion, and by each row's
        removal.
    library : {"pandas", "polars", "pyarrow"}
        Kind of the frames.
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    label: NDArray[Any]
    row_labels: NDArray[Any] | None
    suggestions: NDArray[Any] | None
    gains: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    library: str

    @classmethod
    def read(
        cls,
        rows: LabelledRows,
        scored: RowSet,
        scores: RowScores,
        classes: NDArray[Any] | None,
    ) -> RowTable:
        """Place the scores of some rows among all train rows."""

        def spread(values: NDArray[Any]) -> NDArray[np.float64]:
            everywhere = np.full(rows.n_rows, np.nan)
            everywhere[scored.positions] = values
            return everywhere

        suggestions: NDArray[Any] | None = None
        if scores.suggestion is not None and classes is None:
            suggestions = spread(scores.suggestion)
        elif scores.suggestion is not None and classes is not None:
            suggestions = np.full(rows.n_rows, None, dtype=object)
            is_any = scores.suggestion >= 0
            names = classes[scores.suggestion[is_any]].tolist()
            suggestions[scored.positions[is_any]] = names
        score = scores.score
        if scores.is_scored is not None:
            score = np.where(scores.is_scored, score, np.nan)
        gains = None
        if scores.gains is not None:
            gains = spread(scores.gains.relabel), spread(scores.gains.drop)
        return cls(
            score=spread(score),
            error=spread(scores.error),
            label=rows.y,
            row_labels=row_labels(rows.X),
            suggestions=suggestions,
            gains=gains,
            library=frame_library(rows.X),
        )

    def _names(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        return positions if self.row_labels is None else self.row_labels[positions]

    def _rank(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ranks from 1 and percentiles of the scores; NaN without a score."""
        rank, percentile = np.full((2, len(self.score)), np.nan)
        scored = np.flatnonzero(np.isfinite(self.score))
        score = self.score[scored]
        rank[scored[np.argsort(-score, kind="stable")]] = np.arange(1, len(scored) + 1)
        ranked = stats.rankdata(score, method="max")
        percentile[scored] = 100.0 * ranked / max(len(scored), 1)
        return rank, percentile

    def list_scores(self, changed: NDArray[np.int64]) -> Any:
        """Return the table of all rows.

        Parameters
        ----------
        changed : ndarray of int64
            Positions of the rows that were cleaned.

        Returns
        -------
        Frame, or dict of str to list where no frame library is installed
        """
        positions = np.arange(len(self.score))
        rank, percentile = self._rank()
        columns: dict[str, Any] = {
            "row": self._names(positions),
            "position": positions,
            "score": self.score,
            "rank": rank,
            "percentile": percentile,
            "label": self.label,
        }
        if self.suggestions is not None:
            columns["suggestion"] = self.suggestions
        if self.gains is not None:
            columns["relabel_gain"], columns["drop_gain"] = self.gains
        columns["is_changed"] = np.isin(positions, changed)
        return self._as_frame(columns)

    def list_changed(
        self,
        changed: NDArray[np.int64],
        actions: NDArray[Any],
        reason: str,
        influential: dict[str, NDArray[np.int64]],
    ) -> Any:
        """Return the table of cleaned rows.

        Parameters
        ----------
        changed : ndarray of int64, shape (n_changed,)
            Positions of the rows that were cleaned, the highest score first.
        actions : ndarray of str, shape (n_changed,)
            Action taken on each.
        reason : str
            Meaning of a high score, in plain words.
        influential : dict of str to ndarray of int64, shape (n_changed, 3)
            See `find_influential_rows`.

        Returns
        -------
        Frame, or dict of str to list where no frame library is installed
        """
        rank, percentile = self._rank()
        columns: dict[str, Any] = {
            "row": self._names(changed),
            "position": changed,
            "rank": rank[changed].astype(np.int64),
            "score": self.score[changed],
            "percentile": percentile[changed],
            "action": actions.astype(object),
            "label": self.label[changed],
        }
        suggested = None if self.suggestions is None else self.suggestions[changed]
        if suggested is not None:
            columns["suggestion"] = (
                suggested.astype(self.label.dtype)
                if all(value is not None for value in suggested.tolist())
                else suggested
            )
        if self.gains is not None:
            columns["relabel_gain"], columns["drop_gain"] = (
                gain[changed] for gain in self.gains
            )
        for kind, positions in influential.items():
            for number, column in enumerate(positions.T):
                names = np.full(len(changed), None, dtype=object)
                is_any = column >= 0
                names[is_any] = self._names(column[is_any])
                columns[f"{kind}_{number + 1}"] = names
        columns["reason"] = np.empty(len(changed), dtype=object)
        for line, row in enumerate(changed.tolist()):
            suggestion = None if suggested is None else suggested[line]
            columns["reason"][line] = self._explain(
                row, reason, suggestion, actions[line]
            )
        return self._as_frame(columns)

    def _explain(self, row: int, reason: str, suggestion: Any, action: str) -> str:
        """Describe why a row was flagged, and why this action was taken."""
        label = self.label[row]
        is_value = self.suggestions is not None and self.suggestions.dtype.kind == "f"
        text = describe_row(reason, label, suggestion, float(self.error[row]), is_value)
        if self.gains is None or action == "kept":
            return text
        relabel, drop = (float(gain[row]) for gain in self.gains)
        return text + describe_action(action, label, suggestion, relabel, drop)

    def _as_frame(self, columns: dict[str, Any]) -> Any:
        try:
            return make_frame(columns, self.library)
        except ImportError:
            return {name: list(values) for name, values in columns.items()}


def find_influential_rows(
    fit: Callable[[LabelledRows], Any],
    scored: RowSet,
    changed: NDArray[np.int64],
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Find the train rows that raise and that lower the loss of each cleaned row most.

    Parameters
    ----------
    fit : callable
        Trains a model of the scored rows; of 50,000 of them at most.
    scored : RowSet
        Scored rows.
    changed : ndarray of int64, shape (n_changed,)
        Cleaned rows among them.
    seed : int
        Seed of the choice of rows.

    Returns
    -------
    dict of str to ndarray of int64, shape (n_changed, 3)
        "opponent" and "helper": positions among all train rows; -1 where there is none,
        or beyond the first 50 cleaned rows, or fewer of a table so long that the search
        would take minutes. The row itself and its group are excluded.
    """
    shown = changed[:_MOST_EXPLAINED]
    searched = np.arange(scored.rows.n_rows)
    if len(searched) > _MOST_SEARCHED:
        drawn = np.random.default_rng(seed).permutation(searched)[:_MOST_SEARCHED]
        searched = np.union1d(drawn, shown)
    rows = scored.rows.take(searched)
    model = fit(rows)
    with warnings.catch_warnings():
        # the cleaned rows are train rows, and are explained on purpose
        warnings.simplefilter("ignore", TreeinfWarning)
        try:
            explainer = explain_model(model, rows, LeafInfluence)
        except UnsupportedModelError:
            # readable class, but influence is not defined with these parameters
            return {}
        # every output of softmax reacts to every other
        n_steps = explainer.ensemble_.n_trees * explainer.ensemble_.n_outputs
        n_asked = int(_MOST_WORK / (rows.n_rows * max(n_steps, 1)))
        asked = np.searchsorted(searched, shown[: max(1, n_asked)])
        queries = rows.take(asked)
        group = np.arange(rows.n_rows) if rows.group is None else rows.group
        n_own = int(np.unique(group, return_counts=True)[1].max())
        n_ranked = _N_INFLUENTIAL + min(n_own, _MOST_OWN)
        influential = {}
        for kind, order in (("opponent", "harmful"), ("helper", "helpful")):
            ranked = explainer.top_k(queries.X, queries.y, n_ranked, order=order)
            influential[kind] = np.full(
                (len(changed), _N_INFLUENTIAL), -1, dtype=np.int64
            )
            for line, (row, names) in enumerate(
                zip(asked, ranked.positions, strict=True)
            ):
                others = names[(names >= 0) & (group[names] != group[row])]
                if len(others) < _N_INFLUENTIAL and (names >= 0).all():
                    # its own group fills the list
                    query = rows.take(np.array([row]))
                    sign = 1.0 if kind == "helper" else -1.0
                    value = sign * explainer.explain(query.X, query.y).values[:, 0]
                    value[group == group[row]] = 0.0
                    best = np.argsort(-value, kind="stable")[:_N_INFLUENTIAL]
                    others = best[value[best] > 0.0]
                others = others[:_N_INFLUENTIAL]
                positions = scored.positions[searched[others]]
                influential[kind][line, : len(positions)] = positions
    return influential


def describe_row(
    reason: str, label: Any, suggestion: Any, error: float, is_regression: bool
) -> str:
    """Describe why a row was flagged."""
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
        f"{reason}: without it they predict {suggestion!s} and give its label "
        f"{label!s} {share}."
    )


def describe_action(
    action: str, label: Any, suggestion: Any, relabel_gain: float, drop_gain: float
) -> str:
    """Describe why a flagged row was relabelled or dropped."""
    if suggestion is None or suggestion == label or suggestion != suggestion:
        return " Removed: no other label is suggested."
    new = f"{suggestion:.4g}" if isinstance(suggestion, float) else f"{suggestion!s}"
    gains = (
        f"the mean loss of other rows changes by {-relabel_gain:+.2g} with {new}, by "
        f"{-drop_gain:+.2g} without the row"
    )
    if action == "relabel":
        return f" Relabelled, because that helps other rows most: {gains}."
    if relabel_gain <= 0.0:
        return f" Removed, because {new} would not help other rows: {gains}."
    return f" Removed, because that helps other rows at least as much: {gains}."
