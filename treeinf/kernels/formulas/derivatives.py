"""First to third derivatives of every loss, for a tile of rows."""

from __future__ import annotations

import numpy as np

from treeinf.kernels.compilation import kernel
from treeinf.kernels.rules import exponential

__all__ = [
    "EXPONENTIAL",
    "FAIR",
    "GAMMA",
    "HUBER",
    "HUBER_EXACT",
    "LOGISTIC",
    "LOWEST_HESSIAN",
    "LOWEST_SCORE",
    "ONE_VS_ALL",
    "POISSON",
    "PSEUDO_HUBER",
    "SOFTMAX",
    "SQUARED_ERROR",
    "SQUARED_LOG_ERROR",
    "TWEEDIE",
    "UNIT_HESSIAN",
    "all_derivatives",
    "differentiate_in_target",
    "differentiate_twice",
    "loss_derivatives",
    "moves_with_target",
]

SQUARED_ERROR = 0
LOGISTIC = 1
SOFTMAX = 2
ONE_VS_ALL = 3
POISSON = 4
GAMMA = 5
TWEEDIE = 6
HUBER = 7
FAIR = 8
EXPONENTIAL = 9
HUBER_EXACT = 10
PSEUDO_HUBER = 11
SQUARED_LOG_ERROR = 12

LOWEST_SCORE = -1.0 + 1e-6
LOWEST_HESSIAN = 1e-6

UNIT_HESSIAN = 64
"""Added to a code: the hessian is 1, for leaf values that divide by weights."""


@kernel
def loss_derivatives(loss, n, y, raw_score, gradient, hessian):
    """Differentiate the loss with respect to the raw score, row by row.

    Parameters
    ----------
    loss : FlatLoss
        One of the constants of this module, to which `UNIT_HESSIAN` may be added, and
        its parameter: scale of the logistic (`LOGISTIC`, `ONE_VS_ALL`), factor of the
        hessian (`SOFTMAX`), shift of the hessian's exponent (`POISSON`), variance power
        (`TWEEDIE`), width of the quadratic part (`HUBER`, `HUBER_EXACT`,
        `PSEUDO_HUBER`, `FAIR`).
    n : int64
        Rows of the tile; entries after them may be overwritten.
    y : ndarray of float64, shape (>= n,)
        Targets; class numbers for `SOFTMAX` and `ONE_VS_ALL`.
    raw_score : ndarray of float64, shape (n_outputs, >= n)
        Raw scores.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        Outputs, overwritten: derivatives for a row of weight 1. The hessian is the one
        that the library uses in its leaf values: for `SOFTMAX` the diagonal times a
        factor, for `POISSON` enlarged.

    Notes
    -----
    Half squared error; logistic loss of a scaled score; cross-entropy; the negative
    log-likelihoods of Poisson, gamma and Tweedie with a log link; Huber; Fair;
    exponential; pseudo-Huber; half the squared difference of ``log(1 + x)``, whose
    score is clipped above -1 and whose hessian above 1e-6, as XGBoost does.
    """
    n_outputs = raw_score.shape[0]
    code, parameter = loss.code, loss.parameter
    has_unit_hessian = code >= UNIT_HESSIAN
    if has_unit_hessian:
        code -= UNIT_HESSIAN
    if code == SQUARED_ERROR:
        for i in range(n):
            gradient[0, i] = raw_score[0, i] - y[i]
            hessian[0, i] = 1.0
    elif code == LOGISTIC:
        for i in range(n):
            probability = 1.0 / (1.0 + exponential(-parameter * raw_score[0, i]))
            gradient[0, i] = parameter * (probability - y[i])
            hessian[0, i] = parameter * parameter * probability * (1.0 - probability)
    elif code == SOFTMAX:
        largest = np.empty(n)
        total = np.zeros(n)
        for i in range(n):
            largest[i] = raw_score[0, i]
        for k in range(1, n_outputs):
            for i in range(n):
                largest[i] = max(largest[i], raw_score[k, i])
        for k in range(n_outputs):
            for i in range(n):
                gradient[k, i] = exponential(raw_score[k, i] - largest[i])
                total[i] += gradient[k, i]
        for k in range(n_outputs):
            for i in range(n):
                probability = gradient[k, i] / total[i]
                hessian[k, i] = parameter * probability * (1.0 - probability)
                gradient[k, i] = probability - (1.0 if y[i] == k else 0.0)
    elif code == ONE_VS_ALL:
        for k in range(n_outputs):
            for i in range(n):
                probability = 1.0 / (1.0 + exponential(-parameter * raw_score[k, i]))
                is_class = 1.0 if y[i] == k else 0.0
                gradient[k, i] = parameter * (probability - is_class)
                hessian[k, i] = (
                    parameter * parameter * probability * (1.0 - probability)
                )
    elif code == POISSON:
        enlarged = exponential(parameter)
        for i in range(n):
            mean = exponential(raw_score[0, i])
            gradient[0, i] = mean - y[i]
            hessian[0, i] = mean * enlarged
    elif code == GAMMA:
        for i in range(n):
            ratio = y[i] * exponential(-raw_score[0, i])
            gradient[0, i] = 1.0 - ratio
            hessian[0, i] = ratio
    elif code == TWEEDIE:
        for i in range(n):
            first = y[i] * exponential((1.0 - parameter) * raw_score[0, i])
            second = exponential((2.0 - parameter) * raw_score[0, i])
            gradient[0, i] = second - first
            hessian[0, i] = (2.0 - parameter) * second - (1.0 - parameter) * first
    elif code == HUBER:
        for i in range(n):
            residual = raw_score[0, i] - y[i]
            gradient[0, i] = min(max(residual, -parameter), parameter)
            hessian[0, i] = 1.0
    elif code == HUBER_EXACT:
        for i in range(n):
            residual = raw_score[0, i] - y[i]
            gradient[0, i] = min(max(residual, -parameter), parameter)
            hessian[0, i] = 1.0 if abs(residual) < parameter else 0.0
    elif code == FAIR:
        for i in range(n):
            residual = raw_score[0, i] - y[i]
            size = abs(residual) + parameter
            gradient[0, i] = parameter * residual / size
            hessian[0, i] = parameter * parameter / (size * size)
    elif code == EXPONENTIAL:
        for i in range(n):
            sign = 1.0 - 2.0 * y[i]
            gradient[0, i] = sign * exponential(sign * raw_score[0, i])
            hessian[0, i] = sign * gradient[0, i]
    elif code == PSEUDO_HUBER:
        for i in range(n):
            residual = raw_score[0, i] - y[i]
            ratio = residual / parameter
            size = 1.0 + ratio * ratio
            root = np.sqrt(size)
            gradient[0, i] = residual / root
            hessian[0, i] = 1.0 / (size * root)
    elif code == SQUARED_LOG_ERROR:
        for i in range(n):
            score = max(raw_score[0, i], LOWEST_SCORE)
            difference = np.log1p(score) - np.log1p(y[i])
            one_more = score + 1.0
            gradient[0, i] = difference / one_more
            curvature = (1.0 - difference) / (one_more * one_more)
            hessian[0, i] = max(curvature, LOWEST_HESSIAN)
    if has_unit_hessian:
        for k in range(n_outputs):
            for i in range(n):
                hessian[k, i] = 1.0


@kernel
def differentiate_twice(loss, n, y, raw_score, slope, third):
    """Differentiate gradient and hessian with respect to the output they belong to.

    Parameters
    ----------
    loss, n, y, raw_score
        See `loss_derivatives`.
    slope : ndarray of float64, shape (n_outputs, >= n)
        Output, overwritten: derivative of the gradient, that is the second derivative
        of the loss without the factors that a library puts into its hessian. For
        `SOFTMAX` it is the probability p; the derivative of g_k by F_c is
        ``p_k ((k = c) - p_c)``.
    third : ndarray of float64, shape (n_outputs, >= n)
        Output, overwritten: derivative of the library's hessian. For `SOFTMAX` it is
        ``parameter (1 - 2 p)``, the ratio of the derivatives of h_k and g_k by F_c.
    """
    n_outputs = raw_score.shape[0]
    code, parameter = loss.code, loss.parameter
    has_unit_hessian = code >= UNIT_HESSIAN
    if has_unit_hessian:
        code -= UNIT_HESSIAN
    if code == SQUARED_ERROR:
        for i in range(n):
            slope[0, i] = 1.0
            third[0, i] = 0.0
    elif code in (LOGISTIC, ONE_VS_ALL):
        for k in range(n_outputs):
            for i in range(n):
                probability = 1.0 / (1.0 + exponential(-parameter * raw_score[k, i]))
                second = parameter * parameter * probability * (1.0 - probability)
                slope[k, i] = second
                third[k, i] = parameter * second * (1.0 - 2.0 * probability)
    elif code == SOFTMAX:
        for i in range(n):
            largest = raw_score[0, i]
            for k in range(1, n_outputs):
                largest = max(largest, raw_score[k, i])
            total = 0.0
            for k in range(n_outputs):
                slope[k, i] = exponential(raw_score[k, i] - largest)
                total += slope[k, i]
            for k in range(n_outputs):
                slope[k, i] /= total
                third[k, i] = parameter * (1.0 - 2.0 * slope[k, i])
    elif code == POISSON:
        enlarged = exponential(parameter)
        for i in range(n):
            slope[0, i] = exponential(raw_score[0, i])
            third[0, i] = slope[0, i] * enlarged
    elif code == GAMMA:
        for i in range(n):
            slope[0, i] = y[i] * exponential(-raw_score[0, i])
            third[0, i] = -slope[0, i]
    elif code == TWEEDIE:
        a, b = 1.0 - parameter, 2.0 - parameter
        for i in range(n):
            first = y[i] * exponential(a * raw_score[0, i])
            second = exponential(b * raw_score[0, i])
            slope[0, i] = b * second - a * first
            third[0, i] = b * b * second - a * a * first
    elif code in (HUBER, HUBER_EXACT):
        for i in range(n):
            is_inside = abs(raw_score[0, i] - y[i]) < parameter
            slope[0, i] = 1.0 if is_inside else 0.0
            third[0, i] = 0.0
    elif code == FAIR:
        for i in range(n):
            residual = raw_score[0, i] - y[i]
            size = abs(residual) + parameter
            slope[0, i] = parameter * parameter / (size * size)
            sign = 1.0 if residual > 0.0 else (-1.0 if residual < 0.0 else 0.0)
            third[0, i] = -2.0 * sign * slope[0, i] / size
    elif code == EXPONENTIAL:
        for i in range(n):
            sign = 1.0 - 2.0 * y[i]
            slope[0, i] = exponential(sign * raw_score[0, i])
            third[0, i] = sign * slope[0, i]
    elif code == PSEUDO_HUBER:
        for i in range(n):
            ratio = (raw_score[0, i] - y[i]) / parameter
            size = 1.0 + ratio * ratio
            slope[0, i] = 1.0 / (size * np.sqrt(size))
            third[0, i] = -3.0 * ratio / (parameter * size) * slope[0, i]
    elif code == SQUARED_LOG_ERROR:
        for i in range(n):
            one_more = max(raw_score[0, i], LOWEST_SCORE) + 1.0
            difference = np.log(one_more) - np.log1p(y[i])
            curvature = (1.0 - difference) / (one_more * one_more)
            is_free = raw_score[0, i] > LOWEST_SCORE
            slope[0, i] = curvature if is_free else 0.0
            cubic = (2.0 * difference - 3.0) / (one_more * one_more * one_more)
            third[0, i] = cubic if is_free and curvature > LOWEST_HESSIAN else 0.0
    if has_unit_hessian:
        for k in range(n_outputs):
            for i in range(n):
                third[k, i] = 0.0


@kernel
def all_derivatives(loss, n, y, raw_score, gradient, hessian, slope, third):
    """Differentiate the loss three times, with few exponentials.

    Parameters
    ----------
    loss, n, y, raw_score, gradient, hessian
        See `loss_derivatives`.
    slope, third : ndarray of float64, shape (n_outputs, >= n)
        See `differentiate_twice`.
    """
    loss_derivatives(loss, n, y, raw_score, gradient, hessian)
    code, parameter = loss.code, loss.parameter
    if code == LOGISTIC:
        for i in range(n):
            probability = gradient[0, i] + parameter * y[i]
            slope[0, i] = hessian[0, i]
            third[0, i] = hessian[0, i] * (parameter - 2.0 * probability)
    elif code == SOFTMAX:
        for k in range(raw_score.shape[0]):
            for i in range(n):
                slope[k, i] = gradient[k, i] + (1.0 if y[i] == k else 0.0)
                third[k, i] = parameter * (1.0 - 2.0 * slope[k, i])
    else:
        differentiate_twice(loss, n, y, raw_score, slope, third)


def moves_with_target(loss_code):
    """Return whether gradients of one output are a smooth function of the target.

    Parameters
    ----------
    loss_code : int64
        See `loss_derivatives`.
    """
    return loss_code % UNIT_HESSIAN not in (SOFTMAX, ONE_VS_ALL, EXPONENTIAL)


@kernel
def differentiate_in_target(loss, n, y, raw_score, gradient, hessian):
    """Differentiate gradient and hessian with respect to the target.

    Parameters
    ----------
    loss, n, y, raw_score
        See `loss_derivatives`; for losses with `moves_with_target` alone.
    gradient, hessian : ndarray of float64, shape (1, >= n)
        Outputs, overwritten: derivatives of those of `loss_derivatives`.
    """
    code, parameter = loss.code, loss.parameter
    has_unit_hessian = code >= UNIT_HESSIAN
    if has_unit_hessian:
        code -= UNIT_HESSIAN
    for i in range(n):
        gradient[0, i] = -1.0
        hessian[0, i] = 0.0
    if code == LOGISTIC:
        for i in range(n):
            gradient[0, i] = -parameter
    elif code == GAMMA:
        for i in range(n):
            hessian[0, i] = exponential(-raw_score[0, i])
            gradient[0, i] = -hessian[0, i]
    elif code == TWEEDIE:
        for i in range(n):
            gradient[0, i] = -exponential((1.0 - parameter) * raw_score[0, i])
            hessian[0, i] = (1.0 - parameter) * gradient[0, i]
    elif code in (HUBER, HUBER_EXACT, FAIR, PSEUDO_HUBER):
        # functions of the residual: derivatives by target and by score are opposite
        differentiate_twice(loss, n, y, raw_score, gradient, hessian)
        for i in range(n):
            gradient[0, i] = -gradient[0, i]
            hessian[0, i] = -hessian[0, i]
    elif code == SQUARED_LOG_ERROR:
        for i in range(n):
            one_more = max(raw_score[0, i], LOWEST_SCORE) + 1.0
            difference = np.log(one_more) - np.log1p(y[i])
            is_free = (1.0 - difference) / (one_more * one_more) > LOWEST_HESSIAN
            gradient[0, i] = -1.0 / ((1.0 + y[i]) * one_more)
            hessian[0, i] = -gradient[0, i] / one_more if is_free else 0.0
    if has_unit_hessian:
        for i in range(n):
            hessian[0, i] = 0.0
