"""Parallel tasks: order, and what is left when a caller stops early."""

import functools
import gc
import warnings

import pytest

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
