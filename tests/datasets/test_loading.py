"""Data sets by name: those of scikit-learn, and those of a data home."""

import gzip
import hashlib
import json

import numpy as np
import pytest

from treeinf.datasets import available, data_home, load
from treeinf.datasets.manifest import read_index

pd = pytest.importorskip("pandas")

OFFLINE = [name for name in available() if name not in read_index()]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a data home of two small sets."""
    monkeypatch.setenv("TREEINF_DATA", str(tmp_path))
    (tmp_path / "toy").mkdir()
    content = gzip.compress(
        b"a,kind,idle,label\n1,x,0,yes\n,y,0,no\n3,,0,yes\n", mtime=0
    )
    (tmp_path / "toy" / "toy.csv.gz").write_bytes(content)
    (tmp_path / "toy" / "values.csv").write_text("a,t\n1,2.5\n2,\n3,4.5\n")
    files = [{"file": "toy/toy.csv.gz", "rows": 3, "read_csv": {}}]
    files[0]["sha256"] = hashlib.sha256(content).hexdigest()
    index = {
        "toy": {
            "task": "binary",
            "target": "label",
            "positive": ["yes"],
            "drop": ["idle"],
            "numeric": ["a"],
            "files": files,
            "licence": "CC0",
        },
        "values": {
            "task": "regression",
            "target": "t",
            "positive": None,
            "drop": [],
            "numeric": ["a"],
            "files": [{"file": "toy/values.csv", "rows": 3, "read_csv": {}}],
        },
    }
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_sets_load(name):
    data = load(name)
    assert data.name == name
    assert len(data.X) == len(data.y) == data.n_rows
    assert not data.X.columns.duplicated().any()
    assert (len(data.classes) > 0) == (data.task != "regression")
    split = data.split()
    assert len(split.y_train) + len(split.y_test) == data.n_rows
    assert len(split.X_test) == len(split.y_test)


def test_digits_parity_asks_for_odd_digits():
    digits, parity = load("digits"), load("digits_parity")
    np.testing.assert_array_equal(parity.y, digits.y % 2)


def test_splits_follow_the_seed_and_keep_the_classes():
    data = load("breast_cancer")
    first, again, other = (data.split(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert list(first.X_test.index) != list(other.X_test.index)
    assert first.y_test.mean() == pytest.approx(data.y.mean(), abs=0.01)


def test_home_types_columns_and_drops_what_the_index_says(home):
    data = load("toy")
    assert list(data.X.columns) == ["a", "kind"]
    assert data.X["a"].dtype == np.float64
    assert data.X["kind"].dtype == "category"
    assert data.X.isna().sum().tolist() == [1, 1]
    assert data.y.tolist() == [1, 0, 1]
    assert data.classes == ("no", "yes")
    assert data.licence == "CC0"


def test_home_leaves_out_rows_without_a_target(home):
    data = load("values")
    assert data.y.tolist() == [2.5, 4.5]
    assert data.X["a"].tolist() == [1, 3]


def test_home_is_the_folder_of_the_environment(home, monkeypatch, tmp_path):
    assert data_home() == home
    assert {"toy", "values"} <= set(available())
    monkeypatch.delenv("TREEINF_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_home() == tmp_path / "cache" / "treeinf"
    assert "toy" not in available()


def test_unknown_names_are_refused_with_what_there_is(home):
    with pytest.raises(ValueError, match=r"no data set 'adlut'.*breast_cancer.*toy"):
        load("adlut")


def test_damaged_files_are_refused(home):
    (home / "toy" / "toy.csv.gz").write_bytes(
        gzip.compress(b"a,kind,idle,label\n1,x,0,no\n,y,0,no\n3,,0,yes\n", mtime=0)
    )
    with pytest.raises(ValueError, match="sha256"):
        load("toy")
    assert load("toy", verify=False).y.tolist() == [0, 0, 1]


def test_missing_and_short_files_are_refused(home):
    (home / "toy" / "values.csv").write_text("a,t\n1,2.5\n")
    with pytest.raises(ValueError, match="1 rows, expected 3"):
        load("values")
    (home / "toy" / "values.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"values\.csv"):
        load("values")


def test_broken_index_is_refused(home):
    (home / "index.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load("toy")


@pytest.mark.skipif(
    "rows_used" not in next(iter(read_index().values()), {}),
    reason="no data home with the sets of the evaluation; set TREEINF_DATA",
)
@pytest.mark.parametrize("name", ["adult", "german_credit", "life", "vaccine", "wine"])
def test_real_sets_are_as_their_index_says(name):
    facts = read_index()[name]
    data = load(name)
    split = data.split()
    assert data.n_rows == facts["rows_used"]
    assert len(split.y_train) == facts["train_rows"]
    assert len(split.y_test) == facts["test_rows"]
    assert data.X.shape[1] == split.X_train.shape[1]
    assert set(map(str, facts["numeric"])) <= set(data.X.columns)
    assert (split.X_train.dtypes == split.X_test.dtypes).all()
