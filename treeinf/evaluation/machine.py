"""Describe the machine, library versions and date of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["describe_machine", "describe_run", "find_versions"]

_LIBRARIES = (
    "treeinf",
    "lightgbm",
    "xgboost",
    "catboost",
    "scikit-learn",
    "numpy",
    "scipy",
    "numba",
    "pandas",
)


def describe_machine() -> dict[str, Any]:
    """Describe the machine.

    Returns
    -------
    dict
        ``processor``, ``cores``, ``system`` and ``python``.
    """
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
        names = [line for line in text.splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def find_versions() -> dict[str, str]:
    """Return the versions of treeinf and of the installed libraries."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_run() -> dict[str, Any]:
    """Describe a run: `describe_machine`, ``versions`` and ``date``."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        **describe_machine(),
        "versions": find_versions(),
    }
