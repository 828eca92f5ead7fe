"""Stability: correlate a method's influence under different seeds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from treeinf.evaluation.experiment import (
    Experiment,
    Spent,
    check_shares,
    fit_method,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.measures.agreement import compare_columns
from treeinf.evaluation.methods import read_experiment
from treeinf.training.learner import copy_estimator
from treeinf.training.seeds import derive_seed

__all__ = ["stability"]


def stability(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    n_seeds: int = 3,
    top_share: float = 0.1,
    sample_weight: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Compare each method's influence under several seeds; needs pandas.

    Each seed replaces all seeds of the estimator and of the explainer. If neither is
    random, results are equal.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`.
    n_seeds : int, default=3
        Seeds, of which every pair is compared; at least 2.
    top_share : float, default=0.1
        Share of the train rows that counts as most helpful, in (0, 1].
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method, pair of seeds and test row, with columns

        ``test_row``, ``method``, ``pair``
            Names; the pair as "0, 1".
        ``spearman``, ``undefined``
            Rank correlation over the train rows; see `agreement`.
        ``overlap``
            Jaccard index of the most helpful rows under both seeds.
        ``seconds``, ``cpu_seconds``
            Of the explainer under all seeds, the same in all its lines.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.
    """
    pd = import_pandas()
    (top_share,) = check_shares("top_share", [top_share], with_one=True)
    if n_seeds < 2:
        raise ValueError(f"Got n_seeds={n_seeds!r}; expected at least 2.")
    experiment, methods = read_experiment(
        estimator,
        explainers,
        X_train,
        y_train,
        X_test,
        y_test,
        sample_weight=sample_weight,
        with_random=with_random,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    seeds = [derive_seed(experiment.seed, number) for number in range(n_seeds)]
    models = [
        copy_estimator(experiment.learner.estimator, seed, replace_seeds=True).fit(
            experiment.X_train, experiment.y_train, **experiment.weights
        )
        for seed in seeds
    ]
    n_top = max(1, round(top_share * experiment.n_train))
    frames = []
    for name, method in methods.items():
        answers, times = [], []
        for seed, model in zip(seeds, models, strict=True):
            copy = clone(method)
            if "random_state" in copy.get_params():
                copy.set_params(random_state=seed)
            values, spent = _explain(experiment, name, copy, model)
            answers.append(values)
            times.append(spent)
        seconds, cpu_seconds = map(sum, zip(*times, strict=True))
        for (a, first), (b, second) in itertools.combinations(enumerate(answers), 2):
            compared = compare_columns(first, second)
            frames.append(
                pd.DataFrame(
                    {
                        "test_row": experiment.test_labels,
                        "method": name,
                        "pair": f"{a}, {b}",
                        "spearman": compared["spearman"],
                        "undefined": compared["undefined"],
                        "overlap": _overlap(first, second, n_top),
                        "seconds": seconds,
                        "cpu_seconds": cpu_seconds,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _explain(
    experiment: Experiment, name: str, method: Any, model: Any
) -> tuple[NDArray[np.float64], Spent]:
    X, y = experiment.X_test, experiment.y_test
    return fit_method(
        name,
        method,
        model,
        experiment.X_train,
        experiment.y_train,
        experiment.weights,
        lambda fitted: fitted.explain(X, y, output="loss").values,
    )


def _overlap(
    first: NDArray[np.float64], second: NDArray[np.float64], n_top: int
) -> list[float]:
    """Compute the Jaccard index of the most helpful rows, for each test row."""
    shares = []
    for a, b in zip(first.T, second.T, strict=True):
        tops = set(sort_down(a)[:n_top]), set(sort_down(b)[:n_top])
        shares.append(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    return shares
