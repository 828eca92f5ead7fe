"""Flag rows by their scores, and act on them."""

import numpy as np
import pytest

from treeinf.cleaning.actions import Treatment, flag_rows
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.training.rows import LabelledRows


def scored(score, suggestion=None):
    score = np.asarray(score, dtype=float)
    return RowScores(score, np.zeros(len(score)), suggestion)


@pytest.fixture
def rows():
    code = np.array([0] * 10 + [1] * 10)
    return LabelledRows(np.arange(20)[:, None], np.array(["a", "b"])[code], code)


def test_the_most_suspicious_come_first_and_ties_keep_their_order(rows):
    score = np.ones(20)
    score[7] = 3.0
    score[12] = 2.0
    np.testing.assert_array_equal(flag_rows(score, rows.code, count=4), [7, 12, 0, 1])


def test_two_rows_of_every_class_stay(rows):
    score = np.r_[np.full(10, 5.0), np.ones(10)]
    flagged = flag_rows(score, rows.code, count=20)
    np.testing.assert_array_equal(flagged, [*range(8), *range(10, 18)])


def test_rows_without_a_positive_score_are_not_flagged(rows):
    score = np.r_[np.ones(3), np.zeros(16), -1.0]
    np.testing.assert_array_equal(flag_rows(score, rows.code, count=10), [0, 1, 2])


def test_a_threshold_takes_the_scores_from_it_up(rows):
    flagged = flag_rows(np.arange(20.0), rows.code, threshold=17.0)
    np.testing.assert_array_equal(flagged, [19, 18, 17])


def test_relabel_changes_only_rows_whose_suggestion_is_another_label(rows):
    suggestion = rows.code.copy()
    suggestion[[3, 15]] = [1, 0]
    suggestion[4] = -1
    score = np.zeros(20)
    score[[3, 4, 5, 15]] = [4, 3, 2, 1]
    cleaning = Treatment("relabel", Amount.share(0.2)).apply(
        rows, scored(score, suggestion)
    )
    np.testing.assert_array_equal(cleaning.changed, [3, 15])
    assert cleaning.kept.all()
    cleaned = cleaning.apply(rows)
    assert cleaned.y[3] == "b"
    assert cleaned.y[15] == "a"
    assert (cleaned.y == rows.y).sum() == 18
    np.testing.assert_array_equal(cleaned.y, np.array(["a", "b"])[cleaned.code])


def test_drop_and_downweight(rows):
    scores = scored(np.arange(20.0))
    dropped = Treatment("drop", Amount.share(0.1)).apply(rows, scores).apply(rows)
    np.testing.assert_array_equal(dropped.X[:, 0], np.arange(18))
    lighter = Treatment("downweight", Amount.share(0.1), factor=0.5).apply(rows, scores)
    np.testing.assert_array_equal(lighter.apply(rows).weight, [1.0] * 18 + [0.5] * 2)
    assert rows.weight is None


def test_regression_keeps_two_rows():
    rows = LabelledRows(np.arange(4)[:, None], np.arange(4.0))
    assert len(flag_rows(np.ones(4), rows.code, count=4)) == 2
