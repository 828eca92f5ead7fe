"""Trex: representer values of a linear surrogate on the features of the trees."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from treeinf.dtypes import NODE, REAL
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.base import Columns
from treeinf.explainers.fitting import TreeExplainer
from treeinf.explainers.queries import EnsembleQueries
from treeinf.explainers.tree_kernel.features import LeafFeatures, check_kernel
from treeinf.explainers.tree_kernel.row_features import RowFeatures
from treeinf.explainers.tree_kernel.similarity import Similarity
from treeinf.explainers.tree_kernel.surrogate import LinearSurrogate
from treeinf.explainers.tree_kernel.train_rows import predict_targets, read_train_rows
from treeinf.kernels.device import resolve_device
from treeinf.kernels.threads import limit_threads
from treeinf.validation import check_count

__all__ = ["Trex"]

Array = NDArray[np.float64]

_SURROGATE_TARGETS = ("actual", "predicted")
_TILE_NUMBERS = 2**17


class Trex(TreeExplainer):
    """Representer values of a linear surrogate on tree-kernel features.

    A linear model with an L2 penalty is fitted to the train rows' features by a tree
    kernel: squared error in regression, cross-entropy of the logistic function for two
    classes, of the softmax for more. By the representer theorem its output for a row j
    is a sum over train rows, ``f_j = sum_i alpha_i K(i, j)``, with K the dot product of
    the features. The influence of train row i is the explained output of j at ``f_j -
    alpha_i K(i, j)``, minus that at ``f_j``.

    Parameters
    ----------
    kernel : str, default="weighted_leaf_path"
        The features; see `TreeSim`.
    surrogate_target : {"actual", "predicted"}, default="actual"
        Target of the surrogate: the train rows' targets, or the model's predictions for
        them. "predicted" approximates the model, "actual" the labels.
    l2 : float, default=0.003
        Penalty on the squared norm of the coefficients, relative to the mean loss.
    tol : float, default=1e-8
        Gradient norm to reach, relative to that of the penalty; see Notes.
    max_iter : int, default=10000
        Maximum number of conjugate-gradient iterations.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Device that multiplies by the train rows' features; "auto" uses CUDA where it is
        available.
    parity, batch_size, n_jobs, verbose
        See `TreeExplainer`.

    Attributes
    ----------
    alpha_ : ndarray of float64, shape (n_train, n_outputs)
        Representer values: ``w_i (y_i - p_i) / (2 l2 sum of w)`` with p the
        surrogate's prediction; twice that in regression.
    coef_ : ndarray of float64, shape (n_features, n_outputs)
        Coefficients of the surrogate.
    gradient_norm_ : float
        Gradient norm reached.
    n_iterations_ : int
        Total number of conjugate-gradient iterations.
    reconstruction_error_ : float
        Largest difference, over the train rows, of the surrogate's own output and its
        sum of representer terms, relative to the largest output.
    fidelity_ : float
        R squared of the surrogate's predictions for the train rows against the model's,
        over all outputs. At 0 or below the surrogate is no better than a constant, and
        the influence describes the penalty rather than the model.
    surrogate_loss_ : Loss
        Loss of the surrogate, which "loss" explains.
    ensemble_ : TreeEnsemble
        The model.
    n_features_in_ : int
        Columns of the rows.
    device_ : {"cpu", "cuda"}
        Where the products are computed.

    Notes
    -----
    The objective is ``sum_i w_i loss_i / sum_i w_i + l2 |W|^2``, the published one for
    weights of 1; in regression the loss there is the whole squared difference. Weights
    are those of the training, class weights included. There is no intercept. The
    objective is minimised by Newton's method with conjugate gradients; the norm of its
    gradient is measured relative to that of the penalty, which the loss gradient
    cancels at the solution.

    The explained output is that of the surrogate: its loss (half the squared difference
    in regression), its raw score (for two classes the log-odds of the second, else that
    of the row's class), its prediction, or derivatives in its raw scores. The score and
    any linear function of it have the exact representer terms as influence, with the
    sign of "without the row, less with it".

    The default kernel and penalty are the published ones. Under weights of 1 / leaf
    count a dot product is about n_trees / count**2, while the penalty is worth l2
    n_train: on more than some thousand rows the surrogate falls to 0 and `fidelity_`
    with it. ``kernel="leaf_path"`` does not shrink with the number of rows.

    In the authors' code the representer values of regression are half of what their
    objective gives, and do not add up to the surrogate's output.

    Time O(n_train n_trees) an iteration. `explain` then takes the time of `TreeSim`,
    `self_influence` and the total of linear quantities O(n_train n_trees).

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023): TREX.
    C.-K. Yeh et al., "Representer Point Selection for Explaining Deep Neural Networks",
    NeurIPS 2018, theorem 3.1.
    """

    def __init__(
        self,
        *,
        kernel: str = "weighted_leaf_path",
        surrogate_target: str = "actual",
        l2: float = 0.003,
        tol: float = 1e-8,
        max_iter: int = 10_000,
        device: str = "cpu",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            parity=parity, batch_size=batch_size, n_jobs=n_jobs, verbose=verbose
        )
        self.kernel = kernel
        self.surrogate_target = surrogate_target
        self.l2 = l2
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def surrogate_score(self, X: Any) -> NDArray[np.float64]:
        """Compute the surrogate's raw scores.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        check_is_fitted(self)
        with limit_threads(self.n_jobs):
            leaf = find_leaves(self.ensemble_, self._transform(X))
            return self._features.multiply(leaf, self.coef_)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_kernel(self.kernel)
        if self.surrogate_target not in _SURROGATE_TARGETS:
            raise ValueError(
                f"Got surrogate_target={self.surrogate_target!r}; expected one of "
                f"{_SURROGATE_TARGETS}."
            )
        for name in ("l2", "tol"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float | np.number)
            if isinstance(value, bool) or not is_number or not 0.0 < value < np.inf:
                raise ValueError(f"Got {name}={value!r}; expected a number above 0.")
        check_count("max_iter", self.max_iter)
        self._device = resolve_device(self.device)
        self.device_ = self._device.name

    def _learn(
        self,
        model: Any,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        sample_weight: Any,
        init_score: Any,
    ) -> NDArray[np.uint64]:
        """Fit the surrogate to the train rows."""
        _refuse_several_targets(ensemble)
        ensemble, rows = read_train_rows(
            ensemble,
            self.kernel,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            device=self._device,
        )
        self.ensemble_ = ensemble
        self._rows = rows
        self._features = LeafFeatures.build(
            ensemble, self.kernel, rows.leaf, self._device
        )
        self._surrogate = _as_surrogate(ensemble)
        loss = self._surrogate.loss
        assert loss is not None
        self.surrogate_loss_ = loss
        kind = "squared"
        if isinstance(loss, losses.CrossEntropy):
            kind = "logistic"
        elif loss.n_outputs > 1:
            kind = "softmax"
        offset = rows.offset if rows.offset.size else None
        prediction = _as_columns(
            predict_targets(
                ensemble, ensemble.add_leaf_values(rows.leaf, offset=offset)
            ),
            kind,
        )
        target = prediction
        if self.surrogate_target == "actual":
            target = rows.y[:, np.newaxis]
            if kind == "softmax":
                target = (target == np.arange(loss.n_outputs)).astype(REAL)
        weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
        features = RowFeatures.build(self._features, rows.leaf)
        solution = LinearSurrogate(
            features,
            np.ascontiguousarray(target),
            weight / weight.sum(),
            float(self.l2),
            kind,
        ).minimise(self.tol, self.max_iter, verbose=self.verbose)
        if solution.gradient_norm > self.tol:
            warnings.warn(
                f"The surrogate's gradient norm is {solution.gradient_norm:.1e} after "
                f"{solution.n_iterations} iterations; expected at most {self.tol:g}. "
                "Raise max_iter or l2, or accept it with a larger tol.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.coef_ = solution.coefficients
        self.alpha_ = solution.slope / (-2.0 * self.l2)
        self.gradient_norm_ = solution.gradient_norm
        self.n_iterations_ = solution.n_iterations
        rebuilt = features.multiply(solution.loss_gradient / (-2.0 * self.l2))
        largest = np.abs(solution.score).max()
        difference = np.abs(rebuilt - solution.score).max()
        self.reconstruction_error_ = float(difference / largest) if largest else 0.0
        surrogate_prediction = _as_columns(loss.link(solution.score), kind)
        self.fidelity_ = _explained_share(prediction, surrogate_prediction)
        return rows.fingerprint

    def _read_queries(
        self, X: Any, y: Any, output: Any, sample_weight: Any, init_score: Any
    ) -> EnsembleQueries:
        """Check the rows to explain and route them; the model is the surrogate."""
        derivative = None
        n_outputs = self._surrogate.n_outputs
        if not isinstance(output, str) and n_outputs != self.ensemble_.n_outputs:
            # the model's own number of raw scores stands in: they are not read
            derivative = np.asarray(output, REAL).reshape(len(output), -1)
            if derivative.shape[1] != n_outputs:
                raise ValueError(
                    f"output has shape {np.shape(output)}; expected (n_rows,): the "
                    "surrogate of two classes has one raw score, the log-odds of the "
                    "second."
                )
            output = np.repeat(derivative, self.ensemble_.n_outputs, axis=1)
        queries = super()._read_queries(X, y, output, sample_weight, init_score)
        if derivative is None:
            derivative = queries.derivative[:, :n_outputs]
        return dataclasses.replace(
            queries,
            ensemble=self._surrogate,
            derivative=np.ascontiguousarray(derivative),
        )

    def _columns(self, queries: EnsembleQueries) -> Columns:
        leaf = queries.rows.leaf
        return _WithoutTerm(
            Similarity.compare(
                self._features, "dot", self._rows.leaf, leaf, np.empty(0, REAL)
            ),
            self.alpha_,
            self._features.multiply(leaf, self.coef_),
            queries,
        )

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        if queries.output not in ("raw_score", "derivative"):
            return super()._total(queries)
        score = np.zeros((queries.n_rows, self._surrogate.n_outputs))
        sums = self._features.multiply(
            self._rows.leaf,
            self._features.multiply_transposed(
                queries.rows.leaf, queries.gradient(score)
            ),
        )
        return -(self.alpha_ * sums).sum(axis=1)

    def _self_influence(self) -> NDArray[np.float64]:
        return self._diagonal(self._train_queries)

    def _diagonal(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        score = self._features.multiply(queries.rows.leaf, self.coef_)
        square = self._features.square_norm(queries.rows.leaf)
        return _change(queries, score, self.alpha_ * square[:, np.newaxis])

    @property
    def _train_queries(self) -> EnsembleQueries:
        return EnsembleQueries.from_train_rows(self._surrogate, self._rows)

    @property
    def _query_batch_size(self) -> int:
        if self._features.is_diagonal:
            return self.batch_size
        return self._features.table_queries(self.batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class _WithoutTerm(Columns):
    """Explained output without each train row's representer term, minus that with it.

    Parameters
    ----------
    similarity : Similarity
        Dot products of train rows and queries.
    alpha : ndarray of float64, shape (n_train, n_outputs)
        Representer values.
    score : ndarray of float64, shape (n_queries, n_outputs)
        Output of the surrogate for the queries.
    queries : EnsembleQueries
        What is explained.
    """

    similarity: Similarity
    alpha: Array
    score: Array
    queries: EnsembleQueries

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        self.similarity.fill(first_row, first_query, influence)
        n_queries, n_outputs = self.score.shape
        values = influence[:, first_query : first_query + n_queries]
        step = min(len(values), max(1, _TILE_NUMBERS // (n_queries * n_outputs)))
        tiled = _tile(self.queries, step)
        score = np.tile(self.score, (step, 1))
        for start in range(0, len(values), step):
            batch = values[start : start + step]
            alpha = self.alpha[first_row + start : first_row + start + len(batch)]
            term = batch[:, :, np.newaxis] * alpha[:, np.newaxis]
            n = batch.size
            change = _change(
                tiled.take(slice(0, n)), score[:n], term.reshape(n, n_outputs)
            )
            batch[...] = change.reshape(batch.shape)


def _change(queries: EnsembleQueries, score: Array, term: Array) -> Array:
    """Return the explained output at `score - term` minus that at `score`."""
    if queries.output in ("raw_score", "derivative"):
        return -(queries.gradient(score) * term).sum(axis=1)
    return queries.value(score - term) - queries.value(score)


def _tile(queries: EnsembleQueries, n: int) -> EnsembleQueries:
    """Repeat the queries `n` times, without their leaves."""
    rows = queries.rows
    return dataclasses.replace(
        queries,
        rows=dataclasses.replace(
            rows,
            leaf=np.empty((0, n * rows.n_rows), rows.leaf.dtype),
            y=np.tile(rows.y, n),
            weight=np.tile(rows.weight, n),
            offset=np.tile(rows.offset, (n, 1)),
            fingerprint=np.tile(rows.fingerprint, n),
        ),
        derivative=np.tile(queries.derivative, (n, 1)),
    )


def _as_surrogate(ensemble: TreeEnsemble) -> TreeEnsemble:
    """Return the model with the surrogate's loss, and one output for two classes.

    The trees stay the same; only `EnsembleQueries` reads it.
    """
    loss = ensemble.loss
    if ensemble.is_averaged and loss is not None and loss.n_classes == 2:
        return dataclasses.replace(
            ensemble,
            loss=losses.Logistic(),
            leaf_value=ensemble.leaf_value[:, 1:].copy(),
            output=np.zeros(ensemble.n_trees, NODE),
            base_score=ensemble.base_score[1:].copy(),
            base_score_folded=ensemble.base_score_folded[1:].copy(),
        )
    surrogate_loss: losses.Loss = losses.SquaredError()
    if ensemble.n_outputs > 1:
        surrogate_loss = losses.Softmax(ensemble.n_outputs)
    elif loss is not None and loss.n_classes == 2:
        surrogate_loss = losses.Logistic()
    elif isinstance(loss, losses.CrossEntropy):
        surrogate_loss = losses.CrossEntropy()
    return dataclasses.replace(ensemble, loss=surrogate_loss)


def _refuse_several_targets(ensemble: TreeEnsemble) -> None:
    loss = ensemble.loss
    if ensemble.n_outputs > 1 and (loss is None or not loss.n_classes):
        raise UnsupportedModelError(
            f"Trex cannot explain the objective {ensemble.loss_name!r}: its "
            f"{ensemble.n_outputs} raw scores are not class scores. Use "
            "TreeSim(...).similar."
        )


def _as_columns(prediction: Array, kind: str) -> Array:
    """Return predictions in the surrogate's shape: of two classes, the second."""
    if prediction.ndim == 1:
        return prediction[:, np.newaxis]
    return prediction[:, 1:] if kind == "logistic" else prediction


def _explained_share(prediction: Array, approximation: Array) -> float:
    """Return R squared of an approximation of the predictions, over all columns."""
    spread = ((prediction - prediction.mean(axis=0)) ** 2).sum()
    residual = ((prediction - approximation) ** 2).sum()
    if spread == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return float(1.0 - residual / spread)
