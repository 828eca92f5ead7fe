"""The rooms of the package: which may import which, and what no file may do.

Works on the source alone: nothing of treeinf is imported here.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "treeinf"

# From the first to the last. A room imports from itself and from earlier layers; two
# rooms of one layer know nothing of each other.
LAYERS = (
    ("errors", "dtypes", "files", "pickling"),
    ("frames", "times", "field_types", "kernels"),
    ("ensemble.losses",),
    ("validation",),
    ("ensemble",),
    ("adapters",),
    ("trace",),
    ("training",),
    ("plots",),  # draws arrays; the results of explainers call it
    ("explainers",),
    ("cleaning", "datasets"),
    ("evaluation",),  # corrupts and splits data sets
    ("reports",),
    ("",),  # treeinf/__init__.py
    ("cli",),
    ("__main__",),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}

# The only reader of the CUDA kernels outside their own folder.
CUDA = "treeinf.kernels.cuda"
CUDA_DOOR = "treeinf.kernels.device"

DUMPING_GROUNDS = {"util", "utils", "core", "common", "helpers", "misc"}

# Imported inside the functions that need them, or not at all: most are extras, and the
# others would cost every `import treeinf` their time.
LATE = {
    "catboost",
    "dask",
    "jinja2",
    "lightgbm",
    "matplotlib",
    "numba_cuda",
    "pandas",
    "polars",
    "pooch",
    "pyarrow",
    "rich",
    "typer",
    "xgboost",
}
CLI_MAY = {"rich", "typer"}


@dataclass(frozen=True)
class Import:
    """One imported name, as a full dotted path."""

    target: str
    line: int
    in_function: bool


class _ImportFinder(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool):
        self.package = module if is_package else module.rpartition(".")[0]
        self.depth = 0
        self.found: list[Import] = []

    def _add(self, node: ast.AST, target: str) -> None:
        self.found.append(Import(target, node.lineno, self.depth > 0))

    def _resolve(self, name: str, level: int) -> str:
        if not level:
            return name
        parts = self.package.split(".")
        base = ".".join(parts[: len(parts) - level + 1])
        return f"{base}.{name}" if name else base

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._resolve(node.module or "", node.level)
        for alias in node.names:
            self._add(node, base if alias.name == "*" else f"{base}.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"} and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                bare = name.value.lstrip(".")
                level = len(name.value) - len(bare)
                self._add(node, self._resolve(bare, level))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def _visit_function(self, node: ast.AST) -> None:
        # Decorators and defaults run at import, the body later.
        body = node.body if isinstance(node.body, list) else [node.body]
        for child in ast.iter_child_nodes(node):
            if child not in body:
                self.visit(child)
        self.depth += 1
        for child in body:
            self.visit(child)
        self.depth -= 1

    visit_FunctionDef = _visit_function
    visit_AsyncFunctionDef = _visit_function
    visit_Lambda = _visit_function


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    source: str
    is_package: bool = False

    @property
    def room(self) -> str:
        parts = [*self.name.split("."), "", ""]
        nested = ".".join(parts[1:3])
        return nested if nested in LAYER_OF else parts[1]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.name)

    def imports(self) -> list[Import]:
        finder = _ImportFinder(self.name, self.is_package)
        finder.visit(self.tree)
        return finder.found


def _room_of_target(target: str) -> str | None:
    parts = target.split(".")
    if parts[0] != "treeinf" or target == "treeinf.__version__":
        return None
    if ".".join(parts[1:3]) in LAYER_OF:
        return ".".join(parts[1:3])
    # A name that is no room stands in treeinf/__init__.py.
    return parts[1] if len(parts) > 1 and parts[1] in LAYER_OF else ""


def find_back_arrows(module: Module) -> list[str]:
    """Tell each import of `module` that does not point to an earlier layer."""
    if module.room not in LAYER_OF:
        return [
            f"{module.name}: the room {module.room!r} has no layer in test_layers.py"
        ]
    complaints = []
    for found in module.imports():
        room = _room_of_target(found.target)
        if room is None or room == module.room:
            continue
        if LAYER_OF[room] >= LAYER_OF[module.room]:
            complaints.append(
                f"{module.name}:{found.line} imports {found.target}, "
                "which is not in an earlier layer"
            )
    return complaints


def find_cuda_imports(module: Module) -> list[str]:
    """Tell each import of the CUDA kernels that does not go through the device room."""
    inside = f"{module.name}.".startswith(f"{CUDA}.")
    if inside or module.name == CUDA_DOOR:
        return []
    return [
        f"{module.name}:{found.line} imports {found.target}; only {CUDA_DOOR} may"
        for found in module.imports()
        if f"{found.target}.".startswith(f"{CUDA}.")
    ]


def find_early_imports(module: Module) -> list[str]:
    """Tell each import of a late library that runs when the module is imported."""
    banned = LATE - CLI_MAY if module.room == "cli" else LATE
    return [
        f"{module.name}:{found.line} imports {found.target} at module level"
        for found in module.imports()
        if not found.in_function and found.target.split(".")[0] in banned
    ]


def find_dumping_grounds(module: Module) -> list[str]:
    """Tell a name that says nothing about what the file holds."""
    bad = [p for p in module.name.split(".") if p.strip("_") in DUMPING_GROUNDS]
    return [f"{module.name}: name the room for what it holds, not {p!r}" for p in bad]


def find_missing_all(module: Module) -> list[str]:
    """Tell a package that does not list its public names."""
    if not module.is_package:
        return []
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return []
    return [f"{module.name}: the package has no __all__"]


def find_non_ascii(module: Module) -> list[str]:
    """Tell each line with a sign outside ASCII."""
    return [
        f"{module.name}:{number} is not ASCII: {line.strip()!a}"
        for number, line in enumerate(module.source.splitlines(), 1)
        if not line.isascii()
    ]


def _read(path: Path, root: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, path.read_text(encoding="utf-8"), is_package)


MODULES = [_read(path, ROOT) for path in sorted(PACKAGE.rglob("*.py"))]
SCRIPTS = [
    _read(path, ROOT)
    for folder in ("tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
RULES = (
    find_back_arrows,
    find_cuda_imports,
    find_early_imports,
    find_dumping_grounds,
    find_missing_all,
    find_non_ascii,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule):
    assert MODULES, f"no source under {PACKAGE}"
    complaints = [line for module in MODULES for line in rule(module)]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("rule", [find_dumping_grounds, find_non_ascii])
def test_tests_and_benchmarks_keep_the_rule(rule):
    complaints = [line for module in SCRIPTS for line in rule(module)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_folder_with_source_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    bare = [
        str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()
    ]
    assert not bare, f"no __init__.py in {sorted(bare)}"


# The judge is judged: each rule sees a planted fault, and nothing in its sound twin.

PLANTED = [
    # an arrow that points back, in every form an import can take
    (find_back_arrows, "treeinf.kernels.rules", "import treeinf.trace"),
    (
        find_back_arrows,
        "treeinf.kernels.rules",
        "from treeinf.trace import TrainingTrace",
    ),
    (find_back_arrows, "treeinf.kernels.rules", "from treeinf import explainers"),
    (find_back_arrows, "treeinf.kernels.cpu.replay", "from ...losses import Loss"),
    (find_back_arrows, "treeinf.kernels.cpu.replay", "from ... import adapters"),
    (
        find_back_arrows,
        "treeinf.ensemble.losses",
        "def f():\n    import treeinf.ensemble",
    ),
    (find_back_arrows, "treeinf.ensemble.losses", "from treeinf.ensemble import *"),
    (find_back_arrows, "treeinf.ensemble.losses", "import_module('treeinf.plots')"),
    (
        find_back_arrows,
        "treeinf.ensemble.losses",
        "importlib.import_module('.plots', 'treeinf')",
    ),
    (find_back_arrows, "treeinf.ensemble.storage", "from treeinf import BoostIn"),
    (find_back_arrows, "treeinf.ensemble.storage", "import treeinf"),
    (find_back_arrows, "treeinf.trace", "from treeinf.explainers import BoostIn"),
    (find_back_arrows, "treeinf.cleaning.cleaner", "from ..evaluation import removal"),
    (
        find_back_arrows,
        "treeinf.plots",
        "if x:\n    pass\nelse:\n    import treeinf.cli",
    ),
    (find_back_arrows, "treeinf.surprise", ""),
    # the CUDA door
    (find_cuda_imports, "treeinf.trace", "from treeinf.kernels.cuda import routing"),
    (
        find_cuda_imports,
        "treeinf.kernels.cpu.replay",
        "from treeinf.kernels import cuda",
    ),
    (
        find_cuda_imports,
        "treeinf.kernels.rules",
        "def f():\n    from .cuda import replay",
    ),
    # a library imported before anyone asked for it
    (find_early_imports, "treeinf.adapters.lightgbm.reader", "import lightgbm as lgb"),
    (find_early_imports, "treeinf.plots", "from matplotlib import pyplot"),
    (
        find_early_imports,
        "treeinf.plots",
        "try:\n    import pandas\nexcept E:\n    pass",
    ),
    (find_early_imports, "treeinf.plots", "class A:\n    import pyarrow.parquet"),
    (find_early_imports, "treeinf.reports", "import typer"),
    (find_early_imports, "treeinf.cli.main", "import pandas"),
    # names, __all__, signs
    (find_dumping_grounds, "treeinf.ensemble.utils", ""),
    (find_dumping_grounds, "treeinf.core.structure", ""),
    (find_dumping_grounds, "treeinf.explainers._common", ""),
    (find_missing_all, "treeinf.explainers", "from .boostin import BoostIn"),
    (find_non_ascii, "treeinf.errors", "'caf\u00e9'"),
]
SOUND = [
    (find_back_arrows, "treeinf.ensemble.losses", "from treeinf.kernels import rules"),
    (
        find_back_arrows,
        "treeinf.validation",
        "import numpy as np\nfrom .dtypes import REAL",
    ),
    (find_back_arrows, "treeinf.kernels.cpu.replay", "from ..rules import go_left"),
    (find_back_arrows, "treeinf.ensemble.storage", "from treeinf import __version__"),
    (find_back_arrows, "treeinf.ensemble", "from .validation import check_rows"),
    (
        find_back_arrows,
        "treeinf.ensemble.losses",
        "if TYPE_CHECKING:\n    from treeinf.ensemble import TreeEnsemble",
    ),
    (find_back_arrows, "treeinf", "from treeinf.explainers import BoostIn"),
    (
        find_back_arrows,
        "treeinf.cli.main",
        "import treeinf as ti\nfrom treeinf import Q",
    ),
    (
        find_cuda_imports,
        "treeinf.kernels.device",
        "def f():\n    from .cuda import replay",
    ),
    (find_cuda_imports, "treeinf.kernels.cuda.replay", "from .routing import route"),
    (find_cuda_imports, "treeinf.trace", "from treeinf.kernels.device import pick"),
    (find_early_imports, "treeinf.plots", "def draw():\n    import matplotlib.pyplot"),
    (
        find_early_imports,
        "treeinf.plots",
        "if typing.TYPE_CHECKING:\n    import pandas",
    ),
    (find_early_imports, "treeinf.adapters.lightgbm.reader", "from . import lightgbm"),
    (find_early_imports, "treeinf.cli.main", "import typer\nfrom rich import table"),
    (find_dumping_grounds, "treeinf.cleaning.scores.scoring", ""),
    (find_missing_all, "treeinf.explainers", "__all__ = ['BoostIn']"),
    (find_missing_all, "treeinf.explainers", "__all__: list[str] = []"),
    (find_non_ascii, "treeinf.errors", "'cafe'"),
]


def _planted_module(name: str, source: str) -> Module:
    return Module(name, source, is_package=name in {"treeinf", "treeinf.explainers"})


@pytest.mark.parametrize(("rule", "name", "source"), PLANTED)
def test_rule_sees_a_planted_fault(rule, name, source):
    assert len(rule(_planted_module(name, source))) == 1


@pytest.mark.parametrize(("rule", "name", "source"), SOUND)
def test_rule_lets_sound_source_pass(rule, name, source):
    assert rule(_planted_module(name, source)) == []
