"""Damaged, hostile and odd model files: one clear error, quickly, and no crash."""

import json
import random
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.adapters.fuzz import mutate, spoil, survives
from tests.adapters.lightgbm.models import mixed_rows, mixed_score, train
from treeinf.adapters import read_model
from treeinf.errors import ModelFormatError

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def booster():
    rng = np.random.default_rng(7)
    X = mixed_rows(rng)
    y = np.digitize(mixed_score(X), [0.0, 1.0])
    return train(
        lightgbm,
        X,
        y,
        categorical=[1, 2],
        objective="multiclass",
        num_class=3,
        iterations=2,
        num_leaves=5,
    )


@pytest.fixture(scope="module")
def text(booster):
    return booster.model_to_string()


@pytest.fixture
def dumped(booster):
    return booster.dump_model()


def test_text_and_json_agree(text, dumped):
    first, second = read_model(text), read_model(dumped)
    for name in (
        *("node_offset", "leaf_offset", "feature", "threshold", "left", "right"),
        *("default_left", "missing", "is_categorical", "leaf_value", "leaf_count"),
        *("shrinkage", "base_score_folded"),
    ):
        assert_array_equal(getattr(first, name), getattr(second, name))
    # JSON lists the categories: its sets end at the word of the largest.
    for node in np.flatnonzero(first.is_categorical):
        bits = [
            np.unpackbits(
                e.category_bits[e.category_offset[node] : e.category_offset[node + 1]]
                .astype("<u4")
                .view(np.uint8),
                bitorder="little",
            )
            for e in (first, second)
        ]
        assert_array_equal(np.flatnonzero(bits[0]), np.flatnonzero(bits[1]))


def test_every_cut_of_a_text(text):
    """Up to the parameters' end, a text that stops early is refused."""
    trees_end = text.index("end of trees") + len("end of trees")
    section = text.index("parameters:")
    whole = text.index("end of parameters") + len("end of parameters")
    for stop in range(0, len(text), 37):
        if stop < trees_end or section + len("parameters:") <= stop < whole:
            with pytest.raises(ModelFormatError):
                read_model(text[:stop].encode())


def test_tree_without_its_middle(text):
    start, stop = text.index("\nTree=1\n"), text.index("\nTree=2\n")
    with pytest.raises(ModelFormatError, match="tree '2' follows 1"):
        read_model(text[:start] + text[stop:])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_leaves", "1000000000000", "num_leaves"),
        ("num_leaves", "2000000000", "has 5 of 2000000000 leaf_value"),
        ("num_leaves", "0", "num_leaves"),
        ("num_leaves", "-3", "num_leaves"),
        ("num_leaves", "five", "num_leaves"),
        ("num_leaves", "9" * 5000, "num_leaves"),
        ("split_feature", "0 1 2 99", "outside \\[0, 5\\)"),
        ("split_feature", "0 1 2 -1", "outside \\[0, 5\\)"),
        ("split_feature", f"0 1 2 {2**40}", "out of range"),
        ("split_feature", f"0 1 2 {10**30}", "not a number"),
        ("left_child", "1 2 3 4", "points outside its tree"),
        ("left_child", "1 2 3 -6", "points outside its tree"),
        ("left_child", "0 1 2 3", "parent"),
        ("left_child", "-1 -1 -1 -1", "parent"),
        ("left_child", "1 2 3", "has 3 of 4 left_child"),
        ("threshold", "nan nan nan nan", "threshold"),
        ("threshold", "a b c d", "not a number"),
        ("decision_type", "99 2 2 2", "unknown flag"),
        ("decision_type", "-1 2 2 2", "unknown flag"),
        ("decision_type", "1 1 1 1", "category sets"),
        ("leaf_value", "nan 0 0 0 0", "not finite"),
        ("leaf_value", "inf 0 0 0 0", "not finite"),
        ("leaf_value", "0 0 0 0", "has 4 of 5 leaf_value"),
        ("leaf_count", "-1 0 0 0 0", "negative"),
        ("shrinkage", "nan", "shrinkage"),
        ("cat_boundaries", "0 900", "category sets"),
        ("cat_boundaries", "0 -1", "category sets"),
    ],
)
def test_hostile_trees(text, key, value, words):
    """A line of the first tree is replaced."""
    lines = text.split("\n")
    tree = lines.index("Tree=0")
    number = next(n for n in range(tree, len(lines)) if lines[n].startswith(key + "="))
    lines[number] = f"{key}={value}"
    with pytest.raises(ModelFormatError, match=words):
        read_model("\n".join(lines))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("max_feature_idx", "1000000000000", "max_feature_idx"),
        ("max_feature_idx", "100000", "names for 100001 features"),
        ("max_feature_idx", "-1", "max_feature_idx"),
        ("num_tree_per_iteration", "1000000000", "whole iterations"),
        ("num_tree_per_iteration", "0", "num_tree_per_iteration"),
        ("num_tree_per_iteration", "2", "does not fit 2"),
        ("feature_infos", "none none", "feature_infos has 2"),
        ("feature_infos", "none none none none x", "feature_infos is"),
        ("feature_names", "a b", "feature_names has 2"),
        ("tree_sizes", "1 2", "tree_sizes"),
        ("objective", "multiclass num_class:2", "does not fit 3"),
        ("objective", "binary sigmoid:1", "does not fit 3"),
        ("objective", "multiclassova num_class:3 sigmoid:x", "objective"),
    ],
)
def test_hostile_header(text, key, value, words):
    lines = text.split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith(key + "="))
    lines[number] = f"{key}={value}"
    with pytest.raises(ModelFormatError, match=words):
        read_model("\n".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[lambda_l2: 0]", "[lambda_l2: much]", "lambda_l2='much'"),
        ("[lambda_l2: 0]", "[lambda_l2: nan]", "lambda_l2='nan'"),
        ("pandas_categorical:null", "pandas_categorical:[", "pandas_categorical"),
        ("pandas_categorical:null", "pandas_categorical:[1]", "pandas_categorical"),
        ("pandas_categorical:null", "pandas_categorical:[[[]]]", "pandas_categorical"),
        ("version=v4", "gibberish", "gibberish"),
        ("version=v4", "version=v4\nversion=v4", "'version' occurs twice"),
    ],
)
def test_hostile_text(text, old, new, words):
    assert old in text
    with pytest.raises(ModelFormatError, match=words):
        read_model(text.replace(old, new))


def test_many_labels_for_many_columns_take_no_time(text):
    labels = json.dumps([["a"]] * 5000)
    infos = " ".join(["none"] * 5000)
    names = " ".join(f"c{k}" for k in range(5000))
    lines = text.split("\n")
    for n, line in enumerate(lines):
        for key, value in {
            "max_feature_idx": "4999",
            "feature_names": names,
            "feature_infos": infos,
        }.items():
            if line.startswith(key + "="):
                lines[n] = f"{key}={value}"
    start = time.thread_time()
    ensemble = read_model(
        "\n".join(lines).replace("categorical:null", "categorical:" + labels)
    )
    assert ensemble.n_features == 5000
    assert time.thread_time() - start < 5.0


def test_categorical_columns_that_are_not_there(text):
    text = text.replace("pandas_categorical:null", 'pandas_categorical:[["a"]]')
    old = "[categorical_feature: 1,2]"
    assert old in text
    for columns in ("99", "-1", "1,99", "x", "9" * 30):
        ensemble = read_model(text.replace(old, f"[categorical_feature: {columns}]"))
        assert (
            ensemble.input_rules.categories is None
            or len(ensemble.input_rules.categories) == 5
        )


# JSON.


def nodes_of(dumped, tree=0):
    stack, found = [dumped["tree_info"][tree]["tree_structure"]], []
    while stack:
        node = stack.pop()
        if "split_index" in node:
            found.append(node)
            stack += [node["left_child"], node["right_child"]]
    return found


def test_json_cycle(dumped):
    root, child = nodes_of(dumped)[:2]
    child["left_child"] = root
    with pytest.raises(ModelFormatError, match="two parents"):
        read_model(dumped)


def test_json_shared_node(dumped):
    root = nodes_of(dumped)[0]
    root["left_child"] = root["right_child"]
    with pytest.raises(ModelFormatError, match="two parents"):
        read_model(dumped)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("split_index", 10**12),
        ("split_index", -1),
        ("split_index", 3.5),
        ("split_index", None),
        ("split_feature", 10**12),
        ("split_feature", 0.5),
        ("split_feature", None),
        ("threshold", None),
        ("threshold", "1||2"),
        ("threshold", float("nan")),
        ("decision_type", "!="),
        ("decision_type", []),
        ("default_left", "yes"),
        ("missing_type", "Zeros"),
        ("missing_type", None),
        ("left_child", None),
        ("left_child", 4),
        ("left_child", {}),
        ("left_child", {"leaf_index": 10**12, "leaf_value": 0.0}),
        ("left_child", {"leaf_index": 0, "leaf_value": float("inf")}),
    ],
)
def test_hostile_json_node(dumped, key, value):
    node = next(n for n in nodes_of(dumped) if n["decision_type"] == "<=")
    node[key] = value
    with pytest.raises(ModelFormatError):
        read_model(dumped)


@pytest.mark.parametrize("threshold", ["-1", "x", str(10**30), "1||x"])
def test_hostile_json_categories(dumped, threshold):
    trees = range(len(dumped["tree_info"]))
    node = next(
        n for k in trees for n in nodes_of(dumped, k) if n["decision_type"] == "=="
    )
    node["threshold"] = threshold
    with pytest.raises(ModelFormatError):
        read_model(dumped)


def test_json_categories_that_ask_for_gigabytes(dumped):
    for tree in range(len(dumped["tree_info"])):
        for node in nodes_of(dumped, tree):
            node["decision_type"] = "=="
            node["threshold"] = str(2**31 - 1)
    with pytest.raises(ModelFormatError, match="numbered too high"):
        read_model(dumped)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tree_info", None),
        ("tree_info", [3]),
        ("tree_info", [{}]),
        ("tree_info", []),
        ("feature_names", None),
        ("feature_names", [1, 2, 3, 4, 5]),
        ("feature_names", []),
        ("feature_infos", []),
        ("feature_infos", {"Column_0": 3}),
        ("feature_infos", {"Column_0": {"values": ["x"]}}),
        ("max_feature_idx", 10**12),
        ("max_feature_idx", "many"),
        ("num_tree_per_iteration", 10**12),
        ("num_tree_per_iteration", None),
        ("pandas_categorical", "abc"),
    ],
)
def test_hostile_json_header(dumped, key, value):
    dumped[key] = value
    with pytest.raises(ModelFormatError):
        read_model(dumped)


def test_json_tree_with_another_count(dumped):
    dumped["tree_info"][0]["num_leaves"] = 10**12
    with pytest.raises(ModelFormatError, match="does not have num_leaves leaves"):
        read_model(dumped)


# Fuzz: whatever happens to the bytes, an ensemble or one of the refusals comes out.


TOKENS = (
    *("", "-1", "0", "1", "99", "1000000000000", "nan", "inf", "-inf", "1e400", "x"),
    *("=", "\n", " ", "Tree=0", "end of trees", "null", "[]", "{}", "||", "\x00", '"'),
)


TOKENS = tuple(token.encode() for token in TOKENS)


@hypothesis.settings(max_examples=250)
@hypothesis.given(random=st.randoms(use_true_random=False))
def test_fuzzed_text(text, random):
    survives(mutate(text.partition("[boosting")[0].encode(), TOKENS, random))
    survives(mutate(text.encode(), TOKENS, random))


@hypothesis.settings(max_examples=150)
@hypothesis.given(random=st.randoms(use_true_random=False))
def test_fuzzed_json(booster, random):
    survives(mutate(json.dumps(booster.dump_model()).encode(), TOKENS, random))


@hypothesis.settings(max_examples=100)
@hypothesis.given(content=st.binary(max_size=300))
def test_random_bytes(content):
    for start in (b"", b"tree\n", b"{"):
        survives(start + content)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@hypothesis.settings(max_examples=250)
@hypothesis.given(value=JSON_VALUES, seed=st.integers(0, 2**32))
def test_json_with_any_value_anywhere(booster, value, seed):
    dumped = booster.dump_model()
    spoil(dumped, value, random.Random(seed))
    survives(dumped)


@pytest.mark.slow
def test_fuzzed_thousands(tmp_path, text, booster):
    generator = random.Random(11)
    contents = [text.encode(), json.dumps(booster.dump_model()).encode()]
    path = tmp_path / "model"
    for number in range(6000):
        path.write_bytes(mutate(contents[number % 2], TOKENS, generator))
        survives(path)


def test_reading_is_fast():
    """1,000 trees of 255 leaves; the bound is 2 s on an idle machine."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 4))
    booster = train(
        lightgbm,
        X,
        rng.normal(size=3000),
        num_leaves=255,
        min_data_in_leaf=2,
        iterations=25,
        learning_rate=0.01,
    )
    assert booster.dump_model()["tree_info"][0]["num_leaves"] == 255
    text = booster.model_to_string()
    start, stop = text.index("Tree=0"), text.index("end of trees")
    blocks = text[start:stop].split("\n\n\n")[:-1] * 40
    trees = [f"Tree={n}\n" + block.partition("\n")[2] for n, block in enumerate(blocks)]
    header = text[:start].split("\n")
    header = [line for line in header if not line.startswith("tree_sizes")]
    long = "\n".join(header) + "\n\n\n".join(trees) + "\n\n\n" + text[stop:]
    times = []
    for _ in range(3):
        begin = time.thread_time()
        ensemble = read_model(long)
        times.append(time.thread_time() - begin)
    assert (ensemble.n_trees, ensemble.most_leaves) == (1000, 255)
    assert min(times) < 4.0
