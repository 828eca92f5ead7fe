"""Categories and text: labels by their hashes, and leaves from CatBoost itself."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import treeinf as ti
from tests.adapters.catboost.models import (
    GROW_POLICIES,
    QUIET,
    assert_same_model,
    make_rows,
    make_targets,
    read_files,
)
from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import TrainingDataWarning, UnsupportedModelError
from treeinf.kernels.label_hash import hash_label, look_up_hashes

catboost = pytest.importorskip("catboost")
pd = pytest.importorskip("pandas")

LABELS = ["two", "six", "kind", "flag"]


def label_frame(rng, n_rows=300):
    X = make_rows(rng, n_rows)
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["two"] = rng.choice(["x", "y"], n_rows)
    frame["six"] = rng.choice([10, 20, 30, 40, 50, 60], n_rows)
    frame["kind"] = pd.Categorical(rng.choice(["u", "h\u00f6he", ""], n_rows))
    frame["flag"] = rng.random(n_rows) < 0.5
    return frame


def label_score(frame):
    known = frame["a"].fillna(0.0) + (frame["two"] == "x") + frame["six"] / 20
    return (known + frame["flag"] + (frame["kind"] == "u")).to_numpy()


def unseen_labels(frame):
    other = frame.copy()
    other["two"], other["six"], other["kind"] = "neither", -7, "other"
    return other


def fit(frame, y, kind="CatBoostRegressor", **params):
    model = getattr(catboost, kind)(**QUIET, cat_features=LABELS, **params)
    return model.fit(frame, y)


# The hash.


def test_hashes_are_catboosts(tmp_path):
    """Texts of every length up to 200 bytes, which the hash treats in five ways."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcXYZ 019\u00e9\u4e2d"))
    labels = ["".join(rng.choice(letters, size)) for size in [*range(200), 1000]]
    labels = list(dict.fromkeys(labels))
    X = np.array(labels * 2, dtype=object)[:, np.newaxis]
    pool = catboost.Pool(X, np.arange(len(X)) % 2, cat_features=[0])
    model = catboost.CatBoost({**QUIET, "one_hot_max_size": 255, "iterations": 1})
    model.fit(pool)
    path = tmp_path / "model.json"
    model.save_model(path, format="json", pool=pool)
    known = json.loads(path.read_text())["features_info"]["cat_features_hash"]
    assert len(known) > 150
    for entry in known:
        assert hash_label(entry["value"]) == entry["hash"] % 2**32


def test_labels_of_other_types():
    assert hash_label(20) == hash_label("20") == hash_label(np.int8(20))
    assert hash_label(True) == hash_label(np.True_) == hash_label("1")
    assert hash_label(b"a") == hash_label("a")
    for label in (1.0, None, float("nan"), ("a",)):
        with pytest.raises(TypeError, match="expected integers and strings"):
            hash_label(label)


def test_labels_that_are_not_known_stay_apart():
    known = (hash_label("b"), hash_label(7))
    codes = look_up_hashes(np.array(["a", "b", 7, "a", "c"], dtype=object), known)
    assert codes[1:3].tolist() == [0.0, 1.0]
    assert codes[0] == codes[3] != codes[4]
    assert (codes[[0, 4]] < -1.0).all()
    assert_array_equal(look_up_hashes(np.array([7, 8, 7]), known)[[0, 2]], 1.0)


# One-hot splits.


@pytest.mark.parametrize("policy", GROW_POLICIES)
def test_one_hot_splits(rng, tmp_path, policy):
    frame = label_frame(rng)
    y = label_score(frame) + rng.normal(size=len(frame))
    model = fit(frame, y, one_hot_max_size=10, grow_policy=policy)
    live = read_model(model)
    assert live.is_categorical.any()
    assert not live.is_native
    assert_same_model(live, model, frame)
    assert_same_model(live, model, unseen_labels(frame))
    for ensemble in read_files(model, tmp_path):
        assert_array_equal(ensemble.raw_score(frame), live.raw_score(frame))
        unseen = unseen_labels(frame)
        assert_array_equal(ensemble.raw_score(unseen), live.raw_score(unseen))
    report = ti.TrainingTrace.build(live, frame, y).report
    assert (report.verdict, report.wrong_counts) == ("exact", 0)
    assert report.largest_difference < 1e-13


def test_frames_of_other_libraries_and_arrays(rng):
    polars = pytest.importorskip("polars")
    arrow = pytest.importorskip("pyarrow")
    frame = label_frame(rng)
    y = label_score(frame)
    model = fit(frame, y, one_hot_max_size=10)
    ensemble = read_model(model)
    desired = model.calc_leaf_indexes(frame)
    table = arrow.Table.from_pandas(frame)
    other = polars.from_pandas(frame).with_columns(
        polars.col("two").cast(polars.Categorical),
        polars.col("kind").cast(polars.Enum(["", "u", "h\u00f6he"])),
    )
    for rows in (table, other, frame.astype(object).to_numpy()):
        assert_array_equal(ensemble.apply(rows), desired)
    for rows in (table, other):
        assert check_parity(ensemble, model, rows) < 1e-12


def test_numbers_that_are_no_labels(rng):
    frame = label_frame(rng)
    ensemble = read_model(fit(frame, label_score(frame), one_hot_max_size=10))
    with pytest.raises(TypeError, match=r"Got 10\.5 as a category"):
        ensemble.apply(frame.assign(six=10.5))
    with pytest.raises(TypeError, match="without missing values"):
        ensemble.apply(frame.assign(two=None))


def test_more_labels_than_bits_in_a_word(rng):
    frame = label_frame(rng, 600)
    frame["six"] = rng.integers(0, 150, 600)
    y = rng.normal(size=150)[frame["six"]]
    settings = {**QUIET, "iterations": 100, "depth": 6, "one_hot_max_size": 200}
    model = catboost.CatBoostRegressor(**settings, cat_features=LABELS).fit(frame, y)
    ensemble = read_model(model)
    assert np.diff(ensemble.category_offset).max() > 1
    assert_same_model(ensemble, model, frame)


# Leaves from CatBoost itself.


@pytest.mark.parametrize("text", [False, True])
def test_native_leaves(rng, tmp_path, text):
    frame = label_frame(rng)
    more = {}
    if text:
        words = ["red", "blue", "green", "dog", "cat"]
        frame["text"] = [" ".join(rng.choice(words, 4)) for _ in range(len(frame))]
        more = {"text_features": ["text"]}
    y = np.where(label_score(frame) > 3.5, "yes", "no")
    model = fit(frame, y, "CatBoostClassifier", **more)
    ensemble = read_model(model)
    assert ensemble.is_native
    assert_same_model(ensemble, model, frame)
    assert_same_model(ensemble, model, unseen_labels(frame))
    assert check_parity(ensemble, model, frame) < 1e-12
    with pytest.warns(TrainingDataWarning, match="in a random order"):
        explainer = ti.BoostIn().fit(model, frame, y)
    report = explainer.reproduction_
    assert report.verdict == "approximate"
    assert report.median_difference < 0.5
    values = explainer.explain(unseen_labels(frame)[:7], y[:7]).values
    assert values.shape == (len(frame), 7)
    assert np.abs(values).max() > 0.0
    with pytest.warns(TrainingDataWarning, match="in a random order"):
        trace = ti.TrainingTrace.build(ensemble, frame[::-1], y[::-1])
    assert trace.report.verdict == "approximate"

    path = tmp_path / "ensemble.npz"
    ensemble.save(path)
    model.save_model(tmp_path / "model.cbm")
    for stored in (TreeEnsemble.load(path), read_model(tmp_path / "model.cbm")):
        assert_array_equal(stored.leaf_value, ensemble.leaf_value)
        with pytest.raises(UnsupportedModelError, match="pass the live model"):
            stored.apply(frame)
        with pytest.raises(UnsupportedModelError, match="pass the live model"):
            ti.TrainingTrace.build(stored, frame, y)


def test_native_leaves_of_a_json_file(rng, tmp_path):
    frame = label_frame(rng)
    y = make_targets("MultiClass", frame[list("abcde")].to_numpy(), rng)
    model = fit(frame, y, "CatBoostClassifier")
    pool = catboost.Pool(frame, y, cat_features=LABELS)
    binary, text = read_files(model, tmp_path, pool=pool)
    assert binary.is_native
    assert text.is_native
    assert_array_equal(binary.leaf_value, text.leaf_value)
    assert len(binary.describe()) > 100
