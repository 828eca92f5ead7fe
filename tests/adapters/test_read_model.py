"""read_model tells models apart by class, and files by what is in them."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.adapters.lightgbm.models import train
from treeinf.adapters import read_model
from treeinf.errors import ModelFormatError, UnsupportedModelError

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(120, 3))
    return X, (X[:, 0] > 0) * 1


@pytest.fixture(scope="module")
def booster(rows):
    return train(lightgbm, *rows, objective="binary")


def small():
    return lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1)


def assert_same_trees(found, expected):
    for name in ("feature", "threshold", "left", "right", "leaf_value", "leaf_offset"):
        assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("suffix", [".txt", ".json", ".npz", ""])
def test_files_are_told_apart_by_content(tmp_path, booster, suffix):
    expected = read_model(booster)
    text, dumped, stored = (tmp_path / (name + suffix) for name in "abc")
    booster.save_model(text)
    dumped.write_text(json.dumps(booster.dump_model(), indent=1))
    expected.save(stored)
    for path in (text, dumped, stored):
        assert_same_trees(read_model(path), expected)
        assert_same_trees(read_model(str(path)), expected)


def test_text_and_dictionary(booster):
    expected = read_model(booster)
    assert_same_trees(read_model(booster.model_to_string()), expected)
    assert_same_trees(read_model(booster.dump_model()), expected)
    windows = booster.model_to_string().replace("\n", "\r\n")
    assert_same_trees(read_model(windows), expected)
    assert_same_trees(read_model(windows.rstrip()), expected)
    assert_same_trees(read_model(b"\xef\xbb\xbf" + windows.encode()), expected)


def test_ensemble_is_returned_as_it_is(booster):
    ensemble = read_model(booster)
    assert read_model(ensemble) is ensemble
    with pytest.raises(ValueError, match="models of a library"):
        read_model(ensemble, iterations=2)


def test_npz_takes_no_choices(tmp_path, booster):
    path = tmp_path / "model"
    read_model(booster).save(path)
    with pytest.raises(ValueError, match="an npz file"):
        read_model(path, parameters={"lambda_l2": 1.0})


def test_best_estimator_of_a_search(rows):
    search = GridSearchCV(small(), {"num_leaves": [4]}, cv=2)
    with pytest.raises(NotFittedError, match="GridSearchCV is not fitted"):
        read_model(search)
    search.fit(*rows)
    ensemble = read_model(search)
    assert ensemble.classes.tolist() == [0, 1]
    unrefitted = GridSearchCV(small(), {"num_leaves": [4]}, cv=2, refit=False).fit(
        *rows
    )
    with pytest.raises(UnsupportedModelError, match="refit=True"):
        read_model(unrefitted)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_pipeline(StandardScaler(), small()), "the last step"),
        (CalibratedClassifierCV(small(), cv=2), "several models"),
        (VotingClassifier([("a", small())]), "several models"),
        (AdaBoostClassifier(n_estimators=2), "several models"),
        (LogisticRegression(), "LogisticRegression"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_other_models(rows, model, words):
    with pytest.raises(UnsupportedModelError, match=words) as caught:
        read_model(model.fit(*rows))
    assert type(model).__qualname__ in str(caught.value)
    assert "Supported are fitted LightGBM models" in str(caught.value)


@pytest.mark.parametrize(
    "model", [None, 3, np.zeros(3), [1], lightgbm.LGBMClassifier, object()]
)
def test_no_model_at_all(model):
    with pytest.raises(UnsupportedModelError, match="Supported are fitted LightGBM"):
        read_model(model)


def test_other_things_of_lightgbm(rows):
    with pytest.raises(UnsupportedModelError, match="lightgbm Dataset"):
        read_model(lightgbm.Dataset(*rows))


# 136 bytes of numbers, then names with their lengths: XGBoost 0.82 and 0.90
XGBOOST_0 = bytes(136) + b"\x0f" + bytes(7) + b"binary:logistic\x06" + bytes(40)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", ModelFormatError, "is empty"),
        (b"  \n", ModelFormatError, "is empty"),
        (b"hello", ModelFormatError, "not a supported model file"),
        (b"tree", ModelFormatError, "end of trees"),
        (b"tree\n\xff\xfe", ModelFormatError, "not valid model text"),
        (b"{", ModelFormatError, "not valid"),
        (b"{}", ModelFormatError, "no tree_info"),
        (b'{"learner": {}}', ModelFormatError, "not a valid XGBoost model"),
        (b"{L\x00\x00", ModelFormatError, "not a valid XGBoost model"),
        (b"binf....", UnsupportedModelError, "old binary form"),
        (b'{"oblivious_trees": []}', ModelFormatError, "CatBoost"),
        (b"CBM1....", ModelFormatError, "CatBoost"),
        (b"PK\x03\x04....", ModelFormatError, "ensemble file"),
        (b"\x1f\x8b....", UnsupportedModelError, "gzip"),
        (b"BZh9....", UnsupportedModelError, "bzip2"),
        (b"\xfd7zXZ\x00....", UnsupportedModelError, "xz"),
        (b"\x28\xb5\x2f\xfd....", UnsupportedModelError, "zstd"),
        (b"x\x9c....", UnsupportedModelError, "joblib"),
        (b"bs64\tAAAA", UnsupportedModelError, "old binary form"),
        (
            XGBOOST_0,
            UnsupportedModelError,
            r"old binary form.*xgboost<3\.1.*save_model",
        ),
        (b"booster[0]:\n0:leaf=1", UnsupportedModelError, "XGBoost's dump"),
        (b"[{}]", UnsupportedModelError, "XGBoost's dump"),
        (b"<?xml version='1.0'?><PMML>", UnsupportedModelError, "PMML"),
        (b"\x08\x08\x12\x07skl2onnx", UnsupportedModelError, "ONNX"),
        (b"\x89HDF\r\n", UnsupportedModelError, "HDF5"),
        (
            b"version https://git-lfs.github.com",
            UnsupportedModelError,
            "run git lfs pull",
        ),
        (b'{"a":' + b"[" * 100_000, ModelFormatError, "not valid"),
    ],
)
def test_other_files(tmp_path, content, error, words):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(error, match=words):
        read_model(path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was opened')",)


def test_pickle_is_not_opened(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsupportedModelError, match="pickle"):
        read_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none.txt")


def test_no_library_is_imported_to_read_a_file(tmp_path, booster):
    path = tmp_path / "model.txt"
    booster.save_model(path)
    code = (
        "import sys; from treeinf.adapters import read_model; "
        f"read_model({str(path)!r}); "
        "assert not {'lightgbm', 'xgboost', 'catboost'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
