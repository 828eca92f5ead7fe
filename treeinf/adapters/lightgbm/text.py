"""The text that LightGBM writes with ``save_model``, into checked arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.files import (
    LightGBMFile,
    LightGBMTrees,
    LinearTreesError,
    any_nonzero,
    check_labels,
    check_trees,
    fail,
    read_array,
    read_integer,
    shorten,
)
from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import Missing

__all__ = ["parse_text"]

_START = "tree"
_CATEGORY_FLAG = 1
_DEFAULT_LEFT_FLAG = 2
_MISSING_SHIFT = 2


def parse_text(text: str) -> LightGBMFile:
    """Parse the text that LightGBM writes with ``save_model``.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    LightGBMFile

    Raises
    ------
    ModelFormatError
        If the text is not such a file, or not a whole one.
    """
    # Not splitlines: a feature name may hold what it takes for the end of a line.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[0].strip() != _START:
        fail(f"the first line is not {_START!r}")
    header, blocks, rest = _split(lines)
    n_features = read_integer(header.get("max_feature_idx"), "max_feature_idx", 0) + 1
    n_outputs = read_integer(
        header.get("num_tree_per_iteration", header.get("num_class")),
        "num_tree_per_iteration",
        1,
    )
    if "tree_sizes" in header and len(header["tree_sizes"].split()) != len(blocks):
        fail(f"tree_sizes and the {len(blocks)} trees there are disagree")
    names = tuple(header.get("feature_names", "").split(" "))
    if len(names) != n_features:
        fail(f"feature_names has {len(names)} names for {n_features} features")
    bins, ranges = _read_feature_infos(header.get("feature_infos"), n_features)
    trees = _read_trees(blocks)
    check_trees(trees, n_outputs, n_features)
    return LightGBMFile(
        version=header.get("version", "unknown"),
        n_outputs=n_outputs,
        n_features=n_features,
        objective=header.get("objective", "").strip(),
        feature_names=names,
        category_bins=bins,
        value_range=ranges,
        average_output="average_output" in header,
        is_monotone=any_nonzero(header.get("monotone_constraints", "").split()),
        parameters=_read_parameters(rest),
        pandas_categorical=_read_pandas_categorical(rest),
        trees=trees,
    )


def _split(
    lines: list[str],
) -> tuple[dict[str, str], list[dict[str, str]], list[str]]:
    """Split the lines into the header, the trees and what follows them."""
    header: dict[str, str] = {}
    blocks: list[dict[str, str]] = []
    current = header
    for number, line in enumerate(lines[1:], start=1):
        if line == "end of trees":
            return header, blocks, lines[number + 1 :]
        key, equals, value = line.partition("=")
        if key == "Tree" and equals:
            if value != str(len(blocks)):
                fail(f"tree {value[:20]!r} follows {len(blocks)} trees")
            current = {}
            blocks.append(current)
        elif equals:
            if key in current:
                fail(f"{key[:40]!r} is there twice")
            current[key] = value
        elif line.strip() == "average_output" and current is header:
            header["average_output"] = "1"
        elif line.strip():
            fail(f"line {number + 1} is {shorten(line)}")
    fail("it ends before the line 'end of trees'")


def _read_feature_infos(
    written: str | None, n_features: int
) -> tuple[dict[int, tuple[int, ...]] | None, dict[int, tuple[float, float]]]:
    ranges: dict[int, tuple[float, float]] = {}
    if written is None:
        return None, ranges
    bins: dict[int, tuple[int, ...]] = {}
    infos = written.split(" ")
    if len(infos) != n_features:
        fail(f"feature_infos has {len(infos)} entries for {n_features} features")
    for feature, info in enumerate(infos):
        if info == "none":
            continue
        try:
            if info.startswith("["):
                low, high = info.strip("[]").split(":")
                ranges[feature] = (float(low), float(high))
            else:
                bins[feature] = tuple(map(int, info.split(":")))
        except ValueError as error:
            fail(f"feature_infos says {shorten(info)}", error)
    return bins, ranges


def _read_trees(blocks: list[dict[str, str]]) -> LightGBMTrees:
    """Read all trees field by field, so that numbers are converted in one go."""
    n_leaves = read_array(
        [_tree_size(number, block) for number, block in enumerate(blocks)],
        "num_leaves",
        OFFSET,
    )

    def field(name: str, n_less: int) -> list[str] | None:
        tokens: list[str] = []
        for number, block in enumerate(blocks):
            expected = int(n_leaves[number]) - n_less
            found = block.get(name, "").split()
            if len(found) != expected:
                if not found and name in ("leaf_weight", "leaf_count"):
                    if name == "leaf_count":
                        return None
                    found = ["nan"] * expected
                else:
                    fail(f"tree {number} has {len(found)} of {expected} {name}")
            tokens += found
        return tokens

    def nodes(name: str, dtype: Any) -> NDArray[Any]:
        return read_array(field(name, 1) or [], name, dtype)

    # First the values, without which there is no leaf: the others may be absent.
    value = read_array(field("leaf_value", 0) or [], "leaf_value", REAL)
    weight = read_array(field("leaf_weight", 0) or [], "leaf_weight", REAL)
    count = field("leaf_count", 0)
    flags = nodes("decision_type", np.int16)
    missing = flags >> _MISSING_SHIFT
    if np.any(flags < 0) or np.any(missing > Missing.NAN):
        fail("decision_type holds an unknown flag")
    is_categorical = (flags & _CATEGORY_FLAG).astype(FLAG)
    threshold = nodes("threshold", REAL)
    offset, bits = _read_category_sets(blocks, n_leaves, is_categorical, threshold)
    return LightGBMTrees(
        n_leaves=n_leaves,
        shrinkage=read_array(
            [block.get("shrinkage", "1") for block in blocks], "shrinkage", REAL
        ),
        feature=nodes("split_feature", NODE),
        left=nodes("left_child", NODE),
        right=nodes("right_child", NODE),
        threshold=np.where(is_categorical, 0.0, threshold),
        default_left=(flags & _DEFAULT_LEFT_FLAG).astype(FLAG),
        is_categorical=is_categorical,
        missing=missing.astype(np.uint8),
        category_offset=offset,
        category_bits=bits,
        leaf_value=value,
        leaf_weight=None if np.isnan(weight).all() else weight,
        leaf_count=None if count is None else read_array(count, "leaf_count", COUNT),
    )


def _tree_size(number: int, block: dict[str, str]) -> int:
    n_leaves = read_integer(block.get("num_leaves"), f"num_leaves of tree {number}", 1)
    if block.get("is_linear", "0").strip() not in ("", "0") and (
        any_nonzero(block.get("num_features", "").split())
        or block.get("leaf_const", "").split() != block.get("leaf_value", "").split()
    ):
        raise LinearTreesError
    return n_leaves


def _read_category_sets(
    blocks: list[dict[str, str]],
    n_leaves: NDArray[np.int64],
    is_categorical: NDArray[np.bool_],
    threshold: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Bring each tree's sets, numbered by the threshold, into the order of nodes."""
    node_offset = _node_offset(n_leaves)
    n_words = np.zeros(len(is_categorical), OFFSET)
    words: list[NDArray[np.uint32]] = []
    for number, block in enumerate(blocks):
        nodes = np.arange(node_offset[number], node_offset[number + 1])
        nodes = nodes[is_categorical[nodes]]
        if not len(nodes):
            continue
        written = block.get("cat_boundaries", "").split()
        bounds = read_array(written, "cat_boundaries", OFFSET)
        bits = read_array(block.get("cat_threshold", "").split(), "cat_threshold", BITS)
        sets = threshold[nodes]
        if (
            len(bounds) < 2
            or bounds[0] != 0
            or np.any(np.diff(bounds) < 0)
            or bounds[-1] > len(bits)
            or np.any(sets != np.floor(sets))
            or np.any(sets < 0)
            or np.any(sets >= len(bounds) - 1)
            or len(np.unique(sets)) != len(sets)
        ):
            fail(f"the category sets of tree {number} contradict each other")
        index = sets.astype(OFFSET)
        n_words[nodes] = bounds[index + 1] - bounds[index]
        words += [bits[bounds[k] : bounds[k + 1]] for k in index]
    offset = np.concatenate([[0], np.cumsum(n_words)]).astype(OFFSET)
    return offset, np.concatenate([np.zeros(0, BITS), *words])


def _node_offset(n_leaves: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(n_leaves - 1)]).astype(OFFSET)


def _read_parameters(rest: list[str]) -> dict[str, str] | None:
    if "parameters:" not in rest:
        return None
    start = rest.index("parameters:")
    if "end of parameters" not in rest[start:]:
        fail("it ends before the line 'end of parameters'")
    stop = rest.index("end of parameters", start)
    found = {}
    for line in rest[start + 1 : stop]:
        key, colon, value = line.strip().removeprefix("[").partition(":")
        if colon:
            found[key] = value.removesuffix("]").strip()
    return found


def _read_pandas_categorical(rest: list[str]) -> list[list[Any]] | None:
    for line in reversed(rest):
        key, colon, value = line.partition(":")
        if key == "pandas_categorical" and colon:
            try:
                labels = json.loads(value)
            except (ValueError, RecursionError) as error:
                fail("pandas_categorical is not JSON", error)
            return check_labels(labels)
    return None
