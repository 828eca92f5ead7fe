"""Rules for reading rows: what they may hold, and what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import treeinf as ti
from tests import models
from treeinf import validation
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import InputRows, InputRules, routing
from treeinf.errors import ModelFormatError
from treeinf.trace import StagedRows


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


def test_rows_are_read_once(monkeypatch):
    model, X, y, *_ = models.fit("binary")
    n_read = []

    def count(*arguments, **more):
        n_read.append(1)
        return validation.check_rows(*arguments, **more)

    monkeypatch.setattr(routing, "check_rows", count)
    ensemble = ti.read_model(model)
    rows = ensemble.read_rows(X)
    assert ensemble.read_rows(rows) is rows
    assert check_parity(ensemble, model, rows) < 1e-12
    assert_array_equal(ensemble.apply(rows), routing.find_leaves(ensemble, rows).T)
    StagedRows.read(ensemble, rows, y)
    assert len(n_read) == 1
    ti.BoostIn().fit(model, X, y)
    assert len(n_read) == 2


def test_a_part_of_the_rows_keeps_the_callers_own(rng):
    frame = pd.DataFrame(rng.normal(size=(5, 2)))
    part = InputRows(frame.to_numpy(), frame).take(np.array([3, 0]))
    assert len(part) == 2
    assert_array_equal(part.values, frame.to_numpy()[[3, 0]])
    assert part.source.index.tolist() == [3, 0]
