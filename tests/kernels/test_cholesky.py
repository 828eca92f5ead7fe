"""The inverse of a Cholesky factor against NumPy's."""

import threading
import time

import numpy as np
import pytest

from treeinf.kernels.cholesky import invert_factor


def positive(rng, n_rows):
    factor = rng.normal(size=(n_rows, n_rows))
    return factor @ factor.T + np.eye(n_rows)


@pytest.mark.parametrize("n_rows", [1, 2, 7, 200])
def test_gives_the_inverse_of_the_factor(n_rows, rng):
    matrix = positive(rng, n_rows)
    actual = matrix.copy()
    invert_factor(actual)
    upper = np.linalg.cholesky(matrix).T
    np.testing.assert_allclose(np.triu(actual) @ upper, np.eye(n_rows), atol=1e-9)
    # below the diagonal nothing is read or written
    np.testing.assert_array_equal(np.tril(actual, -1), np.tril(matrix, -1))
    half = np.triu(matrix)
    invert_factor(half)
    np.testing.assert_array_equal(half, np.triu(actual))


def test_two_rows_worked_by_hand():
    matrix = np.array([[4.0, 2.0], [2.0, 5.0]])
    invert_factor(matrix)
    # the factor is [[2, 1], [0, 2]]
    np.testing.assert_allclose(np.triu(matrix), [[0.5, -0.25], [0.0, 0.5]])


def test_lets_other_threads_go_on(rng):
    matrix = np.ascontiguousarray(positive(rng, 1500))
    ticks, is_done = [], threading.Event()

    def tick():
        while not is_done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    other.start()
    begin = time.perf_counter()
    invert_factor(matrix)
    end = time.perf_counter()
    is_done.set()
    other.join()
    # SciPy's own wrapper lets none of them through
    assert sum(begin < one < end for one in ticks) > 3


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, "shape .2, 3."),
        (np.eye(2, dtype=np.float32), ValueError, "float32"),
        (np.eye(4)[::2, ::2], ValueError, "C order"),
        (-np.eye(3), np.linalg.LinAlgError, "3 rows is not positive definite"),
    ],
)
def test_refuses(matrix, error, message):
    with pytest.raises(error, match=message):
        invert_factor(matrix)
