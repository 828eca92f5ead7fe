"""What an XGBoost model file says, as checked arrays.

The JSON and the UBJSON form hold the same entries; `parse_model` takes what either
parser gave. Nothing here interprets a model. Every fault in a file ends in a
`ModelFormatError`, and nothing is allocated by a number that a file merely claims.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.errors import ModelFormatError

__all__ = [
    "XGBoostFile",
    "fail",
    "parse_model",
    "read_entry",
    "read_integer",
    "read_numbers",
    "shorten",
]

_MAX_NUMBER = np.iinfo(NODE).max


@dataclasses.dataclass(frozen=True)
class XGBoostFile:
    """What an XGBoost file says beside its trees, uninterpreted.

    Parameters
    ----------
    version : str
        Version of the library that wrote the file.
    booster : str
        "gbtree" or "dart".
    objective : str
        Name of the objective.
    objective_parameters : dict of str to str
        Its parameters.
    n_features, n_outputs : int
        Columns of the rows and of the raw scores.
    n_targets : int
        Targets of a row.
    n_parallel : int
        Trees for each iteration and output.
    base_score : ndarray of float64, shape (1,) or (n_outputs,)
        As written: before the objective's link.
    estimates_base_score : bool
        It was estimated from the train rows.
    iteration, output : ndarray of int32, shape (n_trees,)
        Of each tree; `output` is not read where the leaves hold all outputs.
    tree_weight : ndarray of float64, shape (n_trees,)
        Factor on each tree's leaf values, 1 but for dart.
    feature_names : tuple of str, or None
        Names, where the training rows had any.
    labels : tuple, or None
        For each feature the tuple of its category labels, or None (3.1 and later).
    best_iteration : int or None
        Where training was stopped early.
    is_estimator : bool
        An estimator wrote the file, not a booster.
    trees : list of dict
        The trees' own entries.
    """

    version: str
    booster: str
    objective: str
    objective_parameters: dict[str, str]
    n_features: int
    n_outputs: int
    n_targets: int
    n_parallel: int
    base_score: NDArray[np.float64]
    estimates_base_score: bool
    iteration: NDArray[np.int32]
    output: NDArray[np.int32]
    tree_weight: NDArray[np.float64]
    feature_names: tuple[str, ...] | None
    labels: tuple[tuple[Any, ...] | None, ...] | None
    best_iteration: int | None
    is_estimator: bool
    trees: list[Mapping[str, Any]]

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version, to compare with others."""
        return tuple(map(int, self.version.split(".")))


def fail(problem: str, cause: Exception | None = None) -> NoReturn:
    """Raise the one error that all faults of a file end in."""
    raise ModelFormatError(
        f"This is not a whole XGBoost model: {problem}. Save it again with "
        "booster.save_model(path)."
    ) from cause


def shorten(value: Any) -> str:
    """Show what was found in an error message."""
    text = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def read_integer(value: Any, what: str, low: int, high: int = _MAX_NUMBER) -> int:
    """Read one integer in [low, high], which the files write as text."""
    try:
        number = int(value) if isinstance(value, (str, int, np.integer)) else None
    except (ValueError, OverflowError) as error:
        fail(f"{what} is {shorten(value)}, not an integer", error)
    if number is None or isinstance(value, bool):
        fail(f"{what} is {shorten(value)}, not an integer")
    if not low <= number <= high:
        fail(f"{what} is {shorten(value)}, expected {low} to {high}")
    return number


def read_numbers(values: Any, what: str, dtype: Any) -> NDArray[Any]:
    """Turn a listing into a flat array, refusing what does not fit the type."""
    if not isinstance(values, (list, np.ndarray)):
        fail(f"{what} is {shorten(values)}, not a listing")
    if not len(values):
        return np.empty(0, dtype)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(values, list) and isinstance(values[0], (str, bytes)):
                raise TypeError("text")
            found = np.array(values)
            if found.dtype.kind not in "biuf" or found.ndim != 1:
                raise TypeError(f"dtype {found.dtype} of {found.ndim} dimensions")
            if np.dtype(dtype).kind == "f":
                return found.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        fail(f"{what} holds something that is not a number of its kind", error)
    if found.dtype.kind == "f":
        fail(f"{what} holds numbers that are not whole")
    if np.dtype(dtype).kind == "b":
        if found.min() < 0 or found.max() > 1:
            fail(f"{what} holds something other than 0 and 1")
    elif found.dtype.kind != "b":
        limits = np.iinfo(dtype)
        if found.min() < limits.min or found.max() > limits.max:
            fail(f"{what} holds a number out of range")
    return found.astype(dtype)


def read_entry(place: Any, key: str, kind: Any = Mapping) -> Any:
    """Give an entry that must be there and of a kind."""
    found = place.get(key) if isinstance(place, Mapping) else None
    if not isinstance(found, kind):
        fail(f"{key} is missing or {shorten(found)}")
    return found


@np.errstate(over="ignore", invalid="ignore")
def parse_model(model: Mapping[str, Any]) -> XGBoostFile:
    """Read what a JSON or UBJSON file holds.

    Parameters
    ----------
    model : dict
        The file's entries, as ``json.loads`` or `parse_ubjson` give them.

    Returns
    -------
    XGBoostFile

    Raises
    ------
    ModelFormatError
        If they are not a model.
    """
    learner = read_entry(model, "learner")
    gradient_booster = read_entry(learner, "gradient_booster")
    booster = read_entry(gradient_booster, "name", str)
    objective = read_entry(learner, "objective")
    name = read_entry(objective, "name", str)
    parameters = _read_objective_parameters(objective)
    if booster not in ("gbtree", "dart"):
        return _without_trees(_read_version(model), booster, name, parameters)
    inner = gradient_booster
    if booster == "dart":
        inner = read_entry(gradient_booster, "gbtree")
    content = read_entry(inner, "model")
    trees = read_entry(content, "trees", list)
    if not trees:
        fail("it has no trees")
    for number, tree in enumerate(trees):
        if not isinstance(tree, Mapping):
            fail(f"tree {number} is {shorten(tree)}")
    shape = read_entry(learner, "learner_model_param")
    n_features = read_integer(shape.get("num_feature"), "num_feature", 1)
    n_classes = read_integer(shape.get("num_class", 0), "num_class", 0)
    n_targets = max(read_integer(shape.get("num_target", 1), "num_target", 0), 1)
    tree_parameters = read_entry(content, "gbtree_model_param")
    # 1.x writes 0 for random forests that are not
    n_parallel = max(
        read_integer(
            tree_parameters.get("num_parallel_tree", 1), "num_parallel_tree", 0
        ),
        1,
    )
    n_outputs = max(n_classes, n_targets)
    iteration, output = _read_tree_places(content, len(trees), n_outputs, n_parallel)
    tree_weight = np.ones(len(trees), REAL)
    # from 3.3 on dropping makes no booster of its own; from 3.4 weights are with trees
    place = gradient_booster if "weight_drop" in gradient_booster else content
    dropped = place.get("weight_drop")
    if booster == "dart" or not _is_empty(dropped):
        tree_weight = read_numbers(dropped, "weight_drop", np.float32).astype(REAL)
        if len(tree_weight) != len(trees) or not np.isfinite(tree_weight).all():
            fail(f"weight_drop does not have a number for each of {len(trees)} trees")
        if (tree_weight != 1.0).any():
            booster = "dart"
    attributes = learner.get("attributes")
    attributes = attributes if isinstance(attributes, Mapping) else {}
    best = attributes.get("best_iteration")
    return XGBoostFile(
        version=_read_version(model),
        booster=booster,
        objective=name,
        objective_parameters=parameters,
        n_features=n_features,
        n_outputs=n_outputs,
        n_targets=n_targets,
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
        else read_integer(best, "best_iteration", 0),
        is_estimator="scikit_learn" in attributes,
        trees=trees,
    )


def _without_trees(
    version: str, booster: str, objective: str, parameters: dict[str, str]
) -> XGBoostFile:
    """Describe a booster of another kind, for the adapter to refuse by name."""
    nothing = np.empty(0, REAL)
    numbers = np.empty(0, NODE)
    return XGBoostFile(
        *(version, booster, objective, parameters, 0, 0, 0, 1, nothing, False, numbers),
        *(numbers, nothing, None, None, None, False, []),
    )


def _read_version(model: Mapping[str, Any]) -> str:
    version = model.get("version")
    if not isinstance(version, (list, np.ndarray)) or len(version) != 3:
        fail(f"version is {shorten(version)}")
    return ".".join(str(read_integer(part, "version", -1)) for part in version)


def _read_objective_parameters(objective: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for value in objective.values():
        if isinstance(value, Mapping):
            found.update({k: v for k, v in value.items() if isinstance(v, str)})
    return found


def _read_base_score(written: Any, n_outputs: int) -> NDArray[np.float64]:
    """Read one number, or a bracketed list of them (3.1 and later)."""
    if not isinstance(written, str):
        fail(f"base_score is {shorten(written)}")
    text = written.strip().removeprefix("[").removesuffix("]")
    try:
        with np.errstate(over="ignore"):
            found = np.array([np.float32(part) for part in text.split(",")], REAL)
    except ValueError as error:
        fail(f"base_score is {shorten(written)}", error)
    if len(found) not in (1, n_outputs) or not np.isfinite(found).all():
        fail(f"base_score is {shorten(written)} for {n_outputs} outputs")
    return found


def _read_tree_places(
    content: Mapping[str, Any], n_trees: int, n_outputs: int, n_parallel: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the iteration and the output of each tree."""
    output = read_numbers(content.get("tree_info"), "tree_info", NODE)
    if len(output) != n_trees or output.min() < 0 or output.max() >= n_outputs:
        fail(f"tree_info does not have an output for each of {n_trees} trees")
    if "iteration_indptr" in content:
        start = read_numbers(content["iteration_indptr"], "iteration_indptr", OFFSET)
        if (
            len(start) < 2
            or start[0] != 0
            or start[-1] != n_trees
            or np.any(np.diff(start) < 0)
            or len(start) > n_trees + 1
        ):
            fail(f"iteration_indptr does not rise from 0 to {n_trees}")
        size = np.diff(start)
    else:  # 1.x
        size = np.full(-(-n_trees // (n_outputs * n_parallel)), n_outputs * n_parallel)
        if size.sum() != n_trees:
            fail(f"{n_trees} trees do not make whole iterations of {size[0]}")
    return np.repeat(np.arange(len(size), dtype=NODE), size), output


def _is_empty(listing: Any) -> bool:
    is_listing = isinstance(listing, (list, np.ndarray))
    return listing is None or (is_listing and not len(listing))


def _read_feature_names(names: Any, n_features: int) -> tuple[str, ...] | None:
    if _is_empty(names):
        return None
    if not isinstance(names, list) or not all(isinstance(k, str) for k in names):
        fail("feature_names is not a listing of names")
    if len(names) != n_features:
        fail(f"feature_names has {len(names)} names for {n_features} features")
    return tuple(names)


def _read_labels(
    written: Any, n_features: int
) -> tuple[tuple[Any, ...] | None, ...] | None:
    """Read the category labels of the training frame: numbers, or texts end to end."""
    encoded = written.get("enc") if isinstance(written, Mapping) else None
    if encoded is None or (
        isinstance(encoded, (list, np.ndarray)) and not len(encoded)
    ):
        return None
    if not isinstance(encoded, list) or len(encoded) != n_features:
        fail(f"cats do not have an entry for each of {n_features} features")
    found: list[tuple[Any, ...] | None] = []
    for feature, entry in enumerate(encoded):
        what = f"cats of feature {feature}"
        if not isinstance(entry, Mapping):
            fail(f"{what} is {shorten(entry)}")
        values = entry.get("values")
        if "offsets" not in entry:
            numbers = read_numbers(values, what, _kind_of(values))
            found.append(tuple(numbers.tolist()) or None)
            continue
        start = read_numbers(entry["offsets"], what, OFFSET)
        content = read_numbers(values, what, np.int16)
        if np.any(content < -128) or np.any(content > 255):
            fail(f"{what} hold something that is not a byte")
        if not len(start):
            found.append(None)
            continue
        if start[0] != 0 or start[-1] != len(content) or np.any(np.diff(start) < 0):
            fail(f"{what} do not add up")
        if np.any(content < 0) or np.any(content > 127):
            # XGBoost 3.2 cuts the bytes by numbers of characters: past the first that
            # is not ASCII, the labels are no longer those of the frame
            found.append(None)
            continue
        text = content.astype(np.uint8).tobytes().decode("ascii")
        found.append(tuple(text[a:b] for a, b in itertools.pairwise(start.tolist())))
    return tuple(found) if any(labels is not None for labels in found) else None


def _kind_of(values: Any) -> Any:
    """Keep whole numbers whole."""
    if isinstance(values, np.ndarray):
        return REAL if values.dtype.kind == "f" else OFFSET
    is_real = isinstance(values, list) and any(isinstance(k, float) for k in values)
    return REAL if is_real else OFFSET


def read_number(text: Any, what: str) -> float:
    """Read one finite number, which the files write as text."""
    try:
        number = float(text)
    except (TypeError, ValueError, OverflowError) as error:
        fail(f"{what} is {shorten(text)}", error)
    if not math.isfinite(number):
        fail(f"{what} is {shorten(text)}")
    return number
