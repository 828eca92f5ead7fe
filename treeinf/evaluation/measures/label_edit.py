"""Targeted label edit: relabel the most helpful rows to change a prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.evaluation.corruption import farthest
from treeinf.evaluation.experiment import (
    Experiment,
    Spent,
    Training,
    check_shares,
    count_share,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.methods import read_experiment

__all__ = ["label_edit"]


def label_edit(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    shares: Any = (0.005, 0.01, 0.02, 0.05, 0.1),
    sample_weight: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Relabel train rows with a test row's wrong label, and retrain; needs pandas.

    The wrong label of a test row is the most probable other class, or in regression the
    smallest or largest train value, whichever is farther. Train rows are relabelled in
    the order of the increase of the test row's loss that a method predicts.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`. Explainers with `relabel` predict the effect of the edit; the
        others rank rows by the effect of their removal.
    shares : iterable of float, default=(0.005, 0.01, 0.02, 0.05, 0.1)
        Shares of the train rows to edit, in (0, 1).
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method, test row and share, with columns ``test_row``,
        ``method``, ``share``, ``n_edited``, ``loss`` (of the test row with its own
        label), ``loss_increase`` (over the copy of the true labels), ``flipped`` (1
        where the predicted class is another one; NaN in regression), ``seconds`` and
        ``cpu_seconds``.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, JMLR 24 (2023), section 5 (targeted edits of
    training labels).
    """
    pd = import_pandas()
    shares = check_shares("shares", shares, with_one=False)
    experiment, methods = read_experiment(
        estimator,
        explainers,
        X_train,
        y_train,
        X_test,
        y_test,
        sample_weight=sample_weight,
        with_random=with_random,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    (before,) = experiment.predict_with([Training()])
    new_target = _new_targets(experiment, before)
    counts = [count_share(share, experiment.n_train) for share in shares]
    trainings, plans = [], []
    spent: dict[str, Spent] = {}
    for name, method in methods.items():
        values, spent[name] = experiment.influence(
            name, method, lambda fitted: _ask(experiment, fitted, new_target)
        )
        for row, column in enumerate(values.T):
            # rows that already have the label cannot be edited
            same = experiment.learner.target == new_target[row]
            order = sort_down(np.where(same, -np.inf, column))
            for share, count in zip(shares, counts, strict=True):
                target = experiment.learner.target.copy()
                target[order[:count]] = new_target[row]
                trainings.append(Training(target=target))
                plans.append((name, row, share, count))
    after = experiment.predict_with(trainings, what="label_edit")
    loss_before = experiment.loss(before)
    labels = experiment.test_labels
    lines = []
    for (name, row, share, count), prediction in zip(plans, after, strict=True):
        loss = float(experiment.loss(prediction)[row])
        lines.append(
            {
                "test_row": labels[row],
                "method": name,
                "share": share,
                "n_edited": count,
                "loss": loss,
                "loss_increase": loss - float(loss_before[row]),
                "flipped": float(experiment.flips(before, prediction)[row]),
                **spent[name]._asdict(),
            }
        )
    return pd.DataFrame(lines)


def _new_targets(
    experiment: Experiment, prediction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Choose the wrong target for each test row."""
    target = experiment.target_test
    if not experiment.classifies:
        return farthest(target, experiment.learner.target)
    others = prediction.copy()
    others[np.arange(len(target)), target.astype(np.intp)] = -1.0
    return others.argmax(axis=1).astype(np.float64)


def _ask(
    experiment: Experiment, explainer: Any, new_target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predict the change of each test row's loss when each train row is edited."""
    if not hasattr(explainer, "relabel"):
        X, y = experiment.X_test, experiment.y_test
        values: NDArray[np.float64] = explainer.explain(X, y, output="loss").values
        return values
    labels = experiment.labels_of(new_target)
    columns = []
    for row in range(experiment.n_test):
        X, y = experiment.test_row(row)
        change = explainer.relabel(X, y, labels=labels[row : row + 1], output="loss")
        columns.append(change.values[:, 0])
    return np.column_stack(columns)
