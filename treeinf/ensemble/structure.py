"""The uniform representation of a fitted tree ensemble."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.ensemble import routing, storage
from treeinf.ensemble.checks import (
    ARRAYS,
    OPTIONAL,
    OPTIONAL_OF_LEAVES,
    check_leaves,
    check_nodes,
    check_trees,
    freeze,
)
from treeinf.ensemble.facts import LeafRule, Missing, TrainingFacts
from treeinf.ensemble.input_rules import InputRows, InputRules
from treeinf.ensemble.losses import Loss
from treeinf.errors import UnsupportedModelError
from treeinf.kernels.cpu.derivatives import UNIT_HESSIAN
from treeinf.kernels.flat import FlatLeaves, FlatLoss, FlatTrees
from treeinf.kernels.ranked_trees import RankedTrees, rank_trees

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["TreeEnsemble"]

_UNKNOWN_RULE = LeafRule("unknown")
_NO_FACTS = TrainingFacts()


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
    input_rules : InputRules
        How rows are read: their columns, categories, missing values and precision.
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
        for name, dtype in ARRAYS.items():
            array = getattr(self, name)
            if array is None and name in OPTIONAL:
                continue
            object.__setattr__(self, name, freeze(name, array, dtype))
        check_trees(self)
        check_nodes(self)
        check_leaves(self)
        if self.classes is not None:
            classes = np.array(self.classes)
            classes.setflags(write=False)
            object.__setattr__(self, "classes", classes)

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
            zero_threshold=float(self.input_rules.zero_threshold),
            category_floor=float(self.input_rules.category_floor),
            round_to_single=self.input_rules.round_to_single,
        )

    @functools.cached_property
    def ranked_trees(self) -> RankedTrees:
        """The same trees, as routing by masks reads them."""
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
        """Row of each tree in the leaf ids that `routing.find_leaves` gives."""
        if self.leaf_row is not None:
            return self.leaf_row
        return np.arange(self.n_trees, dtype=NODE)

    @property
    def flat_loss(self) -> FlatLoss:
        """The loss as kernels take it.

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
        return FlatLoss(code, float(self.loss.parameter))

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
        for name in ("leaf_value", *OPTIONAL_OF_LEAVES):
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

    def read_rows(self, X: Any) -> InputRows:
        """Read rows as the model does.

        Every method that takes rows takes the result in place of `X`, and does not read
        them again.

        Parameters
        ----------
        X : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
            Rows. Columns of a frame are matched by name, categories by their labels;
            labels that the model does not know are missing.

        Returns
        -------
        InputRows

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit the ensemble.
        """
        return routing.read_rows(self, X)

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
