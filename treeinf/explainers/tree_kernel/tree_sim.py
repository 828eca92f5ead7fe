"""TreeSim: similarity of rows by the leaves that they share."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.routing import find_leaves
from treeinf.explainers.base import Columns
from treeinf.explainers.fitting import TreeExplainer
from treeinf.explainers.influence import (
    Influence,
    RankedRows,
    check_ranking,
)
from treeinf.explainers.queries import EnsembleQueries
from treeinf.explainers.tree_kernel.features import LeafFeatures, check_kernel
from treeinf.explainers.tree_kernel.similarity import Similarity
from treeinf.explainers.tree_kernel.train_rows import predict_targets, read_train_rows
from treeinf.frames import count_rows, row_labels
from treeinf.kernels.threads import limit_threads
from treeinf.validation import check_out

__all__ = ["TreeSim"]

_MEASURES = ("dot", "cosine", "euclidean")


class TreeSim(TreeExplainer):
    """Similarity of rows by shared leaves, signed by whether their targets agree.

    Rows are similar if they fall into the same leaves. The influence of a train row is
    its similarity to the test row: positive if the two have the same class (in
    regression, if both targets are on the same side of the test row's prediction),
    negative if not.

    Parameters
    ----------
    kernel : str, default="weighted_leaf_path"
        Tree-kernel features of a row. "leaf_path": 1 for each leaf it is in;
        "leaf_output": the leaf's value instead of the 1; "tree_output": one number a
        tree, the value of the row's leaf; "feature_path": 1 for each node on its paths
        from the roots, leaves included; "feature_output": the same with the leaf's
        value for its 1. With "weighted_" before it, each is divided by the number of
        train rows in the leaf or node ("tree_output" has no such form).
    measure : {"dot", "cosine", "euclidean"}, default="dot"
        The dot product; the dot product over both norms; or 1 / (1 + distance).
    parity, batch_size, n_jobs, verbose
        See `TreeExplainer`.

    Attributes
    ----------
    ensemble_ : TreeEnsemble
        The model.
    n_features_in_ : int
        Columns of the rows.

    Notes ----- Under the default, two rows in the same leaf of n train rows gain 1 /
    n**2. The unit is not that of the loss: influence only ranks the train rows of one
    test row. It does not use the loss, so that forests, quantiles, custom objectives
    and rankings are explained too; row weights are ignored. Time O(n_train n_trees (1 +
    test rows that share a leaf)) for the dot product and the cosine of leaf kernels,
    else O(n_train n_trees n_test).

    Departures from the authors' code: a leaf without train rows (CatBoost) gives 0,
    theirs NaN; the euclidean similarity is theirs, 1 / distance, kept finite, which
    ranks the rows alike; a target that equals the prediction is on the upper side for
    train and test rows alike, theirs puts the two on different sides.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023): TreeSim, and the
    tree kernels of TREX; the signs and the kernels' details are those of its code.
    """

    _outputs = ("loss",)

    def __init__(
        self,
        *,
        kernel: str = "weighted_leaf_path",
        measure: str = "dot",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            parity=parity, batch_size=batch_size, n_jobs=n_jobs, verbose=verbose
        )
        self.kernel = kernel
        self.measure = measure

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        groups: Any = None,
    ) -> Self:
        """Store the model and route its train rows.

        Parameters
        ----------
        model, X, sample_weight, init_score, groups
            See `TreeExplainer.fit`.
        y : array-like, shape (n_train,), optional
            Their targets. Without them, only `similarity` and `similar` are available.

        Returns
        -------
        self
        """
        return super().fit(
            model,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            groups=groups,
        )

    def similarity(
        self, X: Any, *, out: NDArray[np.float64] | None = None
    ) -> Influence:
        """Compute the unsigned similarity of every train row to every row.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        out : ndarray or memmap of float64, shape (n_train, n_rows), optional
            Array to fill.

        Returns
        -------
        Influence
            Shape (n_train, n_rows); the similarity in place of influence.

        Raises
        ------
        ValueError, TypeError
            If the rows or `out` do not fit.
        """
        check_is_fitted(self)
        with limit_threads(self.n_jobs):
            leaf = find_leaves(self.ensemble_, self._transform(X))
            n_rows = leaf.shape[1]
            values = check_out(out, (self._n_train, n_rows))
            for batch in self._batches(n_rows, self._query_batch_size, "similarity"):
                self._compare(leaf[:, batch]).fill(0, batch.start, values)
        return self._wrap(values, row_labels(X))

    def similar(self, X: Any, k: int = 10, *, exclude_self: bool = False) -> RankedRows:
        """Find the train rows most similar to each row.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows; their targets are not needed.
        k : int, default=10
            Train rows for each, at most all.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave each row itself out.

        Returns
        -------
        RankedRows
            Positions and similarities of shape (n_rows, k), the most similar first,
            ties in the order of the rows.

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit, or `exclude_self` is set for other rows.

        Notes
        -----
        Train rows are handled in batches of `batch_size`: memory is O(batch_size^2 + k
        n_rows) and what `fit` keeps, never n_train x n_rows.
        """
        check_is_fitted(self)
        n_train = self._n_train
        k, sign = check_ranking(k, "helpful", n_train - int(exclude_self))
        with limit_threads(self.n_jobs):
            leaf = find_leaves(self.ensemble_, self._transform(X))
            n_rows = leaf.shape[1]
            if exclude_self and not np.array_equal(leaf, self._rows.leaf):
                raise ValueError(
                    "exclude_self=True needs the train rows themselves, in order; got "
                    f"{n_rows:,} other rows for {n_train:,} train rows."
                )
            positions, values = self._rank_rows(
                lambda batch: self._compare(leaf[:, batch]),
                n_rows,
                k,
                sign,
                "similar",
                exclude_self=exclude_self,
            )
        return self._wrap_ranking(positions, values, 0, row_labels(X))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_kernel(self.kernel)
        if self.measure not in _MEASURES:
            raise ValueError(
                f"Got measure={self.measure!r}; expected one of {_MEASURES}."
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
        """Route the train rows and build the features of the leaves."""
        ensemble, rows = read_train_rows(
            ensemble,
            self.kernel,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
        )
        self.ensemble_ = ensemble
        self._rows = rows
        self._has_y = y is not None
        self._features = LeafFeatures.build(ensemble, self.kernel, rows.leaf)
        self._length = np.sqrt(self._features.square_norm(rows.leaf))
        return rows.fingerprint

    def _read_queries(
        self, X: Any, y: Any, output: Any, sample_weight: Any, init_score: Any
    ) -> EnsembleQueries:
        """Check the rows to explain and route them."""
        if not self._has_y:
            raise ValueError(
                "The sign of the influence depends on whether targets agree, but fit "
                "got no y. Pass y to fit, or use similar or similarity."
            )
        loss = self.ensemble_.loss
        if loss is None and not self._has_classes and self.ensemble_.n_outputs > 1:
            raise ValueError(
                f"The targets of {self.ensemble_.loss_name!r} cannot be compared with "
                f"its {self.ensemble_.n_outputs} raw scores; use similar or similarity."
            )
        if y is None:
            raise ValueError(
                "The sign of the influence depends on whether targets agree; pass y, "
                "or use similar or similarity."
            )
        if loss is None:
            # an unknown loss has no value to explain; the sign does not need it
            output = np.zeros((count_rows(X), self.ensemble_.n_outputs), REAL)
        return super()._read_queries(X, y, output, sample_weight, init_score)

    def _columns(self, queries: EnsembleQueries) -> Columns:
        return _Signed(
            self._compare(queries.rows.leaf),
            self._rows.y,
            queries.rows.y,
            None if self._has_classes else self._predict(queries),
            queries.rows.weight,
        )

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        if self.measure != "dot" or not self._has_classes:
            return super()._total(queries)
        # the sign depends on the train row's class alone: one sum over queries for each
        classes, train_class = np.unique(self._rows.y, return_inverse=True)
        signs = np.where(queries.rows.y[:, np.newaxis] == classes, 1.0, -1.0)
        if queries.rows.weight.size:
            signs *= queries.rows.weight[:, np.newaxis]
        sums = self._features.multiply(
            self._rows.leaf,
            self._features.multiply_transposed(queries.rows.leaf, signs),
        )
        return np.take_along_axis(sums, train_class[:, np.newaxis], axis=1)[:, 0]

    def _self_influence(self) -> NDArray[np.float64]:
        if self.measure == "dot":
            return self._features.square_norm(self._rows.leaf)
        if self.measure == "cosine":
            return np.where(self._length > 0.0, 1.0, 0.0)
        return np.ones(self._n_train, REAL)

    def _diagonal(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        weight = queries.rows.weight
        return (
            self._self_influence() * weight if weight.size else self._self_influence()
        )

    @property
    def _train_queries(self) -> EnsembleQueries:
        return EnsembleQueries.from_train_rows(self.ensemble_, self._rows)

    @property
    def _query_batch_size(self) -> int:
        if self.measure == "euclidean" or not self._features.is_diagonal:
            return self._features.table_queries(self.batch_size)
        return self.batch_size

    @property
    def _has_classes(self) -> bool:
        loss = self.ensemble_.loss
        if loss is None:
            return self.ensemble_.classes is not None
        return loss.n_classes > 0

    def _compare(self, leaf: NDArray[Any]) -> Similarity:
        return Similarity.compare(
            self._features,
            self.measure,
            self._rows.leaf,
            np.ascontiguousarray(leaf),
            self._length,
        )

    def _predict(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        return predict_targets(self.ensemble_, queries.raw_score())


@dataclasses.dataclass(frozen=True, eq=False)
class _Signed(Columns):
    """Similarity, negative where the targets disagree."""

    similarity: Similarity
    y_train: NDArray[np.float64]
    y: NDArray[np.float64]
    prediction: NDArray[np.float64] | None
    weight: NDArray[np.float64]

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        self.similarity.fill(first_row, first_query, influence)
        values = influence[:, first_query : first_query + len(self.y)]
        step = max(1, 2**20 // len(self.y))
        for start in range(0, len(values), step):
            batch = values[start : start + step]
            first = first_row + start
            train = self.y_train[first : first + len(batch), np.newaxis]
            if self.prediction is None:
                agrees = train == self.y
            else:
                agrees = (train >= self.prediction) == (self.y >= self.prediction)
            np.negative(batch, out=batch, where=~agrees)
            if self.weight.size:
                batch *= self.weight
