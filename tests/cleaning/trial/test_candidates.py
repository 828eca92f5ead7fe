"""What is tried: cleanings, their controls, and subsets."""

import numpy as np

from treeinf.cleaning.actions import Treatment, drop_rows
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.candidates import (
    Candidate,
    list_cleanings,
    list_controls,
    list_subsets,
    remove_at_random,
)
from treeinf.cleaning.trial.subsets import Ranking
from treeinf.training.rows import LabelledRows


def test_random_removals_are_of_the_same_size_and_keep_the_classes(rng):
    code = np.array([0] * 30 + [1] * 4)
    rows = LabelledRows(np.zeros((34, 1)), code, code)
    cleaning = remove_at_random(rows, 20, rng)
    assert len(cleaning.changed) == 20
    assert (code[cleaning.kept] == 1).sum() >= 2
    assert len(remove_at_random(rows, 0, rng).changed) == 0


def test_random_removals_take_whole_groups(rng):
    group = np.repeat(np.arange(20), 3)
    rows = LabelledRows(np.zeros((60, 1)), np.arange(60.0), group=group)
    removed = group[remove_at_random(rows, 30, rng).changed]
    assert (np.bincount(removed, minlength=20)[np.unique(removed)] == 3).all()
    assert len(np.unique(removed)) == 10


def test_treatments_are_candidates_after_the_uncleaned_rows():
    rows = LabelledRows(np.zeros((20, 1)), np.arange(20.0))
    doubt = np.linspace(0.0, 0.95, 20)
    scores = RowScores(doubt, doubt, None, doubt=doubt)
    treatments = [
        Treatment("weight", Amount.doubt(0.49)),
        Treatment("drop", Amount.doubt(0.79)),
        Treatment("drop", Amount.share(0.1)),
    ]
    nothing, weighted, doubted, tenth = list_cleanings(rows, scores, treatments)
    assert nothing.share == 0.0
    assert weighted.share == 0.5
    assert weighted.apply(rows).n_rows == 20
    np.testing.assert_allclose(weighted.apply(rows).weight, np.maximum(1 - doubt, 0.02))
    assert doubted.apply(rows).n_rows == 16
    assert tenth.share == 0.1


def test_controls_are_a_random_removal_and_trusted_rows_appended(rng):
    rows = LabelledRows(np.arange(10.0)[:, None], np.arange(10.0))
    trusted = LabelledRows(np.array([[90.0], [91.0]]), np.zeros(2))
    cleaned = Candidate("cleaned", 0.2, drop_rows(10, np.array([4, 7])))
    random, appended, both = list_controls(rows, cleaned, trusted, rng)
    assert random.apply(rows).n_rows == 8
    np.testing.assert_array_equal(appended.apply(rows).X[:, 0], [*range(10), 90, 91])
    kept = [0, 1, 2, 3, 5, 6, 8, 9, 90, 91]
    np.testing.assert_array_equal(both.apply(rows).X[:, 0], kept)
    assert [c.name for c in list_controls(rows, cleaned, None, rng)] == ["random"]
    nothing = Candidate("cleaned", 0.0, drop_rows(10, np.array([], dtype=np.int64)))
    assert list_controls(rows, nothing, None, rng) == []


def test_subsets_are_candidates_of_their_strategy_and_share(rng):
    ranking = Ranking(np.arange(10.0), np.zeros(10, dtype=np.int64), None)
    rows = LabelledRows(np.arange(10.0)[:, None], np.arange(10.0))
    subsets = list_subsets(ranking, [0.2, 0.5], 2, rng, model="trained")
    assert [(s.name, s.share, s.apply(rows).n_rows) for s in subsets] == [
        ("all", 1.0, 10),
        ("influence", 0.2, 2),
        ("influence", 0.5, 5),
        ("diverse", 0.2, 2),
        ("diverse", 0.5, 5),
        *[("random", 0.2, 2)] * 2,
        *[("random", 0.5, 5)] * 2,
    ]
    assert subsets[0].model == "trained"
    assert all(subset.model is None for subset in subsets[1:])
    np.testing.assert_array_equal(subsets[1].apply(rows).X[:, 0], [8.0, 9.0])
