"""SIMD vectors written out where LLVM does not find them in a loop; with plain twins.

Each is here for its gain over a loop that Numba compiles, measured on one core with
AVX-512: `at_most` makes routing by masks 2.8 times and `number_masks` 16 times as fast,
`add_lines` dense products 6.5 times, `add_shared_lines` those of the leaf coupling 2.3
times; `prefetch` gains dense products of many queries 20 %. The plain twins at the end
run where nothing is compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from treeinf.kernels.compilation import CONTRACT, jit_disabled, kernel, scalar_rule

__all__ = [
    "CACHE_LINE",
    "LINE_WIDTHS",
    "SUMS_AT_ONCE",
    "TERMS_AT_ONCE",
    "add_lines",
    "add_shared_lines",
    "aligned_buffer",
    "at_most",
    "copy_line",
    "empty_aligned",
    "number_masks",
    "prefetch",
]

CACHE_LINE = 64
"""Bytes of a line of the cache."""

LINE_WIDTHS = (8, 32)
"""Values of a line that `add_lines` can add up."""

TERMS_AT_ONCE = 8
"""Terms of a sum for which `add_lines` needs no loop."""

SUMS_AT_ONCE = 4
"""Lines of sums that `add_shared_lines` adds up at a time."""

_MASK_LANES = 64


def _data(context: Any, builder: Any, signature: Any, arguments: Any, k: int) -> Any:
    """Return the address of the first number of an array argument."""
    array = context.make_array(signature.args[k])(context, builder, arguments[k])
    return array.data


def _fill_lanes(builder: Any, vector: Any, value: Any) -> Any:
    """Put one value in every lane of a vector."""
    from llvmlite import ir

    undefined, index = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(undefined, value, index(0))
    zeros = ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _store_lanes(builder: Any, vector: Any, address: Any, item_bytes: int) -> None:
    """Write a vector from the address of a value on."""
    copy = cgutils.alloca_once_value(builder, vector)
    n_lanes = cgutils.intp_t(vector.type.count)
    cgutils.raw_memcpy(builder, address, copy, n_lanes, item_bytes)


@intrinsic
def compare_lanes(typing_context, ranks, first, rank):
    """Compare 64 ranks from `first` on with `rank`; see `at_most`.

    LLVM makes one instruction of it where the CPU has one, which it does not do for a
    loop that sets bits.
    """

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        data = _data(context, builder, signature, arguments, 0)
        vector = ir.VectorType(context.get_value_type(ranks.dtype), _MASK_LANES)
        lanes = builder.load(
            builder.gep(data, [arguments[1]]),
            align=ranks.dtype.bitwidth // 8,
            typ=vector,
        )
        is_at_most = builder.icmp_unsigned(
            "<=", lanes, _fill_lanes(builder, vector, arguments[2])
        )
        return builder.bitcast(is_at_most, ir.IntType(_MASK_LANES))

    return types.uint64(ranks, types.uint64, ranks.dtype), generate


@intrinsic
def number_lanes(typing_context, masks, first, step, n_masks, numbers, begin):
    """Write, for each of 64 bits, the number of its mask; see `number_masks`.

    The numbers stay in a register until the last mask has been read.
    """

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        data = _data(context, builder, signature, arguments, 0)
        output = _data(context, builder, signature, arguments, 4)
        vector = ir.VectorType(context.get_value_type(numbers.dtype), _MASK_LANES)
        bits = ir.VectorType(ir.IntType(1), _MASK_LANES)
        chosen = cgutils.alloca_once_value(builder, ir.Constant(vector, None))
        with cgutils.for_range(builder, arguments[3]) as loop:
            at = builder.add(arguments[1], builder.mul(loop.index, arguments[2]))
            mask = builder.load(builder.gep(data, [at]))
            number = builder.trunc(loop.index, vector.element)
            selected = builder.select(
                builder.bitcast(mask, bits),
                _fill_lanes(builder, vector, number),
                builder.load(chosen),
            )
            builder.store(selected, chosen)
        address = builder.gep(output, [arguments[5]])
        _store_lanes(
            builder, builder.load(chosen), address, numbers.dtype.bitwidth // 8
        )
        return context.get_dummy_value()

    index = types.intp
    return types.void(masks, index, index, index, numbers, index), generate


@intrinsic(prefer_literal=True)
def add_scaled_lanes(
    typing_context,
    lanes,
    sums_at_once,
    lines,
    where,
    term_step,
    scale,
    scale_step,
    n_terms,
    sums,
    n_sums,
):
    """Add scaled lines of `lanes` numbers to sums, `sums_at_once` at a time.

    Both are constants. See `add_lines` and `add_shared_lines`. Sums stay in registers
    from the first term to the last.
    """
    if not isinstance(lanes, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        def data(k):
            return _data(context, builder, signature, arguments, k)

        def move(start, number, size):
            return builder.add(start, builder.mul(number, size))

        n_lanes, n_at_once = (signature.args[k].literal_value for k in (0, 1))
        whole = ir.IntType(64)
        vector = ir.VectorType(ir.DoubleType(), n_lanes)
        source = ir.VectorType(context.get_value_type(lines.dtype), n_lanes)
        all_lines, all_starts, all_scales, all_sums = (data(k) for k in (2, 3, 5, 8))
        totals = [cgutils.alloca_once(builder, vector) for _ in range(n_at_once)]
        contract = tuple(CONTRACT)

        def add_term(number, first, first_scale):
            at = move(first, number, arguments[4])
            begin = builder.load(builder.gep(all_starts, [at]))
            line = builder.load(
                builder.gep(all_lines, [builder.zext(begin, whole)]),
                align=lines.dtype.bitwidth // 8,
                typ=source,
            )
            if lines.dtype != types.float64:
                line = builder.fpext(line, vector)
            at = move(first_scale, number, whole(n_at_once))
            for k, total in enumerate(totals):
                factor = builder.load(
                    builder.gep(all_scales, [builder.add(at, whole(k))])
                )
                if scale.dtype != types.float64:
                    factor = builder.fpext(factor, ir.DoubleType())
                term = _fill_lanes(builder, vector, factor)
                term = builder.fmul(term, line, contract)
                builder.store(builder.fadd(builder.load(total), term, contract), total)

        with cgutils.for_range(builder, arguments[9]) as outer:
            start = builder.mul(outer.index, whole(n_lanes * n_at_once))
            addresses = [
                builder.gep(all_sums, [builder.add(start, whole(k * n_lanes))])
                for k in range(n_at_once)
            ]
            for address, total in zip(addresses, totals, strict=True):
                builder.store(builder.load(address, align=8, typ=vector), total)
            first_scale = builder.mul(outer.index, arguments[6])
            is_usual = builder.icmp_signed("==", arguments[7], whole(TERMS_AT_ONCE))
            with builder.if_else(is_usual) as (usual, other):
                with usual:
                    for number in range(TERMS_AT_ONCE):
                        add_term(whole(number), outer.index, first_scale)
                with other, cgutils.for_range(builder, arguments[7]) as loop:
                    add_term(loop.index, outer.index, first_scale)
            for address, total in zip(addresses, totals, strict=True):
                _store_lanes(builder, builder.load(total), address, 8)
        return context.get_dummy_value()

    index = types.intp
    return (
        types.void(
            *(lanes, sums_at_once, lines, where, index, scale, index, index),
            *(sums, index),
        ),
        generate,
    )


@intrinsic
def prefetch_number(typing_context, numbers, index):
    """Prefetch the line of the cache that a value is in; see `prefetch`."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        data = _data(context, builder, signature, arguments, 0)
        kind = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [ir.PointerType(), kind, kind, kind]),
            "llvm.prefetch.p0",
        )
        address = builder.gep(data, [arguments[1]])
        # to read, kept in all caches, data
        builder.call(function, [address, kind(0), kind(3), kind(1)])
        return context.get_dummy_value()

    return types.void(numbers, types.intp), generate


def _at_most(ranks, first, rank):
    """Return which of 64 ranks are at most `rank`, as bits.

    Parameters
    ----------
    ranks : ndarray of unsigned integer, shape (n,)
        Ranks.
    first : uint64
        The 64 begin here.
    rank : unsigned integer
        Of the type of `ranks`.

    Returns
    -------
    uint64
        Bit i for the i-th.
    """
    return compare_lanes(ranks, first, rank)


def _number_masks(masks, first, step, n_masks, numbers, begin):
    """Write, for each of 64 bits, the number of the one mask in which it is set.

    Parameters
    ----------
    masks : ndarray of uint64, shape (n,)
        The masks are at `first`, `first` + `step` and so on.
    first, step, n_masks : int64
        Where they are, and how many.
    numbers : ndarray of unsigned integer, shape (n,)
        Output, overwritten from `begin` on, 64 numbers in [0, n_masks).
    begin : int64
        Where to write.
    """
    number_lanes(masks, first, step, n_masks, numbers, begin)


def _add_lines(
    width, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
):
    """Add scaled lines of values to lines of sums.

    Parameters
    ----------
    width : int64
        Values of a line, one of `LINE_WIDTHS`.
    lines : ndarray of float64 or float32, shape (n,)
        The lines; single precision is read as double.
    where : ndarray of uint32, shape (n,)
        Where in `lines` the terms begin: the first terms of all sums side by side, and
        `term_step` entries on their next ones.
    term_step : int64
        Distance to a sum's next term.
    scale : ndarray of float64 or float32, shape (n,)
        Factor of each term, those of one sum side by side.
    scale_step : int64
        Distance to the factors of the next sum.
    n_terms : int64
        Terms of a sum, added in their order; best `TERMS_AT_ONCE`.
    sums : ndarray of float64, shape (>= n_sums * width,)
        The first are changed in place.
    n_sums : int64
        Lines of sums.
    """
    # the number of lanes is part of the type: a branch for each
    if width == 8:
        add_scaled_lanes(
            8, 1, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
        )
    else:
        add_scaled_lanes(
            32, 1, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
        )


def _add_shared_lines(lines, where, scale, n_terms, sums):
    """Add wide lines of values to `SUMS_AT_ONCE` lines of sums, scaled for each.

    Parameters
    ----------
    lines, n_terms
        See `add_lines`, for the larger of `LINE_WIDTHS`.
    where : ndarray of uint32, shape (>= n_terms,)
        Where in `lines` the terms begin, which the sums share.
    scale : ndarray of float64, shape (>= n_terms * SUMS_AT_ONCE,)
        Factors of each term, one for each of `SUMS_AT_ONCE` sums.
    sums : ndarray of float64, shape (>= SUMS_AT_ONCE * LINE_WIDTHS[1],)
        The first are changed in place.
    """
    add_scaled_lanes(32, 4, lines, where, 1, scale, 0, n_terms, sums, 1)


def _prefetch(numbers, begin, end):
    """Prefetch values, so that they are in the cache when they are needed.

    Parameters
    ----------
    numbers : ndarray, shape (n,)
        The values.
    begin, end : int64
        Those to prefetch.
    """
    for index in range(begin, end, CACHE_LINE // numbers.itemsize):
        prefetch_number(numbers, index)


def empty_aligned(size):
    """Return an array that begins at a line of the cache, without initial values.

    A vector across two lines would be loaded twice.

    Parameters
    ----------
    size : int64
        Its length.

    Returns
    -------
    ndarray of float64, shape (size,)
    """
    buffer = np.empty(size + CACHE_LINE // 8)
    skip = -(buffer.ctypes.data // 8) % (CACHE_LINE // 8)
    return buffer[skip : skip + size]


aligned_buffer = kernel(empty_aligned)
"""`empty_aligned` for kernels."""


@kernel
def copy_line(source, to):
    """Copy values; with an offset in the index, LLVM would not vectorise it.

    Parameters
    ----------
    source : ndarray of float64, shape (n,)
        The values.
    to : ndarray of float64, shape (>= n,)
        The first are overwritten.
    """
    for t in range(source.size):
        to[t] = source[t]


if jit_disabled:  # the intrinsics above exist in compiled code only

    def add_lines(
        width, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
    ):
        """Add scaled lines of values to lines of sums (plain Python twin)."""
        for number in range(n_sums):
            total = sums[number * width :][:width]
            for term in range(n_terms):
                begin = int(where[number + term * term_step])
                line = lines[begin : begin + width].astype(np.float64)
                total += float(scale[number * scale_step + term]) * line

    def add_shared_lines(lines, where, scale, n_terms, sums):
        """Add wide lines of values to lines of sums (plain Python twin)."""
        width = LINE_WIDTHS[1]
        for number in range(SUMS_AT_ONCE):
            total = sums[number * width :]
            add_lines(
                *(width, lines, where, 1, scale[number::SUMS_AT_ONCE], 0),
                *(n_terms, total, 1),
            )

    def at_most(ranks, first, rank):
        """Return which of 64 ranks are at most `rank` (plain Python twin)."""
        is_at_most = ranks[int(first) : int(first) + 64] <= rank
        return np.packbits(is_at_most, bitorder="little").view(np.uint64)[0]

    def number_masks(masks, first, step, n_masks, numbers, begin):
        """Write, for each of 64 bits, the number of its mask (plain Python twin)."""
        for number in range(n_masks):
            mask = masks[first + number * step : first + number * step + 1]
            is_on = np.unpackbits(mask.view(np.uint8), bitorder="little") == 1
            numbers[begin : begin + 64][is_on] = number

    def prefetch(numbers, begin, end):
        """Do nothing (plain Python twin)."""

else:
    add_lines = kernel(_add_lines)
    add_shared_lines = kernel(_add_shared_lines)
    at_most = scalar_rule(_at_most)
    number_masks = scalar_rule(_number_masks)
    prefetch = kernel(_prefetch)
