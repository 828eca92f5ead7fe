"""Which rows are joined because they are equal, or as good as equal."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_iris

from treeinf.cleaning.grouping import find_contradictions, join_twins
from treeinf.cleaning.twins import find_twins, number_equal_rows
from treeinf.training.rows import LabelledRows


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer().data


def test_single_rows_of_numbers_are_not_joined(cancer):
    assert find_twins(cancer).joined is None


@pytest.mark.parametrize("n_copies", [2, 4])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_repeats_of_a_row_are_joined(cancer, n_copies, noise, rng):
    table = np.tile(cancer, (n_copies, 1))
    table += noise * cancer.std(axis=0) * rng.normal(size=table.shape)
    twins = find_twins(table)
    desired = np.tile(np.arange(len(cancer)), n_copies)
    np.testing.assert_array_equal(twins.joined[desired], twins.joined)
    assert len(np.unique(twins.joined)) >= 0.98 * len(cancer)
    assert twins.n_joined == len(table)


def test_repeats_of_rows_with_few_distinct_values_are_joined():
    iris = load_iris().data
    assert find_twins(iris).n_joined == 0
    assert find_twins(np.tile(iris, (2, 1))).n_joined == 300


@pytest.mark.parametrize(("n_columns", "n_values"), [(3, 10), (11, 2), (2, 5), (1, 3)])
def test_rows_that_are_equal_by_chance_are_not_joined(n_columns, n_values, rng):
    table = rng.integers(n_values, size=(1000, n_columns)).astype(float)
    assert find_twins(table).joined is None


def test_few_repeats_are_joined_and_others_left(cancer):
    table = np.concatenate([cancer, cancer[:20]])
    twins = find_twins(table)
    assert twins.n_joined == 40
    np.testing.assert_array_equal(twins.joined[:20], twins.joined[-20:])


def test_equal_rows_have_the_same_number_in_any_table(rng):
    table = rng.integers(3, size=(40, 2)).astype(float)
    desired = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
    frame = pd.DataFrame({"a": table[:, 0], "b": table[:, 1].astype(str)})
    for X in (table, sparse.csr_array(table), frame, frame.replace(0.0, np.nan)):
        actual = number_equal_rows(X)
        same = actual[:, None] == actual
        np.testing.assert_array_equal(same, desired[:, None] == desired)


def test_rows_equal_but_for_their_label_contradict_each_other():
    equal = np.array([0, 1, 0, 2, 1, 3, 3])
    label = np.array([0, 1, 1, 0, 1, 2.0, 2.5])
    np.testing.assert_array_equal(find_contradictions(equal, label), [0, 2, 5, 6])


def test_groups_passed_are_merged_with_equal_rows(cancer):
    table = np.concatenate([cancer[:60], cancer[:60]])
    group = np.arange(120) // 2
    rows, _ = join_twins(LabelledRows(table, np.zeros(120)), group, True)
    np.testing.assert_array_equal(rows.group[:60], rows.group[60:])
    assert len(np.unique(rows.group)) == 30
    alone, _ = join_twins(LabelledRows(table, np.zeros(120)), group, False)
    np.testing.assert_array_equal(alone.group, group)
    assert alone.twin is None
