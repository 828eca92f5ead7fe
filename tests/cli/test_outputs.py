"""Files to write are checked before the work."""

import os

import pytest

pytest.importorskip("typer")

from treeinf.cli.exits import CommandError
from treeinf.cli.outputs import check_outputs


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("a\n1\n")
    return path


@pytest.mark.parametrize("kind", ["same", "symlink", "hardlink", "spelling"])
@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_overwritten(train, kind, force):
    other = train.parent / "other.csv"
    if kind == "same":
        other = train
    elif kind == "symlink":
        other.symlink_to(train)
    elif kind == "hardlink":
        os.link(train, other)
    else:
        other = train.parent / "." / ".." / train.parent.name / train.name
    with pytest.raises(CommandError, match="never overwritten"):
        check_outputs({"--out": other}, [None, train], force=force)


def test_existing_files_need_force(train, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(CommandError, match="--force"):
        check_outputs({"--out": out}, [train], force=False)
    given = {"--out": out, "--report": None}
    assert check_outputs(given, [train], force=True) == {"--out": out}


def test_a_dangling_link_counts_as_existing(train, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(CommandError, match="--force"):
        check_outputs({"--out": link}, [train], force=False)


def test_places_that_cannot_be_written_are_refused(train, tmp_path):
    for out, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out.csv", "does not exist"),
        (os.devnull, "not a plain file"),
    ):
        with pytest.raises(CommandError, match=message):
            check_outputs({"--out": out}, [train], force=True)


def test_two_options_need_two_files(train, tmp_path):
    twice = {"--out": tmp_path / "o.csv", "--removed": tmp_path / "." / "o.csv"}
    with pytest.raises(CommandError, match="--out and --removed both"):
        check_outputs(twice, [train], force=False)


@pytest.mark.parametrize("ending", [".xlsx", ".json", ".XLS", ".zip", ".feather"])
def test_formats_that_are_not_written_are_refused(train, tmp_path, ending):
    with pytest.raises(CommandError, match="name it") as raised:
        check_outputs({"--out": tmp_path / f"o{ending}"}, [train], force=True)
    assert raised.value.code == 2


def test_parquet_is_refused_before_the_work_where_it_cannot_be_written(
    train, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandError, match="pip install"):
        check_outputs({"--out": tmp_path / "o.parquet"}, [train], force=True)
