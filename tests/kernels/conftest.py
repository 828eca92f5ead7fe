"""Kernels are tested with their threads; whole methods take those of small calls."""

import pytest

from treeinf.kernels import compilation


@pytest.fixture(autouse=True)
def _no_call_is_small(monkeypatch):
    monkeypatch.setattr(compilation, "SMALL_CALL", -1)
