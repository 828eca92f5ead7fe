"""Run test_versions.py with every version of each library: `make test-versions`.

The last release of each minor version is installed in build/versions, by itself and on
top of what else is installed, whatever Python it asks for.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

FIRST = {"lightgbm": (4, 0), "xgboost": (3, 2), "scikit-learn": (1, 8)}
MODULES = {"scikit-learn": "sklearn"}
ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "versions"
TABLE = ROOT / "benchmarks" / "results" / "versions.md"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def list_versions(library):
    """List the last release of each minor version, the first version that is read on.

    Releases for newer Pythons are listed too.
    """
    command = ("index", "versions", library, "--python-version", "3.14")
    asked = subprocess.run(
        [*PIP, *command, "--only-binary", ":all:"],
        check=True,
        capture_output=True,
        text=True,
    )
    listed = re.search("Available versions: (.*)", asked.stdout)[1].split(", ")
    of_minor = {}
    for version in reversed([one for one in listed if re.fullmatch(r"[\d.]+", one)]):
        of_minor[tuple(map(int, version.split(".")[:2]))] = version
    return [version for minor, version in of_minor.items() if minor >= FIRST[library]]


def install(library, version):
    """Install a version by itself; return its folder, or the end of pip's message."""
    folder = PLACE / f"{library}-{version}"
    if folder.exists():
        return folder, ""
    command = ("install", "-q", "--no-deps", "--ignore-requires-python", "--target")
    done = subprocess.run(
        [*PIP, *command, folder, f"{library}=={version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    return folder, ""


def try_version(library, version):
    """Return what the tests say with a version, in words."""
    folder, words = install(library, version)
    if folder is None:
        return words
    module = MODULES.get(library, library)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    print_version = f"import {module}; print({module}.__version__)"
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", print_version],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if loaded.stdout.strip() != version:
        lines = loaded.stderr.strip().splitlines() or [f"loads {loaded.stdout}"]
        return f"not loaded: {lines[-1]}"
    path = Path(__file__).with_name("test_versions.py")
    options = ("-q", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", module, path],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    PLACE.joinpath(f"{library}-{version}.log").write_text(tested.stdout + tested.stderr)
    lines = tested.stdout.strip().splitlines() or [f"exit code {tested.returncode}"]
    return re.sub(r", \d+ deselected| in [\d.]+s.*", "", lines[-1])


def main():
    """Try all versions, print and write the table; return 1 if one fails."""
    PLACE.mkdir(parents=True, exist_ok=True)
    print("| library | version | tests |\n|---|---|---|", flush=True)
    rows = []
    for library in FIRST:
        for version in list_versions(library):
            words = try_version(library, version)
            rows.append(f"| {library} | {version} | {words} |")
            print(rows[-1], flush=True)
    TABLE.write_text(
        "# Versions whose row samples are drawn again\n\n"
        "`make test-versions` trains small models with the last release of each minor "
        "version and asks\nfor the rows of each tree "
        "([test_versions.py](../../tests/adapters/test_versions.py)): they must be "
        "those\nthat the trees were fitted on. "
        f"Python {sys.version_info[0]}.{sys.version_info[1]}.\n\n"
        "| library | version | tests |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return int(not all(re.search(r"\| \d+ passed \|$", row) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
