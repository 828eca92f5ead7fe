"""Train estimators that stop early on an eval_set, which copies do not have.

The number of iterations is found on a share of the rows that a copy is trained on, held
out, so that no other row has a part in it; then the copy is trained on all of its rows
with that number. So influence is computed on the rows that a copy has seen.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.training.cloning import (
    BOOSTERS,
    clone_estimator,
    find_package,
    last_step,
)
from treeinf.training.row_groups import deal_groups
from treeinf.training.rows import LabelledRows

__all__ = [
    "describe_stopping",
    "find_iterations",
    "find_stopping",
    "has_eval_set",
    "refuse_hidden_stopping",
    "settle_iterations",
]

HELD_OUT = 0.2
_HELD_OUT_SEED = 0x68656C64
_ROUNDS = (
    "early_stopping_round",
    "early_stopping_rounds",
    "early_stopping",
    "n_iter_no_change",
)
_ITERATIONS = (
    "n_estimators",
    "iterations",
    "num_boost_round",
    "num_iterations",
    "num_iteration",
    "num_rounds",
    "num_round",
    "num_trees",
    "num_tree",
    "n_iter",
    "nrounds",
    "max_iter",
)
"""Names of the number of iterations in the three libraries."""


def find_stopping(
    estimator: Any, fit_params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the settings by which an estimator stops early on an eval_set.

    Parameters
    ----------
    estimator : estimator
        A booster, or a pipeline that ends in one.
    fit_params : mapping of str to Any, optional
        Arguments of its fit, whose callbacks may stop it.

    Returns
    -------
    dict of str to Any
        By name; empty if it does not stop early, or by rows that it holds out itself,
        as those of scikit-learn do.
    """
    last, fit_params = last_step(estimator), fit_params or {}
    library = find_package(last)
    parameters = last.get_params() if library in BOOSTERS else {}
    if parameters.get("eval_fraction"):  # CatBoost holds rows out itself
        return {}
    rounds = {
        name: parameters[name]
        for name in _ROUNDS
        if parameters.get(name) is not None and parameters[name] > 0
    }
    if library == "catboost":
        names = ["od_pval", "use_best_model"]
        if parameters.get("od_type") == "Iter" or parameters.get("od_wait"):
            names += ["od_type", "od_wait"]
        rounds |= {name: parameters[name] for name in names if parameters.get(name)}
    for source in (parameters, fit_params if parameters else {}):
        for name, value in source.items():
            if name.rpartition("__")[2] == "callbacks":
                stopping = list(filter(_stops, value or ()))
                rounds |= {name: stopping} if stopping else {}
    return rounds


def _stops(callback: Any) -> bool:
    """Whether a callback of LightGBM or XGBoost is one that stops early."""
    name = type(callback).__name__
    return name in ("EarlyStopping", "_EarlyStoppingCallback")


def has_eval_set(fit_params: Mapping[str, Any]) -> bool:
    """Whether arguments of fit include rows to stop on."""
    return any(
        name.rpartition("__")[2] in ("eval_set", "eval_X") and value is not None
        for name, value in fit_params.items()
    )


def refuse_hidden_stopping(estimator: Any) -> None:
    """Refuse an estimator inside of which a booster stops early.

    Raises
    ------
    ValueError
        If one stops early that is not the estimator or the last step of a pipeline.
    """
    last = last_step(estimator)
    for name, value in estimator.get_params(deep=True).items():
        if value is last or not hasattr(value, "fit") or isinstance(value, type):
            continue
        settings = find_stopping(value)
        if settings and last_step(value) is not last:
            setting = next(iter(settings))
            raise ValueError(
                f"{type(last_step(value)).__name__}, the {name} of "
                f"{type(estimator).__name__}, has {setting}={settings[setting]!r}, "
                "which needs an eval_set that it does not get in there. Set it to None "
                "and the number of iterations to the one wanted, or pass "
                f"{type(last_step(value)).__name__} itself, alone or at the end of a "
                "pipeline: then each copy holds rows out for it."
            )


def describe_stopping(estimator: Any, fit_params: Mapping[str, Any], final: Any) -> str:
    """Describe how copies of an estimator, and the final one, stopped early.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    fit_params : mapping of str to Any
        Arguments of fit.
    final : estimator
        The final model, trained like a copy.

    Returns
    -------
    str
        Empty if they did not.
    """
    settings = find_stopping(estimator, fit_params)
    if not settings:
        return ""
    last = type(last_step(estimator)).__name__
    settings_text = ", ".join(
        name if "callbacks" in name else f"{name}={value!r}"
        for name, value in settings.items()
    )
    if has_eval_set(fit_params):
        return (
            f"{last} stops early ({settings_text}), each copy on the eval_set passed."
        )
    return (
        f"{last} stops early ({settings_text}): each copy found its number of "
        f"iterations on {HELD_OUT:.0%} of its own rows, held out, and was then trained "
        f"on all of them; the final model has {_count_iterations(last_step(final))}."
    )


def _count_iterations(model: Any) -> str:
    parameters = model.get_params()
    counts = [parameters[name] for name in _ITERATIONS if parameters.get(name)]
    return f"{counts[0]:,} iterations" if counts else "none"


def settle_iterations(estimator: Any, rows: LabelledRows) -> Any:
    """Return an unfitted copy with a number of iterations that all its copies share.

    Parameters
    ----------
    estimator : estimator
        If it stops early, the number is that of its training where it is fitted; else
        it is found on a share of the rows, held out.
    rows : LabelledRows
        All train rows.

    Raises
    ------
    ValueError
        See `refuse_hidden_stopping`.
    """
    refuse_hidden_stopping(estimator)
    if not find_stopping(estimator):
        return clone_estimator(estimator)
    last = last_step(estimator)
    if best_iteration(last) is not None:
        return fix_iterations(estimator, last)
    return find_iterations(estimator, rows, {}, seed=0)[0]


def find_iterations(
    estimator: Any, rows: LabelledRows, fit_params: dict[str, Any], seed: int
) -> tuple[Any, dict[str, Any]]:
    """Find where an estimator stops early on held-out rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted, a booster or a pipeline that ends in one; it is not changed.
    rows : LabelledRows
        Rows that it is to be trained on.
    fit_params : dict of str to Any
        Arguments of fit.
    seed : int
        Seed of the draw of the held-out rows.

    Returns
    -------
    estimator : estimator
        With the number of iterations found, which no longer stops early. Where the
        library never stops (LightGBM's dart), all of them.
    fit_params : dict of str to Any
        Arguments of fit without callbacks that stop early.
    """
    is_out = _draw_held_out(rows, seed)
    seen, unseen = rows.take(~is_out), rows.take(is_out)
    inner, X, X_out, prefix = clone_estimator(estimator), seen.X, unseen.X, ""
    while hasattr(inner, "steps"):
        if len(inner.steps) > 1:
            before = inner[:-1]
            X, X_out = before.fit_transform(X, seen.y), before.transform(X_out)
        prefix += f"{inner.steps[-1][0]}__"
        inner = inner.steps[-1][1]
    arguments = {
        name.removeprefix(prefix): value
        for name, value in fit_params.items()
        if name.startswith(prefix)
    }
    if seen.weight is not None:
        arguments["sample_weight"] = seen.weight
    inner.fit(X, seen.y, **arguments, **_evaluate_on(inner, X_out, unseen))
    fixed = fix_iterations(estimator, inner)
    return fixed, {name: _without_stopping(v) for name, v in fit_params.items()}


def best_iteration(model: Any) -> int | None:
    """Return how many iterations a model that stops early has; None if not fitted."""
    library = find_package(model)
    if library == "catboost":
        return int(model.tree_count_) if model.is_fitted() else None
    # LightGBM counts iterations, XGBoost numbers them
    if library == "lightgbm":
        return getattr(model, "best_iteration_", None) or None
    best = getattr(model, "best_iteration", None)
    return None if best is None else int(best) + 1


def fix_iterations(estimator: Any, fitted: Any) -> Any:
    """Return an unfitted copy with the number of iterations of a fitted booster.

    Parameters
    ----------
    estimator : estimator
        A booster, or a pipeline that ends in one.
    fitted : estimator
        The fitted booster.
    """
    last, best = last_step(estimator), best_iteration(fitted)
    if find_package(last) == "catboost":
        off = {*_ROUNDS, *_ITERATIONS, "od_type", "od_wait", "od_pval"}
        off |= {"use_best_model", "learning_rate", "eta"}
        kept = {k: v for k, v in last.get_params().items() if k not in off}
        # the default of the learning rate depends on the number of iterations
        new = type(last)(**kept, iterations=best, learning_rate=fitted.learning_rate_)
        return _replace_last(clone_estimator(estimator), new)
    copied, parameters = clone_estimator(estimator), last.get_params()
    changes: dict[str, Any] = {}
    if best is not None:
        changes |= {name: best for name in _ITERATIONS if name in parameters}
    changes |= {name: None for name in _ROUNDS if name in parameters}
    if parameters.get("callbacks"):
        changes["callbacks"] = _without_stopping(parameters["callbacks"]) or None
    last_step(copied).set_params(**changes)
    return copied


def _without_stopping(value: Any) -> Any:
    """Leave callbacks that stop early out of a list of callbacks."""
    if not isinstance(value, list | tuple) or not any(map(_stops, value)):
        return value
    return [callback for callback in value if not _stops(callback)]


def _replace_last(estimator: Any, last: Any) -> Any:
    """Replace the last step of a pipeline."""
    names, inner = [], estimator
    while hasattr(inner, "steps"):
        names.append(inner.steps[-1][0])
        inner = inner.steps[-1][1]
    return estimator.set_params(**{"__".join(names): last}) if names else last


def _draw_held_out(rows: LabelledRows, seed: int) -> NDArray[np.bool_]:
    """Draw rows to hold out, of each class in proportion; at least one in all."""
    rng = np.random.default_rng([seed, _HELD_OUT_SEED])
    if rows.group is not None and len(np.unique(rows.group)) > 1:
        shares = (1.0 - HELD_OUT, HELD_OUT)
        return deal_groups(rows.group, rows.code, shares, rng) == 1
    order = rng.permutation(rows.n_rows)
    is_out = np.zeros(rows.n_rows, dtype=np.bool_)
    code = np.zeros(rows.n_rows, np.int64) if rows.code is None else rows.code
    counts = np.bincount(code)
    for number, count in enumerate(counts):
        n_out = int(HELD_OUT * count)
        if number == counts.argmax() and count > 1:
            n_out = max(n_out, 1)
        is_out[order[code[order] == number][:n_out]] = True
    return is_out


def _evaluate_on(estimator: Any, X: Any, rows: LabelledRows) -> dict[str, Any]:
    """Return the arguments of fit that make it stop on some rows."""
    library, weight = find_package(estimator), rows.weight
    if library == "catboost":
        parameters = estimator.get_params()
        pool = importlib.import_module("catboost").Pool(
            X,
            rows.y,
            weight=weight,
            cat_features=parameters.get("cat_features"),
            text_features=parameters.get("text_features"),
            embedding_features=parameters.get("embedding_features"),
        )
        return {"eval_set": pool}
    if library == "xgboost":
        weights = {} if weight is None else {"sample_weight_eval_set": [weight]}
        return {"eval_set": [(X, rows.y)], "verbose": False, **weights}
    weights = {} if weight is None else {"eval_sample_weight": [weight]}
    if "eval_X" in inspect.signature(estimator.fit).parameters:
        return {"eval_X": X, "eval_y": rows.y, **weights}
    return {"eval_set": [(X, rows.y)], **weights}
