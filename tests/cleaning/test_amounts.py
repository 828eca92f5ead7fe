"""Amounts: what they are read from, and what they give to try."""

import numpy as np
import pytest
from sklearn.base import clone

from treeinf.cleaning import Amount, InfluenceCleaner


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        ("auto", Amount.auto()),
        (0.1, Amount.share(0.1)),
        (np.float32(0.5), Amount.share(0.5)),
        (25, Amount.count(25)),
        (np.int64(25), Amount.count(25)),
        (Amount.threshold(0.5), Amount.threshold(0.5)),
    ],
)
def test_parameters_are_read(given, amount):
    assert Amount.read(given) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("auto", Amount.auto()),
        (" 0.1 ", Amount.share(0.1)),
        ("12%", Amount.share(0.12)),
        ("200", Amount.count(200)),
        ("1", Amount.count(1)),
        ("1.0", Amount.share(1.0)),
        ("score>=0.5", Amount.threshold(0.5)),
        ("score >= -1e3", Amount.threshold(-1000.0)),
    ],
)
def test_texts_are_read(text, amount):
    assert Amount.parse(text) == amount


@pytest.mark.parametrize("text", ["", "many", "score>=high", "x%", "score>0.5"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"expected auto, a share such as 0\.1"):
        Amount.parse(text)


@pytest.mark.parametrize("text", ["auto", "0.1", "200", "score>=0.5", "doubt>=0.5"])
def test_texts_come_back(text):
    assert str(Amount.parse(text)) == text


def test_candidates():
    assert Amount.share(0.1).candidates(100, 60) == [Amount.share(0.1)]
    assert Amount.count(20).candidates(100, 60) == [Amount.share(0.2)]
    assert Amount.threshold(1).candidates(9, 9) == [Amount.threshold(1)]
    doubts = [Amount.doubt(0.8), Amount.doubt(0.5)]
    assert Amount.auto().candidates(1000, 600, has_doubt=True) == doubts
    shares = [amount.value for amount in Amount.auto().candidates(1000, 600)]
    assert shares == [0.02, 0.05, 0.1, 0.2, 0.3]
    # shares that come to the same number of rows are tried once
    shares = Amount.auto().candidates(30, 20)
    counts = [round(amount.value * 20) for amount in shares]
    assert sorted(set(counts)) == counts
    assert min(counts) > 0
    assert Amount.auto().candidates(1, 1) == []


def test_it_is_a_parameter_like_others():
    cleaner = InfluenceCleaner(amount=Amount.threshold(0.5))
    assert clone(cleaner).get_params()["amount"] == Amount.threshold(0.5)
