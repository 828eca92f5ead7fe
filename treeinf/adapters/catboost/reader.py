"""Read fitted CatBoost models and model files into a `TreeEnsemble`."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.catboost import binary
from treeinf.adapters.catboost.files import (
    FIELDS,
    CatBoostFile,
    CatBoostSplits,
    CatBoostTrees,
    SplitKind,
    parse_remark,
)
from treeinf.adapters.catboost.objectives import approximations, find_loss, leaf_rule
from treeinf.adapters.catboost.parameters import CatBoostParameters
from treeinf.adapters.category_sets import pack_category_sets
from treeinf.adapters.records import count_offsets
from treeinf.dtypes import FLAG, NODE, REAL
from treeinf.ensemble import (
    EVERY_OUTPUT,
    InputRules,
    Missing,
    TrainingFacts,
    TreeEnsemble,
)
from treeinf.ensemble.losses import Loss
from treeinf.errors import UnsupportedModelError
from treeinf.frames import to_pandas

__all__ = ["raw_score", "read", "read_file"]


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted model; see `Adapter.read`.

    It is saved to a temporary file, which is parsed without CatBoost. A model shrunk to
    its best iteration is read as it is.
    """
    import catboost

    _check_model(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.cbm")
        model.save_model(path)
        content = path.read_bytes()
    classes = np.asarray(getattr(model, "classes_", ()))
    return read_file(
        binary.parse(content),
        parameters=parameters,
        iterations=iterations,
        classes=classes if classes.size else None,
        version=catboost.__version__,
        leaf_source=functools.partial(_find_leaves, model, iterations),
    )


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute CatBoost's own raw scores; see `Adapter.raw_score`."""
    import catboost

    _check_model(model)
    # CatBoostRanker.predict has no prediction_type
    scores = catboost.CatBoost.predict(
        model,
        _library_rows(X),
        prediction_type="RawFormulaVal",
        ntree_end=iterations or 0,
    )
    scores = np.asarray(scores, dtype=REAL)
    return scores.reshape(len(scores), -1)


def _check_model(model: Any) -> None:
    """Refuse what is not a fitted model."""
    import catboost

    if not isinstance(model, catboost.CatBoost):
        raise UnsupportedModelError(
            f"Got a catboost {type(model).__name__}, which is not a model; expected a "
            "fitted CatBoost, CatBoostClassifier, CatBoostRegressor or CatBoostRanker."
        )
    if not model.is_fitted():
        from sklearn.exceptions import NotFittedError

        raise NotFittedError(
            f"This {type(model).__name__} is not fitted; call fit first."
        )


def _find_leaves(model: Any, iterations: int | None, X: Any) -> NDArray[Any]:
    """Return the leaf ids that CatBoost finds for rows."""
    rows = _library_rows(X)
    return np.asarray(model.calc_leaf_indexes(rows, ntree_end=iterations or 0))


def _library_rows(X: Any) -> Any:
    """Convert rows to a form that CatBoost takes."""
    if isinstance(X, np.ndarray) or hasattr(X, "iloc"):
        return X
    if sparse.issparse(X):
        return sparse.csr_matrix(sparse.csr_array(X))
    # CatBoost does not support the categorical types of polars and pyarrow
    return to_pandas(np.asarray(X) if isinstance(X, (list, tuple)) else X)


def read_file(
    file: CatBoostFile,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    classes: NDArray[Any] | None = None,
    version: str | None = None,
    leaf_source: Callable[[Any], NDArray[Any]] | None = None,
) -> TreeEnsemble:
    """Build an ensemble from a parsed file; see `Adapter.read_file`.

    `classes`, CatBoost's `version` and its function from rows to leaf ids,
    `leaf_source`, are passed for live models only.
    """
    if "embedding" in file.features.kinds:
        raise UnsupportedModelError(
            "This CatBoost model has embedding features. Numeric, categorical and "
            "text features are supported: pass an embedding as numeric columns."
        )
    trees = file.trees if iterations is None else file.trees.first(iterations)
    if not len(trees.n_leaves):
        FIELDS.fail("it has no trees")
    n_trees, n_outputs = len(trees.n_leaves), len(file.bias)
    settings = CatBoostParameters(file, parameters)
    loss = find_loss(settings, n_outputs)
    rule = leaf_rule(settings, loss, n_outputs)
    notes = approximations(settings, rule, file.scale)
    is_native = bool((file.splits.kind[trees.split] == SplitKind.NATIVE).any())
    if is_native:
        notes.append(
            "Categories or text: in training, statistics of a row's categories come "
            "from the rows before it in a random order, so that it can lie in another "
            "leaf than in prediction; the replay takes the latter."
        )
    n_leaves = int(trees.n_leaves.sum())
    if classes is None and loss is not None and loss.n_classes:
        classes = _classes(file, loss)
    n_features = file.features.n_features
    hashes = file.features.hashes
    return TreeEnsemble(
        node_offset=count_offsets(trees.n_leaves - 1),
        leaf_offset=count_offsets(trees.n_leaves),
        iteration=np.arange(n_trees, dtype=NODE),
        output=np.full(n_trees, EVERY_OUTPUT if n_outputs > 1 else 0, NODE),
        shrinkage=np.full(n_trees, settings.number("learning_rate") * file.scale),
        **_nodes(trees, file.splits),
        leaf_value=trees.leaf_value * file.scale,
        base_score=file.bias,
        base_score_folded=np.zeros(n_outputs, FLAG),
        input_rules=InputRules(
            n_features=n_features,
            feature_names=file.features.names,
            categories=tuple(hashes.get(column) for column in range(n_features))
            if hashes
            else None,
            labels_are_hashes=bool(hashes),
            round_to_single=True,
        ),
        loss=loss,
        loss_name=settings.loss_name,
        leaf_rule=rule,
        training=TrainingFacts(
            class_weight=_class_weight(settings, loss, classes),
            single_inputs=True,
            estimates_base_score=loss is not None
            and settings.get("boost_from_average") is True,
            l2_per_weight=True,
            approximations=tuple(notes),
        ),
        leaf_weight=trees.leaf_weight,
        leaf_l2=None
        if rule.kind in ("unknown", "quantile")
        else np.full(n_leaves, settings.number("l2_leaf_reg")),
        is_native=is_native,
        leaf_source=leaf_source if is_native else None,
        classes=classes,
        library="catboost",
        library_version=version or _version(file),
    )


def _nodes(trees: CatBoostTrees, splits: CatBoostSplits) -> dict[str, Any]:
    """Build the arrays of nodes.

    One-hot splits send their label right, and `TreeEnsemble` sends a node's set left,
    so their children are swapped. CatBoost reads NaN as plus or minus infinity, which
    is not above a border at infinity.
    """
    split = trees.split
    default_left = splits.default_left | np.isposinf(splits.border)
    is_label = splits.kind[split] == SplitKind.ONE_HOT
    nodes = np.flatnonzero(is_label)
    offset, bits = pack_category_sets(
        nodes, splits.category[split[nodes]], len(split), library="CatBoost"
    )
    return {
        "feature": splits.column[split],
        "threshold": splits.border[split],
        "left": np.where(is_label, trees.right, trees.left),
        "right": np.where(is_label, trees.left, trees.right),
        "default_left": default_left[split],
        "missing": np.full(len(split), Missing.NAN, np.uint8),
        "is_categorical": is_label,
        "category_offset": offset,
        "category_bits": bits,
    }


def _classes(file: CatBoostFile, loss: Loss) -> NDArray[Any] | None:
    """Return the labels of the classes in a file."""
    entries = parse_remark(file.remarks, "class_params")
    for name in ("class_names", "class_to_label"):
        labels = entries.get(name)
        if isinstance(labels, list) and len(labels) == loss.n_classes:
            kinds = {type(label) for label in labels}
            if kinds <= {int, float} or kinds in ({str}, {bool}):
                return np.array(labels)
    return None


def _class_weight(
    settings: CatBoostParameters, loss: Loss | None, classes: NDArray[Any] | None
) -> tuple[tuple[Any, float], ...] | None:
    """Return the class weights, automatic ones as computed in training."""
    weights = settings.get("class_weights")
    if loss is None or not loss.n_classes or not weights:
        return None
    labels = list(range(loss.n_classes)) if classes is None else classes.tolist()
    if isinstance(weights, Mapping):
        weights = [weights.get(label, 1.0) for label in labels]
    if not isinstance(weights, (list, tuple)) or len(weights) != len(labels):
        FIELDS.fail("the number of class weights is not that of classes")
    numbers = [FIELDS.number(weight, "a class's weight") for weight in weights]
    return tuple(zip(labels, numbers, strict=True))


def _version(file: CatBoostFile) -> str:
    """Return the version that wrote a file."""
    remark = str(file.remarks.get("catboost_version_info", ""))
    tag = re.search(r"tags/v([0-9][0-9.]{0,20})", remark)
    return tag[1] if tag else "unknown"
