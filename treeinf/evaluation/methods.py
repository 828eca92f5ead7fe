"""Create explainers by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.base import clone

from treeinf import explainers as all_explainers
from treeinf.evaluation.experiment import Experiment
from treeinf.explainers import Random
from treeinf.explainers.base import Explainer
from treeinf.explainers.baselines.row_score import RowScore

__all__ = ["METHODS", "new_method", "read_experiment", "read_methods"]

_NO_METHODS = {"AdditiveExplainer", "Explainer", "Influence", "RankedRows"}
_NO_LOSSES = {"TargetInfluence"}

METHODS: dict[str, type[Any]] = {
    name: getattr(all_explainers, name)
    for name in all_explainers.__all__
    if name not in _NO_METHODS | _NO_LOSSES
}
"""Methods by name: explainers, and scores of the train rows alone."""


def new_method(
    kind: str,
    *,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
    **parameters: Any,
) -> Any:
    """Create an explainer by the name of its class.

    Parameters
    ----------
    kind : str
        One of `METHODS`.
    random_state : int, default=0
        Seed, for explainers that have one.
    n_jobs : int or None, default=None
        Threads or processes.
    verbose : bool, default=False
        Whether to show progress.
    **parameters
        Other parameters.

    Returns
    -------
    Explainer or RowScore

    Raises
    ------
    ValueError, TypeError
        If there is no such class, or it has no such parameter.
    """
    if kind not in METHODS:
        raise ValueError(
            f"Got the method {kind!r}; expected one of {', '.join(METHODS)}."
        )
    accepted = inspect.signature(METHODS[kind]).parameters
    unknown = sorted(set(parameters) - set(accepted))
    if unknown:
        raise TypeError(
            f"{kind} has no parameter {unknown[0]!r}; it has {', '.join(accepted)}."
        )
    arguments = {
        "n_jobs": n_jobs,
        "random_state": random_state,
        "verbose": verbose,
        **parameters,
    }
    return METHODS[kind](
        **{name: arguments[name] for name in arguments if name in accepted}
    )


def read_methods(
    explainers: Any,
    *,
    random_state: int,
    n_jobs: int | None,
    with_random: bool,
    takes_scores: bool = False,
    verbose: bool = False,
    what: str = "explainers",
) -> dict[str, Any]:
    """Copy explainers, or create them by name.

    Parameters
    ----------
    explainers : dict of str to Explainer, or list of str
        Explainers by the names that they get in the result, or names of classes, taken
        with their defaults.
    random_state : int
        Seed of those passed by name.
    n_jobs : int or None
        Threads of those passed by name.
    with_random : bool
        Whether to add `Random` where it is not among them.
    takes_scores : bool, default=False
        Whether to accept scores of train rows alone, such as `Loss`.
    verbose : bool, default=False
        Whether those passed by name show progress.
    what : str, default="explainers"
        Name of the argument, for error messages.

    Returns
    -------
    dict of str to Explainer or RowScore
        In the order given.

    Raises
    ------
    TypeError, ValueError
        If they are something else.
    """
    if isinstance(explainers, str) or not isinstance(explainers, Iterable):
        raise TypeError(
            f"Got {what}={explainers!r:.200}; expected a dict of names and "
            "explainers, or a list of names of classes."
        )
    named = (
        dict(explainers)
        if isinstance(explainers, Mapping)
        else _name_classes(list(explainers), what)
    )
    if not named:
        raise ValueError(f"{what} is empty; expected at least one.")
    kinds = (Explainer, RowScore) if takes_scores else (Explainer,)
    made: dict[str, Any] = {}
    for name, value in named.items():
        if isinstance(value, str):
            method = new_method(
                value, random_state=random_state, n_jobs=n_jobs, verbose=verbose
            )
        elif isinstance(value, Explainer | RowScore):
            method = clone(value)
        else:
            raise TypeError(
                f"Got {value!r:.200} of type {type(value).__name__} in {what}; "
                "expected an explainer or the name of its class."
            )
        if not isinstance(method, kinds):
            raise TypeError(
                f"{type(method).__name__} scores train rows alone; this measure needs "
                "influence on test rows."
            )
        made[str(name)] = method
    if with_random and not any(type(value) is Random for value in made.values()):
        made["Random"] = Random(random_state=random_state)
    return made


def read_experiment(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    sample_weight: Any,
    with_random: bool,
    random_state: int,
    n_jobs: int | None,
    verbose: bool,
    groups: Any = None,
    takes_scores: bool = False,
) -> tuple[Experiment, dict[str, Any]]:
    """Check the arguments that all measures share.

    Parameters
    ----------
    estimator, X_train, y_train, X_test, y_test, sample_weight, groups, verbose
        See `Experiment.read`.
    explainers, with_random, takes_scores
        See `read_methods`.
    random_state, n_jobs
        Of both.

    Returns
    -------
    experiment : Experiment
    methods : dict of str to Explainer or RowScore

    Raises
    ------
    TypeError, ValueError
        If the methods or the rows are not valid.
    """
    methods = read_methods(
        explainers,
        random_state=random_state,
        n_jobs=n_jobs,
        with_random=with_random,
        takes_scores=takes_scores,
    )
    experiment = Experiment.read(
        estimator,
        X_train,
        y_train,
        X_test,
        y_test,
        sample_weight=sample_weight,
        groups=groups,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    return experiment, methods


def _name_classes(names: list[Any], what: str) -> dict[str, str]:
    """Check a list of names of classes."""
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(
            f"Got {wrong[0]!r:.200} in {what}; expected names of classes. Pass "
            "explainers in a dict: {'name': explainer}."
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"Got {what}={names!r}; a name is repeated. Pass explainers in a dict: "
            "{'name': explainer}."
        )
    return {name: name for name in names}
