"""Results on disk are complete or absent, and a killed run can resume."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from treeinf.training.checkpoint import ResultFolder, open_checkpoint


def test_results_are_found_again_by_name(tmp_path):
    store = ResultFolder(tmp_path / "new" / "cells")
    assert len(store) == 0
    assert "one" not in store
    store.write("one", {"value": 1.5})
    store.write("a-0.5", [1, None])
    again = ResultFolder(tmp_path / "new" / "cells")
    assert again.names() == ["a-0.5", "one"]
    assert again.read("one") == {"value": 1.5}
    assert again.read("a-0.5") == [1, None]


def test_what_a_killed_run_leaves_is_no_result(tmp_path):
    store = ResultFolder(tmp_path, ".txt")

    def fail():
        with store.writing("one") as file:
            file.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    (tmp_path / ".two.txt.x.part").write_text("half")
    assert store.names() == []
    store.sweep()
    assert list(tmp_path.iterdir()) == []


def test_arrays_have_the_same_bits_and_shape(tmp_path):
    store = ResultFolder(tmp_path / "arrays", ".npz")
    values = np.array([[np.nan, -0.0, 5e-324], [np.inf, 1 / 3, 1e300]])
    store.write("2", values)
    store.write("9", values[:0])
    again = ResultFolder(tmp_path / "arrays", ".npz")
    assert again.names() == ["2", "9"]
    assert again.read("2").tobytes() == values.tobytes()
    assert_array_equal(again.read("9"), np.empty((0, 3)))


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_damaged_result_is_refused(suffix, tmp_path):
    store = ResultFolder(tmp_path, suffix)
    store.write("one", np.arange(6.0) if suffix == ".npz" else {"value": 1.5})
    whole = store.path("one").read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 3):
        store.path("one").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"one.* is damaged .*; delete it"):
            store.read("one")
    if suffix == ".npz":
        damaged = bytearray(whole)
        damaged[whole.index(np.arange(6.0).tobytes()) + 9] ^= 1
        store.path("one").write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            store.read("one")


def test_nothing_pickled_is_read(tmp_path):
    np.savez(tmp_path / "one.npz", result=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="is damaged"):
        ResultFolder(tmp_path, ".npz").read("one")


def test_a_checkpoint_killed_at_its_creation_is_begun_again(tmp_path):
    (tmp_path / ".checkpoint.json.x.part").write_text("half")
    open_checkpoint(tmp_path, {"rows": "a"})
    assert open_checkpoint(tmp_path, {"rows": "a"}) == tmp_path
    with pytest.raises(ValueError, match="of another run; different are: rows"):
        open_checkpoint(tmp_path, {"rows": "b"})


def test_sweeping_leaves_files_of_the_user(tmp_path):
    (tmp_path / "film.part").write_text("mine")
    ResultFolder(tmp_path).sweep()
    assert (tmp_path / "film.part").read_text() == "mine"
