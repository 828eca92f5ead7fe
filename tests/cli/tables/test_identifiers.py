"""Columns that name the rows are left out of the features, and nothing else is."""

import uuid

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")

from treeinf.cli.exits import CommandError  # noqa: E402
from treeinf.cli.tables.files import read_table  # noqa: E402
from treeinf.cli.tables.training_data import read_training_data  # noqa: E402

N = 300
RNG = np.random.default_rng(0)
UUIDS = [str(uuid.UUID(int=int(i) << 64 | 7)) for i in RNG.integers(1, 2**40, N)]


@pytest.fixture
def learn(tmp_path):
    """Read a table of one column beside a feature and a target, as CSV or Parquet."""

    def read(name, values, kind="csv", **options):
        path = tmp_path / f"t.{kind}"
        others = {"x": RNG.normal(size=len(values)), "y": np.arange(len(values)) % 2}
        frame = pd.DataFrame({name: values, **others})
        if kind == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return read_training_data(read_table(path), "y", **options)

    return read


NAMES = [
    ("row", np.arange(N)),
    ("n", np.arange(N)[::-1] + 5),
    ("case", 1000 + np.cumsum(RNG.integers(1, 9, N))),
    ("id", RNG.permutation(10**6)[:N]),
    ("customerID", RNG.permutation(10**6)[:N]),
    ("Invoice No", RNG.permutation(10**6)[:N]),
    ("userid", RNG.permutation(10**6)[:N]),
    ("id", np.where(np.arange(N) % 50, RNG.permutation(10**6)[:N], np.nan)),
    ("", RNG.permutation(N)),
    ("Unnamed: 0", RNG.permutation(N)),
    ("", [f"r{i}" for i in range(N)]),
    ("uuid", UUIDS),
    ("name", [f"Mr {i}" for i in range(N)]),
    ("comment", [None if i % 3 else f"text {i}" for i in range(3 * N)]),
    ("serial", [f"{i:06d}-A" for i in range(N)]),
]


@pytest.mark.parametrize(("name", "values"), NAMES)
def test_names_of_rows_are_left_out_and_reported(learn, name, values):
    data = learn(name, values)
    assert data.columns == ("x",)
    column = name or "Unnamed: 0"
    (note,) = [n for n in data.notes if n.startswith("Left out of the features")]
    assert repr(column) in note
    assert "--learn-columns" in note


FEATURES = [
    ("id", RNG.normal(size=N)),
    ("temperature", np.sort(RNG.normal(size=N))),
    ("load", np.cumsum(RNG.random(N)).round(3)),
    ("timestamp", 1_600_000_000 + 60 * np.arange(N)),
    ("year", np.arange(N)),
    ("population", np.sort(RNG.permutation(10**7)[:N])),
    ("salary", RNG.permutation(10**6)[:N]),
    ("paid", RNG.permutation(10**6)[:N]),
    ("body_mass_index", RNG.permutation(10**6)[:N]),
    ("code", np.arange(N) // 2),
    ("city", [f"c{i % 40}" for i in range(N)]),
    ("bid", RNG.integers(0, 9, N)),
    ("flag", np.arange(N) % 2 == 0),
    ("x2", np.arange(N, dtype=float) / 4),
]


@pytest.mark.parametrize(("name", "values"), FEATURES)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_measurements_and_categories_are_kept(learn, name, values, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    data = learn(name, values, kind)
    assert data.columns == (name, "x")
    assert not any(note.startswith("Left out") for note in data.notes)


def test_few_rows_are_not_judged(learn):
    assert learn("name", list("abcdefgh")).columns == ("name", "x")


@pytest.mark.parametrize(("name", "values"), [NAMES[0], NAMES[3], NAMES[12]])
def test_columns_are_learnt_where_it_is_asked(learn, name, values):
    data = learn(name, values, learn_columns=[name])
    assert data.columns == (name, "x")
    assert any("Features that name the rows" in note for note in data.notes)


def test_the_only_column_is_kept(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": np.arange(N), "y": np.arange(N) % 2}).to_csv(path, index=False)
    data = read_training_data(read_table(path), "y")
    assert data.columns == ("x",)
    assert any("Features that name the rows" in note for note in data.notes)


def test_an_identifier_that_repeats_is_offered_as_groups(learn):
    data = learn("patient_id", np.arange(N) // 3)
    assert "patient_id" in data.columns
    assert any("--groups patient_id" in note for note in data.notes)


def test_numbers_but_for_some_words_are_left_out_as_such(learn):
    values = [f"{i}.5" for i in range(N - 5)] + ["unknown"] * 5
    (note,) = [n for n in learn("income", values).notes if n.startswith("Left out")]
    assert "holds numbers but for 'unknown'" in note


def test_a_model_reads_its_own_columns(learn):
    data = learn("id", np.arange(N), needs=lambda name: True)
    assert data.columns == ("id", "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn_columns": ["z"]}, "--learn-columns: .* has no column 'z'"),
        ({"learn_columns": ["y"]}, "is the target"),
        ({"learn_columns": ["x"], "drop_columns": ["x"]}, "in --drop-columns and in"),
    ],
)
def test_columns_to_learn_are_checked(learn, options, message):
    with pytest.raises(CommandError, match=message):
        learn("id", np.arange(N), **options)


def test_identifiers_stay_in_what_is_written(run_clean):
    cleaned, removed = run_clean
    assert {"id", "when"} <= set(cleaned.columns)
    assert {"id", "when"} <= set(removed.columns)


@pytest.fixture
def run_clean(tmp_path):
    """Clean a table with an identifier and a date; return what is written."""
    pytest.importorskip("lightgbm")
    from typer.testing import CliRunner

    from treeinf.cli.commands import app

    x = RNG.normal(size=N)
    frame = pd.DataFrame(
        {
            "id": np.arange(N),
            "when": pd.date_range("2024-01-01", periods=N).strftime("%d/%m/%Y"),
            "x": x.round(3),
            "y": (x > 0).astype(int),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    out, removed = tmp_path / "out.csv", tmp_path / "removed.csv"
    result = CliRunner().invoke(
        app,
        ["clean", str(tmp_path / "t.csv"), "-y", "y", "--validation", "0.3",
         "--method", "boostin", "--amount", "5", "--no-guard", "--no-baselines",
         "--n-jobs", "1", "--out", str(out), "--removed", str(removed)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "'id'" in result.output
    assert "'when'" in result.output
    return pd.read_csv(out), pd.read_csv(removed)
