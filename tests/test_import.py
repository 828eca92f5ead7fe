"""`import treeinf` without any extra installed, and without what it does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Hides installed packages as if they were absent: importing one raises
# ModuleNotFoundError, importlib.util.find_spec and importlib.metadata find nothing.
HIDE_EXTRAS = """
import sys

EXTRAS = {
    "catboost", "dask", "distributed", "jinja2", "lightgbm", "matplotlib", "numba_cuda",
    "pandas", "polars", "pooch", "pyarrow", "rich", "typer", "xgboost",
}


class Hidden:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            return None
        find_spec = getattr(self.finder, "find_spec", None)
        return find_spec(name, path, target) if find_spec else None

    def find_distributions(self, *args, **kwargs):
        find = getattr(self.finder, "find_distributions", None)
        for found in find(*args, **kwargs) if find else ():
            if found.metadata["Name"].lower().replace("-", "_") not in EXTRAS:
                yield found


sys.meta_path[:] = [Hidden(finder) for finder in sys.meta_path]
"""


def run_python(code: str) -> str:
    """Run `code` in an interpreter of its own and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_extras_are_hidden_as_if_absent():
    out = run_python(
        HIDE_EXTRAS
        + """
import importlib.metadata
import importlib.util

for name in sorted(EXTRAS):
    assert importlib.util.find_spec(name) is None, name
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
    else:
        raise SystemExit(f"{name} was imported")
try:
    importlib.metadata.version("lightgbm")
except importlib.metadata.PackageNotFoundError:
    print("hidden", importlib.metadata.version("numpy") != "")
"""
    )
    assert out == "hidden True\n"


def test_every_public_name_is_there_without_extras():
    out = run_python(
        HIDE_EXTRAS
        + """
import treeinf

assert len(set(treeinf.__all__)) == len(treeinf.__all__), "a name is listed twice"
for name in treeinf.__all__:
    assert getattr(treeinf, name) is not None, name
print(treeinf.__version__)
"""
    )
    assert out.strip()


def test_every_module_imports_without_extras():
    # cli/ is typer's and kernels/cuda/ numba-cuda's: both are reached only on request.
    run_python(
        HIDE_EXTRAS
        + """
import importlib
import pkgutil

import treeinf

OPTIONAL = ("treeinf.cli", "treeinf.kernels.cuda", "treeinf.__main__")


def complain(name):
    if not name.startswith(OPTIONAL):
        raise


for found in pkgutil.walk_packages(treeinf.__path__, "treeinf.", onerror=complain):
    if found.name.startswith(OPTIONAL):
        continue
    module = importlib.import_module(found.name)
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), f"{found.name}.__all__ lists {name}"
"""
    )


def test_any_subpackage_can_be_imported_first():
    run_python(
        """
import importlib
import pkgutil
import sys

import treeinf

for found in list(pkgutil.iter_modules(treeinf.__path__, "treeinf.")):
    if found.name in ("treeinf.cli", "treeinf.__main__"):
        continue
    for name in [name for name in sys.modules if name.startswith("treeinf")]:
        del sys.modules[name]
    importlib.import_module(found.name)
"""
    )


@pytest.mark.parametrize(
    "library",
    [
        "catboost",
        "dask",
        "jinja2",
        "lightgbm",
        "matplotlib",
        "pandas",
        "polars",
        "pooch",
        "pyarrow",
        "sklearn.ensemble",
        "typer",
        "xgboost",
    ],
)
def test_import_leaves_heavy_libraries_alone(library, modules_after_import):
    assert library not in modules_after_import


@pytest.fixture(scope="module")
def modules_after_import() -> set[str]:
    """Names in sys.modules after a bare `import treeinf`."""
    code = "import sys, treeinf; print(*sys.modules)"
    return set(run_python(code).split())


def test_version_is_the_installed_one():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("treeinf")
    except PackageNotFoundError:
        pytest.skip("treeinf runs from the source tree, not installed")
    assert run_python("import treeinf; print(treeinf.__version__)").strip() == installed


def test_explainers_import_no_more_of_scikit_learn_than_they_need():
    out = run_python(
        "import sys, treeinf; treeinf.BoostIn; "
        "print([m for m in ('sklearn.ensemble', 'sklearn.model_selection') "
        "if m in sys.modules])"
    )
    assert out.strip() == "[]"  # each takes a third of a second
