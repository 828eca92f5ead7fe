"""Removal: retrain without the most helpful rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from treeinf.validation import check_count

__all__ = ["removal"]

_JUDGED = 0x6A756467


def removal(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    shares: Any = (0.005, 0.01, 0.02, 0.05, 0.1),
    together: bool = False,
    n_judged: int | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Remove the most helpful rows, retrain, and measure the loss; needs pandas.

    The better a method finds the rows that support a prediction, the faster the loss
    rises.

    Parameters
    ----------
    estimator : estimator
        Of LightGBM, XGBoost, CatBoost or scikit-learn, or any other that the explainers
        accept; copies are trained, with one thread.
    explainers : dict of str to Explainer, or list of str
        Methods by their names in the result, or names of classes, which are created
        with their defaults. Explainers are copied.
    X_train : array-like or frame, shape (n_train, n_features)
        Train rows.
    y_train : array-like, shape (n_train,)
        Their targets.
    X_test : array-like or frame, shape (n_test, n_features)
        Rows to evaluate on, which should not be among the train rows.
    y_test : array-like, shape (n_test,)
        Their targets.
    shares : iterable of float, default=(0.005, 0.01, 0.02, 0.05, 0.1)
        Shares of the train rows to remove, in (0, 1); at least one row each.
    together : bool, default=False
        Rank the rows once, by their influence on the summed loss of the test rows;
        else for each test row, which takes n_test times as many trainings.
    n_judged : int, optional
        Evaluate only this many random test rows, if `together` is False; all are
        explained. None for all.
    sample_weight : array-like, shape (n_train,), optional
        Weights of the train rows.
    groups : array-like of labels, shape (n_train,), optional
        Train rows that belong together, such as those of a patient or a machine: whole
        groups are removed, and shares are of the groups. A group ranks by its
        `group_influence`, for methods that have none by the sum over its rows.
    with_random : bool, default=True
        Add `Random` where it is not among the methods.
    random_state : int, default=0
        For seeds of the estimator that are not set, and of methods given by name.
    n_jobs : int or None, default=None
        Copies trained in parallel; None or -1 for one per core.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One line for each method, test row and share, with columns

        ``test_row``
            Label of the test row: the index of a pandas frame, or the position; "all"
            if `together`.
        ``method``
            Name.
        ``share``, ``n_removed``
            Rows removed.
        ``loss``, ``loss_increase``
            Loss of the test row under the copy (log loss or half the squared error; the
            mean if `together`), and its increase over a copy trained on all rows.
        ``flipped``
            1 if the predicted class changes, else 0; the mean if `together`; NaN in
            regression.
        ``score``
            Accuracy or R2 on all test rows.
        ``seconds``, ``cpu_seconds``
            Wall time and CPU time (all threads of this process) of fitting and querying
            the explainer, the same in all its lines.

    Raises
    ------
    TypeError, ValueError
        If estimator, explainers, rows or shares do not fit.
    UnsupportedModelError
        If a method cannot explain the model; its name is in the notes of the error.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023), section 5 (removing
    examples for single test instances, and for multiple).
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
        groups=groups,
        with_random=with_random,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    counts = [count_share(share, experiment.n_units) for share in shares]
    judged = _draw_judged(experiment, n_judged, together)
    spent: dict[str, Spent] = {}
    plans: list[tuple[str, int | None, int]] = []
    trainings = [Training()]
    for name, method in methods.items():
        ranked, spent[name] = _rank(experiment, name, method, judged)
        for order, row in zip(ranked, judged, strict=True):
            for number, count in enumerate(counts):
                trainings.append(Training(~experiment.find_rows(order[:count])))
                plans.append((name, row, number))
    before, *after = experiment.predict_with(trainings, what="removal")
    loss_before = experiment.loss(before)
    labels = experiment.test_labels
    lines = []
    for (name, row, number), training, prediction in zip(
        plans, trainings[1:], after, strict=True
    ):
        assert training.kept is not None
        chosen = slice(None) if row is None else slice(row, row + 1)
        loss = float(experiment.loss(prediction)[chosen].mean())
        flips = experiment.flips(before, prediction)[chosen]
        lines.append(
            {
                "test_row": "all" if row is None else labels[row],
                "method": name,
                "share": shares[number],
                "n_removed": int((~training.kept).sum()),
                "loss": loss,
                "loss_increase": loss - float(loss_before[chosen].mean()),
                "flipped": float(flips.mean()),
                "score": experiment.score(prediction),
                **spent[name]._asdict(),
            }
        )
    return pd.DataFrame(lines)


def _draw_judged(
    experiment: Experiment, n_judged: int | None, together: bool
) -> list[int | None]:
    """Draw the test rows to evaluate one by one; [None] for all together."""
    if n_judged is not None:
        check_count("n_judged", n_judged)
    if together:
        return [None]
    n_test = experiment.n_test
    if n_judged is None or n_judged >= n_test:
        return list(range(n_test))
    drawn = experiment.rng(_JUDGED).choice(n_test, size=n_judged, replace=False)
    return sorted(drawn.tolist())


def _rank(
    experiment: Experiment, name: str, method: Any, judged: list[int | None]
) -> tuple[list[NDArray[np.intp]], Spent]:
    """Order the rows or groups, most helpful first, for each set of test rows."""
    if judged == [None]:
        values, spent = experiment.total(name, method)
        return [sort_down(values)], spent
    values, spent = experiment.explain(name, method)
    return [sort_down(values[:, row]) for row in judged], spent
