"""Read fitted models of LightGBM, XGBoost, CatBoost and scikit-learn.

`read_model` takes an estimator, a booster or a model file; `lookup` finds the adapter
by the model's class and `formats` by the content of the file. Each library's folder has
a ``reader`` that builds a `TreeEnsemble` from either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from treeinf.adapters import formats
from treeinf.adapters.lookup import find_adapter, init_score, unwrap_pipeline
from treeinf.ensemble import TreeEnsemble
from treeinf.validation import check_count

__all__ = ["find_adapter", "init_score", "read_model", "unwrap_pipeline"]


def read_model(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted model into a `TreeEnsemble`.

    Parameters
    ----------
    model : estimator, booster, path-like, str, bytes, dict or TreeEnsemble
        A fitted model of LightGBM, XGBoost, CatBoost or scikit-learn (boosted,
        averaged and single trees); a path to a model file (LightGBM text or dumped
        JSON, XGBoost JSON or UBJSON, CatBoost cbm or JSON, or what `TreeEnsemble.save`
        wrote), distinguished by its content; the content of such a file; or the
        dictionary that LightGBM's ``dump_model()`` returns or a JSON file holds. A
        `TreeEnsemble` is returned as it is. Of a fitted search, such as GridSearchCV,
        the best estimator is read.
    iterations : int or None
        First boosting iterations to read; None for the best one where training was
        stopped early, else all.
    parameters : dict or None
        Training parameters, under the library's names, that override those stored in
        the model. LightGBM's dumped JSON and XGBoost's files store none, and methods
        that replay the training need them: what the trees of XGBoost imply is taken,
        else the library's default, and the replay tells whether it was right.
        ``objective`` is a built-in one with the gradients of a custom one; ``version``
        is the version of XGBoost that trained the model, if a later one wrote it.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    UnsupportedModelError
        If this kind of model is not supported, or cannot be represented exactly.
    ModelFormatError
        If the file or dictionary is not a valid model.
    NotFittedError
        If the estimator has not been fitted.
    FileNotFoundError
        If there is no file at the path.
    TypeError, ValueError
        If `iterations` is not a positive integer.

    Warns
    -----
    ModelVersionWarning
        If the model was written by an XGBoost newer than those tested.
    """
    if iterations is not None:
        check_count("iterations", iterations)
    if isinstance(model, TreeEnsemble):
        _refuse_choices("a TreeEnsemble", iterations, parameters)
        return model
    source = "The content"
    if isinstance(model, str) and "\n" in model:
        model, source = model.encode(), "The text"
    elif isinstance(model, (str, os.PathLike)):
        content, source = Path(model).read_bytes(), str(model)
        if content.startswith(formats.ZIP):
            _refuse_choices(f"{source}, an npz file", iterations, parameters)
            return TreeEnsemble.load(model)
        model = content
    read: Callable[..., TreeEnsemble]
    if isinstance(model, (bytes, bytearray, memoryview)):
        adapter, model = formats.parse(bytes(model), source)
        read = adapter.read_file
    elif isinstance(model, Mapping):
        adapter, model = formats.parse_dictionary(model, "The dictionary")
        read = adapter.read_file
    else:
        adapter, model = find_adapter(model)
        read = adapter.read
    return read(model, iterations=iterations, parameters=parameters)


def _refuse_choices(model: str, *choices: Any) -> None:
    if any(choice is not None for choice in choices):
        raise ValueError(
            f"iterations and parameters apply to models of a library; got {model}."
        )
