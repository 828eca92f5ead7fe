"""Which sets of a trial choose and evaluate together."""

import dataclasses

import numpy as np
import pytest
from sklearn.model_selection import TimeSeriesSplit

from treeinf.cleaning.trial.cleanings import _list_turns
from treeinf.cleaning.trial.splits import plan_splits
from treeinf.training.rows import LabelledRows


def rows(n_rows=60):
    code = np.arange(n_rows) % 2
    return LabelledRows(np.zeros((n_rows, 1)), code, code)


def positions(splits, turn, side):
    return np.concatenate([splits[k].sets[s[side]].positions for k, *s in turn])


def test_halves_of_all_folds_choose_together_and_evaluate_each_other(rng):
    splits, _ = plan_splits(5, rows(), None, rng)
    first, second = _list_turns(splits)
    for turn, other in ((first, second), (second, first)):
        chosen_by = positions(splits, turn, 0)
        assert len(chosen_by) == 30
        np.testing.assert_array_equal(
            np.sort(chosen_by), np.sort(positions(splits, other, 1))
        )
        assert not np.isin(chosen_by, positions(splits, turn, 1)).any()


@pytest.mark.parametrize("validation", [4, TimeSeriesSplit(4)], ids=str)
def test_no_choice_of_a_row_uses_later_rows(validation, rng):
    table = dataclasses.replace(rows(), time=np.arange(60))
    splits, _ = plan_splits(validation, table, None, rng)
    turns = _list_turns(splits)
    assert len(turns) == len(splits)
    for turn in turns:
        assert positions(splits, turn, 0).max() < positions(splits, turn, 1).min()


def test_sets_that_scores_use_are_not_joined(rng):
    splits, _ = plan_splits(
        (None, None), rows(), rows(41), rng, scores_use_trusted=True
    )
    assert [len(turn) for turn in _list_turns(splits)] == [1, 1]
