"""Time influence on a given model and table, relative to the library's prediction."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from treeinf.adapters import read_model
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import (
    BagsNotFoundError,
    SelfExplanationWarning,
    UnsupportedModelError,
)
from treeinf.evaluation.timing import take_turns, time_call
from treeinf.explainers import BoostIn, LeafInfluence, LeafRefit, Trex
from treeinf.explainers.row_sampling import in_bag
from treeinf.frames import take_rows
from treeinf.validation import check_count

__all__ = ["ModelBench", "QuestionCost", "bench_model"]

PREDICTION = "raw scores of the train rows"
"""The reference of all ratios."""
RECOVERY = "which rows each tree saw"

_EXPLAINERS: tuple[type[Any], ...] = (BoostIn, LeafInfluence, LeafRefit, Trex)


@dataclasses.dataclass(frozen=True)
class QuestionCost:
    """Wall time of one call of an explainer.

    Parameters
    ----------
    method : str
        Name of the explainer, or of the library that predicts.
    question : str
        The call that is timed.
    first : float
        Seconds of the first call in this process, which may compile kernels.
    median, low, high : float
        Seconds of the later calls.
    ratio : float
        `median` over the median of the library's prediction of the train rows; NaN
        where the library cannot predict here.
    """

    method: str
    question: str
    first: float
    median: float
    low: float
    high: float
    ratio: float


@dataclasses.dataclass(frozen=True)
class ModelBench:
    """Costs of all calls on one model.

    Parameters
    ----------
    n_train, n_test, n_trees, n_leaves : int
        Sizes of the rows and of the model.
    costs : tuple of QuestionCost
        The library's prediction first, where it can be timed.
    refused : dict of str to str
        Explainers that do not support this model, with the reason, and ``in_bag``
        where the rows of its trees were not found.
    """

    n_train: int
    n_test: int
    n_trees: int
    n_leaves: int
    costs: tuple[QuestionCost, ...]
    refused: dict[str, str]


def bench_model(
    model: Any,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    sample_weight: Any = None,
    predict: Callable[[], Any] | None = None,
    repeats: int = 3,
    n_jobs: int | None = None,
) -> ModelBench:
    """Time the calls of the explainers on a model.

    Parameters
    ----------
    model : estimator, booster, path or TreeEnsemble
        The fitted model, as `read_model` takes it.
    X, y : array-like or frame
        The rows that it was trained on, and their targets.
    X_test, y_test : array-like or frame
        Rows to explain, at least one.
    sample_weight : array-like, shape (n_train,), optional
        Row weights of the training.
    predict : callable, optional
        Computes the library's own raw scores of the train rows, the reference of the
        ratios; without it there are no ratios.
    repeats : int, default=3
        Repeats of each operation, after its first call.
    n_jobs : int or None, default=None
        Threads of the explainers; None for all cores. `predict` sets its own.

    Returns
    -------
    ModelBench

    Raises
    ------
    ValueError, TypeError
        If `repeats` is not a positive integer, or the rows do not fit the model.
    UnsupportedModelError
        If no explainer explains this model.

    Notes
    -----
    Operations are timed in turns, so that drifts of speed affect all equally. "fit"
    is everything from the user's table on: rows are checked and routed, the training is
    replayed and compared with the model. Where the training sampled rows, `in_bag`
    is timed, too: "fit" takes that time as a part.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from treeinf.evaluation import bench_model
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = HistGradientBoostingRegressor(max_iter=5).fit(X, y)
    >>> bench = bench_model(model, X, y, X[:9], y[:9], repeats=1, n_jobs=1)
    >>> bench.costs[0].method, bench.costs[0].question
    ('BoostIn', 'fit')
    """
    check_count("repeats", repeats)
    ensemble = read_model(model)
    n_test = len(y_test)
    first_seconds: dict[tuple[str, str], float] = {}
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    refused = {}

    def add(method: str, question: str, call: Callable[[], Any]) -> Any:
        first_seconds[method, question], result = time_call(call)
        calls[method, question] = call
        return result

    if predict is not None:
        add(ensemble.library, PREDICTION, predict)
    if ensemble.training.row_sampling is not None:
        try:
            add(
                "in_bag",
                RECOVERY,
                functools.partial(in_bag, model, X, y, sample_weight, n_jobs=n_jobs),
            )
        except BagsNotFoundError as error:
            refused["in_bag"] = str(error)
    for explainer_class in _EXPLAINERS:
        name = explainer_class.__name__
        fit = functools.partial(
            lambda make: make(n_jobs=n_jobs).fit(
                model, X, y, sample_weight=sample_weight
            ),
            explainer_class,
        )
        try:
            explainer = add(name, "fit", fit)
        except UnsupportedModelError as error:
            refused[name] = str(error)
            continue
        for question, call in _questions(explainer, X_test, y_test, n_test).items():
            add(name, question, _without_self_warning(call))
    names = [explainer_class.__name__ for explainer_class in _EXPLAINERS]
    if refused.keys() >= set(names):
        raise UnsupportedModelError(
            f"No explainer explains this model: {refused[names[0]]}"
        )
    return ModelBench(
        n_train=len(y),
        n_test=n_test,
        n_trees=ensemble.n_trees,
        n_leaves=ensemble.n_leaves,
        costs=_measure(calls, first_seconds, repeats, ensemble, predict is not None),
        refused=refused,
    )


def _questions(
    explainer: Any, X_test: Any, y_test: Any, n_test: int
) -> dict[str, Callable[[], Any]]:
    """Return the calls to time for a fitted explainer, by description."""
    first_row = np.array([0])
    X_one, y_one = take_rows(X_test, first_row), take_rows(y_test, first_row)
    if isinstance(explainer, LeafRefit):
        # `total` refits once for each train row; time one removal instead
        removal = functools.partial(
            explainer.group_influence, [first_row], X_test, y_test
        )
        return {f"one group removed, {n_test:,} test rows": removal}
    questions: dict[str, Callable[[], Any]] = {
        f"total over {n_test:,} test rows": functools.partial(
            explainer.total, X_test, y_test
        ),
        "explain one row": functools.partial(explainer.explain, X_one, y_one),
        "top 10 of one row": functools.partial(explainer.top_k, X_one, y_one, k=10),
    }
    if isinstance(explainer, BoostIn):
        questions["self influence"] = explainer.self_influence
    return questions


def _without_self_warning(call: Callable[[], Any]) -> Callable[[], Any]:
    """Silence the warning about explained train rows: only time matters here."""

    def silent_call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelfExplanationWarning)
            return call()

    return silent_call


def _measure(
    calls: dict[tuple[str, str], Callable[[], Any]],
    first_seconds: dict[tuple[str, str], float],
    repeats: int,
    ensemble: TreeEnsemble,
    has_prediction: bool,
) -> tuple[QuestionCost, ...]:
    names = {f"{method}: {question}": (method, question) for method, question in calls}
    times = take_turns({name: calls[key] for name, key in names.items()}, repeats)
    prediction = (
        times[f"{ensemble.library}: {PREDICTION}"].median if has_prediction else np.nan
    )
    return tuple(
        QuestionCost(
            method,
            question,
            first_seconds[method, question],
            times[name].median,
            *times[name].spread,
            ratio=times[name].median / prediction,
        )
        for name, (method, question) in names.items()
    )
