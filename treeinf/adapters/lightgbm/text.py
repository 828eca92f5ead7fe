"""Parse LightGBM's model text, which ``save_model`` and ``model_to_string`` write."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.files import (
    FIELDS,
    LightGBMFile,
    LightGBMTrees,
    check_labels,
    check_trees,
    refuse_linear_trees,
)
from treeinf.adapters.parameters import has_constraint
from treeinf.adapters.records import count_offsets, shorten
from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import Missing

__all__ = ["parse"]

_START = "tree"
_ENDS = ("end of trees", "feature importances:")
"""What follows the last tree; before 2.2 the importances did."""
_CATEGORY_FLAG = 1
_DEFAULT_LEFT_FLAG = 2
_MISSING_SHIFT = 2


def parse(text: str) -> LightGBMFile:
    """Parse a model text; see `formats.parse`."""
    # not splitlines: a feature name may contain other line boundaries
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[0].strip() != _START:
        FIELDS.fail(f"the first line is not {_START!r}")
    header, sections, rest = _split(lines)
    n_features = FIELDS.integer(header.get("max_feature_idx"), "max_feature_idx", 0) + 1
    n_outputs = FIELDS.integer(
        header.get("num_tree_per_iteration", header.get("num_class")),
        "num_tree_per_iteration",
        1,
    )
    if "tree_sizes" in header and len(header["tree_sizes"].split()) != len(sections):
        FIELDS.fail(f"tree_sizes and the {len(sections)} trees there are disagree")
    names = tuple(header.get("feature_names", "").split(" "))
    if len(names) != n_features:
        FIELDS.fail(f"feature_names has {len(names)} names for {n_features} features")
    bins, ranges = _read_feature_infos(header.get("feature_infos"), n_features)
    trees = _read_trees(sections)
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
        is_monotone=has_constraint(header.get("monotone_constraints")),
        parameters=_read_parameters(rest),
        pandas_categorical=_read_pandas_categorical(rest),
        trees=trees,
    )


def _split(
    lines: list[str],
) -> tuple[dict[str, str], list[dict[str, str]], list[str]]:
    """Split the lines into the header, the trees and what follows them."""
    header: dict[str, str] = {}
    sections: list[dict[str, str]] = []
    current = header
    for number, line in enumerate(lines[1:], start=1):
        if line in _ENDS:
            return header, sections, lines[number + 1 :]
        key, equals, value = line.partition("=")
        if key == "Tree" and equals:
            if value != str(len(sections)):
                FIELDS.fail(f"tree {value[:20]!r} follows {len(sections)} trees")
            current = {}
            sections.append(current)
        elif equals:
            if key in current:
                FIELDS.fail(f"{key[:40]!r} occurs twice")
            current[key] = value
        elif line.strip() == "average_output" and current is header:
            header["average_output"] = "1"
        elif line.strip():
            FIELDS.fail(f"line {number + 1} is {shorten(line)}")
    FIELDS.fail("it ends before the line 'end of trees'")


def _read_feature_infos(
    text: str | None, n_features: int
) -> tuple[dict[int, tuple[int, ...]] | None, dict[int, tuple[float, float]]]:
    ranges: dict[int, tuple[float, float]] = {}
    if text is None:
        return None, ranges
    bins: dict[int, tuple[int, ...]] = {}
    infos = text.split(" ")
    if len(infos) != n_features:
        FIELDS.fail(f"feature_infos has {len(infos)} entries for {n_features} features")
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
            FIELDS.fail(f"an entry of feature_infos is {shorten(info)}", error)
    return bins, ranges


def _read_trees(sections: list[dict[str, str]]) -> LightGBMTrees:
    """Read all trees field by field, so that each field is converted at once."""
    n_leaves = np.array(
        [_tree_size(number, section) for number, section in enumerate(sections)], OFFSET
    )

    def field(name: str, n_less: int) -> list[str] | None:
        tokens: list[str] = []
        for number, section in enumerate(sections):
            expected = int(n_leaves[number]) - n_less
            words = section.get(name, "").split()
            if not words and name == "leaf_count":
                if n_leaves[number] > 1:
                    return None
                words = ["0"]  # LightGBM before 4.6 stores none
            if not words and name == "leaf_weight":
                words = ["nan"] * expected
            if len(words) != expected:
                FIELDS.fail(f"tree {number} has {len(words)} of {expected} {name}")
            tokens += words
        return tokens

    def nodes(name: str, dtype: Any) -> NDArray[Any]:
        return FIELDS.tokens(field(name, 1) or [], name, dtype)

    # first the leaf values, which are required; other fields may be absent
    value = FIELDS.tokens(field("leaf_value", 0) or [], "leaf_value", REAL)
    weight = FIELDS.tokens(field("leaf_weight", 0) or [], "leaf_weight", REAL)
    count = field("leaf_count", 0)
    flags = nodes("decision_type", np.int16)
    missing = flags >> _MISSING_SHIFT
    if np.any(flags < 0) or np.any(missing > Missing.NAN):
        FIELDS.fail("decision_type holds an unknown flag")
    is_categorical = (flags & _CATEGORY_FLAG).astype(FLAG)
    threshold = nodes("threshold", REAL)
    offset, bits = _read_category_sets(sections, n_leaves, is_categorical, threshold)
    return LightGBMTrees(
        n_leaves=n_leaves,
        shrinkage=FIELDS.tokens(
            [section.get("shrinkage", "1") for section in sections], "shrinkage", REAL
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
        leaf_count=None if count is None else FIELDS.tokens(count, "leaf_count", COUNT),
    )


def _tree_size(number: int, section: dict[str, str]) -> int:
    name = f"num_leaves of tree {number}"
    n_leaves = FIELDS.integer(section.get("num_leaves"), name, 1)
    if section.get("is_linear", "0").strip() not in ("", "0") and (
        has_constraint(section.get("num_features"))
        or section.get("leaf_const", "").split()
        != section.get("leaf_value", "").split()
    ):
        refuse_linear_trees()
    return n_leaves


def _read_category_sets(
    sections: list[dict[str, str]],
    n_leaves: NDArray[np.int64],
    is_categorical: NDArray[np.bool_],
    threshold: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return each node's set of categories; its threshold is the set's number."""
    node_offset = count_offsets(n_leaves - 1)
    n_words = np.zeros(len(is_categorical), OFFSET)
    words: list[NDArray[np.uint32]] = []
    for number, section in enumerate(sections):
        nodes = np.arange(node_offset[number], node_offset[number + 1])
        nodes = nodes[is_categorical[nodes]]
        if not len(nodes):
            continue
        bounds, bits = (
            FIELDS.tokens(section.get(name, "").split(), name, dtype)
            for name, dtype in (("cat_boundaries", OFFSET), ("cat_threshold", BITS))
        )
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
            FIELDS.fail(f"the category sets of tree {number} contradict each other")
        index = sets.astype(OFFSET)
        n_words[nodes] = bounds[index + 1] - bounds[index]
        words += [bits[bounds[k] : bounds[k + 1]] for k in index]
    return count_offsets(n_words), np.concatenate([np.zeros(0, BITS), *words])


def _read_parameters(rest: list[str]) -> dict[str, str] | None:
    if "parameters:" not in rest:
        return None
    start = rest.index("parameters:")
    if "end of parameters" not in rest[start:]:
        FIELDS.fail("it ends before the line 'end of parameters'")
    stop = rest.index("end of parameters", start)
    parameters = {}
    for line in rest[start + 1 : stop]:
        key, colon, value = line.strip().removeprefix("[").partition(":")
        if colon:
            parameters[key] = value.removesuffix("]").strip()
    return parameters


def _read_pandas_categorical(rest: list[str]) -> list[list[Any]] | None:
    for line in reversed(rest):
        key, colon, value = line.partition(":")
        if key == "pandas_categorical" and colon:
            return check_labels(FIELDS.json_value(value, "pandas_categorical"))
    return None
