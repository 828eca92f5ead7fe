"""Where a model came from: one file for each library, found without importing any."""

from __future__ import annotations

import importlib
import json
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from treeinf.ensemble.structure import TreeEnsemble
from treeinf.errors import ModelFormatError, UnsupportedModelError

__all__ = ["find_adapter", "read_model"]

_ADAPTERS = {"lightgbm": "treeinf.adapters.lightgbm"}
"""The package a model's class comes from, and the module that reads it.

Such a module has ``read(model)``, ``raw_score(model, X)`` and, for file formats,
functions that `_read_file` names.
"""

_READ = (
    "Read are fitted LightGBM models (LGBMClassifier, LGBMRegressor, LGBMRanker or "
    "Booster), their model text or dumped JSON, and files that TreeEnsemble.save wrote."
)

_OTHER_FILES = {
    b"\x80": (
        "a pickle, which can run code when it is opened. If you trust it, load it "
        "yourself and pass the model, or save the model with booster.save_model(path)"
    ),
    b"CBM1": "a CatBoost model",
    b"binf": "an XGBoost model",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
}
"""First bytes of files that are told apart only to say so."""


def read_model(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted model into the uniform representation.

    Parameters
    ----------
    model : estimator, booster, path-like, dict or TreeEnsemble
        A fitted LightGBM estimator or booster; a path to its model text, its dumped
        JSON or a file that `TreeEnsemble.save` wrote, told apart by what is in them;
        the text itself, or the dictionary that ``dump_model()`` returns. A
        `TreeEnsemble` is returned as it is. Of a fitted search, such as GridSearchCV,
        the best estimator is read.
    iterations : int or None
        Boosting iterations to read; None for the best one where training was stopped
        early, else all.
    parameters : dict or None
        Training parameters, under the library's names, in place of what the model says.
        A dumped JSON holds none, and what rests on a replay of the training needs them;
        what they do not name has the library's default.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    UnsupportedModelError
        If this kind of model is not read, or cannot be represented exactly.
    ModelFormatError
        If the file or dictionary is not a whole model.
    NotFittedError
        If the estimator has not been fitted.
    FileNotFoundError
        If there is no file at the path.
    """
    if iterations is not None and (
        isinstance(iterations, bool)
        or not isinstance(iterations, numbers.Integral)
        or iterations < 1
    ):
        raise ValueError(f"Got iterations={iterations!r}; expected a positive integer.")
    if isinstance(model, TreeEnsemble):
        _refuse_choices("a TreeEnsemble", iterations, parameters)
        return model
    if isinstance(model, str) and "\n" in model:
        return _read_content(model.encode(), "The text", iterations, parameters)
    if isinstance(model, (str, os.PathLike)):
        content = Path(model).read_bytes()
        if content.startswith(b"PK\x03\x04"):
            _refuse_choices(f"{model}, an npz file", iterations, parameters)
            return TreeEnsemble.load(model)
        return _read_content(content, str(model), iterations, parameters)
    if isinstance(model, Mapping):
        return _read_json(model, "The dictionary", iterations, parameters)
    adapter, inner = find_adapter(model)
    ensemble: TreeEnsemble = adapter.read(
        inner, iterations=iterations, parameters=parameters
    )
    return ensemble


def _refuse_choices(given: str, *choices: Any) -> None:
    if any(choice is not None for choice in choices):
        raise ValueError(
            f"iterations and parameters go with a library's own model; got {given}."
        )


def find_adapter(model: Any) -> tuple[ModuleType, Any]:
    """Find the module that reads a live model, by the package of its class.

    Parameters
    ----------
    model : estimator or booster
        The model; subclasses count as what they inherit from.

    Returns
    -------
    adapter : module
        The module.
    model : estimator or booster
        The model, or the best estimator of a fitted search.

    Raises
    ------
    UnsupportedModelError
        If no module reads such models.
    NotFittedError
        If the model is a search that has not been fitted.
    """
    name = _adapter_name(model)
    if name is not None:
        return importlib.import_module(name), model
    if isinstance(model, type):
        raise UnsupportedModelError(
            f"Got the class {model.__name__}, not a fitted model. {_READ}"
        )
    if hasattr(model, "best_estimator_"):
        return find_adapter(model.best_estimator_)
    kind = type(model)
    raise UnsupportedModelError(
        f"Got a {kind.__module__}.{kind.__qualname__}. {_READ}{_way_out(model)}"
    )


def _adapter_name(model: Any) -> str | None:
    for parent in type(model).__mro__:
        name = _ADAPTERS.get(parent.__module__.partition(".")[0])
        if name is not None:
            return name
    return None


def _way_out(model: Any) -> str:
    """Say what to pass in place of a model that holds others."""
    if hasattr(model, "steps"):
        return (
            " Pass the fitted model alone, which is the last step, together with rows "
            "that the steps before it have transformed."
        )
    if hasattr(model, "calibrated_classifiers_") or any(
        _adapter_name(part) for part in getattr(model, "estimators_", ())
    ):
        return (
            " It holds several models: pass one of them, together with the rows that "
            "this one was trained on."
        )
    if hasattr(model, "estimator") and hasattr(model, "refit"):
        if not hasattr(model, "cv_results_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(model).__name__} is not fitted; call fit first."
            )
        return " Fit the search with refit=True, or pass a fitted model."
    if hasattr(model, "estimator"):
        return " Pass the fitted model inside it."
    return ""


def _read_content(
    content: bytes,
    where: str,
    iterations: int | None,
    parameters: Mapping[str, Any] | None,
) -> TreeEnsemble:
    """Read the bytes of a model file, whose format they tell."""
    for start, kind in _OTHER_FILES.items():
        if content.startswith(start):
            raise UnsupportedModelError(f"{where} is {kind}. {_READ}")
    if not content.strip():
        raise ModelFormatError(f"{where} is empty.")
    if content.lstrip()[:1] == b"{":
        try:
            dumped = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                f"{where} starts like JSON and is not whole: {error}"
            ) from error
        return _read_json(dumped, where, iterations, parameters)
    if content.split(None, 1)[0] != b"tree":
        raise ModelFormatError(
            f"{where} is not a model file that is read here. {_READ}"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{where} is not whole model text: {error}") from error
    from treeinf.adapters import lightgbm

    return lightgbm.read_text(text, iterations=iterations, parameters=parameters)


def _read_json(
    dumped: Mapping[str, Any],
    where: str,
    iterations: int | None,
    parameters: Mapping[str, Any] | None,
) -> TreeEnsemble:
    from treeinf.adapters import lightgbm

    if "learner" in dumped:
        raise UnsupportedModelError(f"{where} is an XGBoost model. {_READ}")
    if "oblivious_trees" in dumped:
        raise UnsupportedModelError(f"{where} is a CatBoost model. {_READ}")
    if "tree_info" not in dumped:
        raise ModelFormatError(
            f"{where} is not a dumped LightGBM model: there is no tree_info. {_READ}"
        )
    return lightgbm.read_json(dumped, iterations=iterations, parameters=parameters)
