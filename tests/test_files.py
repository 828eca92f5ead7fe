"""Files are written whole or not at all; values become what JSON can hold."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from treeinf.files import to_plain, write_together, write_whole


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "result.txt"
    with write_whole(path) as part:
        part.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert os.listdir(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write():
        with write_whole(path) as part:
            part.write_text("new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_several_files_are_replaced_together_or_none_is(tmp_path):
    paths = {"one": tmp_path / "one.txt", "two": tmp_path / "two.txt"}

    def fail():
        with write_together(paths) as parts:
            parts["one"].write_text("1")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert os.listdir(tmp_path) == []
    with write_together(paths) as parts:
        for key, part in parts.items():
            part.write_text(key)
    assert [path.read_text() for path in paths.values()] == ["one", "two"]


def test_all_files_appear_together(tmp_path):
    paths = {"a": tmp_path / "a.txt", "b": tmp_path / "b.txt"}
    paths["b"].write_text("old")
    with write_together(paths) as places:
        for name, place in places.items():
            place.write_text(name)
            assert place.parent == tmp_path
        assert not paths["a"].exists()
        assert paths["b"].read_text() == "old"
    assert [path.read_text() for path in paths.values()] == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_all_files_as_they_were(tmp_path, error):
    paths = {"a": tmp_path / "a.txt", "b": tmp_path / "b.txt"}
    paths["b"].write_text("old")

    def fail():
        with write_together(paths) as places:
            places["a"].write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]
    assert paths["b"].read_text() == "old"


def test_files_have_the_mode_of_open_or_keep_their_own(tmp_path):
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.write_text("")
    with write_whole(written):
        pass
    assert written.stat().st_mode == plain.stat().st_mode
    written.chmod(0o640)
    with write_whole(written):
        pass
    assert written.stat().st_mode & 0o777 == 0o640


def test_values_become_what_json_can_hold():
    value = {
        1: (np.int64(2), np.float64("nan"), float("inf"), np.bool_(True)),
        "array": np.array([[1.5, np.nan]]),
        "set": {3},
        "path": Path("a") / "b",
        "nothing": None,
    }
    plain = to_plain(value)
    assert plain == {
        "1": [2, None, None, True],
        "array": [[1.5, None]],
        "set": [3],
        "path": str(Path("a") / "b"),
        "nothing": None,
    }
    assert json.loads(json.dumps(plain)) == plain
