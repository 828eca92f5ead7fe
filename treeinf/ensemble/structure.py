"""`TreeEnsemble`: a fitted tree ensemble, whatever library it came from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.ensemble import storage
from treeinf.ensemble.arrays import check_arrays, freeze_arrays, take_trees
from treeinf.ensemble.description import describe_ensemble
from treeinf.ensemble.input_rules import InputRows, InputRules
from treeinf.ensemble.losses import Loss
from treeinf.ensemble.routing import find_leaves, flatten_trees
from treeinf.ensemble.training_facts import LeafRule, TrainingFacts
from treeinf.errors import ModelFormatError, UnsupportedModelError
from treeinf.frames import open_table
from treeinf.kernels.cpu import replay as kernels
from treeinf.kernels.flat import FlatLeaves, FlatLoss, FlatTrees
from treeinf.kernels.formulas.derivatives import UNIT_HESSIAN
from treeinf.kernels.ranked_trees import RankedTrees, rank_trees
from treeinf.pickling import DropsCached
from treeinf.validation import check_offset

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["TreeEnsemble"]

_UNKNOWN_RULE = LeafRule("unknown")
_NO_FACTS = TrainingFacts()
_PLAIN_TYPES = {
    "loss_name": str,
    "is_averaged": bool | np.bool_,
    "is_native": bool | np.bool_,
    "initial_model": str | None,
    "library": str,
    "library_version": str,
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TreeEnsemble(DropsCached):
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
        Boosting iteration of each tree, non-decreasing.
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
        A row goes left if its value, truncated to an integer, is in the node's set.
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
        (LightGBM's dart mode scales it with the tree); 0 for averaged trees.
        `TrainingTrace` estimates the score from the train rows.
    input_rules : InputRules
        How rows are read: their columns, categories, missing values and precision.
    loss : Loss or None
        Training loss; None where it is unknown to treeinf (ranking, custom).
    loss_name : str
        The library's name for the loss.
    leaf_rule : LeafRule
        How gradients became leaf values.
    training : TrainingFacts
        What else a replay of the training needs.
    leaf_count : ndarray of int64, shape (n_leaves,), or None
        Train rows in each leaf as the library stored them; None where it does not. In
        a tree of one leaf, 0 or all rows may stand for those it saw.
    leaf_hessian : ndarray of float64, shape (n_leaves,), or None
        Sum of hessians in each leaf as the library stored them.
    leaf_weight : ndarray of float64, shape (n_leaves,), or None
        Sum of the train rows' weights in each leaf as the library stored them.
    leaf_l2 : ndarray of float64, shape (n_leaves,), or None
        L2 penalty in each leaf's denominator; None if unknown.
    leaf_row : ndarray of int32, shape (n_trees,), or None
        Trees with the same number share structure and leaf ids, and are routed once;
        new numbers come in the order 0, 1, 2, ... None if no trees share.
    is_averaged : bool, default=False
        The trees are fitted independently and averaged (the division is in
        `leaf_value`), so that no tree saw the scores of those before it.
    is_native : bool, default=False
        Nodes cannot express some of the model's splits and hold placeholders; leaves
        come from `leaf_source` alone.
    leaf_source : callable, or None
        For such a model, the library's function from the caller's rows to leaves, shape
        (n_rows, n_trees). It is not saved.
    classes : ndarray, shape (n_classes,), or None
        Class labels in the order of the model's classes.
    initial_model : str or None, default=None
        The model that predicts an initial score for each row, on top of `base_score`
        (the init estimator of scikit-learn). Raw scores then need `init_score`:
        ``treeinf.adapters.init_score(model, X)``.
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
    input_rules: InputRules
    loss: Loss | None = None
    loss_name: str = "unknown"
    leaf_rule: LeafRule = _UNKNOWN_RULE
    training: TrainingFacts = _NO_FACTS
    leaf_count: NDArray[np.int64] | None = None
    leaf_hessian: NDArray[np.float64] | None = None
    leaf_weight: NDArray[np.float64] | None = None
    leaf_l2: NDArray[np.float64] | None = None
    leaf_row: NDArray[np.int32] | None = None
    is_averaged: bool = False
    is_native: bool = False
    leaf_source: Callable[[Any], NDArray[Any]] | None = None
    classes: NDArray[Any] | None = None
    initial_model: str | None = None
    library: str = "unknown"
    library_version: str = "unknown"

    def __post_init__(self) -> None:
        arrays = freeze_arrays(vars(self))
        check_arrays(arrays, self.n_features)
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        for name, kind in _PLAIN_TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ModelFormatError(f"Got {name}={value!r}; expected {kind}.")
        if self.loss is not None and self.loss.n_outputs != self.n_outputs:
            raise ModelFormatError(
                f"{self.loss!r} has {self.loss.n_outputs} outputs; the model has "
                f"{self.n_outputs}."
            )
        if self.classes is not None:
            classes = np.array(self.classes)
            n_classes = self.loss.n_classes if self.loss is not None else 0
            if classes.ndim != 1 or (n_classes and len(classes) != n_classes):
                raise ModelFormatError(
                    f"classes has shape {classes.shape}; expected "
                    f"({n_classes or 'n_classes'},)."
                )
            classes.setflags(write=False)
            object.__setattr__(self, "classes", classes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for value in state.values():  # pickles and copies do not keep the flag
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def n_features(self) -> int:
        """Number of columns of the rows."""
        return self.input_rules.n_features

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.iteration)

    @property
    def n_iterations(self) -> int:
        """Number of boosting iterations with at least one tree."""
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
        return flatten_trees(vars(self), self.input_rules)

    @functools.cached_property
    def ranked_trees(self) -> RankedTrees:
        """The same trees, prepared for routing by masks."""
        return rank_trees(self.flat_trees)

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
            base_score=self.base_score,
        )

    @property
    def row_of_tree(self) -> NDArray[np.int32]:
        """Row of each tree in the leaf ids that `find_leaves` returns."""
        if self.leaf_row is not None:
            return self.leaf_row
        return np.arange(self.n_trees, dtype=NODE)

    @property
    def flat_loss(self) -> FlatLoss:
        """Kernel code and parameter of the loss.

        Raises
        ------
        UnsupportedModelError
            If the loss is unknown or its leaf values do not follow from gradients.
        """
        if self.loss is None or self.loss.kernel_code is None:
            raise UnsupportedModelError(
                f"The objective {self.loss_name!r} has no known gradients."
            )
        code = self.loss.kernel_code
        if self.leaf_rule.kind == "gradient":
            code += UNIT_HESSIAN
        return FlatLoss(code, float(self.loss.parameter))

    def take_trees(self, trees: ArrayLike) -> TreeEnsemble:
        """Return an ensemble of some of the trees, which share no leaf ids.

        Parameters
        ----------
        trees : array-like of int, shape (n_taken,)
            Tree numbers, ordered by iteration; repeats are allowed.

        Returns
        -------
        TreeEnsemble
        """
        return dataclasses.replace(
            self, **take_trees(vars(self), np.asarray(trees, OFFSET))
        )

    def separate_base_score(self, base_score: ArrayLike) -> TreeEnsemble:
        """Subtract the base score from the leaf values of the first tree.

        Parameters
        ----------
        base_score : array-like of float64, shape (n_outputs,)
            Base score; used where `base_score_folded` is not 0.

        Returns
        -------
        TreeEnsemble
            The same model with an explicit `base_score` and nothing folded.
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

    def read_rows(self, X: Any) -> InputRows:
        """Read rows as the model does.

        Methods that accept `X` accept the result too, and skip the conversion.

        Parameters
        ----------
        X : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
            Rows, see `InputRules`.

        Returns
        -------
        InputRows

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit the ensemble.
        """
        if isinstance(X, InputRows):
            return X
        X = open_table(X)
        return InputRows(self.input_rules.read(X), X)

    def add_leaf_values(
        self,
        leaf: NDArray[np.unsignedinteger[Any]],
        *,
        offset: NDArray[np.float64] | None = None,
        n_trees: int | None = None,
    ) -> NDArray[np.float64]:
        """Compute raw scores from leaf ids.

        Parameters
        ----------
        leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
            Leaf of each row within each tree, from `find_leaves`.
        offset : ndarray of float64, shape (n_rows, n_outputs), or None
            Initial score of each row, on top of the base score.
        n_trees : int or None
            Number of trees to add, from the first; None for all.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        raw_score = np.empty((leaf.shape[1], self.n_outputs), dtype=REAL)
        if offset is None:
            offset = np.empty((0, self.n_outputs), dtype=REAL)
        kernels.sum_leaf_values(
            leaf,
            self.flat_leaves,
            offset,
            self.n_trees if n_trees is None else n_trees,
            raw_score,
        )
        return raw_score

    def check_init_score(
        self, init_score: Any, n_rows: int
    ) -> NDArray[np.float64] | None:
        """Return initial scores on top of the base score; see `check_offset`.

        Raises
        ------
        ValueError
            If the shape does not fit, or the model has an `initial_model` and
            `init_score` is None.
        """
        if init_score is None and self.initial_model is not None:
            raise ValueError(
                f"The trees add to the predictions of {self.initial_model}, which the "
                "ensemble does not store; pass "
                "init_score=treeinf.adapters.init_score(model, X)."
            )
        replaced = self.base_score if self.training.init_score_replaces_base else None
        return check_offset(init_score, n_rows, self.n_outputs, replaced)

    def apply(self, X: Any) -> NDArray[np.unsignedinteger[Any]]:
        """Find the leaf of each row in each tree.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.

        Returns
        -------
        ndarray of uint8, uint16 or uint32, shape (n_rows, n_trees)
            Leaf within each tree; a view, with each tree's leaves contiguous.
        """
        leaf = find_leaves(self, X)
        return leaf.T if self.leaf_row is None else leaf[self.leaf_row].T

    def raw_score(self, X: Any, *, init_score: Any = None) -> NDArray[np.float64]:
        """Compute raw scores.

        Parameters
        ----------
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Initial score of each row, on top of the base score; XGBoost's
            ``base_margin`` is in its place.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)

        Raises
        ------
        ValueError
            If the rows do not fit the ensemble, or the model has an `initial_model` and
            `init_score` is None.
        """
        leaf = find_leaves(self, X)
        offset = self.check_init_score(init_score, leaf.shape[1])
        return self.add_leaf_values(leaf, offset=offset)

    def staged_raw_score(
        self, X: Any, *, init_score: Any = None
    ) -> Iterator[NDArray[np.float64]]:
        """Compute raw scores after each iteration.

        Parameters
        ----------
        X, init_score
            See `raw_score`.

        Yields
        ------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        leaf = find_leaves(self, X)
        offset = self.check_init_score(init_score, leaf.shape[1])
        for stop in self.flat_leaves.iteration_start[1:]:
            yield self.add_leaf_values(leaf, offset=offset, n_trees=int(stop))

    def predict(self, X: Any, *, init_score: Any = None) -> NDArray[np.float64]:
        """Predict values or class probabilities.

        Parameters
        ----------
        X, init_score
            See `raw_score`.

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
        """Describe the model in a few printable lines."""
        return describe_ensemble(self)

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
            Replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is false.
        """
        fields = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        storage.save(fields, path, overwrite=overwrite)

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
            If the file is of another kind, or truncated.
        """
        return storage.load(path, cls)
