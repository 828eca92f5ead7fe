"""Validate the content of XGBoost's JSON and UBJSON model files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import shorten
from treeinf.adapters.xgboost.files import FIELDS, XGBoostFile
from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.errors import UnsupportedModelError

__all__ = ["parse"]


@np.errstate(over="ignore", invalid="ignore")
def parse(model: Mapping[str, Any]) -> XGBoostFile:
    """Validate the parsed content of a file; see `formats.parse`."""
    learner = FIELDS.entry(model, "learner")
    gradient_booster = FIELDS.entry(learner, "gradient_booster")
    booster = FIELDS.entry(gradient_booster, "name", str)
    objective = FIELDS.entry(learner, "objective")
    objective_name = FIELDS.entry(objective, "name", str)
    version = _read_version(model)
    _refuse_other_boosters(booster, objective_name)
    inner = gradient_booster
    if booster == "dart":
        inner = FIELDS.entry(gradient_booster, "gbtree")
    content = FIELDS.entry(inner, "model")
    trees = FIELDS.entry(content, "trees", list)
    if not trees:
        FIELDS.fail("it has no trees")
    for number, tree in enumerate(trees):
        FIELDS.instance(tree, f"tree {number}")
    shape = FIELDS.entry(learner, "learner_model_param")
    n_features = FIELDS.integer(shape.get("num_feature"), "num_feature", 1)
    n_classes = FIELDS.integer(shape.get("num_class", 0), "num_class", 0)
    n_target_columns = FIELDS.integer(shape.get("num_target", 1), "num_target", 0) or 1
    tree_shape = FIELDS.entry(content, "gbtree_model_param")
    name = "num_parallel_tree"
    # 1.x writes 0 for models that are not random forests
    n_parallel = FIELDS.integer(tree_shape.get(name, 1), name, 0) or 1
    n_outputs = max(n_classes, n_target_columns)
    iteration, output = _read_tree_positions(content, len(trees), n_outputs, n_parallel)
    tree_weight = np.ones(len(trees), REAL)
    # since 3.3 dart is no separate booster; since 3.4 weight_drop is beside the trees
    holder = gradient_booster if "weight_drop" in gradient_booster else content
    dropped = holder.get("weight_drop")
    if booster == "dart" or not _is_empty(dropped):
        tree_weight = FIELDS.array(dropped, "weight_drop", np.float32).astype(REAL)
        if len(tree_weight) != len(trees) or not np.isfinite(tree_weight).all():
            FIELDS.fail(f"weight_drop has no number for each of {len(trees)} trees")
        if (tree_weight != 1.0).any():
            booster = "dart"
    attributes = learner.get("attributes")
    attributes = attributes if isinstance(attributes, Mapping) else {}
    best = attributes.get("best_iteration")
    return XGBoostFile(
        version=version,
        booster=booster,
        objective=objective_name,
        objective_parameters=_read_objective_parameters(objective),
        n_features=n_features,
        n_outputs=n_outputs,
        n_target_columns=n_target_columns,
        n_parallel=n_parallel,
        base_score=_read_base_score(shape.get("base_score"), n_outputs),
        estimates_base_score=str(shape.get("boost_from_average")) == "1",
        iteration=iteration,
        output=output,
        tree_weight=tree_weight,
        feature_names=_read_feature_names(learner.get("feature_names"), n_features),
        labels=_read_labels(content.get("cats"), n_features),
        best_iteration=None
        if best is None
        else FIELDS.integer(best, "best_iteration", 0),
        is_estimator="scikit_learn" in attributes,
        trees=trees,
    )


def _refuse_other_boosters(booster: str, objective: str) -> None:
    if booster not in ("gbtree", "dart"):
        raise UnsupportedModelError(
            f"This XGBoost model was trained with booster={booster[:40]!r}, which "
            "has no trees. Supported are booster='gbtree' and 'dart'; train with one "
            "of them to explain the model."
        )
    if objective.startswith("survival:"):
        raise UnsupportedModelError(
            f"This XGBoost model was trained with objective={objective[:40]!r}: "
            "its targets are bounds or censored times, which are not supported. "
            "Regression, classification and ranking objectives are."
        )


def _read_version(model: Mapping[str, Any]) -> str:
    version = model.get("version")
    if not isinstance(version, (list, np.ndarray)) or len(version) != 3:
        FIELDS.fail(f"version is {shorten(version)}")
    return ".".join(str(FIELDS.integer(number, "version", -1)) for number in version)


def _read_objective_parameters(objective: Mapping[str, Any]) -> dict[str, str]:
    sections = [entry for entry in objective.values() if isinstance(entry, Mapping)]
    return {
        name: value
        for section in sections
        for name, value in section.items()
        if isinstance(value, str)
    }


def _read_base_score(value: Any, n_outputs: int) -> NDArray[np.float64]:
    """Read one number, or a bracketed list of them (3.1 and later)."""
    name = "base_score"
    text = FIELDS.instance(value, name, str).strip().removeprefix("[").removesuffix("]")
    score = FIELDS.tokens(text.split(","), name, REAL).astype(np.float32).astype(REAL)
    if len(score) not in (1, n_outputs) or not np.isfinite(score).all():
        FIELDS.fail(f"{name} is {shorten(value)} for {n_outputs} outputs")
    return score


def _read_tree_positions(
    content: Mapping[str, Any], n_trees: int, n_outputs: int, n_parallel: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the iteration and the output of each tree."""
    output = FIELDS.array(content.get("tree_info"), "tree_info", NODE)
    if len(output) != n_trees or output.min() < 0 or output.max() >= n_outputs:
        FIELDS.fail(f"tree_info does not have an output for each of {n_trees} trees")
    if "iteration_indptr" in content:
        start = FIELDS.array(content["iteration_indptr"], "iteration_indptr", OFFSET)
        if (
            len(start) < 2
            or start[0] != 0
            or start[-1] != n_trees
            or np.any(np.diff(start) < 0)
            or len(start) > n_trees + 1
        ):
            FIELDS.fail(f"iteration_indptr is not non-decreasing from 0 to {n_trees}")
        size = np.diff(start)
    else:  # 1.x
        size = np.full(-(-n_trees // (n_outputs * n_parallel)), n_outputs * n_parallel)
        if size.sum() != n_trees:
            FIELDS.fail(f"{n_trees} trees do not make whole iterations of {size[0]}")
    return np.repeat(np.arange(len(size), dtype=NODE), size), output


def _is_empty(listing: Any) -> bool:
    is_listing = isinstance(listing, (list, np.ndarray))
    return listing is None or (is_listing and not len(listing))


def _read_feature_names(names: Any, n_features: int) -> tuple[str, ...] | None:
    if _is_empty(names):
        return None
    if not isinstance(names, list) or not all(isinstance(k, str) for k in names):
        FIELDS.fail("feature_names is not a list of strings")
    if len(names) != n_features:
        FIELDS.fail(f"feature_names has {len(names)} names for {n_features} features")
    return tuple(names)


def _read_labels(
    categories: Any, n_features: int
) -> tuple[tuple[Any, ...] | None, ...] | None:
    """Read the category labels of the training frame: numbers or joined strings."""
    encoded = categories.get("enc") if isinstance(categories, Mapping) else None
    if _is_empty(encoded):
        return None
    if not isinstance(encoded, list) or len(encoded) != n_features:
        FIELDS.fail(f"cats do not have an entry for each of {n_features} features")
    labels: list[tuple[Any, ...] | None] = []
    for feature, entry in enumerate(encoded):
        name = f"cats of feature {feature}"
        values = FIELDS.instance(entry, name).get("values")
        if "offsets" not in entry:
            numbers = FIELDS.array(values, name, _label_dtype(values))
            labels.append(tuple(numbers.tolist()) or None)
            continue
        start = FIELDS.array(entry["offsets"], name, OFFSET)
        content = FIELDS.array(values, name, np.int16)
        if np.any(content < -128) or np.any(content > 255):
            FIELDS.fail(f"{name} hold something that is not a byte")
        if not len(start):
            labels.append(None)
            continue
        if start[0] != 0 or start[-1] != len(content) or np.any(np.diff(start) < 0):
            FIELDS.fail(f"{name} do not add up")
        if np.any(content < 0) or np.any(content > 127):
            # XGBoost 3.2 slices the bytes by character counts, so labels after the
            # first non-ASCII character are wrong
            labels.append(None)
            continue
        text = content.astype(np.uint8).tobytes().decode("ascii")
        labels.append(tuple(text[a:b] for a, b in itertools.pairwise(start.tolist())))
    return tuple(labels) if any(entry is not None for entry in labels) else None


def _label_dtype(values: Any) -> Any:
    """Return the dtype of numeric labels, so that integers stay integers."""
    if isinstance(values, np.ndarray):
        return REAL if values.dtype.kind == "f" else OFFSET
    is_real = isinstance(values, list) and any(isinstance(k, float) for k in values)
    return REAL if is_real else OFFSET
