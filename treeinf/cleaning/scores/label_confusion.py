"""Estimate how labels are confused with one another, and which labels are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.kernels.threads import one_blas_thread

__all__ = ["doubt_labels", "find_confusions"]

_N_ROUNDS = 15
_SHARPNESS = 4.0
_PRIOR_ROWS = 0.3
_TINY = 1e-12


@one_blas_thread()
def find_confusions(
    probability: NDArray[np.float64], code: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate how often rows of each true class have each label.

    Parameters
    ----------
    probability : ndarray of float64, shape (n_rows, n_classes)
        Out-of-bag probability of each *label*, by models of the noisy labels.
    code : ndarray of int64, shape (n_rows,)
        The noisy labels, as numbers of classes.

    Returns
    -------
    confusion : ndarray of float64, shape (n_classes, n_classes)
        One line a true class: the shares of its rows that have each label.
    truth : ndarray of float64, shape (n_rows, n_classes)
        Probability of each true class, without the row's label.

    Notes
    -----
    Labels are assumed to depend on the true class alone, so that `probability` is
    `truth` times `confusion`. That does not determine the two: rows between two classes
    can be ambiguous, or have wrong labels. So `truth` starts from the fourth power of
    `probability`, and the iteration stops after 15 rounds, before it converges: each
    counts the labels under `truth`, and makes one Richardson-Lucy step from `truth` to
    fit `probability`. A prior of equal confusions, worth 0.3 of a class of mean size,
    is added to the counts.

    References
    ----------
    L. Lucy, "An iterative technique for the rectification of observed distributions",
    Astronomical Journal 79 (1974), equations 13 to 15. A. P. Dawid, A. M. Skene,
    "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm",
    Applied Statistics 28 (1979): counts under the truth. That probabilities of noisy
    labels are such a product: G. Patrini et al., "Making Deep Neural Networks Robust to
    Label Noise: a Loss Correction Approach", CVPR 2017, section 3.
    """
    n_rows, n_classes = probability.shape
    labels = np.eye(n_classes)[code]
    # relative to the largest: powers of small numbers would all be 0
    truth = probability / np.maximum(probability.max(axis=1, keepdims=True), _TINY)
    truth = np.maximum(truth, _TINY) ** _SHARPNESS
    truth /= truth.sum(axis=1, keepdims=True)
    confusion = np.eye(n_classes)
    prior_rows = _PRIOR_ROWS * n_rows / n_classes
    for _ in range(_N_ROUNDS):
        counts = truth.T @ labels
        wrong = 1.0 - np.trace(counts) / n_rows
        equal = np.full_like(counts, wrong / max(n_classes - 1, 1))
        np.fill_diagonal(equal, 1.0 - wrong)
        confusion = counts + prior_rows * equal
        confusion /= confusion.sum(axis=1, keepdims=True)
        ratio = probability / np.maximum(truth @ confusion, _TINY)
        truth = truth * np.maximum(ratio @ confusion.T, _TINY)
        truth /= truth.sum(axis=1, keepdims=True)
    return confusion, truth


def doubt_labels(
    probability: NDArray[np.float64], code: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability that each row's label is wrong.

    Parameters
    ----------
    probability, code
        See `find_confusions`.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        In [0, 1]. A label that rows of another class often have is doubted more; 1
        minus the predicted probability of the label would doubt the right labels of
        that class as much.
    """
    confusion, truth = find_confusions(probability, code)
    rows = np.arange(len(code))
    joint = truth * confusion[:, code].T
    right = joint[rows, code] / np.maximum(joint.sum(axis=1), _TINY)
    doubt: NDArray[np.float64] = 1.0 - np.clip(right, 0.0, 1.0)
    return doubt
