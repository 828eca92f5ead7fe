"""The uniform representation of a fitted tree ensemble."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import routing, storage
from treeinf.errors import ModelFormatError, UnsupportedModelError
from treeinf.kernels.cpu.derivatives import UNIT_HESSIAN
from treeinf.kernels.flat_trees import FlatLeaves, FlatTrees, plan_bit_vectors
from treeinf.losses import Loss

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["EVERY_OUTPUT", "LeafRule", "Missing", "TrainingFacts", "TreeEnsemble"]

EVERY_OUTPUT = -1
"""Value of `TreeEnsemble.output` for a tree whose leaves hold all outputs."""


class Missing(enum.IntEnum):
    """Which values a node sends to its default child (LightGBM's three types)."""

    NONE = 0
    """No value: NaN is read as 0.0 and compared."""
    ZERO = 1
    """NaN and every value within the ensemble's zero threshold."""
    NAN = 2
    """NaN."""


@dataclasses.dataclass(frozen=True)
class LeafRule:
    """How the library turned the gradients in a leaf into its value.

    Parameters
    ----------
    kind : {"newton", "full newton", "gradient", "quantile", "mean", "unknown"}
        "newton": ``-soft(G, l1) / (H + l2)``; "full newton": the same with the matrix
        of second derivatives of all outputs (softmax, vector leaves); "gradient":
        ``-G / (W + l2)`` with the sum of weights W, which is "newton" with second
        derivatives of 1; "quantile": an order statistic of residuals (not
        differentiable); "mean": the average target of the leaf's rows; "unknown": the
        model does not say.
    l1_leaf : float, default=0.0
        L1 penalty on leaf values, in units of the gradient sum.
    max_leaf_value : float, default=0.0
        Bound on the size of a leaf value before shrinkage; 0 is no bound.
    path_smooth : float, default=0.0
        Rows' worth of pull towards the parent's value (LightGBM ``path_smooth``).
    n_steps : int, default=1
        Steps taken in each tree, each from the scores after the one before, at full
        length; the shrinkage is applied to their sum.
    backtracks : bool, default=False
        A step that does not lower the loss is halved, and each trial counts as one of
        the `n_steps` (CatBoost ``leaf_estimation_backtracking``).
    fits_single_leaf : bool, default=False
        A tree of one leaf holds a fitted value as any other does; else it holds the
        initial score alone.
    min_leaf_hessian : float, default=0.0
        A leaf whose hessians sum to less has the value 0 (XGBoost
        ``min_child_weight``).

    Notes
    -----
    L2 penalties are kept leaf by leaf in `TreeEnsemble.leaf_l2`, since LightGBM
    penalises leaves under categorical splits more than others.
    """

    kind: str = "newton"
    l1_leaf: float = 0.0
    max_leaf_value: float = 0.0
    path_smooth: float = 0.0
    n_steps: int = 1
    backtracks: bool = False
    fits_single_leaf: bool = False
    min_leaf_hessian: float = 0.0

    def __post_init__(self) -> None:
        kinds = (*("newton", "full newton", "gradient", "quantile", "mean", "unknown"),)
        if self.kind not in kinds:
            raise ValueError(f"Got kind={self.kind!r}; expected one of {kinds}.")


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """What the model remembers of its training that a replay of it needs.

    Parameters
    ----------
    class_weight : "balanced", tuple of (label, weight) pairs, or None
        Class weights that the library multiplied into the sample weights.
    positive_weight : float, "unbalanced" or None
        Weight of the positive rows in the gradients alone, not in the initial score
        (LightGBM ``scale_pos_weight``; "unbalanced" is its ``is_unbalance``).
    single_precision : bool, default=False
        The library keeps labels, weights and gradients in float32.
    single_gradients : bool, default=False
        It keeps gradients and hessians in float32, labels and weights in float64.
    single_inputs : bool, default=False
        It keeps labels and weights in float32, gradients and hessians in float64.
    estimates_base_score : bool, default=False
        The base score that the model stores is the loss's `initial_score` of the train
        rows, unless they had initial scores of their own.
    l2_per_weight : bool, default=False
        The L2 penalties are multiplied by the mean weight of the train rows.
    counts_zero_weights : bool, default=True
        Rows of weight 0 are among the stored leaf counts.
    subsample : str or None
        In the library's own words, the setting by which each iteration saw only a
        sample of the rows.
    approximations : tuple of str
        Each setting that a replay can follow only approximately, and how.
    """

    class_weight: str | tuple[tuple[Any, float], ...] | None = None
    positive_weight: float | str | None = None
    single_precision: bool = False
    single_gradients: bool = False
    single_inputs: bool = False
    estimates_base_score: bool = False
    l2_per_weight: bool = False
    counts_zero_weights: bool = True
    subsample: str | None = None
    approximations: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TreeEnsemble:
    """A fitted tree ensemble as flat, C-contiguous, read-only arrays.

    Trees are ordered by iteration. Node and leaf numbers in `left` and `right` are
    local to the tree; node `k` of tree `t` is entry ``node_offset[t] + k`` of the node
    arrays, and its root is node 0. A child ``c < 0`` is the leaf ``~c``. A tree of one
    leaf has no nodes.

    Parameters
    ----------
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree's nodes and leaves begin.
    iteration : ndarray of int32, shape (n_trees,)
        Boosting iteration of each tree, not falling.
    output : ndarray of int32, shape (n_trees,)
        Raw-score column each tree adds to, or `EVERY_OUTPUT` in all trees.
    shrinkage : ndarray of float64, shape (n_trees,)
        Learning rate that is included in each tree's leaf values.
    feature : ndarray of int32, shape (n_nodes,)
        Feature that each node tests.
    threshold : ndarray of float64, shape (n_nodes,)
        A row goes left if ``x <= threshold``; unused (0.0) in categorical nodes.
    left, right : ndarray of int32, shape (n_nodes,)
        Children.
    default_left : ndarray of bool, shape (n_nodes,)
        Where missing values go.
    missing : ndarray of uint8, shape (n_nodes,)
        Which values are missing, see `Missing`.
    is_categorical : ndarray of bool, shape (n_nodes,)
        A row goes left if its value, cut to an integer, is in the node's set.
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's set begins in `category_bits`.
    category_bits : ndarray of uint32, shape (n_words,)
        Category ``c`` is in the set if bit ``c % 32`` of its word ``c // 32`` is on.
    leaf_value : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values, shrinkage included; `leaf_width` is 1, or n_outputs where
        `output` is `EVERY_OUTPUT`. Unit: raw score.
    base_score : ndarray of float64, shape (n_outputs,)
        Raw score before the first tree.
    base_score_folded : ndarray of float64, shape (n_outputs,)
        Share of an initial score, which the library does not store, that it has added
        to the leaf values of the output's first tree: 0 for none, 1 for all of it
        (LightGBM's dart mode scales it with the tree). Nothing is said of averaged
        trees. `TrainingTrace` finds the score from the train rows.
    n_features : int
        Columns of the rows.
    loss : Loss or None
        Training loss; None where it is unknown to treeinf (ranking, custom).
    loss_name : str
        The library's own word for the loss.
    leaf_rule : LeafRule
        How gradients became leaf values.
    training : TrainingFacts
        What else a replay of the training needs.
    leaf_count : ndarray of int64, shape (n_leaves,), or None
        Train rows in each leaf as the library stored them; None where it does not.
    leaf_hessian : ndarray of float64, shape (n_leaves,), or None
        Sum of hessians in each leaf as the library stored them.
    leaf_weight : ndarray of float64, shape (n_leaves,), or None
        Sum of the train rows' weights in each leaf as the library stored them.
    leaf_l2 : ndarray of float64, shape (n_leaves,), or None
        L2 penalty in each leaf's denominator; None where the model does not say.
    leaf_row : ndarray of int32, shape (n_trees,), or None
        Trees of one number share structure and leaf ids, and rows are routed through
        the first of them alone; numbers rise by 1 from 0 where they are new. None where
        each tree has its own.
    is_averaged : bool, default=False
        The trees are fitted independently and averaged (the division is in
        `leaf_value`), so that no tree saw the scores of those before it.
    is_single_precision : bool, default=False
        Rows are rounded to float32 before they are compared.
    zero_threshold : float, default=0.0
        Values of at most this size are read as 0.0.
    missing_value : float or None, default=None
        A value that stands for a missing one, as NaN does.
    absent_is_missing : bool, default=False
        Entries that a sparse matrix leaves out are missing, not 0.0.
    feature_names : tuple of str, or None
        Column names.
    categories : tuple, or None
        For each feature, the tuple of category labels in code order, or None where the
        feature is numeric; None if no feature has any.
    numbers_are_labels : bool, default=False
        A number in a column of `categories` is a label to be looked up among them; else
        it is a code already. Labels in other columns of frames are always looked up.
    labels_are_hashes : bool, default=False
        `categories` holds hashes of labels, see `hash_label`, not the labels.
    is_native : bool, default=False
        Nodes cannot express some of the model's splits and hold placeholders; leaves
        come from `leaf_source` alone.
    leaf_source : callable, or None
        For such a model the library's own function from rows, as the library takes
        them, to leaves, shape (n_rows, n_trees). It is not saved.
    classes : ndarray, shape (n_classes,), or None
        Class labels in the order of the model's classes.
    initial_model : str or None, default=None
        The model that gives each row an initial score of its own, on top of
        `base_score` (the init estimator of scikit-learn). Raw scores then need
        `init_score`: ``treeinf.adapters.init_score(model, X)``.
    library, library_version : str
        Where the model came from.

    Raises
    ------
    ModelFormatError
        If the arrays do not describe trees: wrong shapes or types, children out of
        range, a node with no or two parents, values that are not finite.
    """

    node_offset: NDArray[np.int64]
    leaf_offset: NDArray[np.int64]
    iteration: NDArray[np.int32]
    output: NDArray[np.int32]
    shrinkage: NDArray[np.float64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    default_left: NDArray[np.bool_]
    missing: NDArray[np.uint8]
    is_categorical: NDArray[np.bool_]
    category_offset: NDArray[np.int64]
    category_bits: NDArray[np.uint32]
    leaf_value: NDArray[np.float64]
    base_score: NDArray[np.float64]
    base_score_folded: NDArray[np.float64]
    n_features: int
    loss: Loss | None = None
    loss_name: str = "unknown"
    leaf_rule: LeafRule = LeafRule("unknown")
    training: TrainingFacts = TrainingFacts()
    leaf_count: NDArray[np.int64] | None = None
    leaf_hessian: NDArray[np.float64] | None = None
    leaf_weight: NDArray[np.float64] | None = None
    leaf_l2: NDArray[np.float64] | None = None
    leaf_row: NDArray[np.int32] | None = None
    is_averaged: bool = False
    is_single_precision: bool = False
    zero_threshold: float = 0.0
    missing_value: float | None = None
    absent_is_missing: bool = False
    feature_names: tuple[str, ...] | None = None
    categories: tuple[tuple[Any, ...] | None, ...] | None = None
    numbers_are_labels: bool = False
    labels_are_hashes: bool = False
    is_native: bool = False
    leaf_source: Callable[[Any], NDArray[Any]] | None = None
    classes: NDArray[Any] | None = None
    initial_model: str | None = None
    library: str = "unknown"
    library_version: str = "unknown"

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            array = getattr(self, name)
            if array is None and name in _OPTIONAL:
                continue
            object.__setattr__(self, name, _freeze(name, array, dtype))
        _check_trees(self)
        _check_nodes(self)
        _check_leaves(self)
        if self.classes is not None:
            classes = np.array(self.classes)
            classes.setflags(write=False)
            object.__setattr__(self, "classes", classes)

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.iteration)

    @property
    def n_iterations(self) -> int:
        """Number of boosting iterations that left a tree."""
        return len(self.flat_leaves.iteration_start) - 1

    @property
    def n_nodes(self) -> int:
        """Number of inner nodes of all trees."""
        return len(self.feature)

    @property
    def n_leaves(self) -> int:
        """Number of leaves of all trees."""
        return len(self.leaf_value)

    @property
    def n_outputs(self) -> int:
        """Number of raw-score columns."""
        return len(self.base_score)

    @property
    def leaf_width(self) -> int:
        """Number of values a leaf holds: 1, or n_outputs for vector leaves."""
        return self.leaf_value.shape[1]

    @property
    def most_leaves(self) -> int:
        """Number of leaves of the largest tree."""
        return int(np.diff(self.leaf_offset).max(initial=1))

    @property
    def leaf_tree(self) -> NDArray[np.int32]:
        """Tree of each leaf, shape (n_leaves,)."""
        return np.repeat(np.arange(self.n_trees, dtype=NODE), np.diff(self.leaf_offset))

    @functools.cached_property
    def flat_trees(self) -> FlatTrees:
        """The arrays that routing reads: one tree for each row of leaf ids."""
        if self.leaf_row is not None:
            firsts = np.unique(self.leaf_row, return_index=True)[1]
            return self.take_trees(firsts).flat_trees
        zero_by_threshold = self.threshold >= 0.0
        nan_as_zero = (self.missing == Missing.NONE) & ~self.is_categorical
        zero_is_missing = self.missing == Missing.ZERO
        left_leaves, leaf_at = plan_bit_vectors(
            self.node_offset, self.leaf_offset, self.left, self.right
        )
        if self.most_leaves <= 32:
            left_leaves = left_leaves.astype(np.uint32)
        return FlatTrees(
            node_offset=self.node_offset,
            leaf_offset=self.leaf_offset,
            feature=self.feature,
            threshold=self.threshold,
            left=self.left,
            right=self.right,
            nan_left=np.where(nan_as_zero, zero_by_threshold, self.default_left),
            zero_left=np.where(zero_is_missing, self.default_left, zero_by_threshold),
            is_plain=~self.is_categorical & ~zero_is_missing,
            is_categorical=self.is_categorical,
            category_offset=self.category_offset,
            category_bits=self.category_bits,
            left_leaves=left_leaves,
            leaf_at=leaf_at,
            zero_threshold=float(self.zero_threshold),
            round_to_single=bool(self.is_single_precision),
        )

    @functools.cached_property
    def flat_leaves(self) -> FlatLeaves:
        """The arrays that replay and contraction read."""
        changes = np.flatnonzero(np.diff(self.iteration)) + 1
        return FlatLeaves(
            leaf_offset=self.leaf_offset,
            leaf_value=self.leaf_value,
            output=np.maximum(self.output, 0),
            iteration_start=np.concatenate([[0], changes, [self.n_trees]]).astype(
                OFFSET
            ),
            is_averaged=bool(self.is_averaged),
            leaf_row=self.row_of_tree.copy(),
        )

    @property
    def row_of_tree(self) -> NDArray[np.int32]:
        """Row of each tree in the leaf ids that `routing.find_leaves` gives."""
        if self.leaf_row is not None:
            return self.leaf_row
        return np.arange(self.n_trees, dtype=NODE)

    @property
    def loss_kernel(self) -> tuple[int, float]:
        """Code and parameter of the loss's derivatives, as kernels take them.

        Raises
        ------
        UnsupportedModelError
            If the loss is unknown or gradients do not make its leaf values.
        """
        if self.loss is None or self.loss.kernel_code is None:
            raise UnsupportedModelError(
                f"The objective {self.loss_name!r} has no gradients to work with."
            )
        code = self.loss.kernel_code
        if self.leaf_rule.kind == "gradient":
            code += UNIT_HESSIAN
        return code, self.loss.parameter

    def take_trees(self, trees: ArrayLike) -> TreeEnsemble:
        """Give the ensemble of some of the trees, each with leaf ids of its own.

        Parameters
        ----------
        trees : array-like of int, shape (n_taken,)
            Trees, in an order in which iterations do not fall; one may come again.

        Returns
        -------
        TreeEnsemble
        """
        trees = np.asarray(trees, OFFSET)

        def gather(offset: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
            """Entries of the trees in arrays cut at `offset`, and their own cuts."""
            count = np.diff(offset)[trees]
            own = np.concatenate([[0], np.cumsum(count)])
            first = np.repeat(offset[trees] - own[:-1], count)
            return np.arange(own[-1]) + first, own

        nodes, node_offset = gather(self.node_offset)
        leaves, leaf_offset = gather(self.leaf_offset)
        words = np.diff(self.category_offset)[nodes]
        category_offset = np.concatenate([[0], np.cumsum(words)])
        word = np.arange(category_offset[-1]) + np.repeat(
            self.category_offset[nodes] - category_offset[:-1], words
        )
        taken: dict[str, Any] = {
            "node_offset": node_offset,
            "leaf_offset": leaf_offset,
            "category_offset": category_offset,
            "category_bits": self.category_bits[word],
            "leaf_row": None,
        }
        for name in ("iteration", "output", "shrinkage"):
            taken[name] = getattr(self, name)[trees]
        for name in (
            *("feature", "threshold", "left", "right"),
            *("default_left", "missing", "is_categorical"),
        ):
            taken[name] = getattr(self, name)[nodes]
        for name in ("leaf_value", *_OPTIONAL_OF_LEAVES):
            array = getattr(self, name)
            taken[name] = None if array is None else array[leaves]
        return dataclasses.replace(self, **taken)

    def separate_base_score(self, base_score: ArrayLike) -> TreeEnsemble:
        """Take an initial score out of the first tree's leaf values.

        Parameters
        ----------
        base_score : array-like of float64, shape (n_outputs,)
            Initial score; read where `base_score_folded` is not 0.

        Returns
        -------
        TreeEnsemble
            The same model with `base_score` kept apart and nothing folded.
        """
        folded = self.base_score_folded * np.asarray(base_score, REAL)
        leaf_value = self.leaf_value.copy()
        for output in np.flatnonzero(self.base_score_folded):
            tree = int(np.argmax(self.output == output))
            leaves = slice(self.leaf_offset[tree], self.leaf_offset[tree + 1])
            leaf_value[leaves, 0] -= folded[output]
        return dataclasses.replace(
            self,
            base_score=self.base_score + folded,
            base_score_folded=np.zeros(self.n_outputs, REAL),
            leaf_value=leaf_value,
        )

    def apply(self, X: Any) -> NDArray[np.unsignedinteger[Any]]:
        """Find the leaf of each row in each tree.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.

        Returns
        -------
        ndarray of uint8, uint16 or uint32, shape (n_rows, n_trees)
            Leaf within each tree; a view, with the trees' own leaves contiguous.

        Raises
        ------
        ValueError
            If the rows do not fit the ensemble.
        """
        leaf = routing.find_leaves(self, X)
        return leaf.T if self.leaf_row is None else leaf[self.leaf_row].T

    def raw_score(self, X: Any, *, init_score: Any = None) -> NDArray[np.float64]:
        """Compute raw scores.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Each row's own initial score, on top of the base score.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)

        Raises
        ------
        ValueError
            If the rows do not fit the ensemble, or `initial_model` gives each an
            initial score that is not passed.
        """
        leaf = routing.find_leaves(self, X)
        offset = routing.check_initial_scores(self, init_score, leaf.shape[1])
        return routing.add_leaf_values(self, leaf, offset=offset)

    def staged_raw_score(
        self, X: Any, *, init_score: Any = None
    ) -> Iterator[NDArray[np.float64]]:
        """Compute raw scores after each iteration.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Each row's own initial score, on top of the base score.

        Yields
        ------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        leaf = routing.find_leaves(self, X)
        offset = routing.check_initial_scores(self, init_score, leaf.shape[1])
        for stop in self.flat_leaves.iteration_start[1:]:
            yield routing.add_leaf_values(self, leaf, offset=offset, n_trees=int(stop))

    def predict(self, X: Any, *, init_score: Any = None) -> NDArray[np.float64]:
        """Predict through the loss's link.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Each row's own initial score, on top of the base score.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            Values for regression, class probabilities in the order of `classes`; raw
            scores where the loss is unknown.
        """
        raw_score = self.raw_score(X, init_score=init_score)
        if self.loss is None:
            return raw_score[:, 0] if self.n_outputs == 1 else raw_score
        return self.loss.link(raw_score)

    def describe(self) -> str:
        """Summarise the model in a few printable lines."""
        leaves = np.diff(self.leaf_offset)
        kinds = []
        if self.is_categorical.any():
            kinds.append(f"{int(self.is_categorical.sum()):,} categorical")
        if (self.missing == Missing.ZERO).any():
            kinds.append("zero counts as missing")
        splits = f"{self.n_nodes:,}" + (f" ({', '.join(kinds)})" if kinds else "")
        loss = "unknown to treeinf" if self.loss is None else repr(self.loss)
        if self.base_score_folded.any():
            base = "estimated from the train rows, inside the first tree"
        else:
            base = np.array2string(self.base_score, precision=6, threshold=8)
        rates = np.unique(self.shrinkage)
        shrinkage = (
            f"{rates[0]:g}" if len(rates) == 1 else (f"{rates[0]:g} to {rates[-1]:g}")
        )
        lines = [
            ("library", f"{self.library} {self.library_version}"),
            ("loss", f"{self.loss_name} ({loss})"),
            ("trees", f"{self.n_trees:,} in {self.n_iterations:,} iterations"),
            (
                "leaves",
                f"{self.n_leaves:,} ({leaves.min()} to {leaves.max()} a tree)",
            ),
            ("splits", splits),
            ("features", f"{self.n_features:,}"),
            ("outputs", f"{self.n_outputs}"),
            ("base score", base),
            *([("starts from", self.initial_model)] if self.initial_model else []),
            ("shrinkage", shrinkage),
            ("leaf rule", _describe_rule(self)),
        ]
        if self.classes is not None:
            lines.append(("classes", ", ".join(map(str, self.classes[:20]))))
        if self.training.subsample:
            lines.append(("row sampling", self.training.subsample))
        lines += [("approximate", text) for text in self.training.approximations]
        return "\n".join(f"{name:<13}{text}" for name, text in lines)

    def __repr__(self) -> str:
        return (
            f"TreeEnsemble({self.library}, loss={self.loss_name!r}, "
            f"n_trees={self.n_trees}, n_leaves={self.n_leaves}, "
            f"n_features={self.n_features}, n_outputs={self.n_outputs})"
        )

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the ensemble to one npz file with a JSON header, without pickle.

        Parameters
        ----------
        path : path-like
            File to write.
        overwrite : bool, default=False
            Replace a file that is there.

        Raises
        ------
        FileExistsError
            If the file is there and `overwrite` is false.
        """
        storage.save(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> TreeEnsemble:
        """Read a file that `save` wrote.

        Parameters
        ----------
        path : path-like
            File to read.

        Raises
        ------
        ModelFormatError
            If the file is not one, or not a whole one.
        """
        return storage.load(path)


_ARRAYS: dict[str, Any] = {
    "node_offset": OFFSET,
    "leaf_offset": OFFSET,
    "iteration": NODE,
    "output": NODE,
    "shrinkage": REAL,
    "feature": NODE,
    "threshold": REAL,
    "left": NODE,
    "right": NODE,
    "default_left": FLAG,
    "missing": np.uint8,
    "is_categorical": FLAG,
    "category_offset": OFFSET,
    "category_bits": BITS,
    "leaf_value": REAL,
    "base_score": REAL,
    "base_score_folded": REAL,
    "leaf_count": COUNT,
    "leaf_hessian": REAL,
    "leaf_weight": REAL,
    "leaf_l2": REAL,
    "leaf_row": NODE,
}
"""Every array of an ensemble, with its dtype."""

_OPTIONAL_OF_LEAVES = ("leaf_count", "leaf_hessian", "leaf_weight", "leaf_l2")
_OPTIONAL = (*_OPTIONAL_OF_LEAVES, "leaf_row")


def _freeze(name: str, array: Any, dtype: Any) -> NDArray[Any]:
    """Copy to a contiguous, read-only array of the named dtype."""
    given = np.asarray(array)
    if given.dtype.kind not in "biuf" or not np.can_cast(
        given.dtype, dtype, "same_kind"
    ):
        raise ModelFormatError(
            f"{name} has dtype {given.dtype}; expected {np.dtype(dtype)}."
        )
    if given.dtype.kind in "iu" and np.dtype(dtype).kind in "iu" and given.size:
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise ModelFormatError(f"{name} has values that do not fit {limits.dtype}.")
    frozen = np.array(given, dtype=dtype, order="C")
    frozen.setflags(write=False)
    return frozen


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise ModelFormatError(message)


def _check_trees(ensemble: TreeEnsemble) -> None:
    """Refuse offsets and per-tree arrays that do not fit together."""
    n_trees = len(ensemble.iteration)
    _require(n_trees > 0, "The model has no trees.")
    for name in ("output", "shrinkage"):
        _require(
            getattr(ensemble, name).shape == (n_trees,),
            f"{name} has shape {getattr(ensemble, name).shape}; expected ({n_trees},).",
        )
    for name, length in (
        ("node_offset", len(ensemble.feature)),
        ("leaf_offset", len(ensemble.leaf_value)),
    ):
        offset = getattr(ensemble, name)
        _require(
            offset.shape == (n_trees + 1,)
            and offset[0] == 0
            and offset[-1] == length
            and (np.diff(offset) >= 0).all(),
            f"{name} must rise from 0 to {length} in {n_trees} steps.",
        )
    _require(
        (np.diff(ensemble.leaf_offset) == np.diff(ensemble.node_offset) + 1).all(),
        "A tree must have one leaf more than it has nodes.",
    )
    _require(
        ensemble.iteration[0] >= 0 and (np.diff(ensemble.iteration) >= 0).all(),
        "Trees must be ordered by iteration.",
    )
    n_outputs = len(ensemble.base_score)
    _require(
        ensemble.base_score.shape == (n_outputs,) and n_outputs > 0,
        "base_score must have one value an output.",
    )
    _require(
        ensemble.base_score_folded.shape == (n_outputs,),
        f"base_score_folded must have {n_outputs} values.",
    )
    if ensemble.leaf_value.ndim == 2 and ensemble.leaf_value.shape[1] > 1:
        _require(
            (ensemble.output == EVERY_OUTPUT).all()
            and ensemble.leaf_value.shape[1] == n_outputs,
            "Leaves with several values must hold one for each output.",
        )
    else:
        _require(
            (ensemble.output >= (EVERY_OUTPUT if n_outputs == 1 else 0)).all()
            and (ensemble.output < n_outputs).all(),
            f"output must be in [0, {n_outputs}).",
        )
    _require(np.isfinite(ensemble.base_score).all(), "base_score must be finite.")
    _require(
        np.isfinite(ensemble.base_score_folded).all(),
        "base_score_folded must be finite.",
    )
    _require(np.isfinite(ensemble.shrinkage).all(), "shrinkage must be finite.")
    _require(
        math.isfinite(ensemble.zero_threshold) and ensemble.zero_threshold >= 0.0,
        "zero_threshold must be finite and at least 0.",
    )
    if ensemble.leaf_row is not None:
        row = ensemble.leaf_row
        _require(row.shape == (n_trees,), f"leaf_row must have {n_trees} numbers.")
        newest = np.maximum.accumulate(row)
        _require(
            row[0] == 0 and (np.diff(newest) <= 1).all() and (row >= 0).all(),
            "leaf_row must rise by 1 from 0 where its numbers are new.",
        )
        firsts = np.unique(row, return_index=True)[1]
        _require(
            (
                np.diff(ensemble.leaf_offset)
                == np.diff(ensemble.leaf_offset)[firsts][row]
            ).all(),
            "Trees of one leaf_row must have the same leaves.",
        )
    if ensemble.loss is not None:
        _require(
            ensemble.loss.n_outputs == n_outputs,
            f"{ensemble.loss!r} has {ensemble.loss.n_outputs} outputs; the model has "
            f"{n_outputs}.",
        )


def _check_nodes(ensemble: TreeEnsemble) -> None:
    """Refuse nodes that do not make trees."""
    n_nodes = len(ensemble.feature)
    for name in (
        "threshold",
        "left",
        "right",
        "default_left",
        "missing",
        "is_categorical",
    ):
        _require(
            getattr(ensemble, name).shape == (n_nodes,),
            f"{name} has shape {getattr(ensemble, name).shape}; expected ({n_nodes},).",
        )
    offset = ensemble.category_offset
    _require(
        offset.shape == (n_nodes + 1,)
        and offset[0] == 0
        and offset[-1] == len(ensemble.category_bits)
        and (np.diff(offset) >= 0).all(),
        "category_offset must rise from 0 to the number of words in category_bits.",
    )
    _require(ensemble.n_features > 0, "n_features must be at least 1.")
    _require(
        ((ensemble.feature >= 0) & (ensemble.feature < ensemble.n_features)).all(),
        f"feature must be in [0, {ensemble.n_features}).",
    )
    _require(not np.isnan(ensemble.threshold).any(), "threshold must not be NaN.")
    _require((ensemble.missing <= max(Missing)).all(), "missing must be 0, 1 or 2.")
    tree = np.repeat(np.arange(len(ensemble.iteration)), np.diff(ensemble.node_offset))
    is_node_child = np.zeros(n_nodes, np.int64)
    is_leaf_child = np.zeros(len(ensemble.leaf_value), np.int64)
    parent = np.full(n_nodes, -1, np.int64)
    for child in (ensemble.left, ensemble.right):
        is_node = child >= 0
        first, count = ensemble.node_offset[tree], np.diff(ensemble.node_offset)[tree]
        node = np.where(is_node, first + child, 0)
        leaf_first, leaf_count = ensemble.leaf_offset[tree], count + 1
        leaf = np.where(is_node, 0, leaf_first + ~child.astype(np.int64))
        _require(
            np.where(
                is_node, child < count, ~child.astype(np.int64) < leaf_count
            ).all(),
            "A child lies outside its tree.",
        )
        is_node_child += np.bincount(node[is_node], minlength=n_nodes)
        is_leaf_child += np.bincount(leaf[~is_node], minlength=len(is_leaf_child))
        parent[node[is_node]] = np.flatnonzero(is_node)
    roots = ensemble.node_offset[:-1][np.diff(ensemble.node_offset) > 0]
    expected = np.ones(n_nodes, np.int64)
    expected[roots] = 0
    _require((is_node_child == expected).all(), "A node must have exactly one parent.")
    has_nodes = np.repeat(
        np.diff(ensemble.node_offset) > 0, np.diff(ensemble.leaf_offset)
    )
    _require((is_leaf_child == has_nodes).all(), "A leaf must have exactly one parent.")
    # With one parent each, nodes that do not lead up to a root go round in a cycle;
    # jumping to the parent's parent doubles the way in each step.
    ancestor = parent
    for _ in range(max(n_nodes, 1).bit_length()):
        inside = ancestor >= 0
        ancestor = np.where(inside, ancestor[np.where(inside, ancestor, 0)], -1)
    _require((ancestor < 0).all(), "The children of a tree go round in a cycle.")


def _check_leaves(ensemble: TreeEnsemble) -> None:
    """Refuse leaf arrays that do not fit together."""
    values = ensemble.leaf_value
    _require(
        values.ndim == 2 and values.shape[1] > 0,
        f"leaf_value has shape {values.shape}; expected (n_leaves, leaf_width).",
    )
    _require(np.isfinite(values).all(), "leaf_value must be finite.")
    for name in _OPTIONAL_OF_LEAVES:
        array = getattr(ensemble, name)
        if array is None:
            continue
        _require(
            array.shape == (len(values),),
            f"{name} has shape {array.shape}; expected ({len(values)},).",
        )
        _require(
            np.isfinite(array).all() and (array >= 0).all(),
            f"{name} must be finite and at least 0.",
        )
    names: Sequence[Any]
    for what in ("feature_names", "categories"):
        names = getattr(ensemble, what)
        _require(
            names is None or len(names) == ensemble.n_features,
            f"{what} must have one entry for each of {ensemble.n_features} features.",
        )


def _describe_rule(ensemble: TreeEnsemble) -> str:
    """Put the leaf rule into words."""
    rule = ensemble.leaf_rule
    words = [rule.kind]
    if ensemble.leaf_l2 is not None:
        penalties = np.unique(ensemble.leaf_l2)
        words.append("l2 " + " or ".join(f"{value:g}" for value in penalties[:4]))
    if rule.l1_leaf:
        words.append(f"l1 {rule.l1_leaf:g}")
    if rule.max_leaf_value:
        words.append(f"at most {rule.max_leaf_value:g} in size")
    if rule.path_smooth:
        words.append(f"path smoothing {rule.path_smooth:g}")
    if rule.n_steps != 1:
        words.append(f"{rule.n_steps} steps a tree")
    return ", ".join(words)
