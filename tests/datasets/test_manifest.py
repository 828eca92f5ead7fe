"""The manifest, and what is read by it: types, samples, splits, encodings."""

import dataclasses
import gzip
import json
from importlib import resources

import numpy as np
import pytest
import sklearn.datasets
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from treeinf.datasets import available, check, describe, load, read_manifest
from treeinf.datasets.loading import load_from_home
from treeinf.datasets.manifest import DataFile, Entry, read_entries, read_index
from treeinf.datasets.tables import Dataset

pd = pytest.importorskip("pandas")

MANIFEST = read_manifest()
# The 22 sets of Brophy et al. (2023).
PUBLISHED = {
    *("adult", "bank_marketing", "bean", "compas", "concrete", "credit_card"),
    *("diabetes", "energy", "flight_delays", "german_credit", "htru2", "life"),
    *("naval", "no_show", "obesity", "power", "protein", "spambase", "surgical"),
    *("twitter", "vaccine", "wine"),
}
FROM_FILES = [name for name, entry in MANIFEST.items() if entry.sklearn is None]
SHIPPED = [name for name, entry in MANIFEST.items() if entry.sklearn is not None]


def test_the_manifest_has_the_published_sets():
    found = [name for name, entry in MANIFEST.items() if entry.in_paper]
    assert len(found) == 22
    assert set(found) == PUBLISHED
    assert {"breast_cancer", "digits", "iris"} <= set(SHIPPED)


def test_the_manifest_lies_in_the_package():
    assert (resources.files("treeinf.datasets") / "manifest.toml").is_file()


@pytest.mark.parametrize("name", list(MANIFEST))
def test_every_entry_is_whole(name):
    entry = MANIFEST[name]
    assert entry.name == name
    assert entry.title
    assert entry.source.startswith("https://")
    assert entry.licence
    assert entry.citation
    assert entry.rows > 0
    assert entry.features > 0
    assert entry.categorical is not None
    taken = {entry.target, *entry.drop}
    assert not taken & set(entry.categorical)
    assert len(set(entry.categorical)) == len(entry.categorical)
    if entry.sklearn is not None:
        assert hasattr(sklearn.datasets, entry.sklearn)


@pytest.mark.parametrize("name", FROM_FILES)
def test_every_file_is_described_and_can_be_had(name):
    entry = MANIFEST[name]
    if not all(file.can_fetch for file in entry.tables) or not entry.files:
        assert entry.obtain
    for file in entry.files:
        assert file.path.startswith(f"{name}/")
        assert not file.path.endswith(".gz")
        assert file.is_table == (file.rows is not None)
        if file.url is not None:
            assert file.url.startswith("https://")
            assert (file.member is not None) == (".zip" in file.url)
        if file.openml is not None:
            assert len(file.columns) == len(set(file.columns)) > 1
            assert entry.target in file.columns
            assert set(entry.categorical) <= set(file.columns)
    paths = [file.path for file in entry.files]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_are_as_the_manifest_says(name):
    entry = MANIFEST[name]
    data = load(name)
    assert data.X.shape == (entry.rows, entry.features)
    assert data.task == entry.task
    assert check(name).verdict == "verified"


@pytest.mark.parametrize("name", FROM_FILES)
def test_real_sets_are_as_the_manifest_says(name):
    if name not in available():
        pytest.skip(f"{name} is not in the data home; set TREEINF_DATA")
    entry = MANIFEST[name]
    data = load(name, download=False)
    assert data.X.shape == (entry.rows, entry.features)
    assert len(data.y) == entry.rows
    assert str(entry.target) not in data.X.columns
    assert not set(entry.drop) & set(data.X.columns)
    for column, kind in data.X.dtypes.items():
        is_category = column in entry.categorical
        assert (kind == "category") == is_category
        assert is_category or kind.kind in "iuf"
    if entry.task == "regression":
        assert np.isfinite(data.y).all()
        assert data.classes == ()
    else:
        assert sorted(set(data.y)) == list(range(len(data.classes)))
    assert (data.groups is None) == (entry.group is None)
    assert (data.times is None) == (entry.time is None and not entry.in_time_order)
    # the width that the preprocessing of the evaluation gives, where it is known
    width = read_index().get(name, {}).get("one_hot_width")
    if width is not None and entry.rows < 20_000:
        assert data.split().encode().X_train.shape[1] == width


def test_real_sets_have_the_known_hashes():
    names = [name for name in FROM_FILES if name in available()]
    if not names:
        pytest.skip("no set of the manifest in the data home; set TREEINF_DATA")
    # large ones are compared above, by being loaded
    for name in names:
        if MANIFEST[name].rows < 20_000:
            assert check(name).verdict in ("verified", "recorded")


GOOD = {"task": '"regression"', "target": '"y"'}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"colour": '"red"'}, "colour"),
        ({"task": '"ranking"'}, "task='ranking'; expected one of binary"),
        ({"task": '"binary"'}, "positive is required"),
        ({"positive": "[1]"}, "positive is required"),
        ({"combine": '"join"'}, "join_on is required"),
        ({"combine": '"glue"'}, "combine='glue'"),
        ({"files": '[{ path = "a", sha256 = "12" }]'}, "sha256='12'"),
        ({"files": '[{ path = "a", format = "xml" }]'}, "format='xml'"),
        ({"files": '[{ path = "a", url = "b", openml = 1 }]'}, "expected one"),
        ({"files": "[{ rows = 3 }]"}, "path"),
        ({"sklearn": '"load_iris"', "files": '[{ path = "a" }]'}, "not from both"),
    ],
)
def test_wrong_manifests_are_refused(keys, message):
    table = {**GOOD, **keys}
    text = "\n".join(["[toy]", *(f"{key} = {value}" for key, value in table.items())])
    with pytest.raises(ValueError, match=message) as raised:
        read_entries(text, "mine.toml")
    assert "mine.toml, [toy]" in str(raised.value)


def test_what_is_no_toml_is_refused():
    with pytest.raises(ValueError, match=r"mine\.toml is not valid TOML"):
        read_entries("[toy", "mine.toml")


def test_unknown_names_are_refused_with_a_guess():
    with pytest.raises(ValueError, match=r"no data set 'adlut'\. Did you mean 'adult'"):
        describe("adlut")
    with pytest.raises(ValueError, match="no data set 'adlut'"):
        check("adlut")


def test_a_home_cannot_give_a_name_of_the_manifest_another_meaning(tmp_path):
    facts = {"task": "regression", "target": "y", "numeric": [], "files": []}
    (tmp_path / "index.json").write_text(json.dumps({"adult": facts}))
    state = check("adult", home=tmp_path)
    assert state.verdict == "missing"
    assert "adult/adult.data and adult/adult.test" in state.message


@pytest.fixture
def home(tmp_path):
    """Make raw files of two tables that share ids."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.csv").write_text(
        "id,size,kind,day\n1,5,x,2020-01-03\n2,6,y,2020-01-01\n3,7,,2020-01-02\n"
    )
    content = b"id,label,size\n3,no,0\n1,yes,0\n2,no,0\n"
    (tmp_path / "toy" / "b.csv.gz").write_bytes(gzip.compress(content))
    return tmp_path


def make_entry(**changes):
    entry = Entry(
        name="toy",
        task="binary",
        target="label",
        positive=("yes",),
        drop=("id", "day"),
        categorical=("kind",),
        files=(
            DataFile(path="toy/a.csv", rows=3),
            DataFile(path="toy/b.csv", rows=3),
        ),
    )
    return dataclasses.replace(entry, **changes)


def test_files_can_be_joined(home):
    entry = make_entry(combine="join", join_on="id", drop=("id", "day", "size_label"))
    data = load_from_home(entry, home)
    assert list(data.X.columns) == ["size", "kind"]
    assert data.X["size"].tolist() == [5, 6, 7]
    assert data.y.tolist() == [1, 0, 0]
    assert data.source == "toy/a.csv, toy/b.csv.gz"


def test_the_target_can_be_in_the_last_file(home):
    data = load_from_home(make_entry(combine="target_last"), home)
    assert list(data.X.columns) == ["size", "kind"]
    assert data.y.tolist() == [0, 1, 0]


def test_the_last_file_can_be_the_test_rows(home):
    b = home / "toy" / "c.csv"
    b.write_text("size,kind,label\n1,x,yes\n2,y,no\n")
    a = home / "toy" / "a.csv"
    a.write_text("size,kind,label\n1,x,yes\n2,y,no\n3,z,no\n")
    files = (DataFile(path="toy/a.csv"), DataFile(path="toy/c.csv"))
    data = load_from_home(make_entry(combine="train_test", files=files), home)
    split = data.split()
    assert data.n_test == len(split.y_test) == 2
    assert split.test_rows.tolist() == [3, 4]
    assert len(data.split(kind="random", test_size=0.4).y_test) == 2


def test_groups_and_times_are_kept_though_they_are_no_features(home):
    entry = make_entry(combine="target_last", group="kind", time="day")
    data = load_from_home(entry, home)
    assert "day" not in data.X.columns
    days = np.array(["2020-01-03", "2020-01-01", "2020-01-02"], "datetime64[ns]")
    np.testing.assert_array_equal(data.times, days)
    assert list(data.groups[:2]) == ["x", "y"]
    split = data.split(kind="time", test_size=0.3)
    assert split.test_rows.tolist() == [0]


def test_other_rows_and_columns_are_refused(home):
    entry = make_entry(combine="target_last", features=5)
    with pytest.raises(ValueError, match="2 features, expected 5"):
        load_from_home(entry, home)
    assert load_from_home(entry, home, verify=False).X.shape == (3, 2)
    entry = make_entry(files=(DataFile(path="toy/a.csv", rows=9),))
    with pytest.raises(ValueError, match="3 rows, expected 9"):
        load_from_home(entry, home)


def test_a_damaged_gzip_is_refused(home):
    path = home / "toy" / "b.csv.gz"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(ValueError, match="not a complete gzip"):
        load_from_home(make_entry(combine="target_last"), home)


def test_missing_files_are_named_with_the_way_to_them(home):
    entry = make_entry(
        files=(
            DataFile(path="toy/c.csv", url="https://host/c.csv"),
            DataFile(path="toy/d.csv"),
        ),
        obtain="Ask for d.csv.",
        source="https://host",
    )
    with pytest.raises(FileNotFoundError) as raised:
        load_from_home(entry, home)
    message = str(raised.value)
    assert "toy/c.csv and toy/d.csv" in message
    assert "treeinf data fetch toy" in message
    assert "https://host/c.csv" in message
    assert "Ask for d.csv." in message
    assert str(home) in message


@pytest.fixture
def table(rng):
    """Make a set with groups, times, gaps and a split of its own."""
    n = 200
    X = pd.DataFrame(
        {
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], n)),
            "size": rng.normal(size=n),
            "flag": rng.random(n) < 0.5,
        }
    )
    X.loc[::9, "size"] = np.nan
    X.loc[::7, "kind"] = None
    y = (rng.random(n) < 0.15).astype(np.int64)
    groups = rng.integers(0, 30, n).astype(str)
    times = rng.integers(0, 12, n).astype(np.float64)
    return Dataset("toy", "binary", X, y, n_test=50, groups=groups, times=times)


def test_samples_keep_order_shares_and_what_belongs_to_a_row(table):
    data = table.sample(80, random_state=3)
    rows = data.X.index.to_numpy()
    assert data.n_rows == 80
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(data.y, table.y[rows])
    np.testing.assert_array_equal(data.groups, table.groups[rows])
    np.testing.assert_array_equal(data.times, table.times[rows])
    assert data.n_test == (rows >= 150).sum() == 20
    # four strata, each within a row of its share
    for is_test in (True, False):
        for label in (0, 1):
            of_all = ((np.arange(200) >= 150) == is_test) & (table.y == label)
            of_drawn = of_all[rows]
            assert abs(of_drawn.sum() - 0.4 * of_all.sum()) < 1


def test_samples_follow_the_seed_and_end_at_the_whole_set(table):
    first, again, other = (table.sample(60, random_state=seed) for seed in (1, 1, 2))
    assert list(first.X.index) == list(again.X.index) != list(other.X.index)
    assert table.sample(200) is table
    assert table.sample(10**6) is table
    with pytest.raises(ValueError, match="n_rows=0"):
        table.sample(0)


def test_samples_of_values_are_plain_draws(table):
    data = dataclasses.replace(table, task="regression", n_test=0, y=table.times)
    assert data.sample(33).n_rows == 33


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("test_size", [0.1, 0.5])
def test_grouped_splits_part_no_group(table, seed, test_size):
    split = table.split(kind="grouped", seed=seed, test_size=test_size)
    train, test = table.groups[split.train_rows], table.groups[split.test_rows]
    assert not set(train) & set(test)
    assert len(train) + len(test) == table.n_rows
    # no farther from the share than one group
    assert (
        abs(len(test) / 200 - test_size) < np.unique_counts(table.groups)[1].max() / 200
    )


def test_splits_by_time_test_on_the_latest_rows_and_part_no_time(table):
    split = table.split(kind="time", test_size=0.25)
    train, test = table.times[split.train_rows], table.times[split.test_rows]
    assert train.max() < test.min()
    assert abs(len(test) / 200 - 0.25) < 0.1
    np.testing.assert_array_equal(
        split.test_rows, table.split(kind="time", test_size=0.25, seed=9).test_rows
    )


def test_splits_that_cannot_be_are_refused(table):
    bare = dataclasses.replace(table, groups=None, times=None)
    same = dataclasses.replace(table, groups=np.zeros(200), times=np.zeros(200))
    for data, kind, message in (
        (bare, "grouped", "no groups"),
        (bare, "time", "no times"),
        (same, "grouped", "single group"),
        (same, "time", "single time"),
        (table, "sorted", "kind='sorted'; expected one of published"),
    ):
        with pytest.raises(ValueError, match=message):
            data.split(kind=kind)
    with pytest.raises(ValueError, match=r"test_size=1\.5"):
        table.split(test_size=1.5)


def test_published_splits_stay_what_they_were(table):
    split = table.split()
    assert split.test_rows.tolist() == list(range(150, 200))
    loose = dataclasses.replace(table, n_test=0)
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(200), test_size=0.2, random_state=1, stratify=table.y
    )
    np.testing.assert_array_equal(loose.split().train_rows, train)
    np.testing.assert_array_equal(loose.split().test_rows, test)


def test_one_hot_encoding_is_that_of_scikit_learn(table):
    split = table.split(kind="random")
    found = split.encode()
    numbers = SimpleImputer(strategy="median").fit(split.X_train[["size"]])
    modes = SimpleImputer(strategy="most_frequent")
    ones = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    ones.fit(modes.fit_transform(split.X_train[["kind"]].astype(object)))
    for frame, array in ((split.X_train, found.X_train), (split.X_test, found.X_test)):
        kinds = ones.transform(modes.transform(frame[["kind"]].astype(object)))
        expected = np.hstack(
            [numbers.transform(frame[["size"]]), frame[["flag"]], kinds]
        )
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
    assert found.feature_names == ("size", "flag", "kind=a", "kind=b", "kind=c")


def test_encoding_learns_from_the_train_rows_alone():
    X = pd.DataFrame(
        {"kind": ["a", "b", "b", "z", None], "size": [1.0, 3.0, np.nan, np.nan, 100.0]}
    )
    data = Dataset("toy", "regression", X, np.arange(5.0), n_test=2)
    found = data.split().encode()
    assert found.feature_names == ("size", "kind=a", "kind=b")
    np.testing.assert_array_equal(found.X_train, [[1, 1, 0], [3, 0, 1], [2, 0, 1]])
    np.testing.assert_array_equal(found.X_test, [[2, 0, 0], [100, 0, 1]])
    plain = data.split().encode("ordinal", impute=False)
    nan = np.nan
    assert plain.feature_names == ("size", "kind")
    np.testing.assert_array_equal(plain.X_train, [[1, 0], [3, 1], [nan, 1]])
    np.testing.assert_array_equal(plain.X_test, [[nan, nan], [100, nan]])


def test_columns_without_a_value_have_nothing_to_impute():
    X = pd.DataFrame({"kind": pd.Categorical([None, None]), "size": [np.nan, np.nan]})
    data = Dataset("toy", "regression", X, np.arange(2.0), n_test=1)
    assert data.split().encode().feature_names == ("size",)
    assert data.split().encode("ordinal").feature_names == ("size", "kind")


def test_sets_can_be_loaded_as_arrays_and_sampled():
    frame = load("iris", n_rows=60, random_state=5)
    array = load("iris", n_rows=60, random_state=5, as_frame=False)
    assert np.bincount(frame.y).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(array.X, frame.X.to_numpy())
    assert array.feature_names == tuple(frame.X.columns)
    assert array.split().feature_names == array.feature_names


def test_wrong_encodings_are_refused(table):
    with pytest.raises(ValueError, match="encoding='hash'"):
        table.encode("hash")
    with pytest.raises(TypeError, match="cannot be encoded again"):
        table.encode().split().encode()
