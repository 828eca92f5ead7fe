"""Parallel tasks: order, and what is left when a caller stops early."""

import functools
import gc
import os
import warnings

import pytest
from sklearn import config_context, get_config

from treeinf.training.parallel import run_tasks


def square(number):
    """Return the square of a number."""
    return number * number


def fail():
    """Raise an error."""
    raise KeyError("a task")


def tasks(n=12):
    """Return tasks that square 0, 1, 2, ..."""
    return [functools.partial(square, i) for i in range(n)]


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("chunk_size", [1, 5])
def test_results_come_in_the_order_of_the_tasks(n_workers, chunk_size):
    results = run_tasks(tasks(), n_workers, chunk_size=chunk_size)
    assert list(results) == [i * i for i in range(12)]


@pytest.mark.parametrize("n_read", [0, 1, 3])
def test_a_caller_that_stops_early_is_not_warned(n_read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an error in a finalizer fails the test
        results = run_tasks(tasks(), 2)
        for _ in range(n_read):
            next(results)
        del results
        gc.collect()


def test_an_error_of_a_task_reaches_the_caller():
    with pytest.raises(KeyError, match="a task"):
        list(run_tasks([*tasks(3), fail, *tasks(3)], 2))


def describe(number):
    """Return the process, whether missing values are assumed absent, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("a deprecation", DeprecationWarning, stacklevel=1)
        warnings.warn("a user's", UserWarning, stacklevel=1)
    messages = sorted(str(one.message) for one in caught)
    return os.getpid(), get_config()["assume_finite"], messages


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_workers_have_the_configuration_and_the_filters_of_the_caller(workers):
    asked = [functools.partial(describe, number) for number in range(4)]
    with config_context(assume_finite=True), warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("always", DeprecationWarning)
        warnings.filterwarnings("ignore", "a user's")
        # those of threads may overlap, so they take turns there
        n_workers = 2 if workers == "processes" else 1
        found = list(run_tasks(asked, n_workers, workers=workers))
        assert {config for _, config, _ in found} == {True}
        assert [messages for *_, messages in found] == [["a deprecation"]] * 4
    assert (found[0][0] != os.getpid()) == (workers == "processes")


def test_no_thread_changes_the_filters_of_the_process():
    changed = []
    catch = warnings.catch_warnings

    class Spy(catch):
        def __enter__(self):
            changed.append(self)
            return super().__enter__()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", Spy)
        assert list(run_tasks(tasks(), 3)) == [i * i for i in range(12)]
    assert not changed
