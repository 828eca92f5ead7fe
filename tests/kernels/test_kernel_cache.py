"""Machine code on disk costs a compilation where it is damaged, never an error."""

import importlib.util
import shutil
import sys

import numba
import pytest

from treeinf.kernels import compilation

pytestmark = pytest.mark.skipif(compilation.jit_disabled, reason="nothing is compiled")

SOURCE = "def twice(x):\n    return 2 * x\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Give the cache's folder, and a function that compiles a kernel and calls it.

    It returns how many versions it has found in the cache.
    """
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    path = tmp_path / "module.py"
    path.write_text(SOURCE)

    def call(*values):
        spec = importlib.util.spec_from_file_location("module", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "module", module)  # Numba looks it up
        spec.loader.exec_module(module)
        compiled = compilation.kernel(module.twice)
        for value in values:
            assert compiled(value) == 2 * value
        return sum(compiled.stats.cache_hits.values())

    return folder, call


def flip_last(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(bytes(content))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "one byte": flip_last,
    "other bytes": lambda path: path.write_bytes(b"\xff" * 100),
    "folder": replace_by_folder,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_are_compiled_anew(load, suffix, kind):
    folder, call = load
    assert [call(21), call(21)] == [0, 1]
    for path in folder.rglob(f"*{suffix}"):
        DAMAGE[kind](path)
    assert call(21) == 0
    # and kept again, unless something stands in the way
    assert call(21) == (kind != "folder")


def test_an_index_that_names_another_types_code_is_not_believed(load):
    folder, call = load
    call(21, 1.5)
    first, second = sorted(folder.rglob("*.nbc"))
    shutil.copy(first, second)
    assert call(21, 1.5) == 1


def test_where_nothing_can_be_written_nothing_is_kept(load, monkeypatch):
    folder, call = load

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", fail)
    assert [call(21), call(21)] == [0, 0]
    assert not list(folder.rglob("*.nb?"))


def test_where_there_is_no_folder_nothing_is_kept(load, monkeypatch):
    _, call = load

    def fail(*_, **__):
        raise PermissionError("Read-only file system")

    monkeypatch.setattr("os.makedirs", fail)
    assert [call(21), call(21)] == [0, 0]
