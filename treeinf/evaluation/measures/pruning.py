"""Pruning: train on the most helpful rows only."""

from __future__ import annotations

from typing import Any

from treeinf.evaluation.corruption import set_aside
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

__all__ = ["pruning"]


def pruning(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    shares: Any = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0),
    validation_share: float = 0.2,
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Keep the most helpful rows, retrain, and score on other rows; needs pandas.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`. The test rows only score: rows are ranked by their influence on
        the sum over validation rows, the most helpful first.
    shares : iterable of float, default=(0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
        Shares of the rows to keep, in (0, 1].
    validation_share : float, default=0.2
        Share of the train rows that are set aside to rank the others by, in (0, 1); no
        copy is trained on them.
    sample_weight, groups, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method and share, with columns ``method``, ``share``,
        ``n_kept``, ``loss`` (mean over the test rows), ``loss_decrease`` (below the
        copy of all rows; mostly negative), ``score`` (accuracy or R2), ``seconds`` and
        ``cpu_seconds``.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    A. Ghorbani, J. Zou, "Data Shapley: Equitable Valuation of Data for Machine
    Learning", ICML 2019, section 4 (removing low-value rows).
    """
    pd = import_pandas()
    shares = check_shares("shares", shares, with_one=True)
    (share_aside,) = check_shares(
        "validation_share", [validation_share], with_one=False
    )
    everything, methods = read_experiment(
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
    train, aside = set_aside(everything, share_aside)
    experiment = everything.take_train(train)
    X_aside, y_aside = take_rows(X_train, aside), everything.y_train[aside]
    trainings = [Training()]
    lines: list[dict[str, Any]] = []
    for name, method in methods.items():
        values, spent = experiment.influence(
            name,
            method,
            lambda fitted: experiment.ask_units(
                fitted, X_aside, y_aside, together=True
            ),
        )
        order = sort_down(values)
        for share in shares:
            kept = experiment.find_rows(order[: count_share(share, experiment.n_units)])
            trainings.append(Training(kept))
            lines.append(
                {
                    "method": name,
                    "share": share,
                    "n_kept": int(kept.sum()),
                    **spent._asdict(),
                }
            )
    full, *predictions = experiment.predict_with(trainings, what="pruning")
    start = float(experiment.loss(full).mean())
    for line, prediction in zip(lines, predictions, strict=True):
        line["loss"] = float(experiment.loss(prediction).mean())
        line["loss_decrease"] = start - line["loss"]
        line["score"] = experiment.score(prediction)
    frame = pd.DataFrame(lines)
    times = [frame.pop(column) for column in Spent._fields]
    return pd.concat([frame, *times], axis=1)
