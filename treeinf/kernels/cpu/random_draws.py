"""Row samples drawn by the generators of the libraries.

LightGBM's generator is a linear congruence, ``x <- 214013 x + 2531011`` modulo 2**32,
of whose state bits 16 to 30 are a draw in [0, 2**15). There is one for each run of
`RUN_ROWS` rows. After k steps a state is ``factor[k - 1] x + shift[k - 1]``: the draws
of a whole word of rows are independent of each other.

XGBoost's rows take one draw each, too: row i has ``x = 16807**(i + 1) s`` modulo 2**63
and is in the bag if ``x - 1`` is below a limit. The start s is an output of a Mersenne
twister (M. Matsumoto, T. Nishimura, ACM Transactions on Modeling and Computer
Simulation 8, 1998).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import linear_kernel, scalar_rule

__all__ = [
    "RUN_ROWS",
    "draw_lightgbm_bags",
    "draw_lightgbm_goss",
    "draw_xgboost_bags",
    "list_lightgbm_steps",
    "list_xgboost_powers",
    "screen_lightgbm_goss_seeds",
    "screen_lightgbm_seeds",
    "screen_xgboost_starts",
    "seed_twisters",
    "select_rows",
    "step_twister_back",
]

RUN_ROWS = 1024
"""Rows that share one of LightGBM's generators."""

_WORD = 64
_MULTIPLIER, _INCREMENT = 214013, 2531011
_LOW_32 = np.uint64(2**32 - 1)
_LOW_31 = np.uint64(2**31 - 1)
_LOW_15 = np.uint64(2**15 - 1)
_ONE, _DRAW_SHIFT = np.uint64(1), np.uint64(16)
_STEP_FACTOR, _STEP_SHIFT = np.uint64(_MULTIPLIER), np.uint64(_INCREMENT)


def list_lightgbm_steps(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and shift of the state after 1 to `n_steps` steps.

    Returns
    -------
    factor, shift : ndarray of uint32, shape (n_steps,)
    """
    factor, shift = np.empty(n_steps, np.uint32), np.empty(n_steps, np.uint32)
    a, c = 1, 0
    for k in range(n_steps):
        a = a * _MULTIPLIER % 2**32
        c = (c * _MULTIPLIER + _INCREMENT) % 2**32
        factor[k], shift[k] = a, c
    return factor, shift


_FACTOR, _SHIFT = list_lightgbm_steps(_WORD)


@scalar_rule
def _draw_word(state, limit):
    """Return which of the next 64 draws are below a limit, one bit each."""
    word = np.uint64(0)
    for k in range(_WORD):
        moved = np.uint64(_FACTOR[k]) * state + np.uint64(_SHIFT[k])
        word |= np.uint64(moved & _LOW_31 < limit) << np.uint64(k)
    return word


@linear_kernel
def draw_lightgbm_bags(states, n_units, limit, positive, positive_limit, bits):
    """Draw bags one after the other.

    Parameters
    ----------
    states : ndarray of uint64, shape (n_runs,)
        State of each generator; moved on.
    n_units : int64
        Rows, or queries where bags are drawn of queries.
    limit : int64
        In the bag if the draw is below it, in [0, 2**15].
    positive : ndarray of uint64, shape (n_words,) or (0,)
        A bit for each unit that has `positive_limit` in place of `limit`.
    positive_limit : int64
        Their limit.
    bits : ndarray of uint64, shape (n_bags, n_words)
        Output, overwritten: unit i is in a bag if bit ``i % 64`` of word ``i // 64`` is
        set.
    """
    n_bags, n_words = bits.shape
    run_words = RUN_ROWS // _WORD
    last_size = n_units - (n_words - 1) * _WORD
    last_mask = ~np.uint64(0) >> np.uint64(_WORD - last_size)
    scaled = np.uint64(limit) << _DRAW_SHIFT
    positive_scaled = np.uint64(positive_limit) << _DRAW_SHIFT
    for run in prange(states.size):
        state = states[run]
        for bag in range(n_bags):
            for word in range(run * run_words, min((run + 1) * run_words, n_words)):
                drawn = _draw_word(state, scaled)
                if positive.size:
                    others = drawn & ~positive[word]
                    drawn = others | _draw_word(state, positive_scaled) & positive[word]
                n_drawn = _WORD
                if word == n_words - 1:
                    drawn &= last_mask
                    n_drawn = last_size
                bits[bag, word] = drawn
                state = np.uint64(_FACTOR[n_drawn - 1]) * state
                state = state + np.uint64(_SHIFT[n_drawn - 1]) & _LOW_32
        states[run] = state


@linear_kernel
def draw_lightgbm_goss(states, size, batch_rows, n_top, n_other, threshold, factor):
    """Draw one sample by size of the gradients (GOSS).

    Parameters
    ----------
    states : ndarray of uint64, shape (n_runs,)
        State of each generator; moved on.
    size : ndarray of float32, shape (n_rows,)
        Sum over the outputs of ``abs(gradient * hessian)``.
    batch_rows : int64
        Rows that are ranked together; whole runs, or all rows.
    n_top, n_other : ndarray of int64, shape (n_batches,)
        Rows of each batch that are in for their size, and rows drawn of the others.
    threshold : ndarray of float32, shape (n_batches,)
        Size from which rows are in.
    factor : ndarray of float32, shape (n_rows,)
        Output, overwritten: 1 for those, 0 for rows that are out, and for rows drawn
        the quotient by which they stand for the others.
    """
    n_rows = size.size
    for batch in prange(n_top.size):
        begin = batch * batch_rows
        end = min(begin + batch_rows, n_rows)
        rest = np.float32(end - begin - n_top[batch])
        amplification = np.float32(rest / np.float32(max(n_other[batch], 1)))
        n_big = n_drawn = 0
        for i in range(begin, end):
            if size[i] >= threshold[batch]:
                factor[i] = np.float32(1.0)
                n_big += 1
                continue
            run = i // RUN_ROWS
            states[run] = states[run] * _STEP_FACTOR + _STEP_SHIFT & _LOW_32
            left = (end - i) - (n_top[batch] - n_big)
            if _is_drawn(states[run], n_other[batch] - n_drawn, left):
                factor[i] = amplification
                n_drawn += 1
            else:
                factor[i] = np.float32(0.0)


@scalar_rule
def _is_drawn(state, n_needed, n_left):
    """Return whether the next of `n_left` rows is among the `n_needed`.

    LightGBM compares quotients, the draw's and theirs; products are exact.
    """
    return np.int64(state >> _DRAW_SHIFT & _LOW_15) * n_left < n_needed * 32768


@linear_kernel
def screen_lightgbm_goss_seeds(
    size, batch_rows, n_top, n_other, threshold, leaf, leaf_count, passes
):
    """Find seeds whose first sample by GOSS has the counts of a tree's leaves.

    Parameters
    ----------
    size, batch_rows, n_top, n_other, threshold
        See `draw_lightgbm_goss`.
    leaf : ndarray of int64, shape (n_rows,)
        Leaf of each row.
    leaf_count : ndarray of int64, shape (n_leaves,)
        Rows of each leaf in the sample.
    passes : ndarray of bool, shape (n_seeds,)
        Output, overwritten: whether the seed, from 0, gives the counts.
    """
    n_rows = size.size
    for seed in prange(passes.size):
        missing = leaf_count.copy()
        state = np.uint64(0)
        for batch in range(n_top.size):
            begin = batch * batch_rows
            end = min(begin + batch_rows, n_rows)
            n_big = n_drawn = 0
            for i in range(begin, end):
                if i % RUN_ROWS == 0:
                    state = np.uint64(seed + i // RUN_ROWS)
                if size[i] >= threshold[batch]:
                    missing[leaf[i]] -= 1
                    n_big += 1
                    continue
                state = state * _STEP_FACTOR + _STEP_SHIFT & _LOW_32
                left = (end - i) - (n_top[batch] - n_big)
                if _is_drawn(state, n_other[batch] - n_drawn, left):
                    missing[leaf[i]] -= 1
                    n_drawn += 1
        passes[seed] = not missing.any()


@linear_kernel
def screen_lightgbm_seeds(
    first_seed, run, factor, shift, leaf_offset, leaf_count, low, high, passes
):
    """Find seeds whose first bag may have the counts of a tree's leaves.

    Parameters
    ----------
    first_seed : int64
        Seed of the first element of `passes`.
    run, factor, shift : ndarray of uint64, shape (n_rows,)
        For each row, leaf by leaf: the number of its generator, and the factor and
        shift by which the generator gets from its start to the row.
    leaf_offset : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's rows begin. Small leaves first are fastest.
    leaf_count : ndarray of int64, shape (n_leaves,)
        Rows of each leaf in the bag.
    low, high : ndarray of uint64, shape (n_rows,)
        For each row, the smallest and the largest limit that its draw may have to be
        below.
    passes : ndarray of bool, shape (n_seeds,)
        Output, overwritten: False where some leaf has too many rows in the bag at the
        smallest limit, or too few at the largest.
    """
    for number in prange(passes.size):
        seed = np.uint64(first_seed + number)
        passes[number] = True
        for leaf in range(leaf_count.size):
            fewest = most = 0
            for i in range(leaf_offset[leaf], leaf_offset[leaf + 1]):
                state = seed + run[i] & _LOW_32
                draw = factor[i] * state + shift[i] >> _DRAW_SHIFT & _LOW_15
                fewest += draw < low[i]
                most += draw < high[i]
            if fewest > leaf_count[leaf] or most < leaf_count[leaf]:
                passes[number] = False
                break


_TWISTER_WORDS, _TWISTER_LAG = 624, 397
_TWISTER_MASK = np.uint32(0x9908B0DF)
_HIGH_BIT, _LOW_BITS = np.uint32(2**31), np.uint32(2**31 - 1)


@linear_kernel
def select_rows(draws, n_selected, bits):
    """Select a number of rows at random, as scikit-learn's boosting does.

    Parameters
    ----------
    draws : ndarray of float64, shape (n_rows,)
        A draw in [0, 1) for each row. A row is selected if its draw is below the share
        that is still wanted of the rows from it on.
    n_selected : int64
        Rows to select.
    bits : ndarray of uint64, shape (n_words,)
        Output, which must come zeroed: a bit for each row.
    """
    n_rows, n_found = draws.size, 0
    for row in range(n_rows):
        if draws[row] * (n_rows - row) < n_selected - n_found:
            bits[row // _WORD] |= _ONE << np.uint64(row % _WORD)
            n_found += 1


@scalar_rule
def _untwist(mixed):
    """Return the high bit of one old word and the low bits of the next."""
    if mixed & _HIGH_BIT:
        return np.uint32(
            (np.uint32(mixed ^ _TWISTER_MASK) << np.uint32(1)) | np.uint32(1)
        )
    return np.uint32(mixed << np.uint32(1))


@linear_kernel
def step_twister_back(words, n_twists):
    """Restore the words of a Mersenne twister (MT19937) before some twists.

    Parameters
    ----------
    words : ndarray of uint32, shape (624,)
        State; overwritten.
    n_twists : int64
        Times that all words were replaced since.

    Notes
    -----
    New word i is old word ``(i + 397) % 624`` (from i = 227 on a new word) mixed with
    the high bit of old word i and the low bits of old word i + 1. Backwards from the
    last word, each new word so gives these bits. The low bits of old word 0 are those
    in which the last old word was made. O(n_twists) time.
    """
    last = _TWISTER_WORDS - 1
    for _ in range(n_twists):
        for i in range(last, -1, -1):
            # words above i are old, those up to it new
            source = i + _TWISTER_LAG
            if source > last:
                source -= _TWISTER_WORDS
            pair = _untwist(np.uint32(words[i] ^ words[source]))
            if i < last:
                words[i + 1] = (words[i + 1] & _HIGH_BIT) | (pair & _LOW_BITS)
            words[i] = pair & _HIGH_BIT
        low = _untwist(np.uint32(words[last] ^ words[_TWISTER_LAG - 1]))
        words[0] = (words[0] & _HIGH_BIT) | (low & _LOW_BITS)


_BASE = 16807
_LOW_63 = np.uint64(2**63 - 1)
_DRAWN_WORDS = 1024
_SEEDS_AT_ONCE = 256
_STARTS_AT_ONCE = 1024


def list_xgboost_powers(first: int, step: int, n_powers: int) -> np.ndarray:
    """Return powers of XGBoost's multiplier from `first` on, in steps of `step`.

    Returns
    -------
    ndarray of uint64, shape (n_powers,)
        Modulo 2**64.
    """
    powers = np.full(n_powers, pow(_BASE, step, 2**64), np.uint64)
    powers[:1] = pow(_BASE, first, 2**64)
    return np.cumprod(powers, dtype=np.uint64)


_WORD_POWERS = list_xgboost_powers(1, 1, _WORD)


@linear_kernel
def draw_xgboost_bags(starts, word_power, n_rows, limit, bits):
    """Draw the bag of each start.

    Parameters
    ----------
    starts : ndarray of uint64, shape (n_bags,)
        Outputs of the twister.
    word_power : ndarray of uint64, shape (n_words,)
        Power of the multiplier that takes a start to the row before each word.
    n_rows : int64
        Rows.
    limit : uint64
        In the bag if ``x - 1`` is below it.
    bits : ndarray of uint64, shape (n_bags, n_words)
        Output, overwritten: row i is in a bag if bit ``i % 64`` of word ``i // 64`` is
        set.
    """
    n_bags, n_words = bits.shape
    n_tiles = (n_words + _DRAWN_WORDS - 1) // _DRAWN_WORDS
    last_mask = ~np.uint64(0) >> np.uint64(n_words * _WORD - n_rows)
    for tile in prange(n_bags * n_tiles):
        bag = tile // n_tiles
        begin = tile % n_tiles * _DRAWN_WORDS
        for word in range(begin, min(begin + _DRAWN_WORDS, n_words)):
            state = starts[bag] * word_power[word]
            drawn = np.uint64(0)
            for k in range(_WORD):
                draw = (state * _WORD_POWERS[k] & _LOW_63) - _ONE
                drawn |= np.uint64(draw < limit) << np.uint64(k)
            bits[bag, word] = drawn
        if begin + _DRAWN_WORDS >= n_words:
            bits[bag, n_words - 1] &= last_mask


@linear_kernel
def screen_xgboost_starts(starts, power, size, leaf_offset, low_sum, high_sum, limits):
    """Find the limits at which the bag of a start has the sums of a tree's leaves.

    Parameters
    ----------
    starts : ndarray of uint64, shape (n_starts,)
        Outputs of the twister.
    power : ndarray of uint64, shape (n_rows,)
        Power of the multiplier that takes a start to a row, leaf by leaf.
    size : ndarray of float64, shape (n_rows,)
        Positive numbers, of which each leaf has a sum over the rows in the bag.
    leaf_offset : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's rows begin. Small leaves first are fastest.
    low_sum, high_sum : ndarray of float64, shape (n_leaves,)
        Smallest and largest sum that each leaf may have.
    limits : ndarray of uint64, shape (n_starts, 2)
        Smallest and largest limit that a bag may have; narrowed in place to those that
        give each leaf such a sum. (1, 0) where none does.
    """
    most_rows = 0
    for leaf in range(low_sum.size):
        most_rows = max(most_rows, leaf_offset[leaf + 1] - leaf_offset[leaf])
    for tile in prange((starts.size + _STARTS_AT_ONCE - 1) // _STARTS_AT_ONCE):
        open_draw, open_size = np.empty(most_rows, np.uint64), np.empty(most_rows)
        begin = tile * _STARTS_AT_ONCE
        for number in range(begin, min(begin + _STARTS_AT_ONCE, starts.size)):
            start = starts[number]
            low, high = limits[number, 0], limits[number, 1]
            for leaf in range(low_sum.size):
                first, last = leaf_offset[leaf], leaf_offset[leaf + 1]
                total, most = 0.0, 0.0
                for i in range(first, last):  # no branch: draws are not predictable
                    draw = (start * power[i] & _LOW_63) - _ONE
                    total += size[i] * (draw < low)
                    most += size[i] * (draw < high)
                if total > high_sum[leaf] or most < low_sum[leaf]:
                    low, high = _ONE, np.uint64(0)
                    break
                if total == most:
                    continue
                n_open = 0
                for i in range(first, last):
                    draw = (start * power[i] & _LOW_63) - _ONE
                    if low <= draw < high:
                        open_draw[n_open], open_size[n_open] = draw, size[i]
                        n_open += 1
                low, high = _narrow_limits(
                    *(low, high, total, open_draw[:n_open], open_size[:n_open]),
                    *(low_sum[leaf], high_sum[leaf]),
                )
                if low > high:
                    break
            limits[number, 0] = low
            limits[number, 1] = high


@scalar_rule
def _narrow_limits(low, high, total, open_draw, open_size, low_sum, high_sum):
    """Return the limits at which a leaf has a sum of a range; (1, 0) for none.

    `total` is the sum of the rows that are in at any limit; open rows are those that
    larger limits take in, in the order of their draws.
    """
    order, k = np.argsort(open_draw), 0
    while k < order.size and total < low_sum:
        total += open_size[order[k]]
        low = open_draw[order[k]] + _ONE
        k += 1
    if total < low_sum or total > high_sum:
        return _ONE, np.uint64(0)
    while k < order.size and total + open_size[order[k]] <= high_sum:
        total += open_size[order[k]]
        k += 1
    if k < order.size:
        high = open_draw[order[k]]
    return low, high


@linear_kernel
def seed_twisters(first_seed, outputs):
    """Compute the first outputs of Mersenne twisters (MT19937) of consecutive seeds.

    Parameters
    ----------
    first_seed : int64
        Seed of the first twister.
    outputs : ndarray of uint32, shape (n_outputs, n_seeds)
        Output, overwritten; `n_outputs` is at most 227.
    """
    n_outputs, n_seeds = outputs.shape
    for tile in prange((n_seeds + _SEEDS_AT_ONCE - 1) // _SEEDS_AT_ONCE):
        begin = tile * _SEEDS_AT_ONCE
        n = min(_SEEDS_AT_ONCE, n_seeds - begin)
        word = np.empty(_SEEDS_AT_ONCE, np.uint32)
        first_words = np.empty((n_outputs + 1, _SEEDS_AT_ONCE), np.uint32)
        for number in range(_SEEDS_AT_ONCE):
            word[number] = np.uint32(first_seed + begin + number)
            first_words[0, number] = word[number]
        for i in range(1, _TWISTER_LAG + n_outputs):
            addend = np.uint32(i)
            for number in range(_SEEDS_AT_ONCE):
                mixed = word[number] ^ (word[number] >> np.uint32(30))
                word[number] = np.uint32(np.uint32(1812433253) * mixed + addend)
            if i <= n_outputs:
                first_words[i] = word
            if i < _TWISTER_LAG:
                continue
            output = i - _TWISTER_LAG
            for number in range(n):
                joined = first_words[output, number] & _HIGH_BIT
                joined |= first_words[output + 1, number] & _LOW_BITS
                value = word[number] ^ (joined >> np.uint32(1))
                if joined & np.uint32(1):
                    value ^= _TWISTER_MASK
                value ^= value >> np.uint32(11)
                value ^= (value << np.uint32(7)) & np.uint32(0x9D2C5680)
                value ^= (value << np.uint32(15)) & np.uint32(0xEFC60000)
                outputs[output, begin + number] = value ^ (value >> np.uint32(18))
