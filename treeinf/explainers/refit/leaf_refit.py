"""LeafRefit: recompute all leaf values without a row, tree structures held fixed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from treeinf.dtypes import OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.base import Columns
from treeinf.explainers.fitting import TreeExplainer
from treeinf.explainers.gradient.forest_weights import ForestRows
from treeinf.explainers.group_sets import read_group_sets, read_positions
from treeinf.explainers.influence import Influence
from treeinf.explainers.queries import EnsembleQueries, Output
from treeinf.explainers.refit.fixed_structure import (
    BoostingRefit,
    ForestRefit,
    Refit,
    Removals,
)
from treeinf.explainers.row_sampling.explained_rows import HasBags
from treeinf.frames import as_plain, row_labels
from treeinf.kernels.cpu.refit import REMOVAL_BATCH
from treeinf.kernels.threads import limit_threads
from treeinf.trace import StagedRows, TrainingTrace
from treeinf.validation import check_row_labels

__all__ = ["LeafRefit"]

_BYTES = 128 * 2**20
_MOST_SETS = 4096


class LeafRefit(HasBags, TreeExplainer):
    """LeafRefit: exact effect of removing rows with the tree structures held fixed.

    Each train row in turn is removed and every leaf value is recomputed, tree by tree,
    by the library's leaf rule, from the raw scores of the remaining rows under the new
    values. The splits are kept; retraining could choose others.

    Parameters
    ----------
    through_base_score : bool, default=True
        Re-estimate the base score without the row where the library estimates it from
        the rows. False holds it fixed, as published.
    on_mismatch : {"raise", "warn", "ignore"}, default="raise"
        What to do if the rows, labels or weights are not those of the training.
    parity, batch_size, n_jobs, verbose
        See `TreeExplainer`.

    Attributes
    ----------
    trace_ : TrainingTrace
        The replay of the training; boosted models only.
    forest_ : ForestRows
        The rows of each tree; forests, bagging and single trees only.
    reproduction_ : ReproductionReport
        How well the model's leaf values follow from the train rows.
    ensemble_ : TreeEnsemble
        The model, its base score kept apart.
    n_features_in_ : int
        Columns of the rows.

    Notes
    -----
    Influence is the difference of two refits, without the row and with all rows, so
    that the rounding of stored leaf values cancels. O(n_train n_trees) time a
    removal; the dense matrix is the only array of n_train x n_test numbers.

    Boosting: a leaf that loses all its rows, with no l2 penalty, has the value 0, which
    is what the libraries give to a leaf without rows. CatBoost's penalty follows the
    mean weight of the remaining rows. Where CatBoost halved or skipped steps within a
    tree (backtracking), the same halvings are applied again. Weights that
    ``class_weight="balanced"`` or ``is_unbalance`` made of all rows are held fixed, and
    so is a base score that the library did not estimate. Where each iteration saw a
    sample of the rows, a refit takes all of them, the one with all rows too.

    Forests: a leaf holds the mean of its rows with the weights they had in the tree.
    One that loses all of them takes the mean of the nearest node above that has some,
    as if the split were undone.

    References
    ----------
    B. Sharchilev et al., "Finding Influential Training Samples for Gradient Boosted
    Decision Trees", ICML 2018, section 3 (LeafRefit). The implementation of Brophy et
    al., JMLR 24 (2023), takes the gradients of the other rows after the tree's own
    update; here they are those before it, as in training.
    """

    def __init__(
        self,
        *,
        through_base_score: bool = True,
        on_mismatch: str = "raise",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            parity=parity, batch_size=batch_size, n_jobs=n_jobs, verbose=verbose
        )
        self.through_base_score = through_base_score
        self.on_mismatch = on_mismatch

    def group_influence(
        self,
        groups: Any,
        X: Any,
        y: Any = None,
        *,
        output: Output = "loss",
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Influence:
        """Compute the influence of groups of train rows, each removed as a whole.

        Parameters
        ----------
        groups : array-like of labels, shape (n_train,), or list or dict of positions
            The group of each train row (a column of a frame, say; a missing label is no
            group), or the positions of each group's rows: a list of arrays, or a dict
            of arrays by label. Groups of the latter kinds may overlap.
        X, y, output, sample_weight, init_score
            See `explain`.

        Returns
        -------
        Influence
            Shape (n_groups, n_test), labelled by the groups: in order of first
            appearance, or of the list or dict.

        Raises
        ------
        ValueError, TypeError
            If the groups do not fit the train rows, or one holds all of them.

        Notes
        -----
        The effect of a group is not the sum of its rows' own effects: near-duplicates
        replace one another as long as one of them is left.
        """
        check_is_fitted(self)
        check_row_labels(self._train_labels, groups=groups)
        labels, sets = read_group_sets(groups, self._n_train)
        removals = Removals.of(sets)
        _refuse_unfittable(self._refit, removals, labels)
        rows, output = self._open_rows(X, y, output, sample_weight, init_score)
        queries = self._read_queries(rows, y, output, sample_weight, init_score)
        self._self_explanation.check(queries, exclude_self=False, stacklevel=3)
        values = np.empty((removals.n_sets, queries.n_rows), REAL)
        with limit_threads(self.n_jobs):
            self._changes(queries, "group_influence").write(removals, values)
        return Influence(
            values,
            train_labels=labels,
            test_labels=row_labels(X),
            method=type(self).__name__,
            library=self._library,
            kinds=("group", "test row"),
        )

    def refit_without(self, rows: Any) -> TreeEnsemble:
        """Return the model with all leaf values refitted without some rows.

        Parameters
        ----------
        rows : array-like of int, or of bool of shape (n_train,)
            Positions of the train rows to remove, or a mask that is true for them.

        Returns
        -------
        TreeEnsemble
            Predicts and saves like any other. Leaf counts and weights are those of the
            rows left; stored sums of hessians are dropped.

        Raises
        ------
        ValueError, TypeError
            If they are not train rows, or all of them.

        Notes
        -----
        Splits are not undone: features, thresholds, the number of trees, bins and
        encodings of categories were chosen with the rows and are kept. This is not
        machine unlearning.
        """
        check_is_fitted(self)
        check_row_labels(self._train_labels, rows=rows)
        removals = Removals.of([read_positions(rows, self._n_train, "rows")])
        _refuse_unfittable(self._refit, removals, np.array(["rows"]))
        with limit_threads(self.n_jobs):
            return self._refit.rebuild(removals.row)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.through_base_score, bool):
            raise TypeError(
                f"Got through_base_score={self.through_base_score!r}; expected True or "
                "False."
            )
        choices = ("raise", "warn", "ignore")
        if self.on_mismatch not in choices:
            raise ValueError(
                f"Got on_mismatch={self.on_mismatch!r}; expected one of {choices}."
            )

    def _learn(
        self,
        model: Any,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        sample_weight: Any,
        init_score: Any,
    ) -> NDArray[np.uint64]:
        """Replay the training, or recover the rows of each tree of a forest."""
        for name in ("trace_", "forest_"):
            if hasattr(self, name):
                delattr(self, name)
        refit: Refit
        if ensemble.is_averaged and ensemble.library == "scikit-learn":
            if init_score is not None:
                raise ValueError(
                    "Got init_score for a forest, whose trees have no initial score; "
                    "omit it."
                )
            forest = ForestRows.read(
                ensemble,
                X,
                y,
                sample_weight=sample_weight,
                on_mismatch=self.on_mismatch,
            )
            self.forest_ = forest
            self.reproduction_ = forest.report
            refit = ForestRefit(forest)
        else:
            trace = TrainingTrace.build(
                ensemble,
                X,
                y,
                sample_weight=sample_weight,
                init_score=init_score,
                on_mismatch=self.on_mismatch,
            )
            self.trace_ = trace
            self.reproduction_ = trace.report
            refit = BoostingRefit(trace, self.through_base_score)
        self.ensemble_ = refit.ensemble
        self._refit = refit
        _refuse_unfittable(refit, Removals.each(0, refit.rows.n_rows), None)
        return refit.rows.fingerprint

    @property
    def _train_queries(self) -> EnsembleQueries:
        return EnsembleQueries.from_train_rows(self.ensemble_, self._refit.rows)

    @property
    def _query_batch_size(self) -> int:
        """Test rows in a batch: all, since each batch would cost all refits again."""
        return sys.maxsize

    def _changes(self, queries: EnsembleQueries, what: str) -> _Changes:
        return _Changes(
            self._refit,
            queries,
            self.batch_size,
            lambda n, size: self._batches(n, size, what),
        )

    def _columns(self, queries: EnsembleQueries) -> Columns:
        return self._changes(queries, "explain")

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        return self._changes(queries, "total").add_up()

    def _self_influence(self) -> NDArray[np.float64]:
        return self._diagonal(self._train_queries)

    def _diagonal(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        return self._changes(queries, "self_influence").of_each_row()


@dataclasses.dataclass(frozen=True, eq=False)
class _Changes(Columns):
    """Changes of the explained output under refits, computed in bounded batches.

    Parameters
    ----------
    refit : Refit
        The model and its train rows.
    queries : EnsembleQueries
        What is explained.
    batch_size : int
        Queries handled together.
    batches : callable
        Splits a number of items into slices of at most a given size.
    """

    refit: Refit
    queries: EnsembleQueries
    batch_size: int
    batches: Callable[[int, int], Iterator[slice]]

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        removals = Removals.each(first_row, first_row + len(influence))
        columns = slice(first_query, first_query + self.queries.n_rows)
        self.write(removals, influence[:, columns])

    def write(self, removals: Removals, influence: NDArray[np.float64]) -> None:
        """Write the changes under each removal, shape (n_sets, n_queries)."""
        for sets, columns, change in self._walk(removals):
            influence[sets, columns] = change

    def add_up(self) -> NDArray[np.float64]:
        """Sum the changes over all queries, shape (n_train,)."""
        total = np.zeros(self.refit.rows.n_rows, REAL)
        for sets, _, change in self._walk(Removals.each(0, len(total))):
            total[sets] += change.sum(axis=1)
        return total

    def of_each_row(self) -> NDArray[np.float64]:
        """Return the change of each query, which is train row i, without that row."""
        n_rows = self.refit.rows.n_rows
        change = np.empty(n_rows, REAL)
        complete = self.refit.run(Removals.of([np.empty(0, OFFSET)]))
        rows = self.queries.rows
        for batch in self.batches(n_rows, self._sets_at_once):
            removed = np.arange(batch.start, batch.stop, dtype=OFFSET)
            refits = self.refit.run(Removals.each(batch.start, batch.stop))
            queries = self.queries.take(batch)
            before = queries.value(complete.raw_score(queries.rows)[0])
            change[batch] = (
                queries.value(refits.score_removed_rows(rows, removed)) - before
            )
        return change

    @property
    def _sets_at_once(self) -> int:
        """Refits kept at a time: their leaf values and scores fit the memory budget."""
        ensemble = self.refit.ensemble
        n_queries = min(self.batch_size, self.queries.n_rows)
        n_numbers = ensemble.leaf_value.size + 6 * n_queries * ensemble.n_outputs
        n_sets = int(np.clip(_BYTES // (8 * n_numbers), REMOVAL_BATCH, _MOST_SETS))
        return n_sets // REMOVAL_BATCH * REMOVAL_BATCH

    def _walk(
        self, removals: Removals
    ) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
        """Yield slices of sets and queries, and the changes (n_sets, n_queries)."""
        complete = self.refit.run(Removals.of([np.empty(0, OFFSET)]))
        n_queries = self.queries.n_rows
        query_batches = []
        for begin in range(0, n_queries, self.batch_size):
            columns = slice(begin, min(begin + self.batch_size, n_queries))
            queries = self.queries.take(columns)
            before = queries.value(complete.raw_score(queries.rows)[0])
            query_batches.append((columns, queries, before))
        for sets in self.batches(removals.n_sets, self._sets_at_once):
            refits = self.refit.run(removals.take(sets))
            for columns, queries, before in query_batches:
                change = _values(queries, refits.raw_score(queries.rows)) - before
                yield sets, columns, change


def _values(
    queries: EnsembleQueries, raw_score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the explained output under several models at once.

    Parameters
    ----------
    queries : EnsembleQueries
        What is explained.
    raw_score : ndarray of float64, shape (n_models, n_queries, n_outputs)
        Their raw scores.

    Returns
    -------
    ndarray of float64, shape (n_models, n_queries)
    """
    n_models, n_queries, n_outputs = raw_score.shape
    rows = queries.rows
    repeated = dataclasses.replace(
        queries,
        rows=StagedRows(
            leaf=np.empty((0, n_models * n_queries), np.uint8),
            y=np.tile(rows.y, n_models),
            weight=np.tile(rows.weight, n_models),
            offset=np.empty((0, n_outputs), REAL),
            fingerprint=np.empty(0, np.uint64),
        ),
        derivative=np.tile(queries.derivative, (n_models, 1)),
    )
    value = repeated.value(raw_score.reshape(-1, n_outputs))
    return value.reshape(n_models, n_queries)


def _refuse_unfittable(
    refit: Refit, removals: Removals, labels: NDArray[Any] | None
) -> None:
    """Refuse sets whose removal leaves nothing to fit."""
    unfittable = refit.find_unfittable(removals)
    if unfittable is not None:
        number, missing = unfittable
        name = (
            f"row {number}" if labels is None else f"group {as_plain(labels[number])!r}"
        )
        raise ValueError(f"Leaving out {name} leaves {missing} to fit.")
