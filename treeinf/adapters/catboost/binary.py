"""Parse CatBoost's binary format (``.cbm``) without CatBoost.

A file is the magic bytes CBM1, the length of the FlatBuffers message that holds the
model, the message and, for categories or text, tables that are not read here.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.catboost.files import (
    FIELDS,
    CatBoostFeatures,
    CatBoostFile,
    CatBoostSplits,
    CatBoostTrees,
    SplitKind,
    check_columns,
    expand_symmetric,
)
from treeinf.dtypes import NODE, OFFSET
from treeinf.errors import ModelFormatError

__all__ = ["parse"]

_FORMAT = "FlabuffersModel_v1"
_NAN_IS_TRUE = 2


class _Message:
    """A FlatBuffers message with bounds checks and a budget of bytes to read.

    A hostile message can refer to one large vector any number of times; the budget is a
    small multiple of the length of the message.
    """

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.budget = 16 * len(content) + 4096

    def number(self, form: str, position: int) -> Any:
        """Read one number."""
        size = struct.calcsize(form)
        self._spend(position, size)
        return struct.unpack_from(form, self.content, position)[0]

    def content_at(self, position: int, size: int) -> memoryview:
        """Read consecutive bytes."""
        self._spend(position, size)
        return self.content[position : position + size]

    def _spend(self, position: int, size: int) -> None:
        if position < 0 or size < 0 or position + size > len(self.content):
            FIELDS.fail("an offset points outside the file")
        self.budget -= size
        if self.budget < 0:
            FIELDS.fail("its offsets overlap too often")


class _Table:
    """One table of a message."""

    def __init__(self, message: _Message, position: int) -> None:
        self.message, self.position = message, position
        self.fields = position - message.number("<i", position)
        self.n_fields = (message.number("<H", self.fields) - 4) // 2

    def _find(self, field: int) -> int | None:
        """Return the position of a field; None where it has its default."""
        if field >= self.n_fields:
            return None
        shift = self.message.number("<H", self.fields + 4 + 2 * field)
        return self.position + shift if shift else None

    def number(self, field: int, form: str, default: Any) -> Any:
        """Read a number."""
        position = self._find(field)
        return default if position is None else self.message.number(form, position)

    def table(self, field: int) -> _Table | None:
        """Read a table."""
        position = self._find(field)
        if position is None:
            return None
        return _Table(self.message, position + self.message.number("<I", position))

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return the position and the length of a vector whose entries have a size."""
        position = self._find(field)
        if position is None:
            return 0, 0
        position += self.message.number("<I", position)
        length = self.message.number("<I", position)
        if length * size > len(self.message.content):
            FIELDS.fail("a vector is longer than the file")
        return position + 4, length

    def array(self, field: int, dtype: str) -> NDArray[Any]:
        """Read a vector of numbers; empty where there is none."""
        size = np.dtype(dtype).itemsize
        position, length = self._vector(field, size)
        content = self.message.content_at(position, length * size)
        return np.frombuffer(content, dtype, length)

    def text(self, field: int) -> str:
        """Read a string; empty where there is none."""
        position, length = self._vector(field, 1)
        try:
            return bytes(self.message.content_at(position, length)).decode()
        except UnicodeDecodeError as error:
            FIELDS.fail("a name is not text", error)

    def tables(self, field: int) -> list[_Table]:
        """Read a vector of tables."""
        position, length = self._vector(field, 4)
        positions = range(position, position + 4 * length, 4)
        return [
            _Table(self.message, k + self.message.number("<I", k)) for k in positions
        ]


def parse(content: bytes) -> CatBoostFile:
    """Parse the content of a ``.cbm`` file; see `formats.parse`."""
    if len(content) < 12:
        FIELDS.fail(f"it ends after {len(content)} bytes")
    size = struct.unpack_from("<I", content, 4)[0]
    if size > len(content) - 8:
        FIELDS.fail(f"it ends after {len(content) - 8:,} of {size:,} bytes")
    message = _Message(memoryview(content)[8 : 8 + size])
    core = _Table(message, message.number("<I", 0))
    version = core.text(0)
    if version != _FORMAT:
        raise ModelFormatError(
            f"This CatBoost model is of the format {version[:40]!r}; expected "
            f"{_FORMAT!r}."
        )
    trees = core.table(1)
    if trees is None:
        FIELDS.fail("it has no trees")
    remarks = {entry.text(0): entry.text(1) for entry in core.tables(2)}
    n_outputs = trees.number(0, "<i", 0)
    if n_outputs < 1 or n_outputs > size:
        FIELDS.fail(f"it has {n_outputs} outputs")
    features, splits = _read_features(trees)
    nodes = _read_trees(trees, n_outputs)
    if nodes.split.size and (
        nodes.split.min() < 0 or nodes.split.max() >= splits.kind.size
    ):
        FIELDS.fail("a node refers to a split that does not exist")
    bias = trees.array(16, "<f8").astype(np.float64)
    if not bias.size:
        bias = np.full(n_outputs, trees.number(15, "<d", 0.0))
    if len(bias) != n_outputs:
        FIELDS.fail("the number of biases is not that of outputs")
    return CatBoostFile(
        remarks=remarks,
        features=features,
        splits=splits,
        trees=nodes,
        scale=float(trees.number(14, "<d", 1.0)),
        bias=bias,
    )


def _read_features(trees: _Table) -> tuple[CatBoostFeatures, CatBoostSplits]:
    """Read the columns, and the splits in the order in which nodes number them."""
    columns: dict[int, str] = {}
    names: dict[int, str] = {}
    floats: list[tuple[int, NDArray[Any], bool]] = []
    for feature in trees.tables(5):
        column = feature.number(2, "<i", -1)
        columns[column], names[column] = "float", feature.text(4)
        nan_is_left = feature.number(5, "<b", 0) != _NAN_IS_TRUE
        floats.append((column, feature.array(3, "<f4"), nan_is_left))
    labelled: dict[int, int] = {}
    for feature in trees.tables(4):
        column = feature.number(1, "<i", -1)
        columns[column], names[column] = "categorical", feature.text(2)
        labelled[feature.number(0, "<i", -1)] = column
    for field, kind in ((12, "text"), (18, "embedding")):
        for feature in trees.tables(field):
            column = feature.number(1, "<i", -1)
            columns[column], names[column] = kind, feature.text(2)
    n_features, all_names = check_columns(columns, names)
    hashes: dict[int, tuple[int, ...]] = {
        column: ()
        for column, kind in columns.items()
        if kind in ("categorical", "text")
    }
    n_estimated = [len(entry.array(3, "<f4")) for entry in trees.tables(13)]
    n_computed = [len(entry.array(1, "<f4")) for entry in trees.tables(7)]
    one_hots = []
    for feature in trees.tables(6):
        index = feature.number(0, "<i", -1)
        if index not in labelled:
            FIELDS.fail("a split tests a category of a column that does not exist")
        values = feature.array(1, "<i4").astype(np.int64) & 0xFFFFFFFF
        hashes[labelled[index]] = tuple(values.tolist())
        one_hots.append((labelled[index], len(values)))
    splits = _concatenate(
        [
            *(
                (SplitKind.FLOAT, column, borders, is_left, len(borders))
                for column, borders, is_left in floats
            ),
            (SplitKind.NATIVE, 0, None, False, sum(n_estimated)),
            *(
                (SplitKind.ONE_HOT, column, None, False, count)
                for column, count in one_hots
            ),
            (SplitKind.NATIVE, 0, None, False, sum(n_computed)),
        ]
    )
    kinds = tuple(sorted(set(columns.values())))
    return CatBoostFeatures(n_features, all_names, hashes, kinds), splits


def _concatenate(
    groups: list[tuple[SplitKind, int, NDArray[Any] | None, bool, int]],
) -> CatBoostSplits:
    """Lay out splits of (kind, column, borders, default_left, count)."""
    kind, column, borders, default_left, counts = zip(*groups, strict=True)
    count = np.array(counts, OFFSET)
    # before the cast, in which NumPy warns of signalling NaN
    if any(np.isnan(values).any() for values in borders if values is not None):
        FIELDS.fail("a border is not a number")
    border = [
        np.zeros(n) if values is None else values
        for values, n in zip(borders, counts, strict=True)
    ]
    first = np.repeat(np.cumsum(count) - count, count)
    return CatBoostSplits(
        kind=np.repeat(np.array(kind, np.uint8), count),
        column=np.repeat(np.array(column, NODE), count),
        border=np.concatenate(border).astype(np.float64),
        default_left=np.repeat(np.array(default_left, np.bool_), count),
        category=np.arange(count.sum()) - first,
    )


def _read_trees(trees: _Table, n_outputs: int) -> CatBoostTrees:
    """Read the trees of either kind."""
    value = trees.array(8, "<f8").astype(np.float64)
    if len(value) % n_outputs:
        FIELDS.fail("the number of leaf values is not a multiple of the outputs")
    value = value.reshape(-1, n_outputs)
    weight = trees.array(9, "<f8").astype(np.float64)
    leaf_weight = weight if len(weight) == len(value) and len(weight) else None
    size = trees.array(2, "<i4").astype(OFFSET)
    split = trees.array(1, "<i4").astype(OFFSET)
    steps = trees.array(10, "<u2,<u2")
    if not len(steps):
        return expand_symmetric(size, split, value, leaf_weight)
    leaf_id = trees.array(11, "<u4").astype(OFFSET)
    if (size < 1).any() or not len(steps) == len(split) == len(leaf_id) == size.sum():
        FIELDS.fail("the lists of nodes have different lengths")
    tree = np.repeat(np.arange(len(size)), size)
    position = np.arange(len(steps))
    left, right = steps["f0"].astype(OFFSET), steps["f1"].astype(OFFSET)
    is_inner = (left > 0) | (right > 0)
    n_inner = np.bincount(tree[is_inner], minlength=len(size))
    first_leaf = np.cumsum(n_inner + 1) - (n_inner + 1)
    if (n_inner + 1).sum() != len(value):
        FIELDS.fail("the number of leaf values does not match the nodes")
    leaf_in_tree = leaf_id // n_outputs - first_leaf[tree]
    number = np.cumsum(is_inner) - 1 - (np.cumsum(n_inner) - n_inner)[tree]
    children = []
    for step in (left, right):
        child = (position + step)[is_inner]
        if (child >= len(steps)).any() or (tree[child] != tree[is_inner]).any():
            FIELDS.fail("a child lies outside its tree")
        to_node = is_inner[child] & (step[is_inner] > 0)
        leaf = leaf_in_tree[child]
        if ((leaf < 0) | (leaf > n_inner[tree[child]]))[~to_node].any():
            FIELDS.fail("a leaf lies outside its tree")
        children.append(np.where(to_node, number[child], ~leaf).astype(NODE))
    return CatBoostTrees(
        n_leaves=n_inner + 1,
        split=split[is_inner].astype(NODE),
        left=children[0],
        right=children[1],
        leaf_value=value,
        leaf_weight=leaf_weight,
    )
