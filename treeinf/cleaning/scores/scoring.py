"""Score train rows by copies of the estimator: higher for more harmful."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters import find_adapter, unwrap_pipeline
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.cleaning.scores.label_confusion import doubt_labels
from treeinf.cleaning.scores.methods import MEASURES, Evidence, Method
from treeinf.cleaning.scores.noise_rate import (
    NoiseRate,
    OutOfBag,
    estimate_noise_rate,
)
from treeinf.cleaning.scores.relabelling import (
    LabelGains,
    check_explained,
    estimate_label_gains,
)
from treeinf.cleaning.scores.stacking import (
    BASE_MODELS,
    code_targets,
    stack_predictions,
)
from treeinf.cleaning.scores.target_doubt import doubt_targets
from treeinf.errors import UnsupportedModelError
from treeinf.frames import take_rows
from treeinf.training.learner import Learner, is_constant
from treeinf.training.rows import LabelledRows

__all__ = ["RowScorer", "RowScores", "check_readable", "is_readable"]

_TRUSTED_WEIGHT = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class RowScores:
    """Scores of some train rows.

    Parameters
    ----------
    score : ndarray of float64, shape (n_rows,)
        Higher for more harmful.
    error : ndarray of float64, shape (n_rows,)
        Out-of-bag error, see `Evidence`; zeros without copies.
    suggestion : ndarray, shape (n_rows,), or None
        Out-of-bag class number or value; -1 or NaN where there is none. None without
        copies.
    prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes), or None
        Out-of-bag predictions of the copies, NaN where there are none. None without
        copies.
    pooled : ndarray of float64, of the same shape, or None
        The same, pooled with those of other base models where the method has any.
    doubt : ndarray of float64, shape (n_rows,), or None
        Probability that the label or target is wrong; None for methods without base
        models.
    clean_prediction : ndarray of float64, shape (n_clean,) or (n_clean, n_classes), or
    None
        Predictions of clean rows, averaged over half of the copies; None without them.
    gains : LabelGains or None
        Estimated effect of the suggestions; None unless requested.
    is_scored : ndarray of bool, shape (n_rows,), or None
        Whether there was a model to score the row by, which the first rows in time have
        not; their score is 0. None for all.
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    suggestion: NDArray[Any] | None
    prediction: NDArray[np.float64] | None = None
    pooled: NDArray[np.float64] | None = None
    doubt: NDArray[np.float64] | None = None
    clean_prediction: NDArray[np.float64] | None = None
    gains: LabelGains | None = None
    is_scored: NDArray[np.bool_] | None = None

    @property
    def n_unscored(self) -> int:
        """Number of rows without a score."""
        return 0 if self.is_scored is None else int((~self.is_scored).sum())

    def estimate_noise(
        self,
        rows: LabelledRows,
        trusted: LabelledRows | None,
        *,
        confidence: float,
        seed: int,
    ) -> NoiseRate | None:
        """Estimate the noise rate of the scored rows; None without predictions.

        Where clean rows were predicted, by the copies alone, so are the scored ones.
        """
        prediction, clean = self.pooled, None
        if trusted is not None and self.clean_prediction is not None:
            prediction = self.prediction
            clean = OutOfBag(trusted.label, self.clean_prediction)
        if prediction is None:
            return None
        return estimate_noise_rate(
            rows, prediction, confidence=confidence, seed=seed, clean=clean
        )


def check_readable(estimator: Any) -> None:
    """Refuse estimators whose fitted models cannot be explained.

    Raises
    ------
    UnsupportedModelError
        If no adapter reads models of this class.
    """
    find_adapter(unwrap_pipeline(estimator)[0])


def is_readable(estimator: Any) -> bool:
    """Return whether an adapter reads models of this class."""
    try:
        check_readable(estimator)
    except UnsupportedModelError:
        return False
    return True


class RowScorer:
    """Score rows of a table by copies of an estimator that have not seen them.

    Copies are trained when a score first needs them, and serve all later ones.

    Parameters
    ----------
    method : Method
        How rows are scored.
    learner : Learner
        Trains the copies.
    rows : LabelledRows
        The table.
    plan : sequence of CopyRows
        Rows of each copy, see `plan_copies`.
    seed : int
        Seed of the copies and of the method.
    costs : Costs
        Updated: "train", "influence" and "stacking".
    clean : LabelledRows, optional
        Clean rows to predict, for comparison with predictions of the table's.
    with_gains : bool, default=False
        Estimate the effect of the suggested labels on rows that copies have not seen.
    """

    def __init__(
        self,
        method: Method,
        learner: Learner,
        rows: LabelledRows,
        plan: Sequence[CopyRows],
        *,
        seed: int,
        costs: Costs,
        clean: LabelledRows | None = None,
        with_gains: bool = False,
    ) -> None:
        self._method, self._learner, self._rows, self._plan = (
            method,
            learner,
            rows,
            plan,
        )
        self._seed, self._costs, self._clean = seed, costs, clean
        self._with_gains = with_gains
        self._copies: dict[int, _Copy] = {}
        self._base: dict[LabelledRows | None, dict[str, list[NDArray[np.float32]]]] = {}

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return 0 if self._learner.classes is None else len(self._learner.classes)

    @property
    def n_copies(self) -> int:
        """Number of copies that are trained at most."""
        return len(self._plan) if self._method.needs_copies else 0

    @property
    def n_trained(self) -> int:
        """Number of copies that have been trained."""
        return len(self._copies)

    def score(
        self,
        positions: NDArray[np.int64],
        queries: LabelledRows | None = None,
        *,
        only_trained: bool = False,
    ) -> RowScores:
        """Score some rows by the copies that are trained on none but these.

        Parameters
        ----------
        positions : ndarray of int64, shape (n_rows,)
            Rows to score, ascending.
        queries : LabelledRows, optional
            Rows whose loss is explained, and on which base models are trained, too; by
            default those of `positions` that a copy has not seen, and none.
        only_trained : bool, default=False
            Use the copies that have been trained already, if there are any.
        """
        rows = self._rows.take(positions)
        rng = np.random.default_rng([self._seed, len(positions)])
        if not self._method.needs_copies:
            none = np.zeros(rows.n_rows)
            score = self._method.formula(Evidence(none, none, {}, rng))
            return RowScores(score, none, None)
        serving = self._serving(positions)
        if only_trained and self._copies:
            serving = [number for number in serving if number in self._copies]
        self._train(serving)
        sums = {"copies": _Sums(self._rows.n_rows, max(self.n_classes, 1))}
        for number in serving:
            prediction = self._copies[number].prediction
            sums["copies"].add(self._plan[number].scored, prediction)
        mean = sums["copies"].mean()[positions]
        pooled, doubt = mean, None
        if self._method.base_models:
            with self._costs.timed("stacking"):
                pooled, doubt = self._pool_by_stage(
                    serving, positions, rows, mean, queries
                )
        if not self.n_classes:
            mean, pooled = mean.reshape(-1), pooled.reshape(-1)
        error, loss, suggestion = _compare_labels(rows, pooled)
        with self._costs.timed("influence"):
            measured = self._measure(serving, positions, queries)
        evidence = Evidence(
            error, loss, measured, rng, None if rows.code is None else doubt
        )
        score = self._method.formula(evidence)
        if rows.weight is not None:
            score = np.where(rows.weight > 0.0, score, 0.0)
        is_scored: NDArray[np.bool_] = np.ones(rows.n_rows, dtype=np.bool_)
        if rows.time is not None:
            is_scored = np.asarray(
                np.isfinite(mean.reshape(rows.n_rows, -1)).any(axis=1)
            )
            score = np.where(is_scored, score, 0.0)
        gains = None
        if self._with_gains:
            with self._costs.timed("influence"):
                gains = self._estimate_gains(serving, positions, suggestion, queries)
        return RowScores(
            score=score,
            error=error,
            suggestion=suggestion,
            prediction=mean,
            pooled=pooled,
            doubt=doubt,
            clean_prediction=self._predict_clean(serving),
            gains=gains,
            is_scored=is_scored,
        )

    def _pool_by_stage(
        self,
        serving: Sequence[int],
        positions: NDArray[np.int64],
        rows: LabelledRows,
        mean: NDArray[np.float64],
        queries: LabelledRows | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pool all rows together or, where time matters, each with none later.

        Returns
        -------
        pooled : ndarray of float64, shape (n_rows, n_outputs)
            Predictions; NaN where there are none.
        doubt : ndarray of float64, shape (n_rows,)
            Probability that each label or target is wrong; 0 without a prediction.
        """
        pooled, doubt = np.full(mean.shape, np.nan), np.zeros(rows.n_rows)
        for used, new in self._list_stages(serving, positions):
            seen = rows.take(used)
            at = np.searchsorted(used, new)
            pool = self._pool(serving, positions[used], seen, mean[used], queries)
            pooled[new] = pool.reshape(len(used), -1)[at]
            if seen.code is not None:
                doubt[new] = doubt_labels(pool, seen.code)[at]
            else:
                doubt[new] = doubt_targets(seen.y, pool, self._seed)[at]
        return pooled, doubt

    def _list_stages(
        self, serving: Sequence[int], positions: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """List which rows are pooled together: all, or those up to each fold's end.

        Returns
        -------
        list of tuple of ndarray of int64
            Places in `positions` of the rows used, and of those pooled then.
        """
        everything = np.arange(len(positions))
        if self._rows.time is None:
            return [(everything, everything)]
        stage = np.full(self._rows.n_rows, -1)
        for number in serving:
            scored = self._plan[number].scored
            first = int(self._rows.time[scored].min())
            stage[scored] = np.maximum(stage[scored], first)
        stage = stage[positions]
        return [
            (
                np.flatnonzero((stage >= 0) & (stage <= first)),
                np.flatnonzero(stage == first),
            )
            for first in np.unique(stage[stage >= 0])
        ]

    def _serving(self, positions: NDArray[np.int64]) -> list[int]:
        """Return the numbers of the copies that train on none but these rows."""
        inside = np.zeros(self._rows.n_rows, dtype=np.bool_)
        inside[positions] = True
        return [
            number
            for number, copy in enumerate(self._plan)
            if inside[copy.train].all() and inside[copy.scored].any()
        ]

    def _train(self, numbers: Sequence[int]) -> None:
        """Train the copies that are missing."""
        missing = [number for number in numbers if number not in self._copies]
        tasks = [functools.partial(self._train_one, number) for number in missing]
        trained = self._learner.run(tasks, "scoring rows")
        for number in missing:
            with self._costs.timed("train"):
                self._copies[number] = next(trained)
        self._costs.n_fits += len(missing)

    def _train_one(self, number: int) -> _Copy:
        copy, learner = self._plan[number], self._learner
        seen = self._rows.take(copy.train)
        seed = np.random.default_rng([self._seed, number]).integers(2**31)
        model = learner.fit(seen, int(seed))
        prediction = learner.predict(model, take_rows(self._rows.X, copy.scored))
        on_clean = None
        if self._clean is not None:
            on_clean = learner.predict(model, self._clean.X)
        return _Copy(
            model if self._method.measures or self._with_gains else None,
            prediction.astype(np.float32).reshape(len(copy.scored), -1),
            on_clean,
        )

    def _predict_clean(self, serving: Sequence[int]) -> NDArray[np.float64] | None:
        """Average predictions of clean rows over as many copies as predict others."""
        if self._clean is None:
            return None
        n_scored = sum(len(self._plan[number].scored) for number in serving)
        n_used = max(1, round(n_scored / self._rows.n_rows))
        lines = [
            np.nan_to_num(prediction)
            for number in serving[:n_used]
            if (prediction := self._copies[number].on_clean) is not None
        ]
        return np.asarray(np.mean(lines, axis=0))

    def _pool(
        self,
        serving: Sequence[int],
        positions: NDArray[np.int64],
        rows: LabelledRows,
        by_copies: NDArray[np.float64],
        queries: LabelledRows | None,
    ) -> NDArray[np.float64]:
        """Pool the copies with other base models, which are trained on queries, too."""
        self._fit_base_models(queries)
        n_outputs = code_targets(rows, self.n_classes).shape[1]
        predictions = {}
        for name in self._method.base_models:
            sums = _Sums(self._rows.n_rows, n_outputs)
            for number in serving:
                sums.add(self._plan[number].scored, self._base[queries][name][number])
            predictions[name] = sums.mean()[positions]
        predictions["copies"] = by_copies[:, -n_outputs:]
        return stack_predictions(rows, self.n_classes, predictions).prediction

    def _fit_base_models(self, queries: LabelledRows | None) -> None:
        """Fit the base models of all copies, where that has not been done."""
        if queries in self._base:
            return
        table, plan = self._rows, list(self._plan)
        if queries is not None:
            table, plan = _append_trusted(table, queries, plan)
        if table.time is None:
            self._base[queries] = self._predict_by_others(table, plan)
            return
        self._base[queries] = {name: [] for name in self._method.base_models}
        for copy in plan:
            # encoding and tuning use the rows up to those predicted alone
            used = np.union1d(copy.train, copy.scored)
            local = CopyRows(
                np.searchsorted(used, copy.train), np.searchsorted(used, copy.scored)
            )
            single = self._predict_by_others(table.take(used), [local])
            for name, predictions in single.items():
                self._base[queries][name] += predictions

    def _predict_by_others(
        self, table: LabelledRows, plan: Sequence[CopyRows]
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Predict what each copy predicts by the other base models."""
        target = code_targets(table, self.n_classes)
        encoded, n_jobs = EncodedTable.read(table.X), self._learner.n_workers
        return {
            name: BASE_MODELS[name](table, encoded, target, plan, self._seed, n_jobs)
            for name in self._method.base_models
        }

    def _measure(
        self,
        serving: Sequence[int],
        positions: NDArray[np.int64],
        queries: LabelledRows | None,
    ) -> dict[str, NDArray[np.float64]]:
        """Average the method's measures over the copies that have seen each row."""
        measured = {}
        for name in self._method.measures:
            measure, sums = MEASURES[name], _Sums(self._rows.n_rows, 1)
            for number in serving:
                copy, trained = self._plan[number], self._copies[number]
                if is_constant(trained.model):
                    continue
                if name not in trained.measured or measure.uses_queries:
                    unseen = np.intersect1d(copy.scored, positions)
                    trained.measured[name] = measure.compute(
                        trained.model,
                        self._rows.take(copy.train),
                        queries or self._rows.take(unseen),
                    )
                sums.add(copy.train, trained.measured[name][:, np.newaxis])
            measured[name] = self._rows.take(positions).average_twins(
                *sums.take(positions)
            )
        return measured

    def _estimate_gains(
        self,
        serving: Sequence[int],
        positions: NDArray[np.int64],
        suggestion: NDArray[Any],
        queries: LabelledRows | None,
    ) -> LabelGains:
        """Estimate the effect of the suggested labels by all copies."""
        everywhere = np.full(
            self._rows.n_rows, -1 if self.n_classes else np.nan, suggestion.dtype
        )
        everywhere[positions] = suggestion
        models = [self._copies[number].model for number in serving]
        check_explained(models[0], self._rows.take(self._plan[serving[0]].train))
        gains = estimate_label_gains(
            models,
            [
                (self._plan[k].train, np.intersect1d(self._plan[k].scored, positions))
                for k in serving
            ],
            self._rows,
            everywhere,
            self._learner.classes,
            queries,
        )
        return LabelGains(gains.relabel[positions], gains.drop[positions])


@dataclasses.dataclass(eq=False)
class _Copy:
    """A trained copy: its model where needed later, predictions, and measures."""

    model: Any
    prediction: NDArray[np.float32]
    on_clean: NDArray[np.float64] | None
    measured: dict[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)


class _Sums:
    """Sums of predictions of some rows by several models; NaN is no prediction."""

    def __init__(self, n_rows: int, n_outputs: int) -> None:
        self._total = np.zeros((n_rows, n_outputs))
        self._count = np.zeros((n_rows, n_outputs), dtype=np.int32)

    def add(self, positions: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Add the predictions of a model."""
        self._count[positions] += np.isfinite(values)
        self._total[positions] += np.nan_to_num(values)

    def take(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums and numbers of predictions of some rows, of one output."""
        return self._total[positions, 0], self._count[positions, 0].astype(np.float64)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean prediction of each row; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._total / self._count)


def _append_trusted(
    rows: LabelledRows, trusted: LabelledRows, plan: Sequence[CopyRows]
) -> tuple[LabelledRows, list[CopyRows]]:
    """Append trusted rows, of larger weight, to the train rows of every copy."""
    table = join_rows(rows, trusted)
    weight = np.ones(table.n_rows) if table.weight is None else table.weight.copy()
    weight[rows.n_rows :] *= _TRUSTED_WEIGHT
    appended = np.arange(rows.n_rows, table.n_rows)
    return (
        dataclasses.replace(table, weight=weight),
        [CopyRows(np.append(copy.train, appended), copy.scored) for copy in plan],
    )


def _compare_labels(
    rows: LabelledRows, prediction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Compare labels with out-of-bag predictions: error, loss and suggested labels."""
    if rows.code is None:
        residual = np.nan_to_num(rows.y - prediction)
        return np.abs(residual), residual**2, prediction
    has_value = np.isfinite(prediction)
    labels = np.arange(rows.n_rows), rows.code
    probability = np.where(has_value[labels], prediction[labels], 1.0)
    probability = np.clip(probability, 0.0, 1.0)
    loss = -np.log(np.maximum(probability, np.finfo(np.float64).tiny))
    best = np.where(has_value, prediction, -1.0).argmax(axis=1)
    return 1.0 - probability, loss, np.where(has_value.any(axis=1), best, -1)
