"""Synthetic data with known influence, to test its estimates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.datasets.label_noise import flip_labels
from treeinf.validation import check_count

__all__ = [
    "make_additive_game",
    "make_duplicated_rows",
    "make_flipped_labels",
    "make_group_means",
]


def make_duplicated_rows(
    n_rows: int = 100,
    n_copies: int = 2,
    *,
    n_features: int = 5,
    task: str = "regression",
    random_state: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Make duplicated rows, whose copies have equal influence.

    Parameters
    ----------
    n_rows, n_copies : int, default=100 and 2
        Number of distinct rows, and of copies of each.
    n_features : int, default=5
        Columns.
    task : {"regression", "binary"}, default="regression"
        Kind of target.
    random_state : int, default=0
        Seed of the values and of the order of the rows.

    Returns
    -------
    X : ndarray of float64, shape (n_rows * n_copies, n_features)
        Rows in random order.
    y : ndarray of float64, shape (n_rows * n_copies,)
        Targets, or 0 and 1; copies have the same.
    original : ndarray of intp, shape (n_rows * n_copies,)
        Distinct row that each is a copy of, in [0, n_rows).

    Raises
    ------
    ValueError
        If a number is not positive or the task is none of those.
    TypeError
        If a number is no integer.
    """
    check_count("n_rows", n_rows)
    check_count("n_copies", n_copies)
    check_count("n_features", n_features)
    if task not in ("regression", "binary"):
        raise ValueError(f"Got task={task!r}; expected 'regression' or 'binary'.")
    rng = np.random.default_rng(random_state)
    X = rng.normal(size=(n_rows, n_features))
    signal = X @ rng.normal(size=n_features) + 0.3 * rng.normal(size=n_rows)
    y = signal if task == "regression" else (signal > 0).astype(np.float64)
    original = rng.permutation(np.repeat(np.arange(n_rows), n_copies))
    return X[original], y[original], original


def make_flipped_labels(
    n_rows: int = 400,
    share: float = 0.1,
    *,
    n_features: int = 5,
    margin: float = 0.5,
    random_state: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Make two classes with a gap between them, and flip labels of some rows.

    Parameters
    ----------
    n_rows : int, default=400
        Rows.
    share : float, default=0.1
        Share of the rows whose label is wrong, in [0, 1].
    n_features : int, default=5
        Columns; the first separates the classes, the others are noise.
    margin : float, default=0.5
        The first column is above ``margin`` for class 1 and below ``-margin`` for
        class 0, so that only flipped labels are ambiguous; 0 or more.
    random_state : int, default=0
        Seed of the values and of the choice of rows.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows.
    y : ndarray of int64, shape (n_rows,)
        Labels 0 and 1, some of them wrong.
    is_flipped : ndarray of bool, shape (n_rows,)
        Whether each label is wrong. For a test row drawn alike, these rows harm and
        others help.

    Raises
    ------
    ValueError
        If a number is not positive, the margin negative or the share not in [0, 1].
    TypeError
        If a number is no integer.
    """
    check_count("n_rows", n_rows)
    check_count("n_features", n_features)
    if margin < 0:
        raise ValueError(f"Got margin={margin!r}; expected 0 or more.")
    rng = np.random.default_rng(random_state)
    X = rng.normal(size=(n_rows, n_features))
    labels = np.arange(n_rows) % 2
    X[:, 0] = (2 * labels - 1) * (margin + np.abs(X[:, 0]))
    y, is_flipped = flip_labels(labels, share, seed=random_state)
    return X, y.astype(np.int64), is_flipped


def make_group_means(
    n_groups: int = 8, n_per_group: int = 12, *, random_state: int = 0
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]:
    """Make groups that a single tree separates, with the known effect of each row.

    Parameters
    ----------
    n_groups : int, default=8
        Number of groups: distinct values of the only feature.
    n_per_group : int, default=12
        Train rows in each group, at least 3.
    random_state : int, default=0
        Seed of the targets.

    Returns
    -------
    X : ndarray of float64, shape (n_groups * n_per_group, 1)
        Train rows.
    y : ndarray of float64, shape (n_groups * n_per_group,)
        Their targets, close within a group and far apart between groups.
    X_test : ndarray of float64, shape (n_groups, 1)
        One row of each group.
    influence : ndarray of float64, shape (n_groups * n_per_group, n_groups)
        Prediction for the test row by a tree whose leaves are the groups, without the
        train row minus with it. Retraining the tree gives the same, as groups stay
        separated.

    Raises
    ------
    ValueError
        If a number is too small.
    TypeError
        If a number is no integer.

    Notes
    -----
    A leaf of n rows predicts their mean m. Without row i it predicts
    ``(n m - y_i) / (n - 1)``, which is ``(m - y_i) / (n - 1)`` more.
    """
    check_count("n_groups", n_groups)
    check_count("n_per_group", n_per_group, 3)
    rng = np.random.default_rng(random_state)
    group = np.repeat(np.arange(n_groups), n_per_group)
    level = 10.0 * rng.permutation(n_groups)
    y = level[group] + rng.uniform(-1, 1, size=len(group))
    mean = y.reshape(n_groups, n_per_group).mean(axis=1)
    influence = np.zeros((len(group), n_groups))
    influence[np.arange(len(group)), group] = (mean[group] - y) / (n_per_group - 1)
    X = group[:, None].astype(np.float64)
    return X, y, np.arange(n_groups, dtype=np.float64)[:, None], influence


def make_additive_game(
    n_players: int = 20, *, random_state: int = 0
) -> tuple[Callable[[ArrayLike], float], NDArray[np.float64]]:
    """Make an additive game, in which the value of each player is its weight.

    Parameters
    ----------
    n_players : int, default=20
        Players, such as train rows.
    random_state : int, default=0
        Seed of the weights.

    Returns
    -------
    play : callable
        Returns the value of a coalition: a mask over the players, or their positions;
        0 for none of them.
    weights : ndarray of float64, shape (n_players,)
        Leave-one-out, Shapley, Banzhaf and Beta Shapley value of each player.

    Raises
    ------
    ValueError
        If `n_players` is not positive.
    TypeError
        If `n_players` is not an integer.
    """
    check_count("n_players", n_players)
    weights = np.random.default_rng(random_state).normal(size=n_players)

    def play(coalition: ArrayLike) -> float:
        """Add up the weights of a coalition."""
        chosen = np.asarray(coalition)
        if chosen.dtype.kind != "b":
            # an empty list is an array of floats
            chosen = chosen.astype(np.intp)
        return float(weights[chosen].sum())

    return play, weights.copy()
