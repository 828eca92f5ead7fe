"""Rows to explain, and which output of each is explained."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.frames import count_rows
from treeinf.trace import StagedRows

__all__ = ["OUTPUTS", "EnsembleQueries", "Output", "Queries"]

Output = str | NDArray[np.float64]
"""Name of an output, or its derivatives with respect to the raw scores of each row."""

_NAMES = ("loss", "raw_score", "prediction")
OUTPUTS = (*_NAMES, "derivative")
"""What can be explained of a row; see `EnsembleQueries`."""


class Queries(Protocol):
    """Rows to explain, as every explainer handles them."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""

    @property
    def fingerprint(self) -> NDArray[np.uint64]:
        """Equal for rows of equal values, shape (n_rows,)."""

    def take(self, rows: slice, /) -> Self:
        """Return a batch of consecutive rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleQueries:
    """Rows routed through an ensemble, and which output of each is explained.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its base score kept apart.
    rows : StagedRows
        The rows.
    output : {"loss", "raw_score", "prediction", "derivative"}
        What of them: the training loss; the raw score, of the row's own class where
        there is one for each; what the model predicts, for classifiers the probability
        of the row's own class; or the sum of the raw scores times `derivative`.
    derivative : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        The caller's own derivatives, else empty.
    n_total : int, default=1
        Rows of all batches, of which these may be one.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    output: str
    derivative: NDArray[np.float64]
    n_total: int = 1

    @classmethod
    def read(
        cls,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        *,
        output: Output = "loss",
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> EnsembleQueries:
        """Check rows and output, and route the rows.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        y : array-like, shape (n_rows,), or None
            Their targets. None where these do not matter: for the raw scores or
            predictions of models of one output or two classes (those of the second),
            and for derivatives.
        output : {"loss", "raw_score", "prediction"} or array
            What is explained; an array of shape (n_rows,) or (n_rows, n_outputs) is the
            derivative of any quantity with respect to the raw scores.
        sample_weight, init_score : array-like, optional
            See `StagedRows.read`.

        Raises
        ------
        ValueError, TypeError
            If they do not fit the ensemble or one another.
        """
        derivative = np.empty((0, ensemble.n_outputs), REAL)
        name = "derivative"
        if isinstance(output, str):
            name = output
            if name not in _NAMES:
                raise ValueError(
                    f"Got output={output!r}; expected one of {_NAMES} or an array of "
                    "derivatives with respect to the raw scores."
                )
        else:
            derivative = _check_derivative(output, ensemble.n_outputs)
        if y is None:
            y = _placeholder(ensemble, name, count_rows(X))
        rows = StagedRows.read(
            ensemble, X, y, sample_weight=sample_weight, init_score=init_score
        )
        if name == "derivative" and len(derivative) != rows.n_rows:
            raise ValueError(
                f"output has derivatives of {len(derivative):,} rows; X has "
                f"{rows.n_rows:,}."
            )
        if name in ("loss", "prediction") and ensemble.loss is None:
            raise ValueError(
                f"output={name!r} needs a loss that treeinf knows; this model's is "
                f"{ensemble.loss_name!r}. Explain output='raw_score'."
            )
        return cls(ensemble, rows, name, derivative, rows.n_rows)

    @classmethod
    def from_train_rows(
        cls, ensemble: TreeEnsemble, rows: StagedRows, output: str = "loss"
    ) -> EnsembleQueries:
        """Return train rows as queries of weight 1.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        rows : StagedRows
            The train rows.
        output : {"loss", "raw_score", "prediction"}, default="loss"
            What is explained of them.
        """
        rows = dataclasses.replace(rows.as_queries, weight=np.empty(0, REAL))
        none = np.empty((0, ensemble.n_outputs), REAL)
        return cls(ensemble, rows, output, none, rows.n_rows)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.rows.n_rows

    @property
    def fingerprint(self) -> NDArray[np.uint64]:
        """Equal for rows of equal values and target, shape (n_rows,)."""
        return self.rows.fingerprint

    def take(self, rows: slice, /) -> EnsembleQueries:
        """Return a batch of consecutive rows."""
        derivative = self.derivative
        return dataclasses.replace(
            self,
            rows=self.rows.take(rows),
            derivative=derivative[rows] if len(derivative) else derivative,
        )

    def raw_score(self) -> NDArray[np.float64]:
        """Compute the final raw scores, shape (n_rows, n_outputs)."""
        offset = self.rows.offset if self.rows.offset.size else None
        return self.ensemble.add_leaf_values(self.rows.leaf, offset=offset)

    def value(self, raw_score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute what is explained at any raw scores, weighted.

        Parameters
        ----------
        raw_score : ndarray of float64, shape (n_rows, n_outputs)

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        loss, target = self.ensemble.loss, self.rows.y
        if self.output == "derivative":
            value = (raw_score * self.derivative).sum(axis=1)
        elif self.output == "raw_score":
            value = np.take_along_axis(raw_score, self._row_output, axis=1)[:, 0]
        elif self.output == "loss":
            assert loss is not None
            value = loss.loss(target, raw_score)
        else:
            assert loss is not None
            value = loss.link(raw_score)
            if value.ndim > 1:
                label = target.astype(np.intp)[:, np.newaxis]
                value = np.take_along_axis(value, label, axis=1)[:, 0]
        return value * self.rows.weight if self.rows.weight.size else value

    def gradient(
        self, raw_score: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Differentiate `value` with respect to the raw scores.

        Parameters
        ----------
        raw_score : ndarray of float64, shape (n_rows, n_outputs), optional
            By default the final ones.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        if raw_score is None:
            raw_score = self.raw_score()
        loss, target = self.ensemble.loss, self.rows.y
        if self.output == "derivative":
            gradient = self.derivative.copy()
        elif self.output == "raw_score":
            gradient = np.zeros_like(raw_score)
            np.put_along_axis(gradient, self._row_output, 1.0, axis=1)
        elif self.output == "loss":
            assert loss is not None
            gradient = loss.derivatives(target, raw_score)[0]
        else:
            assert loss is not None
            gradient = loss.link_slope(target, raw_score)
        if self.rows.weight.size:
            gradient *= self.rows.weight[:, np.newaxis]
        return gradient

    @property
    def _row_output(self) -> NDArray[np.intp]:
        if self.ensemble.n_outputs == 1:
            return np.zeros((self.n_rows, 1), np.intp)
        return self.rows.y.astype(np.intp)[:, np.newaxis]


def _placeholder(ensemble: TreeEnsemble, output: str, n_rows: int) -> Any:
    """Return targets that any loss accepts where they do not matter, else None."""
    n_classes = 0 if ensemble.loss is None else ensemble.loss.n_classes
    has_row_output = ensemble.n_outputs > 1 and n_classes != 2
    if output == "loss" or (output != "derivative" and has_row_output):
        return None
    label = 1 if ensemble.classes is None else ensemble.classes[1]
    return np.full(n_rows, label)


def _check_derivative(output: Any, n_outputs: int) -> NDArray[np.float64]:
    derivative = np.asarray(output, dtype=REAL)
    if derivative.ndim == 1 and n_outputs == 1:
        derivative = derivative[:, np.newaxis]
    if derivative.ndim != 2 or derivative.shape[1] != n_outputs:
        raise ValueError(
            f"output has shape {np.shape(output)}; expected (n_rows, {n_outputs}), the "
            "derivative with respect to each raw score of each row."
        )
    if not np.isfinite(derivative).all():
        raise ValueError("output has derivatives that are not finite.")
    return np.ascontiguousarray(derivative)
