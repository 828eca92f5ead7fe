"""TreeEnsemble: what it refuses, what it computes, what it stores."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.kernels.test_routing import grow_ensemble
from tests.naive.routing import raw_scores
from treeinf.ensemble import InputRules, LeafRule
from treeinf.ensemble.losses import Softmax
from treeinf.errors import ModelFormatError


def changed(ensemble, **arrays):
    """The same ensemble with entries of its arrays replaced: name=(index, value)."""
    new = {}
    for name, (index, value) in arrays.items():
        new[name] = np.array(getattr(ensemble, name))
        new[name][index] = value
    return dataclasses.replace(ensemble, **new)


@pytest.fixture
def ensemble():
    """Two trees of several nodes."""
    rng = np.random.default_rng(3)
    result = grow_ensemble(rng, n_trees=2, most_leaves=1)
    while np.diff(result.leaf_offset).min() < 4:
        result = grow_ensemble(rng, n_trees=2, most_leaves=9)
    return result


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e: changed(e, left=(0, 0)), "one parent"),
        (lambda e: changed(e, left=(0, 10**6)), "outside its tree"),
        (lambda e: changed(e, right=(0, -(10**6))), "outside its tree"),
        (lambda e: changed(e, feature=(0, 99)), r"feature must be in \[0, 3\)"),
        (lambda e: changed(e, feature=(0, -1)), r"feature must be in \[0, 3\)"),
        (lambda e: changed(e, threshold=(0, np.nan)), "threshold must not be NaN"),
        (lambda e: changed(e, leaf_value=(0, np.inf)), "leaf_value must be finite"),
        (lambda e: changed(e, base_score=(0, np.nan)), "base_score must be finite"),
        (lambda e: changed(e, missing=(0, 3)), "missing must be 0, 1 or 2"),
        (lambda e: changed(e, output=(0, 1)), r"output must be in \[0, 1\)"),
        (lambda e: changed(e, iteration=(0, 5)), "ordered by iteration"),
        (lambda e: changed(e, node_offset=(1, 0)), "one leaf more"),
        (
            lambda e: changed(e, leaf_offset=(0, 1)),
            "leaf_offset must be non-decreasing from 0",
        ),
        (lambda e: changed(e, category_offset=(-1, 99)), "category_offset must be"),
        (lambda e: dataclasses.replace(e, leaf_value=e.leaf_value[:, 0]), "leaf_value"),
        (lambda e: dataclasses.replace(e, left=e.left[1:]), "left has shape"),
        (lambda e: dataclasses.replace(e, threshold=["a"]), "threshold has dtype"),
        (
            lambda e: dataclasses.replace(e, input_rules=InputRules(1)),
            "feature must be",
        ),
        (lambda e: dataclasses.replace(e, loss=Softmax(3)), "3 outputs"),
        (lambda e: dataclasses.replace(e, leaf_l2=-np.ones(e.n_leaves)), "leaf_l2"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(ensemble, spoil, words):
    with pytest.raises(ModelFormatError, match=words):
        spoil(ensemble)


def test_a_cycle_beside_the_tree_is_refused():
    """Every node has one parent, but two of them are each other's."""
    with pytest.raises(ModelFormatError, match="cycle"):
        grow_ensemble(
            np.random.default_rng(0),
            n_trees=1,
            most_leaves=1,
            node_offset=[0, 3],
            leaf_offset=[0, 4],
            feature=[0, 0, 0],
            threshold=[0.0, 0.0, 0.0],
            left=[~0, 2, 1],
            right=[~1, ~2, ~3],
            default_left=np.zeros(3, bool),
            missing=np.zeros(3, np.uint8),
            is_categorical=np.zeros(3, bool),
            category_offset=[0, 0, 0, 0],
            category_bits=np.zeros(0, np.uint32),
            leaf_value=np.zeros((4, 1)),
        )


def test_an_empty_model_and_an_unknown_rule_are_refused(ensemble):
    with pytest.raises(ModelFormatError, match="no trees"):
        dataclasses.replace(ensemble, iteration=np.zeros(0, int))
    with pytest.raises(ValueError, match="Got kind='guess'"):
        LeafRule("guess")


def test_raw_scores_add_up(ensemble, rng):
    X = rng.normal(size=(70, 3))
    assert_allclose(ensemble.raw_score(X), raw_scores(ensemble, X), rtol=1e-14)
    staged = list(ensemble.staged_raw_score(X))
    assert len(staged) == ensemble.n_iterations == 2
    assert_array_equal(staged[-1], ensemble.raw_score(X))


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass", "poisson"])
def test_predictions_are_the_librarys(recipe):
    model, X, *_ = models.fit(recipe)
    ensemble = ti.read_model(model)
    theirs = (
        model.predict_proba(X) if ensemble.classes is not None else model.predict(X)
    )
    assert_allclose(ensemble.predict(X), theirs, rtol=1e-12, atol=1e-14)


def test_describe_says_what_matters():
    model, *_ = models.fit("regression_l1_l2")
    text = ti.read_model(model).describe()
    for words in ("lightgbm", "SquaredError", "l2 2, l1 3", "12 in 12 iterations"):
        assert words in text
    assert "n_trees=12" in repr(ti.read_model(model))


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
def test_a_stored_ensemble_is_the_same(recipe, tmp_path):
    model, X, *_ = models.fit(recipe)
    ensemble = ti.read_model(model)
    path = tmp_path / "model.npz"
    ensemble.save(path)
    again = ti.TreeEnsemble.load(path)
    for field in dataclasses.fields(ensemble):
        ours, theirs = getattr(ensemble, field.name), getattr(again, field.name)
        if isinstance(ours, np.ndarray):
            assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        else:
            assert ours == theirs
    assert_array_equal(again.raw_score(X), ensemble.raw_score(X))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        ensemble.save(path)
    ensemble.save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_string_classes_are_stored_without_pickle(ensemble, tmp_path):
    for classes in (np.array(["no", "yes"]), np.array(["no", "yes"], dtype=object)):
        path = tmp_path / f"{classes.dtype.kind}.npz"
        dataclasses.replace(ensemble, classes=classes).save(path)
        assert ti.TreeEnsemble.load(path).classes.tolist() == ["no", "yes"]
    dates = np.array(["2020-01-01"], dtype="datetime64[D]")
    dated = dataclasses.replace(ensemble, classes=dates)
    with pytest.raises(TypeError, match="cannot be stored"):
        dated.save(tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


@pytest.fixture(scope="module")
def stored_file(tmp_path_factory):
    """A path, and the bytes of a whole file."""
    path = tmp_path_factory.mktemp("stored") / "m.npz"
    ti.read_model(models.fit("binary")[0]).save(path)
    return path, path.read_bytes()


@given(data=st.data())
def test_a_spoilt_file_is_a_clear_error(data, stored_file):
    path, whole = stored_file
    kind = data.draw(st.sampled_from(["cut", "flip", "random"]))
    if kind == "cut":
        spoilt = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "random":
        spoilt = data.draw(st.binary(max_size=300))
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        spoilt = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))])
        spoilt += whole[at + 1 :]
    path.write_bytes(spoilt)
    try:
        ti.TreeEnsemble.load(path)
    except ModelFormatError:
        return
    assert kind == "flip"  # some bytes of a zip file are not read


def test_a_header_with_other_content_is_a_clear_error(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(FileNotFoundError):
        ti.TreeEnsemble.load(path)
    for header in (
        {},
        {"format": "other"},
        {"format": "treeinf-ensemble", "version": 9},
    ):
        text = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, header=text)
        with pytest.raises(ModelFormatError):
            ti.TreeEnsemble.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.npy", b"not an array")
    with pytest.raises(ModelFormatError):
        ti.TreeEnsemble.load(path)
