"""The whole matrix of influence, against SciPy's product of the same factors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn.base import clone

from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Measured, count_leaf_ids
from benchmarks.speed.factors import multiply, write_out
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import take_turns
from treeinf.explainers import BoostIn, LeafInfluence

__all__ = ["measure_dense"]

_ALONE = "SciPy's sparse product as it is, on one thread"
_PEERS = (
    "SciPy's sparse product in threads",
    "SciPy's sparse product with dense leaf factors, in threads",
)


def measure_dense(bench: Bench) -> Measured:
    """Time `explain` against SciPy.

    SciPy is given the factors, treeinf computes them; both make a new array. BoostIn's
    leaf factors are sparse (a test row matters in its own leaves alone) and SciPy may
    take them as they are or dense: the quicker counts. SciPy's product has no threads:
    it is run on parts of the rows in as many threads as treeinf has, and as it is.
    Those of full LeafInfluence are dense. Its first call builds the matrix between
    leaves; later ones have it.
    """
    n_test = bench.size(1_000, 50)
    case = bench.fit(bench.size(20_000, 400), n_test)
    boostin = BoostIn(n_jobs=bench.n_jobs).fit(case.model, case.X, case.y)
    full = LeafInfluence(n_jobs=bench.n_jobs).fit(case.model, case.X, case.y)
    tests = case.X_test, case.y_test
    rows, leaves = write_out(boostin, *tests)
    spread = leaves.toarray()
    ends = np.linspace(0, len(case.X), bench.n_jobs + 1).astype(int)
    parts = [rows[a:b] for a, b in itertools.pairwise(ends)]
    with ThreadPoolExecutor(bench.n_jobs) as pool:
        expected = np.vstack(multiply(parts, leaves, pool))
        found = boostin.explain(*tests).values
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        must_move = found.nbytes + count_leaf_ids(boostin.ensemble_, len(case.X))
        del expected, found
        work: dict[str, Callable[..., Any]] = {
            "BoostIn": lambda: boostin.explain(*tests),
            "first": lambda fitted: fitted.explain(*tests),
            "LeafInfluence": lambda: full.explain(*tests),
            _PEERS[0]: lambda: multiply(parts, leaves, pool),
            _PEERS[1]: lambda: multiply(parts, spread, pool),
            _ALONE: lambda: rows @ spread,
        }
        prepare = {"first": lambda: clone(full).fit(case.model, case.X, case.y)}
        times = take_turns(work, bench.repeats, prepare=prepare)
    quicker = min(_PEERS, key=lambda name: times[name].median)
    size = f"{case.rows}, {n_test:,} test rows, {N_TREES} trees of {N_LEAVES} leaves"
    note = f"largest difference {error:.0e} of the largest influence"
    return Measured(
        [
            *(
                Row.quicker(
                    "BoostIn explain",
                    times["BoostIn"],
                    peer,
                    times[peer],
                    4.0,
                    must_move=float(must_move),
                    size=size,
                    note=note,
                )
                for peer in (quicker, _ALONE)
            ),
            *(
                Row.quicker(
                    title,
                    times[name],
                    _PEERS[1],
                    times[_PEERS[1]],
                    4.0,
                    must_move=float(must_move),
                    size=size,
                    note="the leaf factors, which SciPy is given, take a backward pass",
                )
                for title, name in (
                    ("LeafInfluence explain, the first call", "first"),
                    ("LeafInfluence explain, later calls", "LeafInfluence"),
                )
            ),
        ]
    )
