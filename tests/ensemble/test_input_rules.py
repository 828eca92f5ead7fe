"""Rules for reading rows: what they may hold, and what is refused."""

import dataclasses

import numpy as np
import pytest

from treeinf.ensemble import InputRules
from treeinf.errors import ModelFormatError


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"n_features": 0}, "n_features=0; expected an integer of at least 1"),
        ({"n_features": 2.0}, "n_features=2.0"),
        ({"feature_names": ("a",)}, "feature_names has 1 entries; expected one for"),
        ({"feature_names": ["a", "b"]}, "feature_names=.*; expected a tuple"),
        ({"feature_names": ("a", 1)}, "feature_names=1; expected strings"),
        ({"categories": (None,)}, "categories has 1 entries"),
        ({"categories": (None, "ab")}, "categories='ab'; expected tuples"),
        ({"numbers_are_labels": 1}, "numbers_are_labels=1; expected True or False"),
        ({"labels_are_hashes": "no"}, "labels_are_hashes='no'"),
        ({"absent_is_missing": None}, "absent_is_missing=None"),
        ({"round_to_single": 0.0}, "round_to_single=0.0"),
        ({"missing_value": "-1"}, "missing_value='-1'; expected a number or None"),
        ({"zero_threshold": -1.0}, "zero_threshold=-1.0; expected a finite number"),
        ({"zero_threshold": float("inf")}, "zero_threshold=inf"),
        ({"zero_threshold": None}, "zero_threshold=None"),
        ({"category_floor": 0.0}, "category_floor=0.0; expected a number in"),
        ({"category_floor": float("nan")}, "category_floor=nan"),
    ],
)
def test_rules_of_other_types_or_out_of_range_are_refused(rules, words):
    with pytest.raises(ModelFormatError, match=words):
        InputRules(**{"n_features": 2, **rules})


def test_rules_are_frozen_and_take_numpys_numbers():
    rules = InputRules(np.int64(2), missing_value=np.float32(-1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.n_features = 3
