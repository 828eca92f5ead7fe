"""Parameters and versions behind a result, in plain types."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

__all__ = ["list_settings", "list_versions"]


def list_settings(parameters: Mapping[str, Any], estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator and of the one inside, in plain types."""

    def plain(value: Any) -> Any:
        is_plain = value is None or isinstance(value, bool | int | float | str)
        return value if is_plain else repr(value)

    settings = {
        name: plain(value)
        for name, value in parameters.items()
        if name not in ("estimator", "validation")
    }
    validation = parameters["validation"]
    if isinstance(validation, tuple):
        names = ", ".join(("X_val", "y_val", "groups_val")[: len(validation)])
        validation = f"({names}) of {len(validation[1]):,} rows"
    return {
        "estimator": type(estimator).__name__,
        "validation": plain(validation),
        **settings,
        "estimator_parameters": {
            name: plain(value)
            for name, value in estimator.get_params(deep=True).items()
            if value is not None
        },
    }


def list_versions(estimator: Any) -> dict[str, str]:
    """Return the versions of what computed the result."""
    from treeinf import __version__

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    versions = {"python": platform.python_version(), "treeinf": __version__}
    library = type(last).__module__.partition(".")[0]
    for name in ("numpy", "numba", "scikit-learn", library):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
