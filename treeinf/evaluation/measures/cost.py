"""Measure running time and memory of each method."""

from __future__ import annotations

import functools
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from treeinf.evaluation.experiment import import_pandas
from treeinf.evaluation.methods import read_experiment
from treeinf.training.learner import copy_estimator
from treeinf.validation import check_count

__all__ = ["cost"]

_MIB = 2.0**20


def cost(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    n_repeats: int = 3,
    sample_weight: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Measure time and memory of fitting and querying each method; needs pandas.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`.
    n_repeats : int, default=3
        Times that each step is timed, after the run that measures memory, which may
        compile kernels.
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`; explainers passed as objects have their own number of threads.

    Returns
    -------
    pandas.DataFrame
        One line for each method and step ("fit", "explain", "total"), with columns

        ``method``, ``step``
            Names.
        ``seconds``, ``seconds_low``, ``seconds_high``
            Median, minimum and maximum wall time.
        ``per_training``
            `seconds` over the median time of training the estimator.
        ``peak_mib``
            Peak memory that NumPy and Python allocated in a separate run, in MiB,
            without that of the libraries and of other processes.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.
    """
    pd = import_pandas()
    check_count("n_repeats", n_repeats)
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
    model, rows = experiment.model, (experiment.X_train, experiment.y_train)
    tests = (experiment.X_test, experiment.y_test)
    unfitted = experiment.learner.estimator
    training = _time(
        lambda: copy_estimator(unfitted, experiment.seed).fit(*rows), n_repeats
    )
    training_seconds = statistics.median(training)
    lines = []
    for name, method in methods.items():
        try:
            fitted = clone(method).fit(model, *rows, **experiment.weights)
            steps: dict[str, Callable[[], Any]] = {
                "fit": functools.partial(
                    clone(method).fit, model, *rows, **experiment.weights
                ),
                "explain": functools.partial(fitted.explain, *tests, output="loss"),
                "total": functools.partial(fitted.total, *tests, output="loss"),
            }
            for step, call in steps.items():
                peak = _peak(call)
                seconds = _time(call, n_repeats)
                lines.append(
                    {
                        "method": name,
                        "step": step,
                        "seconds": statistics.median(seconds),
                        "seconds_low": min(seconds),
                        "seconds_high": max(seconds),
                        "per_training": statistics.median(seconds) / training_seconds,
                        "peak_mib": peak,
                    }
                )
        except Exception as error:
            error.add_note(f"This came from the method {name!r}.")
            raise
    return pd.DataFrame(lines)


def _time(call: Callable[[], Any], n_repeats: int) -> list[float]:
    seconds = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def _peak(call: Callable[[], Any]) -> float:
    """Run once, and return the peak memory, in MiB."""
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return (tracemalloc.get_traced_memory()[1] - before) / _MIB
    finally:
        if not was_tracing:
            tracemalloc.stop()
