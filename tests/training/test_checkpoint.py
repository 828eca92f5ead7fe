"""Results on disk are complete or absent, and a killed run can resume."""

import pytest

from treeinf.training.checkpoint import ResultFolder


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
