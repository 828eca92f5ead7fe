"""The slow twins themselves, on a case worked by hand."""

import pytest

from tests.naive.boosting import NaiveModel, boostin, derivatives


def make_model():
    """Six rows, two trees of two leaves, squared error, shrinkage 1/2, base 3."""
    model = NaiveModel.__new__(NaiveModel)
    # y = 0 1 2 | 4 5 6: residuals -3 -2 -1 | 1 2 3, leaf means -2 and 2, halved
    # then rows 0 1 | 2 3 4 5: scores 2 2 2 4 4 4, residuals -2 -1 0 0 1 2
    model.values = [[-1.0, 1.0], [-0.75, 0.375]]
    model.l2 = [[0.0, 0.0], [0.0, 0.0]]
    model.outputs = [0, 0]
    model.iterations = [0, 1]
    model.shrinkage = [0.5, 0.5]
    model.base = [3.0]
    model.name, model.parameter, model.l1 = "SquaredError", 0.0, 0.0
    return model


LEAVES = [[0, 0], [0, 0], [0, 1], [1, 1], [1, 1], [1, 1]]
TARGETS = [0.0, 1.0, 2.0, 4.0, 5.0, 6.0]


def test_leaf_sums_give_the_leaf_values_back():
    model = make_model()
    gradient, hessian = model.leaf_sums(LEAVES, TARGETS, [1.0] * 6)
    assert gradient == [[6.0, -6.0], [3.0, -3.0]]
    assert hessian == [[3.0, 3.0], [2.0, 4.0]]
    for t in range(2):
        for leaf in range(2):
            step = -gradient[t][leaf] / hessian[t][leaf] * 0.5
            assert step == model.values[t][leaf]


def test_boostin_by_hand():
    # Row 0 on row 1: tree 0, g0 = 3, theta = -2, so (3 - 2) / 3 / 2 = 1/6 times the
    # test gradient 2; tree 1, g0 = 2, theta = -1.5, (2 - 1.5) / 2 / 2 = 1/8 times 1.
    line = boostin(make_model(), LEAVES, TARGETS, [1.0] * 6, LEAVES, TARGETS)
    assert line[0][1] == pytest.approx(2 / 6 + 1 / 8)
    # Row 0 on row 5: no leaf is shared.
    assert line[0][5] == 0.0
    # Row 0 on row 2: tree 0 only, test gradient 1.
    assert line[0][2] == pytest.approx(1 / 6)


def test_boostin_by_hand_published_and_weighted_by_count():
    published = boostin(
        make_model(), LEAVES, TARGETS, [1.0] * 6, LEAVES, TARGETS, theta="published"
    )
    assert published[0][2] == pytest.approx((3 - 1) / 3 / 2)
    counted = boostin(
        make_model(), LEAVES, TARGETS, [1.0] * 6, LEAVES, TARGETS, count_power=2
    )
    assert counted[0][2] == pytest.approx(1 / 6 / 9)


@pytest.mark.parametrize(
    ("name", "parameter", "target", "score", "gradient", "hessian"),
    [
        ("Logistic", 2.0, 1.0, [0.0], [-1.0], [1.0]),
        ("Softmax", 1.5, 0, [0.0, 0.0, 0.0], [-2 / 3, 1 / 3, 1 / 3], [1 / 3] * 3),
        ("Huber", 1.0, 0.0, [3.0], [1.0], [1.0]),
        ("Gamma", 0.0, 2.0, [0.0], [-1.0], [2.0]),
    ],
)
def test_derivatives_by_hand(name, parameter, target, score, gradient, hessian):
    g, h = derivatives(name, parameter, target, score)
    assert g == pytest.approx(gradient)
    assert h == pytest.approx(hessian)
