"""Pickles and copies without what can be computed again."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["DropsCached"]


class DropsCached:
    """Base of classes whose cached properties stay out of pickles and copies.

    What `functools.cached_property` has stored is computed again where it is needed.
    """

    def __getstate__(self) -> dict[str, Any]:
        kind = type(self)
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(kind, name, None), functools.cached_property)
        }
