"""Read models from files, and make estimators to train."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from treeinf.adapters import read_model
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.adapters.parity import check_parity
from treeinf.cli.exits import CommandError
from treeinf.cli.model_rows import task_of
from treeinf.cli.options import Library
from treeinf.cli.tables.training_data import TrainingData
from treeinf.ensemble import TreeEnsemble
from treeinf.training.estimators import make_estimator

__all__ = [
    "compare_with_library",
    "estimator_like",
    "load_with_library",
    "model_file",
    "new_estimator",
    "read_model_file",
]

N_ESTIMATORS = 100

_PARAMETERS = {
    # the same rows give the same trees, on any number of threads
    "lightgbm": {"deterministic": True, "force_row_wise": True},
    "xgboost": {"enable_categorical": True},
}

# Training parameters in LightGBM's model files: keyword of its estimators, default.
_LIGHTGBM_PARAMETERS: dict[str, tuple[str, str]] = {
    "boosting": ("boosting_type", "gbdt"),
    "data_sample_strategy": ("data_sample_strategy", "bagging"),
    "learning_rate": ("learning_rate", "0.1"),
    "num_leaves": ("num_leaves", "31"),
    "max_depth": ("max_depth", "-1"),
    "min_data_in_leaf": ("min_child_samples", "20"),
    "min_sum_hessian_in_leaf": ("min_child_weight", "0.001"),
    "bagging_fraction": ("subsample", "1"),
    "pos_bagging_fraction": ("pos_bagging_fraction", "1"),
    "neg_bagging_fraction": ("neg_bagging_fraction", "1"),
    "bagging_freq": ("subsample_freq", "0"),
    "feature_fraction": ("colsample_bytree", "1"),
    "feature_fraction_bynode": ("feature_fraction_bynode", "1"),
    "extra_trees": ("extra_trees", "0"),
    "max_delta_step": ("max_delta_step", "0"),
    "lambda_l1": ("reg_alpha", "0"),
    "lambda_l2": ("reg_lambda", "0"),
    "min_gain_to_split": ("min_split_gain", "0"),
    "drop_rate": ("drop_rate", "0.1"),
    "max_drop": ("max_drop", "50"),
    "skip_drop": ("skip_drop", "0.5"),
    "top_rate": ("top_rate", "0.2"),
    "other_rate": ("other_rate", "0.1"),
    "min_data_per_group": ("min_data_per_group", "100"),
    "max_cat_threshold": ("max_cat_threshold", "32"),
    "cat_l2": ("cat_l2", "10"),
    "cat_smooth": ("cat_smooth", "10"),
    "max_cat_to_onehot": ("max_cat_to_onehot", "4"),
    "monotone_constraints": ("monotone_constraints", ""),
    "path_smooth": ("path_smooth", "0"),
    "max_bin": ("max_bin", "255"),
    "min_data_in_bin": ("min_data_in_bin", "3"),
    "use_missing": ("use_missing", "1"),
    "zero_as_missing": ("zero_as_missing", "0"),
    "is_unbalance": ("is_unbalance", "0"),
    "scale_pos_weight": ("scale_pos_weight", "1"),
    "sigmoid": ("sigmoid", "1"),
    "boost_from_average": ("boost_from_average", "1"),
    "reg_sqrt": ("reg_sqrt", "0"),
    "alpha": ("alpha", "0.9"),
    "fair_c": ("fair_c", "1"),
    "poisson_max_delta_step": ("poisson_max_delta_step", "0.7"),
    "tweedie_variance_power": ("tweedie_variance_power", "1.5"),
}


def model_file(model: str) -> Path | None:
    """Return the path that --model names, or None for the name of a library."""
    return None if model in get_args(Library) else Path(model)


def read_model_file(
    path: Path, parameters: Mapping[str, Any] | None = None
) -> TreeEnsemble:
    """Read a model file, with its library where only that finds the leaves.

    Parameters
    ----------
    path : pathlib.Path
        What `read_model` takes.
    parameters : dict or None
        See `read_model`.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    CommandError
        If there is no such file.
    TreeinfError
        If it is not a complete model in a supported format.
    """
    if path.is_dir() or not path.exists():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise CommandError(f"The model file {path} {kind}.")
    ensemble = read_model(path, parameters=parameters)
    if not ensemble.is_native:
        return ensemble
    model = load_with_library(path, ensemble)
    if model is None:
        raise CommandError(
            f"{path} tests statistics of categories or text, which only CatBoost "
            "computes; pip install 'treeinf[catboost]'."
        )
    return read_model(model, parameters=parameters)


def compare_with_library(
    path: Path, ensemble: TreeEnsemble, X: Any
) -> tuple[str, float] | None:
    """Compare raw scores with those of the library that wrote a model file.

    Parameters
    ----------
    path : pathlib.Path
        LightGBM's model text.
    ensemble : TreeEnsemble
        The model read from it.
    X : frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    tuple of str and float, or None
        The library with its version, and the largest difference relative to the largest
        raw score; None where the library is not installed or does not read the file.
    """
    if ensemble.library != "lightgbm":
        return None
    booster = load_with_library(path, ensemble)
    if booster is None:
        return None
    import lightgbm

    return f"LightGBM {lightgbm.__version__}", check_parity(ensemble, booster, X)


def load_with_library(path: Path, ensemble: TreeEnsemble) -> Any:
    """Load a model file with the library that wrote it.

    Parameters
    ----------
    path : pathlib.Path
        Model file.
    ensemble : TreeEnsemble
        The model read from it.

    Returns
    -------
    Booster, CatBoost or None
        None where the library is not installed or does not read the format.

    Raises
    ------
    Exception
        The library's own, if it cannot load the file.
    """
    name = ensemble.library
    if name not in ("lightgbm", "xgboost", "catboost"):
        return None
    if name == "lightgbm" and not _is_lightgbm_text(path):
        return None
    try:
        library: Any = importlib.import_module(name)
    except (ImportError, OSError):
        return None
    if name == "lightgbm":
        return library.Booster(model_file=str(path))
    if name == "xgboost":
        booster = library.Booster()
        booster.load_model(path)
        return booster
    is_json = path.read_bytes()[:1] == b"{"
    return library.CatBoost().load_model(str(path), format="json" if is_json else "cbm")


def _is_lightgbm_text(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"tree")


def new_estimator(
    library: str,
    task: str,
    *,
    data: TrainingData | None = None,
    seed: int | None = None,
    n_jobs: int | None = None,
) -> Any:
    """Make an estimator with its library's defaults and 100 trees.

    Parameters
    ----------
    library : str
        One of `Library`.
    task : {"classification", "regression"}
        Kind of model.
    data : TrainingData, optional
        Rows to train on, to check whether the library accepts them.
    seed : int or None
        Random state; None leaves it to the caller.
    n_jobs : int or None
        Threads; None leaves them to the caller.

    Returns
    -------
    estimator

    Raises
    ------
    CommandError
        If the library is not installed or does not accept such rows or labels.
    """
    if data is not None:
        _check_library_takes(library, data)
    return _make(library, task, n_trees=N_ESTIMATORS, seed=seed, n_jobs=n_jobs)


def _check_library_takes(library: str, data: TrainingData) -> None:
    """Refuse rows that the library cannot train on, and name an alternative."""
    if library == "xgboost" and data.classes not in (
        None,
        tuple(range(len(data.classes or ()))),
    ):
        raise CommandError(
            "XGBoost needs class labels 0, 1, ...; the labels are "
            f"{', '.join(map(repr, data.classes or ()))}. Renumber them, or use "
            "--model lightgbm, catboost or sklearn."
        )
    has_categories = any(str(kind) == "category" for kind in data.X.dtypes)
    if library == "catboost" and has_categories:
        raise CommandError(
            "CatBoost needs the names of categorical columns and accepts no missing "
            "values in them; use --model lightgbm, xgboost or sklearn, or drop text "
            "columns with --drop-columns."
        )


def _make(library: str, task: str, **parameters: Any) -> Any:
    try:
        return make_estimator(
            library, task, **_PARAMETERS.get(library, {}), **parameters
        )
    except (ImportError, OSError) as error:
        raise CommandError(
            f"{library} does not load ({error}); pip install 'treeinf[{library}]'."
        ) from error


def estimator_like(
    path: Path, ensemble: TreeEnsemble, parameters: Mapping[str, Any] | None
) -> tuple[Any, str]:
    """Make an estimator with the training parameters that a model file lists.

    Parameters
    ----------
    path : pathlib.Path
        The model file.
    ensemble : TreeEnsemble
        The model read from it.
    parameters : dict or None
        LightGBM's parameters that override those listed.

    Returns
    -------
    estimator : LGBMClassifier or LGBMRegressor
        Not fitted.
    note : str
        Where its parameters come from.

    Raises
    ------
    CommandError
        If the model is not LightGBM's.
    """
    if ensemble.library != "lightgbm":
        raise CommandError(
            f"{path} is a model of {ensemble.library or 'an unknown library'}, which "
            "cannot be retrained from the command line; only LightGBM's can."
        )
    written = _written_parameters(path)
    settings = LightGBMParameters(written, parameters, None)
    arguments: dict[str, Any] = {"n_estimators": ensemble.n_iterations}
    source = f"with the training parameters that {path.name} lists"
    if written is None:
        arguments["learning_rate"] = float(ensemble.shrinkage.max())
        arguments["num_leaves"] = max(ensemble.most_leaves, 2)
        source = (
            f"{path.name} does not list its training parameters: number and size of "
            "trees and learning rate are read from its trees, all others are "
            "LightGBM's "
            "defaults"
        )
    for name, (keyword, default) in _LIGHTGBM_PARAMETERS.items():
        value = settings.get(name)
        if value not in (None, default):
            arguments[keyword] = _parse(value) if isinstance(value, str) else value
    objective = ensemble.loss_name.split()[0] if ensemble.loss_name else ""
    if objective not in ("", "binary", "regression", "multiclass"):
        arguments["objective"] = objective
    shown = ", ".join(f"{name}={value}" for name, value in arguments.items())
    estimator = _make("lightgbm", task_of(ensemble), **arguments)
    note = (
        "A model file cannot be retrained, so a new LightGBM model is trained instead "
        f"({source}: {shown})."
    )
    return estimator, note


def _written_parameters(path: Path) -> dict[str, str] | None:
    """Read the training parameters that a model text lists."""
    from treeinf.adapters.lightgbm import text

    if not _is_lightgbm_text(path):
        return None
    return text.parse(path.read_text(encoding="utf-8")).parameters


def _parse(value: str) -> Any:
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return value
