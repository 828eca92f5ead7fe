"""Flipping: count the rows to remove until the predicted class changes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.evaluation.experiment import (
    Spent,
    Training,
    check_shares,
    count_share,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.methods import read_experiment
from treeinf.frames import take_rows
from treeinf.training.parallel import run_numbered
from treeinf.training.seeds import derive_seed
from treeinf.training.subsets import SubsetLearner

__all__ = ["rows_to_flip"]


def rows_to_flip(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    max_share: float = 0.5,
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Find how many rows must be removed to flip each prediction; needs pandas.

    The train rows are removed in the order of their influence on the loss of the class
    that is predicted, most helpful first, and a copy is trained on the rest.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`; classifiers only.
    max_share : float, default=0.5
        Largest share of the train rows to remove, in (0, 1).
    sample_weight, groups, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method and test row, with columns

        ``test_row``, ``method``
            See `removal`.
        ``n_to_flip``, ``share_to_flip``
            Number of removed rows, or of groups where they are passed, at which the
            predicted class changes, while it does not with one less; NaN where the
            search reached `max_share`.
        ``n_refits``
            Copies trained to find it.
        ``seconds``, ``cpu_seconds``
            Of the explainer, the same in all its lines.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`; for regressors too.

    Notes
    -----
    The number removed is doubled until the prediction flips, then found by bisection:
    O(log n_train) trainings for each test row. Where the prediction flips back and
    forth, an earlier flip can be missed.

    References
    ----------
    J. Yang, S. Jain, B. C. Wallace, "How Many and Which Training Points Would Need to
    be Removed to Flip this Prediction?", EACL 2023.
    """
    pd = import_pandas()
    (max_share,) = check_shares("max_share", [max_share], with_one=False)
    experiment, methods = read_experiment(
        estimator,
        explainers,
        X_train,
        y_train,
        X_test,
        y_test,
        sample_weight=sample_weight,
        groups=groups,
        with_random=with_random,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    if not experiment.classifies:
        raise TypeError(
            f"{type(experiment.learner.estimator).__name__} predicts values, which "
            "cannot flip; rows_to_flip takes classifiers. Use removal."
        )
    n_most = count_share(max_share, experiment.n_units)
    codes = experiment.predict_with([Training()])[0].argmax(axis=1)
    y = experiment.labels_of(codes.astype(np.float64))
    X = experiment.X_test
    orders, names, rows = [], [], []
    spent: dict[str, Spent] = {}
    for name, method in methods.items():
        values, spent[name] = experiment.influence(
            name,
            method,
            lambda fitted: experiment.ask_units(fitted, X, y, together=False),
        )
        for row, column in enumerate(values.T):
            orders.append(sort_down(column))
            names.append(name)
            rows.append(row)
    task = functools.partial(
        _search,
        experiment.learner,
        experiment.group,
        derive_seed(experiment.seed),
        X,
        orders,
        rows,
        codes,
        n_most,
    )
    results = run_numbered(
        task, range(len(orders)), n_jobs=n_jobs, verbose=verbose, label="rows_to_flip"
    )
    labels = experiment.test_labels
    return pd.DataFrame(
        [
            {
                "test_row": labels[rows[number]],
                "method": names[number],
                "n_to_flip": n_to_flip,
                "share_to_flip": n_to_flip / experiment.n_units,
                "n_refits": int(n_refits),
                **spent[names[number]]._asdict(),
            }
            for number, (n_to_flip, n_refits) in results
        ]
    )


def _search(
    learner: SubsetLearner,
    group: NDArray[np.int64] | None,
    seed: int,
    X: Any,
    orders: list[NDArray[np.intp]],
    rows: list[int],
    codes: NDArray[np.intp],
    n_most: int,
    number: int,
) -> NDArray[np.float64]:
    """Find the number of rows to flip one prediction, and the trainings it took."""
    order, row = orders[number], rows[number]
    table = take_rows(X, np.array([row]))
    unit = np.arange(learner.n_train) if group is None else group
    n_refits = 0

    def flips(n_removed: int) -> bool:
        nonlocal n_refits
        n_refits += 1
        kept = ~np.isin(unit, order[:n_removed])
        prediction = learner.fit_predict(kept, seed, table)
        return bool(prediction[0].argmax() != codes[row])

    stays, n_removed = 0, 1
    while not flips(n_removed):
        if n_removed == n_most:
            return np.array([np.nan, n_refits])
        stays, n_removed = n_removed, min(2 * n_removed, n_most)
    while n_removed - stays > 1:
        middle = (stays + n_removed) // 2
        if flips(middle):
            n_removed = middle
        else:
            stays = middle
    return np.array([n_removed, n_refits], dtype=np.float64)
