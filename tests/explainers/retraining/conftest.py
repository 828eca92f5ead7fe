"""Fits are counted from zero in every test."""

import pytest

from tests.explainers.retraining.games import FITS


@pytest.fixture(autouse=True)
def _count_from_zero():
    FITS.clear()
