"""Poisoning: corrupt the targets of the most helpful rows, and retrain."""

from __future__ import annotations

from typing import Any

from treeinf.evaluation.corruption import other_targets
from treeinf.evaluation.experiment import (
    Spent,
    Training,
    check_shares,
    count_share,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.methods import read_experiment

__all__ = ["poisoning"]


def poisoning(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    shares: Any = (0.01, 0.05, 0.1, 0.2),
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Corrupt the targets of the most helpful rows, and retrain; needs pandas.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`. Rows are ranked once, by their influence on the sum over the test
        rows, most helpful first.
    shares : iterable of float, default=(0.01, 0.05, 0.1, 0.2)
        Shares of the train rows to poison, in (0, 1): with another class, uniformly
        drawn; in regression with the smallest or the largest train value, whichever is
        farther away. A row gets the same wrong target for all methods.
    sample_weight, groups, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method and share, with columns ``method``, ``share``,
        ``n_poisoned``, ``loss`` (mean over the test rows), ``loss_increase`` (over the
        copy of the true targets), ``flipped`` (share of the test rows of which another
        class is predicted; NaN in regression), ``score`` (accuracy or R2), ``seconds``
        and ``cpu_seconds``.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, JMLR 24 (2023), section 5 (adding label noise to
    many examples).
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
    wrong = other_targets(experiment)
    trainings = [Training()]
    plans: list[dict[str, Any]] = []
    spent: dict[str, Spent] = {}
    for name, method in methods.items():
        values, spent[name] = experiment.total(name, method)
        order = sort_down(values)
        for share in shares:
            rows = experiment.find_rows(order[: count_share(share, experiment.n_units)])
            target = experiment.learner.target.copy()
            target[rows] = wrong[rows]
            trainings.append(Training(target=target))
            plans.append(
                {"method": name, "share": share, "n_poisoned": int(rows.sum())}
            )
    before, *after = experiment.predict_with(trainings, what="poisoning")
    start = float(experiment.loss(before).mean())
    for line, prediction in zip(plans, after, strict=True):
        line["loss"] = float(experiment.loss(prediction).mean())
        line["loss_increase"] = line["loss"] - start
        line["flipped"] = float(experiment.flips(before, prediction).mean())
        line["score"] = experiment.score(prediction)
        line.update(spent[line["method"]]._asdict())
    return pd.DataFrame(plans)
