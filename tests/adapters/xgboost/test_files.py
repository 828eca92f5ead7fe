"""JSON and UBJSON files: the same model, and nothing else whatever the bytes."""

import json
import random
import struct
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.adapters.fuzz import mutate, spoil, survives
from tests.adapters.xgboost.models import (
    dropping_trees,
    mixed_rows,
    mixed_score,
    own_raw_score,
    train,
)
from treeinf.adapters import read_model
from treeinf.adapters.xgboost import reader as adapter
from treeinf.adapters.xgboost.ubjson import parse_object
from treeinf.errors import (
    ModelFormatError,
    ModelVersionWarning,
    UnsupportedModelError,
)

xgboost = pytest.importorskip("xgboost")

# tests that change whatever is there change the version too
pytestmark = pytest.mark.filterwarnings("ignore:This model was written by XGBoost")

RECIPES = {
    "plain": {"objective": "count:poisson"},
    "classes": {"objective": "multi:softprob", "num_class": 3, "alpha": 0.1},
    "dart": dropping_trees(xgboost),
    "vectors": {
        "objective": "multi:softprob",
        "num_class": 3,
        "multi_strategy": "multi_output_tree",
        "tree_method": "hist",
    },
}


@pytest.fixture(scope="module")
def boosters():
    X = mixed_rows(np.random.default_rng(3))
    score = mixed_score(X)
    found = {}
    for name, params in RECIPES.items():
        y = np.digitize(score, [0.0, 1.0]) if "num_class" in params else np.exp(score)
        categorical = () if name == "vectors" else (1, 2)
        found[name] = train(
            xgboost, X, y, categorical=categorical, max_depth=3, iterations=2, **params
        )
    return found


@pytest.fixture(scope="module")
def contents(boosters):
    return {
        (name, form): bytes(booster.save_raw(form))
        for name, booster in boosters.items()
        for form in ("json", "ubj")
    }


@pytest.fixture
def model(contents):
    """The entries of a JSON file, to be spoiled."""
    return json.loads(contents["plain", "json"])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("suffix", [".json", ".ubj", ""])
def test_both_forms_hold_the_same_model(tmp_path, boosters, contents, recipe, suffix):
    live = read_model(boosters[recipe])
    for form in ("json", "ubj"):
        path = tmp_path / f"{form}{suffix}"
        path.write_bytes(contents[recipe, form])
        found = read_model(path)
        for name in (
            *("node_offset", "leaf_offset", "feature", "threshold", "left", "right"),
            *("default_left", "is_categorical", "category_bits", "leaf_value"),
            *("iteration", "output", "base_score"),
        ):
            assert_array_equal(getattr(found, name), getattr(live, name))
        assert (found.loss, found.loss_name) == (live.loss, live.loss_name)
        assert found.n_features == live.n_features


def test_dictionary_and_text(contents, model):
    expected = read_model(model)
    text = contents["plain", "json"].decode()
    for given in (text + "\n", json.dumps(model, indent=1)):
        assert_array_equal(read_model(given).leaf_value, expected.leaf_value)


def test_ubjson_says_what_json_says(contents):
    for recipe in RECIPES:
        binary = parse_object(contents[recipe, "ubj"])
        text = json.loads(contents[recipe, "json"])
        assert plain(binary) == plain(text)


def plain(value):
    """Bring both parsers' values to the same types and precision."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return repr(float(np.float32(value)))  # NaN is NaN
    return int(value) if isinstance(value, np.integer) else value


@pytest.mark.filterwarnings("ignore")
def test_old_binary_form(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"binf" + bytes(500))
    with pytest.raises(UnsupportedModelError, match=r"old binary form.*save_model"):
        read_model(path)


# Hostile entries.


def content_of(model):
    booster = model["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("left_children", [1, 0, -1, -1, -1]),
        ("left_children", [-1]),
        ("left_children", "abc"),
        ("left_children", None),
        ("left_children", [[1]]),
        ("left_children", [0.5] * 15),
        ("left_children", [2**40] * 15),
        ("left_children", [2] * 15),
        ("right_children", [-5] * 15),
        ("split_indices", [10**6] * 15),
        ("split_indices", [-1] * 15),
        ("split_conditions", [float("nan")] * 15),
        ("split_conditions", [float("inf")] * 15),
        ("split_conditions", ["x"] * 15),
        ("split_conditions", {}),
        ("default_left", [2] * 15),
        ("split_type", [7] * 15),
        ("split_type", [1] * 15),
        ("categories", []),
        ("categories", [-1] * 500),
        ("categories", [2**62] * 500),
        ("categories_sizes", [2**62] * 7),
        ("categories_segments", [2**62] * 7),
        ("categories_nodes", [0, 0]),
        ("tree_param", {"num_nodes": str(10**15)}),
        ("tree_param", {"num_nodes": "-1"}),
        ("tree_param", {"num_nodes": "15", "size_leaf_vector": str(10**9)}),
        ("tree_param", None),
    ],
    ids=lambda given: str(given)[:40],
)
def test_hostile_tree(model, key, value):
    tree = content_of(model)["trees"][0]
    size = int(tree["tree_param"]["num_nodes"])
    if isinstance(value, list) and len(value) == 15:
        value = (value * size)[:size]
    tree[key] = value
    with pytest.raises(ModelFormatError):
        read_model(model)


def test_cycle(model):
    """Two nodes that are each other's children, and that no root leads to."""
    tree = content_of(model)["trees"][0]
    inner = [k for k, child in enumerate(tree["left_children"]) if child >= 0][1:]
    first, second = inner[0], tree["left_children"][inner[0]]
    tree["left_children"][second] = first
    tree["right_children"][second] = tree["right_children"][first]
    with pytest.raises(ModelFormatError, match=r"parents|cycle"):
        read_model(model)
    root = tree["left_children"][0]
    tree["left_children"] = [-1] * len(tree["left_children"])
    tree["right_children"] = [-1] * len(tree["left_children"])
    tree["left_children"][root], tree["right_children"][root] = root, root + 1
    with pytest.raises(ModelFormatError, match="cycle"):
        read_model(model)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", None),
        ("version", [1, 2]),
        ("version", ["a", "b", "c"]),
        ("learner", None),
        ("learner", []),
        ("learner.objective", {}),
        ("learner.objective.name", 3),
        ("learner.objective.poisson_regression_param.max_delta_step", "x"),
        ("learner.gradient_booster", "gbtree"),
        ("learner.gradient_booster.name", None),
        ("learner.gradient_booster.name", "dart"),
        ("learner.gradient_booster.model.trees", []),
        ("learner.gradient_booster.model.trees", [3, 4]),
        ("learner.gradient_booster.model.tree_info", [0]),
        ("learner.gradient_booster.model.tree_info", [0, 5]),
        ("learner.gradient_booster.model.tree_info", [0, -1]),
        ("learner.gradient_booster.model.iteration_indptr", []),
        ("learner.gradient_booster.model.iteration_indptr", [0, 10**9]),
        ("learner.gradient_booster.model.iteration_indptr", [0, 2, 1, 2]),
        ("learner.gradient_booster.model.iteration_indptr", [0, 0, 0, 0, 2]),
        ("learner.gradient_booster.model.cats", {"enc": [1] * 5}),
        ("learner.gradient_booster.model.cats", {"enc": [{}] * 5}),
        ("learner.gradient_booster.model.cats", {"enc": [{"values": [1]}] * 4}),
        (
            "learner.gradient_booster.model.cats",
            {"enc": [{"values": [65], "offsets": [0, 9]}] * 5},
        ),
        ("learner.learner_model_param.num_feature", "0"),
        ("learner.learner_model_param.num_feature", str(10**12)),
        ("learner.learner_model_param.num_feature", "many"),
        ("learner.learner_model_param.num_class", str(10**9)),
        ("learner.learner_model_param.num_target", str(10**9)),
        ("learner.learner_model_param.base_score", 0.5),
        ("learner.learner_model_param.base_score", "[1,2,3]"),
        ("learner.learner_model_param.base_score", "nan"),
        ("learner.learner_model_param.base_score", "x"),
        ("learner.feature_names", ["a"]),
        ("learner.feature_names", [1, 2, 3, 4, 5]),
        ("learner.attributes", {"best_iteration": "x"}),
    ],
    ids=lambda given: str(given)[:40],
)
def test_hostile_entry(model, place, value):
    *path, last = place.split(".")
    inner = model
    for key in path:
        inner = inner[key]
    inner[last] = value
    begin = time.thread_time()
    with pytest.raises(ModelFormatError):
        read_model(model)
    assert time.thread_time() - begin < 1.0


@pytest.mark.parametrize("layout", ["before 3.3", "3.3", "3.4"])
def test_weights_of_dropped_trees(contents, boosters, layout):
    """They stand beside the trees' booster, then in it, then with the trees."""
    model = json.loads(contents["dart", "json"])
    expected = read_model(model)
    assert expected.training.approximations[0].startswith("booster=dart or rate_drop")
    written = model["learner"]["gradient_booster"]
    content = content_of(model)
    weight = content.pop("weight_drop", None) or written.pop("weight_drop")
    assert set(weight) != {1.0}
    booster = {"name": "gbtree", "model": content}
    place = booster
    if layout == "before 3.3":
        booster = place = {"name": "dart", "gbtree": booster}
    elif layout == "3.4":
        place = content
    place["weight_drop"] = weight
    model["learner"]["gradient_booster"] = booster
    found = read_model(model)
    assert_array_equal(found.leaf_value, expected.leaf_value)
    assert found.training == expected.training
    for value in ([1.0], [1.0, float("nan")]):
        place["weight_drop"] = value
        with pytest.raises(ModelFormatError, match="weight_drop"):
            read_model(model)
    X = mixed_rows(np.random.default_rng(3))
    scores = own_raw_score(xgboost, boosters["dart"], X[:20])
    assert_allclose(expected.raw_score(X[:20]), scores, rtol=1e-5)


@pytest.mark.parametrize("version", [[3, 5, 0], [4, 0, 0]])
def test_newer_versions_are_read_with_a_warning(model, version):
    expected = read_model(model)
    model["version"] = version
    named = ".".join(map(str, version))
    with pytest.warns(
        ModelVersionWarning, match=rf"XGBoost {named}; treeinf was tested up to 3\.4 "
    ):
        found = read_model(model)
    assert_array_equal(found.leaf_value, expected.leaf_value)
    assert found.library_version == f"{named} (model file)"
    model["version"] = [3, 4, 9]
    read_model(model)


def test_a_newer_library_at_hand_warns(monkeypatch):
    booster = train(xgboost, np.eye(4), np.arange(4), iterations=1)
    monkeypatch.setattr(adapter, "_NEWEST", (3, 1))
    with pytest.warns(ModelVersionWarning, match=xgboost.__version__):
        read_model(booster)


def test_vector_leaves_that_are_not_there(contents):
    model = json.loads(contents["vectors", "json"])
    tree = content_of(model)["trees"][0]
    name = "leaf_weights" if "leaf_weights" in tree else "base_weights"
    for value in (tree[name][:-1], tree[name][:3], []):
        tree[name] = value
        with pytest.raises(ModelFormatError, match=name):
            read_model(model)


def test_categories_that_ask_for_gigabytes(contents):
    model = json.loads(contents["classes", "json"])
    for tree in content_of(model)["trees"]:
        tree["categories"] = [2**31 - 1] * len(tree["categories"])
    with pytest.raises(ModelFormatError, match="numbered too high"):
        read_model(model)


def test_deep_tree_is_read_fast(model):
    """A chain of 100,000 nodes."""
    n_inner = 100_000
    size = 2 * n_inner + 1
    left = np.full(size, -1)
    left[: 2 * n_inner : 2] = np.arange(1, size, 2)
    right = np.full(size, -1)
    right[: 2 * n_inner : 2] = np.arange(2, size, 2)
    content = content_of(model)
    tree = content["trees"][0]
    zeros = np.zeros(size, np.int64)
    tree |= {"left_children": left, "right_children": right}
    for name in ("split_indices", "split_type", "default_left", "split_conditions"):
        tree[name] = zeros
    for name in ("sum_hessian", "base_weights", "loss_changes"):
        tree[name] = zeros.astype(float)
    tree["tree_param"]["num_nodes"] = str(size)
    content["trees"] = [tree]
    content["tree_info"], content["iteration_indptr"] = [0], [0, 1]
    begin = time.thread_time()
    ensemble = read_model(model)
    assert ensemble.n_leaves == n_inner + 1
    assert time.thread_time() - begin < 1.0


# Hostile UBJSON.


def sized(marker, size):
    return b"[$" + marker + b"#L" + struct.pack(">q", size)


KEY = b"{i\x01a"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[", b"{i", b"{i\x05a", b"{L" + b"\xff" * 8, KEY, KEY + b"?"),
        *(KEY + b"S", KEY + b"SL" + struct.pack(">q", 2**62), KEY + b"Si\x01\xff}"),
        *(KEY + sized(marker, 2**62) for marker in (b"d", b"L", b"i", b"Z", b"T")),
        *(KEY + sized(b"d", -1), KEY + sized(b"S", 3), KEY + b"[$d]"),
        *(KEY + b"[#L" + struct.pack(">q", 2**62), KEY + b"[#L" + b"\xff" * 8),
        *(KEY + b"{#L" + struct.pack(">q", 2**62), KEY + b"{$d#i\x01"),
        *(KEY + b"[" * 5000, KEY + b"{i\x01a" * 5000, KEY + b"N" * 100_000),
        *(KEY + b"Zi\x01aZ}", KEY + b"Z}Z", b"{i\x01\xffZ}", b"{SZ}", KEY + b"i"),
    ],
)
def test_hostile_ubjson(content):
    begin = time.thread_time()
    with pytest.raises(ModelFormatError):
        read_model(content)
    assert time.thread_time() - begin < 1.0


def test_kinds_of_ubjson():
    content = (
        b"{i\x01aiABi\x01bI\x01\x00i\x01cD"
        + struct.pack(">d", 0.5)
        + b"i\x01d[TFZNCx]i\x01e[$I#U\x02\x00\x01\x00\x02i\x01f{#i\x01i\x01gl"
        + struct.pack(">i", -3)
        + b"}"
    )
    content = content.replace(b"iAB", b"iA")
    found = parse_object(content)
    found["e"] = found["e"].tolist()
    assert found == {
        **{"a": 65, "b": 256, "c": 0.5, "d": [True, False, None, "x"]},
        **{"e": [1, 2], "f": {"g": -3}},
    }


# Fuzz: whatever happens to the bytes, an ensemble or one of the refusals comes out.


TOKENS = (
    *(b"", b"-1", b"0", b"1", b"99", b"1000000000000", b"NaN", b"Infinity", b"1e400"),
    *(b"x", b",", b":", b"null", b"true", b"[]", b"{}", b"[", b"}", b"\x00", b'"'),
    *(
        b"L",
        b"$l#L",
        b"\xff" * 8,
        b"\x7f" + b"\xff" * 7,
        b"[$d#L",
        b"S",
        b"Z",
        b"i\x01",
    ),
)


@hypothesis.settings(max_examples=250)
@hypothesis.given(
    random=st.randoms(use_true_random=False),
    recipe=st.sampled_from(sorted(RECIPES)),
    form=st.sampled_from(["json", "ubj"]),
)
def test_fuzzed_bytes(contents, random, recipe, form):
    survives(mutate(contents[recipe, form], TOKENS, random))


@hypothesis.settings(max_examples=100)
@hypothesis.given(content=st.binary(max_size=300))
def test_random_bytes(content):
    for start in (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner", b"{i", b"binf"):
        survives(start + content)


NUMBERS = st.integers(-3, 20) | st.integers() | st.floats()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | NUMBERS.map(str)
    | st.text(max_size=5)
    | st.lists(NUMBERS, max_size=16),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@hypothesis.settings(max_examples=250)
@hypothesis.given(
    value=VALUES, seed=st.integers(0, 2**32), recipe=st.sampled_from(sorted(RECIPES))
)
def test_any_value_anywhere(contents, value, seed, recipe):
    model = json.loads(contents[recipe, "json"])
    spoil(model, value, random.Random(seed))
    survives(model)


@pytest.mark.slow
def test_fuzzed_thousands(tmp_path, contents):
    generator = random.Random(11)
    files = list(contents.values())
    path = tmp_path / "model"
    n_read = 0
    for number in range(6000):
        path.write_bytes(mutate(files[number % len(files)], TOKENS, generator))
        n_read += survives(path)
    assert 0 < n_read < 6000


@pytest.mark.slow
@hypothesis.settings(max_examples=3000)
@hypothesis.given(
    value=VALUES, seed=st.integers(0, 2**32), recipe=st.sampled_from(sorted(RECIPES))
)
def test_any_value_anywhere_thousands(contents, value, seed, recipe):
    model = json.loads(contents[recipe, "json"])
    spoil(model, value, random.Random(seed))
    survives(model)


def test_reading_is_fast(tmp_path):
    """1,000 trees of 255 leaves; the bound is 2 s on an idle machine."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 4))
    booster = train(
        xgboost,
        X,
        rng.normal(size=3000),
        max_leaves=255,
        max_depth=0,
        grow_policy="lossguide",
        iterations=20,
        eta=0.01,
    )
    model = json.loads(booster.save_raw("json"))
    content = content_of(model)
    content["trees"] *= 50
    content["tree_info"] = [0] * 1000
    content["iteration_indptr"] = list(range(1001))
    content["gbtree_model_param"]["num_trees"] = "1000"
    for number, tree in enumerate(content["trees"]):
        content["trees"][number] = {**tree, "id": number}
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    long = xgboost.Booster(model_file=path)
    long.save_model(tmp_path / "model.ubj")
    for given in (path, tmp_path / "model.ubj", long):
        times = []
        for _ in range(2):
            begin = time.thread_time()
            ensemble = read_model(given)
            times.append(time.thread_time() - begin)
        assert (ensemble.n_trees, ensemble.most_leaves) == (1000, 255)
        assert min(times) < 4.0
