"""Vectors written out, where LLVM does not find them in a loop; with plain twins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from treeinf.kernels.compilation import CONTRACT, jit_disabled, kernel, scalar_rule

__all__ = [
    "CACHE_LINE",
    "LINE_WIDTHS",
    "TERMS_AT_ONCE",
    "TOGETHER",
    "add_lines",
    "add_shared_lines",
    "align",
    "at_most",
    "copy_line",
    "fetch_ahead",
    "make_room",
    "number_masks",
]

CACHE_LINE = 64
"""Bytes of a line of the cache."""

LINE_WIDTHS = (8, 32)
"""Numbers of a line that `add_lines` can add up."""

TERMS_AT_ONCE = 8
"""Terms of a sum for which `add_lines` needs no loop."""

TOGETHER = 4
"""Lines of sums that `add_shared_lines` adds up at a time."""

_LANES = 64


@intrinsic
def compare_lanes(typing_context, ranks, first, rank):
    """Tell which of 64 ranks from `first` on are at most `rank`; see `at_most`.

    LLVM makes one instruction of it where there is one, which it does not find in a
    loop that sets bits.
    """

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        given = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(context.get_value_type(ranks.dtype), _LANES)
        address = builder.gep(given.data, [arguments[1]])
        own = builder.load(builder.bitcast(address, lanes.as_pointer()))
        own.align = ranks.dtype.bitwidth // 8
        is_at_most = builder.icmp_unsigned(
            "<=", own, _fill_lanes(builder, lanes, arguments[2])
        )
        return builder.bitcast(is_at_most, ir.IntType(_LANES))

    return types.uint64(ranks, types.uint64, ranks.dtype), generate


@intrinsic
def number_lanes(typing_context, masks, first, step, n_masks, numbers, begin):
    """Write which of some masks has each of 64 bits; see `number_masks`.

    The numbers stay in a register until the last mask has been read.
    """

    def generate(context, builder, signature, arguments):
        from llvmlite import ir
        from numba.core import cgutils

        given = context.make_array(signature.args[0])(context, builder, arguments[0])
        output = context.make_array(signature.args[4])(context, builder, arguments[4])
        lanes = ir.VectorType(context.get_value_type(numbers.dtype), _LANES)
        is_lane = ir.VectorType(ir.IntType(1), _LANES)
        found = cgutils.alloca_once_value(builder, ir.Constant(lanes, None))
        with cgutils.for_range(builder, arguments[3]) as loop:
            place = builder.add(arguments[1], builder.mul(loop.index, arguments[2]))
            mask = builder.load(builder.gep(given.data, [place]))
            number = builder.trunc(loop.index, lanes.element)
            chosen = builder.select(
                builder.bitcast(mask, is_lane),
                _fill_lanes(builder, lanes, number),
                builder.load(found),
            )
            builder.store(chosen, found)
        address = builder.gep(output.data, [arguments[5]])
        stored = builder.store(
            builder.load(found), builder.bitcast(address, lanes.as_pointer())
        )
        stored.align = numbers.dtype.bitwidth // 8
        return context.get_dummy_value()

    place = types.intp
    return types.void(masks, place, place, place, numbers, place), generate


@intrinsic(prefer_literal=True)
def add_scaled_lanes(
    typing_context,
    lanes,
    together,
    lines,
    where,
    term_step,
    scale,
    scale_step,
    n_terms,
    sums,
    n_sums,
):
    """Add scaled lines of `lanes` numbers to sums, `together` at a time (constants).

    See `add_lines` and `add_shared_lines`. Sums stay in registers from the first term
    to the last.
    """
    if not isinstance(lanes, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, arguments):
        from llvmlite import ir
        from numba.core import cgutils

        def find(number):
            array = context.make_array(signature.args[number])
            return array(context, builder, arguments[number]).data

        def move(place, number, size):
            return builder.add(place, builder.mul(number, size))

        n_lanes, n_together = (signature.args[k].literal_value for k in (0, 1))
        whole = ir.IntType(64)
        double = ir.VectorType(ir.DoubleType(), n_lanes)
        given = ir.VectorType(context.get_value_type(lines.dtype), n_lanes)
        all_lines, all_places, all_scales, all_sums = (find(k) for k in (2, 3, 5, 8))
        found = [cgutils.alloca_once(builder, double) for _ in range(n_together)]
        contract = tuple(CONTRACT)

        def add_term(number, own_first, own_scale):
            at = move(own_first, number, arguments[4])
            begin = builder.load(builder.gep(all_places, [at]))
            own = builder.gep(all_lines, [builder.zext(begin, whole)])
            line = builder.load(builder.bitcast(own, given.as_pointer()))
            line.align = lines.dtype.bitwidth // 8
            if lines.dtype != types.float64:
                line = builder.fpext(line, double)
            at = move(own_scale, number, whole(n_together))
            for k, one in enumerate(found):
                factor = builder.load(
                    builder.gep(all_scales, [builder.add(at, whole(k))])
                )
                if scale.dtype != types.float64:
                    factor = builder.fpext(factor, ir.DoubleType())
                term = _fill_lanes(builder, double, factor)
                term = builder.fmul(term, line, contract)
                builder.store(builder.fadd(builder.load(one), term, contract), one)

        with cgutils.for_range(builder, arguments[9]) as outer:
            place = builder.mul(outer.index, whole(n_lanes * n_together))
            to = builder.gep(all_sums, [place])
            to = builder.bitcast(to, double.as_pointer())
            for k, one in enumerate(found):
                held = builder.load(builder.gep(to, [whole(k)]))
                held.align = 8
                builder.store(held, one)
            own_first = outer.index
            own_scale = builder.mul(outer.index, arguments[6])
            is_usual = builder.icmp_signed("==", arguments[7], whole(TERMS_AT_ONCE))
            with builder.if_else(is_usual) as (usual, other):
                with usual:
                    for number in range(TERMS_AT_ONCE):
                        add_term(whole(number), own_first, own_scale)
                with other, cgutils.for_range(builder, arguments[7]) as loop:
                    add_term(loop.index, own_first, own_scale)
            for k, one in enumerate(found):
                stored = builder.store(builder.load(one), builder.gep(to, [whole(k)]))
                stored.align = 8
        return context.get_dummy_value()

    place = types.intp
    return (
        types.void(
            *(lanes, together, lines, where, place, scale, place, place, sums, place)
        ),
        generate,
    )


@intrinsic
def prefetch_number(typing_context, numbers, place):
    """Ask for the line of the cache that a number is in; see `fetch_ahead`."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir
        from numba.core import cgutils

        given = context.make_array(signature.args[0])(context, builder, arguments[0])
        kind, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, kind, kind, kind]),
            "llvm.prefetch.p0i8",
        )
        address = builder.bitcast(builder.gep(given.data, [arguments[1]]), pointer)
        # to read, kept in all caches, data
        builder.call(function, [address, kind(0), kind(3), kind(1)])
        return context.get_dummy_value()

    return types.void(numbers, types.intp), generate


def _fill_lanes(builder: Any, lanes: Any, value: Any) -> Any:
    """Put one value in every lane of a vector."""
    from llvmlite import ir

    undefined, place = ir.Constant(lanes, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(undefined, value, place(0))
    of_first = ir.Constant(ir.VectorType(place, lanes.count), [0] * lanes.count)
    return builder.shuffle_vector(one, undefined, of_first)


def _at_most(ranks, first, rank):
    """Tell which of 64 ranks are at most `rank`, as bits.

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
    """Write which of some masks has each of 64 bits, which is on in just one.

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
    """Add scaled lines of numbers to lines of sums.

    Parameters
    ----------
    width : int64
        Numbers of a line, one of `LINE_WIDTHS`.
    lines : ndarray of float64 or float32, shape (n,)
        The lines; single precision is read as double.
    where : ndarray of uint32, shape (n,)
        Where in `lines` the terms begin: the first terms of all sums side by side, and
        `term_step` places on their next ones.
    term_step : int64
        How far it is to a sum's next term.
    scale : ndarray of float64 or float32, shape (n,)
        What to multiply each term with, a sum's side by side.
    scale_step : int64
        How far it is to the next sum's.
    n_terms : int64
        Terms of a sum, added in their order; best `TERMS_AT_ONCE`.
    sums : ndarray of float64, shape (>= n_sums * width,)
        The first are changed in place.
    n_sums : int64
        Lines of sums.
    """
    # the number of lanes must be there to compile with
    if width == 8:
        add_scaled_lanes(
            8, 1, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
        )
    else:
        add_scaled_lanes(
            32, 1, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
        )


def _add_shared_lines(lines, where, scale, n_terms, sums):
    """Add wide lines of numbers to `TOGETHER` lines of sums, scaled for each of them.

    Parameters
    ----------
    lines, n_terms
        See `add_lines`, for the larger of `LINE_WIDTHS`.
    where : ndarray of uint32, shape (>= n_terms,)
        Where in `lines` the terms begin, which the sums share.
    scale : ndarray of float64, shape (>= n_terms * TOGETHER,)
        What to multiply with: for each term `TOGETHER` numbers.
    sums : ndarray of float64, shape (>= TOGETHER * LINE_WIDTHS[1],)
        The first are changed in place.
    """
    add_scaled_lanes(32, 4, lines, where, 1, scale, 0, n_terms, sums, 1)


def _fetch_ahead(numbers, begin, end):
    """Ask for some numbers, so that they are in the cache when they are needed.

    Parameters
    ----------
    numbers : ndarray, shape (n,)
        The numbers.
    begin, end : int64
        Those to be asked for.
    """
    for place in range(begin, end, CACHE_LINE // numbers.itemsize):
        prefetch_number(numbers, place)


def align(size):
    """Make an array of numbers that begins where a line of the cache does.

    Parameters
    ----------
    size : int64
        Numbers.

    Returns
    -------
    ndarray of float64, shape (size,)
        Not yet written. A vector across two lines would be loaded twice.
    """
    room = np.empty(size + CACHE_LINE // 8)
    skip = -(room.ctypes.data // 8) % (CACHE_LINE // 8)
    return room[skip : skip + size]


make_room = kernel(align)
"""The same in kernels."""


@kernel
def copy_line(given, to):
    """Copy numbers; with an offset in the index, LLVM would do it one by one.

    Parameters
    ----------
    given : ndarray of float64, shape (n,)
        The numbers.
    to : ndarray of float64, shape (>= n,)
        The first are overwritten.
    """
    for t in range(given.size):
        to[t] = given[t]


if jit_disabled:  # the intrinsics above exist in compiled code only

    def add_lines(
        width, lines, where, term_step, scale, scale_step, n_terms, sums, n_sums
    ):
        """Add scaled lines of numbers to lines of sums (plain Python twin)."""
        for number in range(n_sums):
            own = sums[number * width :][:width]
            for term in range(n_terms):
                begin = int(where[number + term * term_step])
                line = lines[begin : begin + width].astype(np.float64)
                own += float(scale[number * scale_step + term]) * line

    def add_shared_lines(lines, where, scale, n_terms, sums):
        """Add wide lines of numbers to lines of sums (plain Python twin)."""
        width = LINE_WIDTHS[1]
        for number in range(TOGETHER):
            own = sums[number * width :]
            add_lines(
                *(width, lines, where, 1, scale[number::TOGETHER], 0, n_terms, own, 1)
            )

    def at_most(ranks, first, rank):
        """Tell which of 64 ranks are at most `rank` (plain Python twin)."""
        is_at_most = ranks[int(first) : int(first) + 64] <= rank
        return np.packbits(is_at_most, bitorder="little").view(np.uint64)[0]

    def fetch_ahead(numbers, begin, end):
        """Do nothing (plain Python twin)."""

    def number_masks(masks, first, step, n_masks, numbers, begin):
        """Write which of some masks has each of 64 bits (plain Python twin)."""
        for number in range(n_masks):
            mask = masks[first + number * step : first + number * step + 1]
            is_on = np.unpackbits(mask.view(np.uint8), bitorder="little") == 1
            numbers[begin : begin + 64][is_on] = number

else:
    add_lines = kernel(_add_lines)
    add_shared_lines = kernel(_add_shared_lines)
    at_most = scalar_rule(_at_most)
    fetch_ahead = kernel(_fetch_ahead)
    number_masks = scalar_rule(_number_masks)
