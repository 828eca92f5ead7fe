"""Losses: derivatives against finite differences and the slow twin."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.naive.boosting import derivatives as naive_derivatives
from treeinf.ensemble.losses import (
    LOSSES,
    AbsoluteError,
    AbsolutePercentageError,
    Brier,
    CrossEntropy,
    Exponential,
    Fair,
    Gamma,
    Huber,
    HuberExact,
    Logistic,
    OneVsAll,
    Poisson,
    PseudoHuber,
    Quantile,
    Softmax,
    SquaredError,
    SquaredLogError,
    Tweedie,
    loss_from_dict,
)
from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas.derivatives import (
    UNIT_HESSIAN,
    all_derivatives,
    differentiate_twice,
    loss_derivatives,
)
from treeinf.kernels.rules import exponential

DIFFERENTIABLE = [
    SquaredError(),
    CrossEntropy(),
    Logistic(),
    Logistic(scale=1.7),
    Softmax(4, hessian_factor=1.0),
    Softmax(3, hessian_factor=1.5),
    OneVsAll(3, scale=0.8),
    Poisson(hessian_shift=0.7),
    Poisson(),
    Gamma(),
    Tweedie(power=1.3),
    Huber(width=0.9),
    HuberExact(width=0.9),
    PseudoHuber(slope=0.7),
    Fair(width=1.2),
    Exponential(),
]


def make_targets(loss, rng, n=200):
    if loss.n_classes:
        return rng.integers(loss.n_classes, size=n).astype(np.float64)
    if isinstance(loss, CrossEntropy):
        return rng.uniform(size=n)
    if isinstance(loss, Poisson | Tweedie):
        return rng.gamma(2.0, size=n) + 0.1
    return rng.normal(size=n)


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=repr)
def test_gradient_is_the_derivative_of_the_loss(loss, rng):
    target = make_targets(loss, rng)
    score = rng.normal(size=(len(target), loss.n_outputs))
    gradient, _ = loss.derivatives(target, score)
    step = 1e-6
    for k in range(loss.n_outputs):
        up, down = score.copy(), score.copy()
        up[:, k] += step
        down[:, k] -= step
        slope = (loss.loss(target, up) - loss.loss(target, down)) / (2 * step)
        # central differences: rounding 1e-16 / 1e-6 in the loss, and the kink of Huber
        kink = np.zeros(len(target), bool)
        if isinstance(loss, Huber):
            kink = np.abs(np.abs(score[:, 0] - target) - loss.width) < 2 * step
        assert_allclose(gradient[~kink, k], slope[~kink], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=repr)
def test_hessian_is_the_derivative_of_the_gradient_times_the_librarys_factor(loss, rng):
    target = make_targets(loss, rng)
    score = rng.normal(size=(len(target), loss.n_outputs))
    _, hessian = loss.derivatives(target, score)
    step = 1e-6
    factor = 1.0
    if isinstance(loss, Softmax) and not isinstance(loss, OneVsAll):
        factor = loss.hessian_factor
    elif isinstance(loss, Poisson) and not isinstance(loss, Gamma):
        factor = np.exp(loss.hessian_shift)
    for k in range(loss.n_outputs):
        up, down = score.copy(), score.copy()
        up[:, k] += step
        down[:, k] -= step
        slope = loss.derivatives(target, up)[0] - loss.derivatives(target, down)[0]
        slope = slope[:, k] / (2 * step)
        if type(loss) is Huber:
            # the libraries but CatBoost use 1 everywhere
            assert (hessian == 1.0).all()
            continue
        assert_allclose(hessian[:, k], factor * slope, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=repr)
def test_derivatives_equal_the_slow_twin(loss, rng):
    target = make_targets(loss, rng, n=60)
    score = rng.normal(size=(60, loss.n_outputs)) * 3
    gradient, hessian = loss.derivatives(target, score)
    for i in range(60):
        g, h = naive_derivatives(loss.name, loss.parameter, target[i], list(score[i]))
        assert_allclose(gradient[i], g, rtol=1e-12, atol=1e-14)
        assert_allclose(hessian[i], h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "loss",
    [loss for loss in DIFFERENTIABLE if not isinstance(loss, Fair | PseudoHuber)],
    ids=repr,
)
def test_initial_score_is_where_the_gradient_sums_to_zero(loss, rng):
    target = make_targets(loss, rng)
    weight = rng.uniform(0.5, 2.0, size=len(target))
    initial = loss.base_score(target, weight)
    score = np.tile(initial, (len(target), 1))
    if isinstance(loss, Huber):
        # LightGBM starts Huber at the mean, which is not its optimum
        assert_allclose(initial, np.average(target, weights=weight))
        return
    gradient, _ = loss.derivatives(target, score)
    assert_allclose((weight[:, None] * gradient).sum(axis=0), 0.0, atol=1e-10)


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=repr)
def test_the_hessian_can_be_1(loss, rng):
    """Added to a code, `UNIT_HESSIAN` leaves the gradient as it is."""
    target = make_targets(loss, rng, n=30)
    score = np.ascontiguousarray(rng.normal(size=(loss.n_outputs, 30)))
    found = np.empty((2, *score.shape))
    code = loss.kernel_code + UNIT_HESSIAN
    loss_derivatives(FlatLoss(code, loss.parameter), 30, target, score, *found[:2])
    assert_allclose(found[0].T, loss.derivatives(target, score.T)[0])
    assert (found[1] == 1.0).all()


@pytest.mark.parametrize(
    "loss",
    [
        *DIFFERENTIABLE,
        AbsoluteError(),
        AbsolutePercentageError(),
        Quantile(0.3),
        Brier(3),
    ],
    ids=repr,
)
def test_a_loss_survives_json(loss):
    assert loss_from_dict(json.loads(json.dumps(loss.to_dict()))) == loss


def test_squared_log_error_has_floors(rng):
    """Between them its derivatives are those of the loss, as elsewhere."""
    loss = SquaredLogError()
    target, score = rng.gamma(2.0, size=50), rng.gamma(2.0, size=(50, 1)) - 0.5
    score[:4, 0] = [-1.0, -7.0, 500.0, -0.9999]
    gradient, hessian = loss.derivatives(target, score)
    for i in range(50):
        g, h = naive_derivatives("SquaredLogError", 0.0, target[i], list(score[i]))
        assert_allclose(gradient[i], g, rtol=1e-12)
        assert_allclose(hessian[i], h, rtol=1e-12)
    assert hessian[2, 0] == 1e-6
    assert np.isfinite(gradient).all()
    step = 1e-6
    slope = loss.loss(target, score + step) - loss.loss(target, score - step)
    assert_allclose(gradient[4:, 0], slope[4:] / (2 * step), rtol=1e-5, atol=1e-8)
    second = loss.derivatives(target, score + step)[0]
    second = (second - loss.derivatives(target, score - step)[0]) / (2 * step)
    free = np.flatnonzero(hessian[:, 0] > 1e-6)[4:]
    assert_allclose(hessian[free], second[free], rtol=1e-5, atol=1e-8)
    assert loss_from_dict(loss.to_dict()) == loss
    assert loss.target_problem(np.array([-1.0]))
    assert loss.target_problem(np.array([-0.5])) is None


def test_every_loss_is_listed():
    assert set(LOSSES) >= {type(loss).__name__ for loss in DIFFERENTIABLE}


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="Got loss 'Nope'; expected one of"):
        loss_from_dict({"name": "Nope"})
    with pytest.raises(ValueError, match="for loss Softmax"):
        loss_from_dict({"name": "Softmax"})


@pytest.mark.parametrize("loss", [AbsoluteError(), Quantile(0.3)])
def test_quantile_losses_have_no_gradient_that_makes_leaves(loss):
    assert not loss.is_differentiable
    with pytest.raises(ValueError, match="no gradient"):
        loss.derivatives(np.zeros(1), np.zeros((1, 1)))


def test_brier_is_least_at_the_shares_of_the_classes(rng):
    target = np.array([0.0, 2.0, 2.0, 1.0])
    weight = np.array([1.0, 2.0, 4.0, 1.0])
    loss = Brier(3)
    assert not loss.is_differentiable
    best = loss.base_score(target, weight)
    assert_allclose(best, [1 / 8, 1 / 8, 6 / 8])
    assert_allclose(loss.link(best[np.newaxis]), best[np.newaxis])

    def total(probability):
        return weight @ loss.loss(target, np.tile(probability, (4, 1)))

    assert_allclose(total(np.array([1.0, 0.0, 0.0])), 7.0)
    for _ in range(20):
        assert total(best + 0.1 * rng.normal(size=3)) > total(best)


def test_links_give_probabilities(rng):
    score = rng.normal(size=(20, 3))
    for loss in (Softmax(3), Logistic(), Exponential()):
        probability = loss.link(score[:, : loss.n_outputs])
        assert_allclose(probability.sum(axis=1), 1.0)
    assert_allclose(SquaredError(sqrt_target=True).link(np.array([[-3.0]])), [-9.0])
    assert_allclose(
        SquaredError(sqrt_target=True).transform_target(np.array([-9.0])), -3
    )


def test_exponential_is_exact_to_two_units_in_the_last_place(rng):
    x = np.concatenate([rng.uniform(-40, 40, 20_000), rng.normal(size=20_000), [0.0]])
    ours = np.array([exponential(value) for value in x])
    assert np.abs(ours / np.exp(x) - 1.0).max() <= 4.5e-16
    assert exponential(0.0) == 1.0
    assert 0.0 < exponential(-1e9) < 1e-300
    assert np.isfinite(exponential(1e9))


@pytest.mark.parametrize("is_unit", [False, True])
@pytest.mark.parametrize("loss", [*DIFFERENTIABLE, SquaredLogError()], ids=repr)
def test_slope_and_bend_are_the_derivatives_of_gradient_and_hessian(loss, is_unit, rng):
    target = make_targets(loss, rng)
    score = rng.normal(size=(loss.n_outputs, len(target)))
    if isinstance(loss, SquaredLogError):
        target, score = np.abs(target), np.abs(score)
    code = loss.kernel_code + (UNIT_HESSIAN if is_unit else 0)

    def differentiate(kernel, at):
        # filled with NaN: what a kernel does not write is seen
        results = [np.full_like(score, np.nan) for _ in range(2)]
        kernel(FlatLoss(code, loss.parameter), len(target), target, at, *results)
        return results

    slope, bend = differentiate(differentiate_twice, score)
    step = 1e-6
    is_softmax = loss.kernel_code == Softmax.kernel_code
    if is_softmax:  # which gives p, and what the others follow from it by
        own = slope * (1.0 - slope)
        slope, bend = own, own * bend
    smooth = np.ones_like(score, bool)
    if isinstance(loss, Huber):
        smooth = np.abs(np.abs(score - target) - loss.width) > 2 * step
    for k in range(loss.n_outputs):
        up, down = score.copy(), score.copy()
        up[k] += step
        down[k] -= step
        pairs = zip(
            differentiate(loss_derivatives, up),
            differentiate(loss_derivatives, down),
            (slope, bend),
            strict=True,
        )
        for above, below, ours in pairs:
            desired = (above[k] - below[k]) / (2 * step)
            # central differences: rounding 1e-16 / 1e-6
            assert_allclose(
                ours[k][smooth[k]], desired[smooth[k]], rtol=2e-6, atol=2e-9
            )


@pytest.mark.parametrize("is_unit", [False, True])
@pytest.mark.parametrize("loss", [*DIFFERENTIABLE, SquaredLogError()], ids=repr)
def test_all_derivatives_are_those_taken_one_by_one(loss, is_unit, rng):
    target = make_targets(loss, rng)
    score = 3.0 * rng.normal(size=(loss.n_outputs, len(target)))
    if isinstance(loss, SquaredLogError):
        target, score = np.abs(target), np.abs(score)
    code = loss.kernel_code + (UNIT_HESSIAN if is_unit else 0)
    arguments = FlatLoss(code, loss.parameter), len(target), target, score
    found, desired = np.full((2, 4, *score.shape), np.nan)
    all_derivatives(*arguments, *found)
    loss_derivatives(*arguments, *desired[:2])
    differentiate_twice(*arguments, *desired[2:])
    assert_allclose(found, desired, rtol=1e-13, atol=1e-15)


def test_every_loss_with_a_kernel_is_among_the_tested():
    coded = {loss.kernel_code for loss in LOSSES.values()} - {None}
    tested = {loss.kernel_code for loss in [*DIFFERENTIABLE, SquaredLogError()]}
    assert tested == coded
