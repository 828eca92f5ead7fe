"""Row samples drawn by kernels are those of the generators, draw by draw."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.naive import lightgbm_draws as naive
from tests.naive import xgboost_draws
from treeinf.kernels import compilation
from treeinf.kernels.cpu import random_draws as kernels


def pack(rows):
    words = np.zeros(-(-len(rows) // 64), np.uint64)
    packed = np.packbits(rows, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def start(seed, n_units):
    return (np.arange(-(-n_units // kernels.RUN_ROWS)) + seed).astype(np.uint64)


@pytest.mark.parametrize("n_rows", [1, 63, 64, 1000, 1024, 1025, 2100])
@pytest.mark.parametrize("by_class", [False, True])
def test_bags_are_those_of_single_draws(n_rows, by_class, rng):
    positive = rng.random(n_rows) < 0.3
    fractions = np.where(positive & by_class, 0.9, 0.37)
    words = pack(positive) if by_class else np.empty(0, np.uint64)
    states, bits = start(99, n_rows), np.empty((3, -(-n_rows // 64)), np.uint64)
    limits = [int(np.ceil(share * 2**15)) for share in (0.37, 0.9)]
    kernels.draw_lightgbm_bags(states, n_rows, limits[0], words, limits[1], bits)
    generators = naive.start(99, n_rows)
    for bag in bits:
        assert_array_equal(bag, pack(naive.draw_bag(generators, fractions)))
    assert states.tolist() == [one.state for one in generators]


def test_limits_of_none_and_all():
    states, bits = start(0, 70), np.empty((1, 2), np.uint64)
    for limit, expected in ((0, np.zeros(70, bool)), (2**15, np.ones(70, bool))):
        kernels.draw_lightgbm_bags(states, 70, limit, np.empty(0, np.uint64), 0, bits)
        assert_array_equal(bits[0], pack(expected))


@pytest.mark.parametrize(
    ("n_rows", "batch_rows", "rates"),
    [(300, 300, (0.2, 0.1)), (2500, 1024, (0.3, 0.4)), (2500, 2048, (0.2, 0.0))],
)
def test_goss_is_that_of_single_draws(n_rows, batch_rows, rates, rng):
    size = np.round(rng.exponential(size=n_rows), 2).astype(np.float32)
    sizes = np.diff([*range(0, n_rows, batch_rows), n_rows])
    n_top = np.maximum((sizes * rates[0]).astype(np.int64), 1)
    n_other = (sizes * rates[1]).astype(np.int64)
    threshold = np.array(
        [
            np.sort(size[k * batch_rows : (k + 1) * batch_rows])[-n]
            for k, n in enumerate(n_top)
        ]
    )
    states, factor = start(5, n_rows), np.empty(n_rows, np.float32)
    kernels.draw_lightgbm_goss(
        states, size, batch_rows, n_top, n_other, threshold, factor
    )
    generators = naive.start(5, n_rows)
    expected = naive.draw_goss(generators, size, batch_rows, *rates)
    assert_array_equal(factor, expected)
    assert states.tolist() == [one.state for one in generators]


def test_screening_keeps_the_seeds_whose_bag_fits(rng):
    n_rows, seeds, fraction = 1500, range(40), 0.6
    leaf = rng.integers(0, 3, n_rows)
    by_leaf = np.argsort(leaf, kind="stable")
    offset = np.concatenate([[0], np.cumsum(np.bincount(leaf))])
    factor, shift = kernels.list_lightgbm_steps(kernels.RUN_ROWS)
    step = by_leaf % kernels.RUN_ROWS
    rows = [by_leaf // kernels.RUN_ROWS, factor[step], shift[step]]
    rows = [part.astype(np.uint64) for part in rows]

    def count(seed, share):
        bag = naive.draw_bag(naive.start(seed, n_rows), [share] * n_rows)
        return np.bincount(leaf[bag], minlength=3)

    wanted = count(17, fraction)
    passes = np.empty(len(seeds), bool)
    for low, high in ((0.6, 0.6), (0.59, 0.61)):
        limits = [
            np.full(n_rows, np.ceil(share * 2**15), np.uint64) for share in (low, high)
        ]
        kernels.screen_lightgbm_seeds(0, *rows, offset, wanted, *limits, passes)
        expected = [
            bool((count(s, low) <= wanted).all() and (count(s, high) >= wanted).all())
            for s in seeds
        ]
        assert passes.tolist() == expected
    assert passes[17]


@pytest.mark.skipif(compilation.jit_disabled, reason="nothing is compiled")
def test_threads_change_no_bag(monkeypatch):
    found = []
    for limit in (2**19, 0):
        monkeypatch.setattr(compilation, "SMALL_CALL", limit)
        states, bits = start(3, 9000), np.empty((4, 141), np.uint64)
        none = np.empty(0, np.uint64)
        kernels.draw_lightgbm_bags(states, 9000, 20000, none, 0, bits)
        found.append((states, bits))
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)


def test_screening_keeps_the_seeds_whose_sample_by_size_fits(rng):
    n_rows, rates, n_seeds = 1500, (0.2, 0.3), 20
    size = rng.exponential(size=n_rows).astype(np.float32)
    leaf = rng.integers(0, 3, n_rows)

    def count(seed):
        generators = naive.start(seed, n_rows)
        factor = naive.draw_goss(generators, size, n_rows, *rates)
        return np.bincount(leaf[factor > 0], minlength=3)

    n_top, n_other = np.array([300]), np.array([450])
    ranked = (size, n_rows, n_top, n_other, np.sort(size)[-n_top])
    passes = np.empty(n_seeds, bool)
    kernels.screen_lightgbm_goss_seeds(*ranked, leaf, count(7), passes)
    expected = [np.array_equal(count(seed), count(7)) for seed in range(n_seeds)]
    assert passes.tolist() == expected
    assert passes[7]


@pytest.mark.parametrize("n_rows", [1, 63, 64, 65, 700, 70_000])
def test_xgboost_bags_are_those_of_single_draws(n_rows):
    starts = np.array([2**32 - 1, 1, 987654321], np.uint64)
    subsample = np.float32(0.7)
    bits = np.empty((3, -(-n_rows // 64)), np.uint64)
    powers = kernels.list_xgboost_powers(0, 64, bits.shape[1])
    limit = np.uint64(float(subsample) * 2.0**63)
    kernels.draw_xgboost_bags(starts, powers, n_rows, limit, bits)
    for number, bag in zip(starts.tolist(), bits, strict=True):
        expected = xgboost_draws.draw_bag(number, n_rows, 0.7)
        assert_array_equal(bag, pack(np.array(expected)))


def test_twisters_of_many_seeds_are_the_twister():
    outputs = np.empty((5, 300), np.uint32)
    kernels.seed_twisters(2**32 - 7, outputs)
    for number in (0, 6, 7, 255, 256, 299):
        seed = 2**32 - 7 + number
        assert outputs[:, number].tolist() == xgboost_draws.twist(seed, 5)


@pytest.mark.parametrize("bounds", [(0.6, 0.8), (0.7, 0.7)])
def test_screened_starts_have_the_sums_of_leaves(bounds, rng):
    n_rows, right = 200, 987654321
    leaf, size = np.sort(rng.integers(0, 6, n_rows)), rng.uniform(0.1, 1.0, n_rows)
    bag = np.array(xgboost_draws.draw_bag(right, n_rows, 0.7))
    total = np.bincount(leaf, size * bag)
    starts = np.append(rng.integers(1, 2**32, 500), right).astype(np.uint64)
    limits = np.empty((len(starts), 2), np.uint64)
    limits[:] = np.array([float(np.float32(b)) * 2.0**63 for b in bounds], np.uint64)
    powers = kernels.list_xgboost_powers(1, 1, n_rows)
    offset = np.append(0, np.cumsum(np.bincount(leaf)))
    kernels.screen_xgboost_starts(
        starts, powers, size, offset, total - 1e-9, total + 1e-9, limits
    )
    assert np.flatnonzero(limits[:, 0] <= limits[:, 1]).tolist() == [500]
    low, high = (limits[-1].astype(float) / 2.0**63).tolist()
    assert low <= np.float32(0.7) <= high
    share = (low + high) / 2  # any of the range gives this bag
    assert_array_equal(xgboost_draws.draw_bag(right, n_rows, share), bag)


@pytest.mark.parametrize("span", [0.0, 0.05, 0.5])
def test_screening_narrows_limits_to_those_that_give_the_sums(span, rng):
    n_rows, starts = 40, rng.integers(0, 2**32, 1500).astype(np.uint64)
    powers = kernels.list_xgboost_powers(1, 1, n_rows)
    size = rng.choice([0.25, 0.5], n_rows)
    offset = np.array([0, 4, 15, n_rows])
    near = [int(float(share) * 2.0**63) for share in (0.5 - span / 2, 0.5 + span / 2)]
    of_bag = draws_of(int(starts[7]), n_rows) < 2**62
    sums = np.add.reduceat(size * of_bag, offset[:-1])
    low, high = sums - 0.3, sums + 0.01
    limits = np.tile(np.array(near, np.uint64), (len(starts), 1))
    kernels.screen_xgboost_starts(starts, powers, size, offset, low, high, limits)
    n_passed = 0
    for start, found in zip(starts.tolist(), limits.tolist(), strict=True):
        draws = draws_of(start, n_rows)
        # the sums change only where a limit passes a draw
        inside = [int(d) + 1 for d in draws if near[0] <= int(d) < near[1]]
        fits = []
        for limit in sorted({near[0], *inside}):
            total = np.add.reduceat(size * (draws < limit), offset[:-1])
            if ((total >= low) & (total <= high)).all():
                fits.append(limit)
        assert (found[0] <= found[1]) == bool(fits)
        if fits:
            n_passed += 1
            later = [int(d) for d in draws if int(d) >= max(fits)]
            assert found == [min(fits), min([*later, near[1]])]
    assert 1 <= n_passed < len(starts)


def draws_of(start, n_rows):
    """The number of each row that is compared with a limit."""
    row, numbers = start, []
    for _ in range(n_rows):
        row = row * 16807 % 2**63
        numbers.append((row - 1) % 2**64)
    return np.array(numbers, np.uint64)
