"""Read LightGBM models: estimators, boosters, model text and dumped JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.lightgbm.categories import label_columns
from treeinf.adapters.lightgbm.files import LightGBMFile, LinearTreesError
from treeinf.adapters.lightgbm.json import parse_json
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.adapters.lightgbm.text import parse_text
from treeinf.dtypes import FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import (
    InputRules,
    LeafRule,
    Missing,
    TrainingFacts,
    TreeEnsemble,
    losses,
)
from treeinf.errors import ModelFormatError, UnsupportedModelError

__all__ = ["ZERO_THRESHOLD", "raw_score", "read", "read_json", "read_text"]

ZERO_THRESHOLD = float(np.float32(1e-35))
"""LightGBM reads values of at most this size as 0.0 when it predicts."""

_QUANTILE_OBJECTIVES = ("regression_l1", "quantile", "mape")
_ESTIMATING_OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "quantile", "mape"),
    *("poisson", "gamma", "tweedie", "binary", "multiclass", "multiclassova"),
    *("cross_entropy", "xentropy", "cross_entropy_lambda", "xentlambda"),
)
"""Objectives for which LightGBM estimates an initial score from the train rows."""


# Live models.


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted estimator or a booster of LightGBM.

    Parameters
    ----------
    model : LGBMModel or Booster
        The model. An early stopped one is read up to its best iteration.
    iterations : int or None
        Iterations to read; None for the best one, or all.
    parameters : dict or None
        Training parameters that are known better than the model knows them.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    UnsupportedModelError
        If the model cannot be represented exactly, such as one of linear leaves.
    """
    import lightgbm

    booster = _booster(model)
    text = booster.model_to_string(num_iteration=iterations)
    classes, class_weight = None, None
    if booster is not model:
        classes = getattr(model, "classes_", None)
        class_weight = _class_weight(model.class_weight)
    return _assemble(
        _parse(parse_text, text),
        parameters=parameters,
        unrounded=booster.params,
        iterations=iterations,
        classes=classes,
        class_weight=class_weight,
        version=lightgbm.__version__,
    )


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute LightGBM's own raw scores.

    Parameters
    ----------
    model : LGBMModel or Booster
        The model.
    X : array-like or frame, shape (n_rows, n_features)
        Rows; those of pandas as LightGBM reads them, labels of categories included.
    iterations : int or None
        Iterations to use; None for the best one, or all.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)

    Notes
    -----
    In random forest mode LightGBM's raw score is the sum over the trees and only its
    prediction is their mean; here it is the mean in both.
    """
    booster = _booster(model)
    if sparse.issparse(X):
        X = sparse.csr_matrix(sparse.csr_array(X))
    elif not (isinstance(X, np.ndarray) or hasattr(X, "iloc")):
        # LightGBM knows the categories of pandas frames alone; it gets their numbers
        X = read(model).read_rows(X).values
    found = np.asarray(
        booster.predict(
            X, raw_score=True, num_iteration=iterations, **_own_threads(booster)
        ),
        dtype=REAL,
    )
    n_outputs = booster.num_model_per_iteration()
    found = found.reshape(-1, n_outputs)
    if _is_averaged(booster):
        used = booster.best_iteration if iterations is None else iterations
        n_iterations = booster.num_trees() // n_outputs
        found /= min(used, n_iterations) if used > 0 else n_iterations
    return found


def _own_threads(booster: Any) -> dict[str, int]:
    """Give the number of threads that the model was trained with, if it says so.

    LightGBM keeps one number for the whole process. Predicting with another while a
    second Python thread trains leads the latter past the end of its buffers.
    """
    parameters = getattr(booster, "params", None) or {}
    for name in ("num_threads", "n_jobs", "nthread", "num_thread", "nthreads"):
        if isinstance(parameters.get(name), int) and parameters[name] > 0:
            return {"num_threads": parameters[name]}
    return {}


def _is_averaged(booster: Any) -> bool:
    header, _, _ = booster.model_to_string(num_iteration=1).partition("\nTree=")
    return "average_output" in header.splitlines()


def _booster(model: Any) -> Any:
    """Give the booster of a fitted model, or say what is wrong with the model."""
    import lightgbm

    if isinstance(model, lightgbm.Booster):
        return model
    if isinstance(model, lightgbm.LGBMModel):
        if not model.__sklearn_is_fitted__():
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(model).__name__} is not fitted; call fit first."
            )
        return model.booster_
    raise UnsupportedModelError(
        f"Got a lightgbm {type(model).__name__}, which is not a model; expected a "
        "fitted LGBMClassifier, LGBMRegressor or LGBMRanker, or one Booster."
    )


def _class_weight(
    given: Any,
) -> str | tuple[tuple[Any, float], ...] | None:
    if given is None or isinstance(given, str):
        return given
    return tuple((label, float(weight)) for label, weight in given.items())


# Files.


def read_text(
    text: str,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read model text, as ``save_model`` and ``model_to_string`` write it.

    Parameters
    ----------
    text : str
        The whole text.
    iterations : int or None
        First iterations to read; None for all.
    parameters : dict or None
        Training parameters, in place of what the text says. A text that lists no
        parameters needs them for a replay of the training; what they do not name has
        LightGBM's default.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    ModelFormatError
        If the text is not a whole model.
    UnsupportedModelError
        If the model cannot be represented exactly, such as one of linear leaves.
    """
    return _assemble(
        _parse(parse_text, text), parameters=parameters, iterations=iterations
    )


def read_json(
    dumped: Mapping[str, Any],
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a dumped model, as ``dump_model`` returns it.

    Parameters
    ----------
    dumped : dict
        The dumped model.
    iterations : int or None
        First iterations to read; None for all.
    parameters : dict or None
        Training parameters, which a dumped model does not hold and a replay of the
        training needs; what they do not name has LightGBM's default.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    ModelFormatError
        If the dictionary is not a whole model.
    UnsupportedModelError
        If the model cannot be represented exactly, such as one of linear leaves.
    """
    return _assemble(
        _parse(parse_json, dumped), parameters=parameters, iterations=iterations
    )


def _parse(parse: Callable[[Any], LightGBMFile], content: Any) -> LightGBMFile:
    try:
        return parse(content)
    except LinearTreesError:
        raise UnsupportedModelError(
            "This LightGBM model was trained with linear_tree=True: its leaves hold "
            "linear models. Read are trees with constant leaves. Train with "
            "linear_tree=False to explain the model."
        ) from None


# From what a file says to an ensemble.


def _assemble(
    file: LightGBMFile,
    *,
    parameters: Mapping[str, Any] | None,
    unrounded: Mapping[str, Any] | None = None,
    iterations: int | None = None,
    classes: NDArray[Any] | None = None,
    class_weight: str | tuple[tuple[Any, float], ...] | None = None,
    version: str | None = None,
) -> TreeEnsemble:
    if iterations is not None:
        file = _cut(file, iterations)
    known = LightGBMParameters(file.parameters, parameters, unrounded)
    notes = _approximations(file, known)
    loss = _loss(file, known, notes)
    trees = file.trees
    n_trees = len(trees.n_leaves)
    n_iterations = n_trees // file.n_outputs
    leaf_offset = np.concatenate([[0], np.cumsum(trees.n_leaves)]).astype(OFFSET)
    node_offset = np.concatenate([[0], np.cumsum(trees.n_leaves - 1)]).astype(OFFSET)
    if n_trees == 0:
        _refuse("it has no trees")
    folded = _folded(file, known, leaf_offset)
    shrinkage = _shrinkage(file, known, folded, notes)
    leaf_value = trees.leaf_value
    if file.average_output:
        leaf_value = leaf_value / n_iterations
    weight = trees.leaf_weight
    number = np.arange(n_trees)
    objective = _objective(file)[0]
    return TreeEnsemble(
        node_offset=node_offset,
        leaf_offset=leaf_offset,
        iteration=(number // file.n_outputs).astype(NODE),
        output=(number % file.n_outputs).astype(NODE),
        shrinkage=shrinkage,
        feature=trees.feature,
        threshold=trees.threshold,
        left=trees.left,
        right=trees.right,
        default_left=trees.default_left & ~trees.is_categorical,
        missing=np.where(trees.is_categorical, Missing.NAN, trees.missing).astype(
            np.uint8
        ),
        is_categorical=trees.is_categorical,
        category_offset=trees.category_offset,
        category_bits=trees.category_bits,
        leaf_value=leaf_value[:, np.newaxis],
        base_score=np.zeros(file.n_outputs, REAL),
        base_score_folded=_folded_share(file, known, folded),
        input_rules=InputRules(
            n_features=file.n_features,
            feature_names=file.feature_names,
            categories=label_columns(file, known),
            zero_threshold=ZERO_THRESHOLD,
        ),
        loss=loss,
        loss_name=objective or "custom",
        leaf_rule=_leaf_rule(objective, known),
        training=TrainingFacts(
            class_weight=class_weight,
            positive_weight=_positive_weight(objective, known),
            single_precision=True,
            subsample=_subsample(known),
            approximations=tuple(notes),
        ),
        leaf_count=trees.leaf_count,
        leaf_hessian=(
            np.maximum(weight, 0.0)
            if weight is not None and np.isfinite(weight).all()
            else None
        ),
        leaf_l2=_leaf_l2(file, known, objective, node_offset, leaf_offset),
        is_averaged=file.average_output,
        classes=classes,
        library="lightgbm",
        library_version=version or f"(model format {file.version})",
    )


def _refuse(problem: str) -> NoReturn:
    raise ModelFormatError(f"This LightGBM model cannot be read: {problem}.")


def _cut(file: LightGBMFile, iterations: int) -> LightGBMFile:
    """Keep the first iterations."""
    trees = file.trees.first(iterations * file.n_outputs)
    return dataclasses.replace(file, trees=trees)


def _objective(file: LightGBMFile) -> tuple[str, dict[str, str]]:
    """Split the objective into its name and options."""
    name, *options = file.objective.split(" ")
    return name, {
        key: value for key, _, value in (option.partition(":") for option in options)
    }


def _loss(
    file: LightGBMFile, known: LightGBMParameters, notes: list[str]
) -> losses.Loss | None:
    """Find the loss of the objective; None for those that are not known."""
    name, options = _objective(file)
    n_outputs = file.n_outputs

    def option(key: str) -> float:
        if key in options:
            try:
                return known.unround(key, float(options[key]))
            except ValueError:
                _refuse(f"its objective is {file.objective[:60]!r}")
        if not known.is_known:
            notes.append(
                f"The file does not say {key} of the objective {name}; LightGBM's "
                f"default is assumed (pass parameters={{{key!r}: ...}})."
            )
        return known.number(key)

    if "num_class" in options and options["num_class"] != str(n_outputs):
        _refuse(f"{file.objective!r} does not go with {n_outputs} trees an iteration")
    found: losses.Loss | None
    match name:
        case "regression":
            found = losses.SquaredError(sqrt_target="sqrt" in options)
        case "regression_l1":
            found = losses.AbsoluteError()
        case "huber":
            found = losses.Huber(option("alpha"))
        case "fair":
            found = losses.Fair(option("fair_c"))
        case "poisson":
            found = losses.Poisson(option("poisson_max_delta_step"))
        case "quantile":
            found = losses.Quantile(option("alpha"))
        case "mape":
            found = losses.AbsolutePercentageError()
        case "gamma":
            found = losses.Gamma()
        case "tweedie":
            found = losses.Tweedie(option("tweedie_variance_power"))
        case "binary":
            found = losses.Logistic(option("sigmoid"))
        case "cross_entropy" | "xentropy":
            found = losses.CrossEntropy()
        case "multiclass" if n_outputs > 1:
            found = losses.Softmax(n_outputs, n_outputs / (n_outputs - 1))
        case "multiclassova" if n_outputs > 1:
            found = losses.OneVsAll(n_outputs, scale=option("sigmoid"))
        case _:
            return None
    if found.n_outputs != n_outputs:
        _refuse(f"{file.objective!r} does not go with {n_outputs} trees an iteration")
    return found


def _leaf_rule(objective: str, known: LightGBMParameters) -> LeafRule:
    if objective in _QUANTILE_OBJECTIVES:
        return LeafRule("quantile")
    if not known.is_known:
        return LeafRule("unknown")
    return LeafRule(
        "newton",
        l1_leaf=known.number("lambda_l1"),
        max_leaf_value=max(known.number("max_delta_step"), 0.0),
        path_smooth=known.number("path_smooth"),
    )


def _leaf_l2(
    file: LightGBMFile,
    known: LightGBMParameters,
    objective: str,
    node_offset: NDArray[np.int64],
    leaf_offset: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """Give each leaf the penalty of the split that made it.

    A leaf keeps the value it got when its parent was split, and LightGBM adds `cat_l2`
    where that split sorted many categories instead of trying them one by one.
    """
    if objective in _QUANTILE_OBJECTIVES or not known.is_known:
        return None
    trees = file.trees
    leaf_l2 = np.full(int(leaf_offset[-1]), known.number("lambda_l2"), REAL)
    if not trees.is_categorical.any():
        return leaf_l2
    if file.category_bins is None:
        return None
    n_bins = np.array(
        [len(file.category_bins.get(int(feature), ())) for feature in trees.feature]
    )
    is_sorted = trees.is_categorical & (n_bins > known.number("max_cat_to_onehot"))
    tree = np.repeat(np.arange(len(trees.n_leaves)), np.diff(node_offset))
    for child in (trees.left, trees.right):
        penalised = is_sorted & (child < 0)
        leaf = leaf_offset[tree[penalised]] + ~child[penalised].astype(OFFSET)
        leaf_l2[leaf] += known.number("cat_l2")
    return leaf_l2


def _folded(
    file: LightGBMFile, known: LightGBMParameters, leaf_offset: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Find the outputs whose first tree holds an initial score.

    LightGBM sets the shrinkage of a tree to 1 when it adds the initial score to its
    leaves. So a first tree with another shrinkage holds none, whatever the parameters
    say (the rows had initial scores of their own, or the estimate was 0). Trees that
    are averaged hold it all alike; nothing replays them.
    """
    trees = file.trees
    folded = np.zeros(file.n_outputs, FLAG)
    if file.average_output or _objective(file)[0] not in _ESTIMATING_OBJECTIVES:
        return folded
    for output in range(file.n_outputs):
        if trees.n_leaves[output] == 1:
            folded[output] = trees.leaf_value[leaf_offset[output]] != 0.0
        elif _is_dart(file, known):
            folded[output] = known.flag("boost_from_average")
        elif trees.shrinkage[output] == 1.0:
            rate = _next_rate(file, output)
            is_evident = known.number("learning_rate") != 1.0 and rate != 1.0
            folded[output] = is_evident or known.flag("boost_from_average")
    return folded


def _folded_share(
    file: LightGBMFile, known: LightGBMParameters, folded: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give the share of the initial score in each output's first tree.

    A first tree that dart scaled later holds an initial score scaled like it.
    """
    share = folded.astype(REAL)
    if _is_dart(file, known):
        share *= file.trees.shrinkage[: file.n_outputs]
    return share


def _is_dart(file: LightGBMFile, known: LightGBMParameters) -> bool:
    return known.text("boosting") == "dart"


def _next_rate(file: LightGBMFile, output: int) -> float | None:
    """Shrinkage of the first later tree of an output that has one of its own."""
    trees = file.trees
    later = np.arange(output + file.n_outputs, len(trees.n_leaves), file.n_outputs)
    later = later[trees.n_leaves[later] > 1]
    return float(trees.shrinkage[later[0]]) if len(later) else None


def _shrinkage(
    file: LightGBMFile,
    known: LightGBMParameters,
    folded: NDArray[np.bool_],
    notes: list[str],
) -> NDArray[np.float64]:
    """Find the learning rate inside each tree's leaf values.

    The file writes six digits of it, and 1 in a tree that holds an initial score.
    """
    trees = file.trees
    if file.average_output:
        n_iterations = len(trees.n_leaves) // file.n_outputs
        return np.full(len(trees.n_leaves), 1.0 / n_iterations, REAL)
    shrinkage = trees.shrinkage.copy()
    is_dart = _is_dart(file, known)
    has_rate = trees.n_leaves > 1
    is_first = np.arange(len(shrinkage)) < file.n_outputs
    guessed = False
    for output in np.flatnonzero(folded & has_rate[: file.n_outputs]).tolist():
        rate = _next_rate(file, output)
        if is_dart:
            shrinkage[output] *= known.number("learning_rate")
        elif rate is not None:
            shrinkage[output] = rate
        elif known.is_known:
            shrinkage[output] = known.number("learning_rate")
        else:
            guessed = True
    if guessed:
        notes.append(
            "The file does not say the learning rate of the first trees; 1 is assumed "
            "(pass parameters={'learning_rate': ...})."
        )
    rates = np.unique(shrinkage[has_rate & ~is_first])
    if len(rates) > 1 and not is_dart and folded.any():
        notes.append(
            "Learning rates change from iteration to iteration and that of the first "
            f"one is not in the file; {shrinkage[0]:g}, the next one's, is assumed."
        )
    for rate in np.unique(shrinkage):
        shrinkage[shrinkage == rate] = known.unround("learning_rate", float(rate))
    return shrinkage


def _positive_weight(objective: str, known: LightGBMParameters) -> float | str | None:
    if objective not in ("binary", "multiclassova"):
        return None
    if known.flag("is_unbalance"):
        return "unbalanced"
    weight = known.number("scale_pos_weight")
    return None if weight == 1.0 else weight


def _subsample(known: LightGBMParameters) -> str | None:
    if "goss" in (known.text("data_sample_strategy"), known.text("boosting")):
        return (
            f"data_sample_strategy=goss, top_rate={known.number('top_rate'):g}, "
            f"other_rate={known.number('other_rate'):g}"
        )
    if known.number("bagging_freq") <= 0:
        return None
    fractions = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
    below = [name for name in fractions if known.number(name) < 1.0]
    if not below:
        return None
    words = [f"{name}={known.number(name):g}" for name in below]
    return ", ".join([*words, f"bagging_freq={known.number('bagging_freq'):g}"])


def _approximations(file: LightGBMFile, known: LightGBMParameters) -> list[str]:
    """Name the settings under which a replay of the training is not exact."""
    notes = []
    if _is_dart(file, known):
        notes.append(
            "boosting=dart: each tree was fitted to the scores of a random part of the "
            "trees before it and rescaled later; the replay takes all of them."
        )
    if file.average_output and (file.trees.n_leaves == 1).any():
        notes.append(
            "boosting=rf: LightGBM leaves the initial score out of forest trees that "
            "have a single leaf; the replay takes it to be in all of them."
        )
    if file.is_monotone or known.has_nonzero("monotone_constraints"):
        notes.append(
            "monotone_constraints: some leaf values were moved into the bounds that "
            "the constraints set; the replay leaves the bounds out."
        )
    if known.number("path_smooth") > 0.0:
        notes.append(
            f"path_smooth={known.number('path_smooth'):g}: LightGBM smooths by counts "
            "of rows that it estimates from hessians, which under sample weights and "
            "for most objectives are not the counts; the replay takes the counts."
        )
    if known.flag("use_quantized_grad"):
        notes.append(
            "use_quantized_grad: leaf values come from gradients rounded to "
            f"{known.number('num_grad_quant_bins'):g} levels; the replay does not."
        )
    if known.text("device_type") in ("gpu", "cuda"):
        notes.append(
            f"device_type={known.text('device_type')}: sums of gradients were kept in "
            "single precision; the replay keeps them in double precision."
        )
    return notes
