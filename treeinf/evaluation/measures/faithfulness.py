"""Faithfulness: compare the influence of groups with the effect of their removal."""

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
    start_clock,
)
from treeinf.evaluation.measures.agreement import compare_columns
from treeinf.evaluation.methods import read_experiment
from treeinf.explainers import LeafRefit

__all__ = ["faithfulness"]

_GROUPS = 0x67726F75
REFERENCES = ("LeafRefit", "retraining")


def faithfulness(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    n_groups: int = 40,
    shares: Any = (0.01, 0.05, 0.1),
    references: Any = REFERENCES,
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Compare the influence of groups with the effect of removal; needs pandas.

    Groups of train rows of several sizes are drawn. A method predicts the change of a
    test row's loss when a group is removed as the sum of its rows' influence. Over the
    groups, this is compared with the change by a refit without the group.

    Parameters
    ----------
    estimator, explainers, X_train, y_train, X_test, y_test
        See `removal`.
    n_groups : int, default=40
        Groups to draw at random, cycling through the sizes.
    shares : iterable of float, default=(0.01, 0.05, 0.1)
        Their sizes, in (0, 1).
    references : sequence of str, default=("LeafRefit", "retraining")
        "LeafRefit" fits the leaf values again, the splits held fixed; "retraining"
        trains the estimator again.
    groups : array-like of labels, shape (n_train,), optional
        Groups to remove in place of random ones, such as patients; `n_groups` of them,
        and `shares` is not used. Methods with `group_influence` predict by it.
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method, reference and test row, with columns

        ``test_row``, ``method``, ``reference``
            Names.
        ``spearman``, ``pearson``, ``slope``, ``undefined``
            Of the reference's changes on the predicted ones, over the groups; see
            `agreement`. The slope is 1 if magnitudes are right.
        ``relative_error``
            Norm of the differences over the norm of the changes: 0 if all are right, 1
            for a method that predicts 0. Meaningless for methods in another unit, such
            as similarities. NaN if no loss changes.
        ``seconds``, ``cpu_seconds``, ``reference_seconds``, ``reference_cpu_seconds``
            Wall time and CPU time, the same in all lines of a method; see `removal`.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    P. W. Koh, K.-S. Ang, H. Teo, P. Liang, "On the Accuracy of Influence Functions for
    Measuring Group Effects", NeurIPS 2019.
    """
    pd = import_pandas()
    shares = check_shares("shares", shares, with_one=False)
    references = [references] if isinstance(references, str) else list(references)
    if not references or not set(references) <= set(REFERENCES):
        raise ValueError(
            f"Got references={references!r}; expected some of {REFERENCES}."
        )
    if n_groups < 3:
        raise ValueError(f"Got n_groups={n_groups!r}; expected at least 3.")
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
    sets, units = _draw_sets(experiment, shares, n_groups)
    changes = {name: _change(experiment, name, sets) for name in references}
    frames = []
    for name, method in methods.items():
        values, spent = experiment.explain(name, method)
        predicted = np.stack([values[drawn].sum(axis=0) for drawn in units])
        for reference, (observed, reference_spent) in changes.items():
            size = np.sqrt((observed**2).sum(axis=0))
            missed = np.sqrt(((predicted - observed) ** 2).sum(axis=0))
            frames.append(
                pd.DataFrame(
                    {
                        "test_row": experiment.test_labels,
                        "method": name,
                        "reference": reference,
                        **compare_columns(predicted, observed),
                        "relative_error": np.divide(
                            missed, size, out=np.full(len(size), np.nan), where=size > 0
                        ),
                        **spent._asdict(),
                        "reference_seconds": reference_spent.seconds,
                        "reference_cpu_seconds": reference_spent.cpu_seconds,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _draw_sets(
    experiment: Experiment, shares: tuple[float, ...], n_groups: int
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]]:
    """Draw sets of rows to remove, or of the groups passed; return rows and units."""
    rng = experiment.rng(_GROUPS)
    n_units = experiment.n_units
    if experiment.group is not None:
        drawn = np.sort(rng.permutation(n_units)[:n_groups])
        units = list(drawn[:, np.newaxis])
        return [np.flatnonzero(experiment.find_rows(unit)) for unit in units], units
    sizes = [count_share(share, n_units) for share in shares]
    sets = [
        rng.choice(n_units, size=sizes[k % len(sizes)], replace=False)
        for k in range(n_groups)
    ]
    return sets, sets


def _change(
    experiment: Experiment, reference: str, groups: list[NDArray[np.intp]]
) -> tuple[NDArray[np.float64], Spent]:
    """Compute the change of each test row's loss when each group is removed."""
    spent = start_clock()
    if reference == "LeafRefit":
        explainer = LeafRefit(n_jobs=experiment.n_jobs).fit(
            experiment.model,
            experiment.X_train,
            experiment.y_train,
            **experiment.weights,
        )
        X, y = experiment.X_test, experiment.y_test
        changes = explainer.group_influence(groups, X, y, output="loss").values
        return changes, spent()
    trainings = [Training()]
    for rows in groups:
        kept = np.ones(experiment.n_train, dtype=np.bool_)
        kept[rows] = False
        trainings.append(Training(kept))
    before, *after = experiment.predict_with(trainings, what="faithfulness")
    loss = experiment.loss(before)
    changes = np.stack([experiment.loss(prediction) - loss for prediction in after])
    return changes, spent()
