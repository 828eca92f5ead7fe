"""CatBoost's files: what they hold, and what is done with broken and hostile ones."""

import copy
import dataclasses
import json
import struct
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.adapters.catboost.models import (
    GROW_POLICIES,
    QUIET,
    assert_same_model,
    hard_rows,
    make_rows,
    make_targets,
    read_files,
    train,
)
from treeinf.adapters import read_model
from treeinf.adapters.catboost import reader as adapter
from treeinf.adapters.catboost.files import expand_symmetric
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import ModelFormatError, UnsupportedModelError

catboost = pytest.importorskip("catboost")
pd = pytest.importorskip("pandas")

N_MUTATIONS = 1500


def categorical_frame(rng, n_rows=200):
    X = make_rows(rng, n_rows)
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["word"] = rng.choice(["x", "y", "z"], n_rows)
    return frame


@dataclasses.dataclass
class Saved:
    """A model, its files and the ways into one; Hypothesis prints little of it."""

    model: object = dataclasses.field(repr=False)
    frame: object = dataclasses.field(repr=False)
    binary: bytes = dataclasses.field(repr=False)
    dumped: dict = dataclasses.field(repr=False)
    ways: tuple = dataclasses.field(default=(), repr=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of each kind, by name."""
    rng = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("catboost")
    found = {}
    for policy in GROW_POLICIES:
        for loss in ("RMSE", "MultiClass"):
            frame = categorical_frame(rng)
            y = make_targets(loss, frame.iloc[:, :5].to_numpy(), rng)
            model = train(
                catboost,
                frame,
                y,
                loss,
                iterations=3,
                grow_policy=policy,
                cat_features=["word"],
                one_hot_max_size=5,
            )
            binary, text = folder / "model.cbm", folder / "model.json"
            model.save_model(binary)
            model.save_model(text, format="json")
            found[policy, loss] = Saved(
                model, frame, binary.read_bytes(), json.loads(text.read_text())
            )
    return found


@pytest.mark.parametrize("policy", GROW_POLICIES)
@pytest.mark.parametrize("loss", ["RMSE", "MultiClass"])
def test_files_hold_the_model(rng, tmp_path, policy, loss):
    X = make_rows(rng)
    y = make_targets(loss, X, rng)
    model = train(catboost, X, y, loss, grow_policy=policy)
    live = read_model(model)
    binary, text = read_files(model, tmp_path)
    rows = hard_rows(live, X)
    for name in ("feature", "threshold", "left", "right", "leaf_value", "leaf_weight"):
        assert_array_equal(getattr(binary, name), getattr(live, name))
    assert binary.training == text.training == live.training
    assert binary.leaf_rule == text.leaf_rule == live.leaf_rule
    assert binary.loss == text.loss == live.loss
    assert binary.library_version == text.library_version == catboost.__version__
    assert_same_model(binary, model, rows)
    # in a JSON file leaves are in order; CatBoost numbers them so when it reads it
    path = tmp_path / "model.json"
    again = catboost.CatBoost().load_model(path, format="json")
    assert_same_model(text, again, rows)


def test_models_of_one_and_of_few_leaves(rng, tmp_path):
    X = make_rows(rng)
    y = make_targets("RMSE", X, rng)
    for settings in (
        {"depth": 1},
        {"grow_policy": "Depthwise", "min_data_in_leaf": 1000},
        {"grow_policy": "Lossguide", "max_leaves": 2},
        {"depth": 9, "iterations": 2},
        {"l2_leaf_reg": 1e9},
    ):
        model = train(catboost, X, y, **settings)
        live = read_model(model)
        assert_same_model(live, model, hard_rows(live, X))
        for ensemble in read_files(model, tmp_path):
            assert_array_equal(ensemble.raw_score(X), live.raw_score(X))
        if settings.get("min_data_in_leaf"):
            assert set(np.diff(live.leaf_offset)) == {1}


def test_first_iterations(rng):
    X = make_rows(rng)
    model = train(catboost, X, make_targets("MultiClass", X, rng), "MultiClass")
    ensemble = read_model(model, iterations=5)
    assert ensemble.n_iterations == 5
    desired = model.predict(X, prediction_type="RawFormulaVal", ntree_end=5)
    np.testing.assert_allclose(ensemble.raw_score(X), desired, rtol=1e-12)
    assert_array_equal(adapter.raw_score(model, X, iterations=5), desired)
    assert_array_equal(
        ensemble.raw_score(X), list(read_model(model).staged_raw_score(X))[4]
    )


def test_best_model(rng):
    """A model that was cut to its best iteration has no later trees."""
    X = make_rows(rng, 400)
    y = make_targets("RMSE", X, rng)
    model = catboost.CatBoostRegressor(**{**QUIET, "iterations": 60})
    model.fit(X[:200], y[:200], eval_set=(X[200:], y[200:]))
    ensemble = read_model(model)
    assert ensemble.n_iterations == model.tree_count_ == model.best_iteration_ + 1 < 60
    assert_same_model(ensemble, model, X)


def test_scale_and_bias(rng, tmp_path):
    X = make_rows(rng)
    model = train(catboost, X, make_targets("RMSE", X, rng))
    model.set_scale_and_bias(1.75, -3.0)
    for ensemble in (read_model(model), *read_files(model, tmp_path)):
        assert ensemble.base_score.tolist() == [-3.0]
        assert_same_model(ensemble, model, X)
        assert "scale=1.75" in ensemble.training.approximations[0]


def test_sum_of_models(rng):
    X = make_rows(rng)
    y = make_targets("RMSE", X, rng)
    models = [train(catboost, X, y, depth=d) for d in (2, 4)]
    both = catboost.sum_models(models, weights=[0.25, 2.0])
    ensemble = read_model(both)
    assert_same_model(ensemble, both, hard_rows(ensemble, X))


def test_names_of_features(rng, tmp_path):
    X = make_rows(rng)
    y = make_targets("RMSE", X, rng)
    assert read_model(train(catboost, X, y)).input_rules.feature_names is None
    names = ["body mass", "h\u00f6he", "c", "d", "e"]
    model = train(catboost, pd.DataFrame(X, columns=names), y)
    for ensemble in (read_model(model), *read_files(model, tmp_path)):
        assert ensemble.input_rules.feature_names == tuple(names)


def test_parameters_that_the_caller_knows_better(rng, tmp_path):
    X = make_rows(rng)
    model = train(catboost, X, make_targets("RMSE", X, rng), l2_leaf_reg=5.0)
    given = {"reg_lambda": 7.0, "loss_function": "Huber:delta=2", "learning_rate": None}
    ensemble = read_model(model, parameters=given)
    assert set(ensemble.leaf_l2) == {7.0}
    assert repr(ensemble.loss) == "HuberExact(width=2.0)"
    assert ensemble.shrinkage[0] == np.float32(0.3)
    path = tmp_path / "model.json"
    model.save_model(path, format="json")
    dumped = json.loads(path.read_text())
    dumped["model_info"].pop("params")
    silent = read_model(dumped)
    assert (silent.loss, silent.leaf_rule.kind) == (None, "unknown")
    assert silent.leaf_l2 is None


def test_unfitted_and_other_classes():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="CatBoostClassifier is not fitted"):
        read_model(catboost.CatBoostClassifier())
    with pytest.raises(UnsupportedModelError, match="not a model"):
        read_model(catboost.Pool(np.ones((2, 2))))


def test_embeddings_are_refused(rng):
    X = make_rows(rng, 100)
    frame = pd.DataFrame({"x": X[:, 0], "point": list(rng.normal(size=(100, 3)))})
    model = catboost.CatBoostClassifier(**QUIET, embedding_features=["point"])
    model.fit(frame, (X[:, 1] > 0) * 1)
    with pytest.raises(UnsupportedModelError, match="embedding features"):
        read_model(model)


# Broken and hostile files.


def attempt(read, *given):
    """Read what is broken: a model, or one of two errors, in bounded time.

    Time of this thread's own work: where the machine stands still for a while, an
    example that failed once and never again would be no finding, but inconsistent data
    to Hypothesis.
    """
    begin = time.thread_time()
    try:
        found = read(*given)
    except (ModelFormatError, UnsupportedModelError) as error:
        found = error
    assert time.thread_time() - begin < 5.0
    if isinstance(found, TreeEnsemble) and not found.is_native:
        n_features = found.n_features
        if n_features < 1000 and found.input_rules.categories is None:
            found.raw_score(np.zeros((2, n_features)))
    return found


@pytest.mark.parametrize(
    "content",
    [
        b"CBM1",
        b"CBM1\xff\xff\xff\xff",
        b"CBM1\x00\x00\x00\x00\x00\x00\x00\x00",
        b"CBM1\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        b"CBM1" + b"\x00" * 500,
        b"CBM1" + struct.pack("<I", 400) + b"\x04" * 400,
    ],
)
def test_what_only_begins_like_a_file(tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="not a valid CatBoost model"):
        read_model(path)


def test_every_cut_of_a_binary_file(saved):
    content = saved["SymmetricTree", "RMSE"].binary
    for length in [*range(4, 200), *range(200, len(content) - 1, 97)]:
        with pytest.raises(ModelFormatError):
            read_model(content[:length])


def test_a_border_that_is_no_number(saved):
    """Of any bits: NumPy warns where it casts some NaN, which no sum gives."""
    found = saved["SymmetricTree", "RMSE"]
    borders = found.dumped["features_info"]["float_features"][0]["borders"]
    old = struct.pack("<f", borders[0])
    assert found.binary.count(old) >= 1
    for bits in (0x7F800001, 0x7FC00000, 0xFFFFFFFF):
        with pytest.raises(ModelFormatError, match="a border is not a number"):
            read_model(found.binary.replace(old, struct.pack("<I", bits)))


def mutate(content, edits):
    """Overwrite bytes, words and longs of a file."""
    changed = bytearray(content)
    for place, form, value in edits:
        size = struct.calcsize(form)
        start = 8 + place % (len(changed) - 8 - size)
        struct.pack_into(form, changed, start, value % 256**size)
    return bytes(changed)


EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**20),
        st.sampled_from(["<B", "<H", "<I", "<Q"]),
        st.one_of(
            st.integers(0, 255),
            st.integers(0, 2**64 - 1),
            st.sampled_from([2**31, 2**32 - 1, 2**31 - 1, 2**15, 0x7FF0 << 48]),
        ),
    ),
    min_size=1,
    max_size=4,
)


@hypothesis.settings(max_examples=N_MUTATIONS)
@hypothesis.given(data=st.data())
def test_binary_files_with_bytes_changed(saved, data):
    key = data.draw(st.sampled_from(sorted(saved)))
    content = saved[key].binary
    # most of a file is text that nothing depends on; the trees are read first
    edits = data.draw(EDITS)
    if data.draw(st.booleans()):
        core = content.rfind(b"FlabuffersModel_v1")
        edits = [(place % 600 + max(core - 600, 0), *rest) for place, *rest in edits]
    attempt(read_model, mutate(content, edits))


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.binary(max_size=300))
def test_binary_files_of_random_bytes(content):
    for size in (len(content), 8, 2**31):
        attempt(read_model, b"CBM1" + struct.pack("<I", size) + content)


def places_of(value, path=()):
    """List the ways to every value inside a JSON object."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places_of(value[key], (*path, key))
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from places_of(value[number], (*path, number))


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([-1, 0, 1, 2, 31, 2**31, 2**32, 1e300, 1e39, -0.0, float("nan")]),
    st.floats(),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.just([[1.0, 2.0]]),
    st.just({"split": {}}),
)


@pytest.fixture(scope="module")
def parts(saved):
    """The JSON files without remarks, by name."""
    found = {}
    for key, model in saved.items():
        kept = copy.deepcopy(model.dumped)
        info = kept["model_info"]
        params = info["params"]
        kept["model_info"] = {
            "params": {
                "tree_learner_options": params["tree_learner_options"],
                "boosting_options": params["boosting_options"],
                "loss_function": params["loss_function"],
                "data_processing_options": {"class_weights": [1.0, 2.0, 1.5]},
            },
            "class_params": info.get("class_params", {}),
        }
        found[key] = dataclasses.replace(
            model, dumped=kept, ways=tuple(places_of(kept))[1:]
        )
    return found


@hypothesis.settings(max_examples=N_MUTATIONS)
@hypothesis.given(data=st.data())
def test_json_files_with_values_changed(parts, data):
    part = parts[data.draw(st.sampled_from(sorted(parts)))]
    dumped = copy.deepcopy(part.dumped)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(part.ways))
        place = dumped
        try:
            for key in path:
                place = place[key]
            action = data.draw(st.sampled_from(["set", "drop", "repeat"]))
            if action == "set":
                # a copy: later edits would change what the strategy gives next
                place[last] = copy.deepcopy(data.draw(STRANGE))
            elif action == "drop":
                del place[last]
            elif isinstance(place, list):
                place.append(place[last])
        except (KeyError, IndexError, TypeError):
            continue
    attempt(read_model, dumped)


def test_cut_json(tmp_path, saved):
    text = json.dumps(saved["Lossguide", "RMSE"].dumped)
    path = tmp_path / "model.json"
    for length in range(1, len(text), len(text) // 60):
        path.write_text(text[:length])
        with pytest.raises(ModelFormatError):
            read_model(path)


def test_json_that_goes_deep():
    tree = {"value": 1.0, "weight": 1}
    for _ in range(20_000):
        split = {"split_type": "FloatFeature", "float_feature_index": 0, "border": 1}
        tree = {"split": split, "left": {"value": 0.0, "weight": 1}, "right": tree}
    feature = {"feature_index": 0, "flat_feature_index": 0, "borders": [1]}
    dumped = {"features_info": {"float_features": [feature]}, "trees": [tree]}
    found = attempt(read_model, dumped)
    assert found.n_leaves == 20_001


def test_json_of_a_part_that_is_there_many_times():
    """A dictionary, unlike a file, can hold one part any number of times."""
    tree = {"value": 1.0, "weight": 1}
    split = {"split_type": "FloatFeature", "float_feature_index": 0, "border": 1}
    feature = {"feature_index": 0, "flat_feature_index": 0, "borders": [1]}
    for _ in range(12):
        tree = {"split": split, "left": tree, "right": tree}
    dumped = {"features_info": {"float_features": [feature]}, "trees": [tree]}
    assert attempt(read_model, dumped).n_leaves == 2**12


@pytest.mark.parametrize("depth", [-1, 31, 62, 2**31])
def test_depths_that_ask_for_too_much(depth):
    with pytest.raises(ModelFormatError, match="depth"):
        expand_symmetric(np.array([depth]), np.zeros(1, int), np.zeros((2, 1)), None)


def test_parts_pointed_to_again_and_again():
    """20,000 features that are all one table, with one list of 100,000 borders."""
    n, name = 20_000, b"FlabuffersModel_v1"
    sizes = {
        **{"root": 4, "core vtable": 8, "core": 12, "name": 4 + len(name) + 2},
        **{"trees vtable": 16, "trees": 8, "list": 4 + 4 * n},
        **{"float vtable": 12, "float": 8, "borders": 4 + 400_000},
    }
    at = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    content = bytearray(sum(sizes.values()))

    def write(where, form, *values, shift=0):
        struct.pack_into(form, content, at[where] + shift, *values)

    def point(where, shift, target):
        write(where, "<I", at[target] - at[where] - shift, shift=shift)

    point("root", 0, "core")
    write("core vtable", "<4H", 8, 12, 4, 8)
    write("core", "<i", at["core"] - at["core vtable"])
    point("core", 4, "name")
    point("core", 8, "trees")
    write("name", f"<I{len(name)}s", len(name), name)
    write("trees vtable", "<8H", 16, 8, 0, 0, 0, 0, 0, 4)
    write("trees", "<i", at["trees"] - at["trees vtable"])
    point("trees", 4, "list")
    write("list", "<I", n)
    for k in range(n):
        point("list", 4 + 4 * k, "float")
    write("float vtable", "<6H", 12, 8, 0, 0, 0, 4)
    write("float", "<i", at["float"] - at["float vtable"])
    point("float", 4, "borders")
    write("borders", "<I", 100_000)
    # the trees' number of outputs is missing, which is found out first
    whole = b"CBM1" + struct.pack("<I", len(content)) + bytes(content)
    with pytest.raises(ModelFormatError, match="it has 0 outputs"):
        read_model(whole)
    write("trees vtable", "<8H", 16, 8, 4, 0, 0, 0, 0, 4)
    whole = b"CBM1" + struct.pack("<I", len(content)) + bytes(content)
    with pytest.raises(ModelFormatError, match="overlap too often"):
        read_model(whole)


def test_a_large_model_is_read_in_time(saved):
    """1,000 trees of 256 leaves; the model is one tree of depth 8, repeated."""
    dumped = saved["SymmetricTree", "RMSE"].dumped
    split = dumped["oblivious_trees"][0]["splits"][0]
    tree = {
        "splits": [split] * 8,
        "leaf_values": [0.25] * 256,
        "leaf_weights": [1.0] * 256,
    }
    large = {**dumped, "oblivious_trees": [tree] * 1000}
    begin = time.thread_time()
    ensemble = read_model(large)
    assert time.thread_time() - begin < 2.0
    assert ensemble.n_leaves == 256_000


def test_ensembles_are_stored(tmp_path, saved):
    found = saved["Depthwise", "MultiClass"]
    ensemble = read_model(found.binary)
    path = tmp_path / "ensemble.npz"
    ensemble.save(path)
    stored = TreeEnsemble.load(path)
    for field in dataclasses.fields(stored):
        name = field.name
        np.testing.assert_equal(getattr(stored, name), getattr(ensemble, name))
    desired = found.model.calc_leaf_indexes(found.frame)
    assert_array_equal(stored.apply(found.frame), desired)
