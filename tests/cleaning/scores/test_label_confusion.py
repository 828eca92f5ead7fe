"""How labels are confused, and which that puts in doubt."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.naive import label_confusion as naive
from treeinf.cleaning.scores.label_confusion import doubt_labels, find_confusions


def noisy_rows(rng, confusion, n_rows=3000, spread=0.5):
    """Give probabilities of labels as a perfect model has them, labels and truth."""
    n_classes = len(confusion)
    truth = rng.dirichlet(np.full(n_classes, spread), n_rows)
    true = np.array([rng.choice(n_classes, p=row) for row in truth])
    code = np.array([rng.choice(n_classes, p=confusion[t]) for t in true])
    return truth @ confusion, code, true


def test_plain_loops_on_a_round_worked_by_hand():
    probability = np.array([[0.8, 0.2], [0.2, 0.8]])
    confusion, truth = naive.find_confusions(
        probability, [0, 1], n_rounds=1, sharpness=1.0, prior_rows=0.0
    )
    np.testing.assert_allclose(confusion, probability)
    # 0.8 / 0.68 * 0.8 + 0.2 / 0.32 * 0.2 = 1.06618, and 0.73529 for the other class
    right = 0.8 * (0.64 / 0.68 + 0.04 / 0.32)
    np.testing.assert_allclose(truth, [[right, 1 - right], [1 - right, right]])


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_equals_plain_loops(n_classes, rng):
    probability = rng.dirichlet(np.ones(n_classes), 40)
    code = rng.integers(0, n_classes, 40)
    for actual, desired in zip(
        find_confusions(probability, code),
        naive.find_confusions(probability, code),
        strict=True,
    ):
        np.testing.assert_allclose(actual, desired, rtol=1e-9)
    np.testing.assert_allclose(
        doubt_labels(probability, code),
        naive.doubt_labels(probability, code),
        rtol=1e-7,
    )


def test_recovers_how_labels_are_confused_where_classes_are_apart(rng):
    confusion = np.array([[0.7, 0.3, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]])
    probability, code, _ = noisy_rows(rng, confusion, spread=0.01)
    found, truth = find_confusions(probability, code)
    np.testing.assert_allclose(found, confusion, atol=0.08)
    np.testing.assert_allclose(truth.sum(axis=1), 1.0)


def test_finds_one_sided_noise_better_than_the_labels_own_probability(rng):
    confusion = np.array([[0.6, 0.4, 0.0], [0.0, 0.95, 0.05], [0.35, 0.0, 0.65]])
    probability, code, true = noisy_rows(rng, confusion, spread=0.1)
    own = 1.0 - probability[np.arange(len(code)), code]
    is_wrong = code != true
    plain = average_precision_score(is_wrong, own)
    better = average_precision_score(is_wrong, doubt_labels(probability, code))
    assert better > plain + 0.1


def test_equal_noise_costs_little(rng):
    confusion = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    probability, code, true = noisy_rows(rng, confusion)
    own = 1.0 - probability[np.arange(len(code)), code]
    plain = average_precision_score(code != true, own)
    assert average_precision_score(
        code != true, doubt_labels(probability, code)
    ) == pytest.approx(plain, abs=0.02)


def test_another_order_of_the_classes_doubts_the_same_rows(rng):
    probability = rng.dirichlet(np.ones(4), 60)
    code = rng.integers(0, 4, 60)
    order = rng.permutation(4)
    place = np.argsort(order)
    np.testing.assert_allclose(
        doubt_labels(probability[:, order], place[code]),
        doubt_labels(probability, code),
        rtol=1e-9,
    )


def test_certain_models_and_labels_that_nobody_expects():
    probability = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    doubt = doubt_labels(probability, np.array([0, 1, 1, 1]))
    assert np.isfinite(doubt).all()
    assert doubt.argmax() == 1
    assert ((doubt >= 0.0) & (doubt <= 1.0)).all()
