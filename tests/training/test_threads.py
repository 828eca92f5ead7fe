"""``n_jobs`` means the same everywhere, and a copy has one thread."""

import contextlib
from unittest import mock

import numba
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_info, threadpool_limits

import treeinf as ti
from treeinf.kernels import threads
from treeinf.kernels.threads import check_n_jobs, limit_threads, one_blas_thread
from treeinf.training.learner import Learner

X = np.random.default_rng(0).normal(size=(60, 3))


def count_threads(kind):
    return {
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == kind
    }


class Watched(HistGradientBoostingRegressor):
    """Notes how many threads it may use."""

    seen = ()

    def fit(self, X, y, sample_weight=None):
        Watched.seen += tuple(count_threads("openmp"))
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        Watched.seen += tuple(count_threads("openmp"))
        return super().predict(X)


DOORS = {
    "LOO": lambda model: ti.LOO(n_jobs=1).fit(model, X[:9], X[:9, 0]).self_influence(),
    "OutOfFoldLoss": lambda model: ti.OutOfFoldLoss(n_jobs=1).fit(model, X, X[:, 0]),
    "InfluenceCleaner": lambda model: ti.InfluenceCleaner(
        model, method="loss", validation=3, n_jobs=1
    ).fit(X, X[:, 0]),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_copy_of_histogram_boosting_has_one_thread(door, monkeypatch):
    monkeypatch.setattr(Watched, "seen", ())
    with threadpool_limits(2, user_api="openmp"):
        DOORS[door](Watched(max_iter=2, early_stopping=False))
        assert set(Watched.seen) == {1}
        assert count_threads("openmp") == {2}


def test_none_is_all_wherever_jobs_are_counted():
    every = numba.config.NUMBA_NUM_THREADS
    for n_jobs in (None, -1, every, every + 5, np.int64(every)):
        assert check_n_jobs(n_jobs) == every
        assert Learner(None, None, n_jobs).n_workers == every


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_limits_are_taken_back_whatever_happens(error):
    before = numba.get_num_threads(), count_threads("blas")
    with contextlib.suppress(error), limit_threads(1), one_blas_thread():
        assert numba.get_num_threads() == 1
        raise error
    assert (numba.get_num_threads(), count_threads("blas")) == before


def test_the_last_thread_takes_the_limit_of_blas_back(monkeypatch):
    limit = mock.Mock()
    monkeypatch.setattr(threads, "threadpool_limits", limit)
    first, second = one_blas_thread(), one_blas_thread()
    for enter in (first.__enter__, second.__enter__):
        enter()
    first.__exit__(None, None, None)
    limit.return_value.restore_original_limits.assert_not_called()
    second.__exit__(None, None, None)
    limit.return_value.restore_original_limits.assert_called_once()
    limit.assert_called_once()
