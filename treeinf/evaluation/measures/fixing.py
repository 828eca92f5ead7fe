"""Fixing: correct corrupted targets, the most harmful rows first, and retrain."""

from __future__ import annotations

from typing import Any

import numpy as np

from treeinf.evaluation.corruption import Corruption, Noise, check_scores, scores_of
from treeinf.evaluation.experiment import (
    Spent,
    Training,
    check_shares,
    count_share,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.methods import read_experiment

__all__ = ["fixing"]


def fixing(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    noise_share: float = 0.2,
    noise_of_labels: str = "uniform",
    noise_of_values: str = "shuffle",
    trusted_share: float = 0.2,
    shares: Any = (0.0, 0.05, 0.1, 0.2, 0.3),
    scores: Any = ("self", "trusted"),
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Check rows by decreasing score, correct their targets, retrain; needs pandas.

    Parameters
    ----------
    estimator, explainers
        See `removal`; scores of train rows alone, such as `Loss`, too.
    X_train, y_train, X_test, y_test
        See `removal`.
    noise_share, noise_of_labels, noise_of_values, trusted_share, scores, groups
        See `detection`.
    shares : iterable of float, default=(0.0, 0.05, 0.1, 0.2, 0.3)
        Shares of the rows to check, in [0, 1].
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method, score of suspicion and share, with columns

        ``method``, ``ranked_by``
            Names; `ranked_by` is what `detection` calls its score.
        ``share``, ``n_checked``, ``n_fixed``
            Number of rows checked, and of targets corrected.
        ``loss``, ``score``
            Mean loss, and accuracy or R2, on the test rows; higher scores are better.
        ``loss_decrease``
            Decrease of the loss compared with no target corrected.
        ``seconds``, ``cpu_seconds``
            Of the explainer, the same in all its lines.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, JMLR 24 (2023), section 5 (fixing mislabelled
    examples).
    """
    pd = import_pandas()
    noise = Noise(noise_share, noise_of_labels, noise_of_values)
    (trusted_share,) = check_shares("trusted_share", [trusted_share], with_one=False)
    shares = check_shares("shares", shares, with_zero=True, with_one=True)
    scores = check_scores(scores)
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
        takes_scores=True,
    )
    corruption = Corruption.start(experiment, noise, trusted_share)
    noisy, true = corruption.experiment.learner.target, corruption.true_target
    lines: list[dict[str, Any]] = []
    trainings = [Training()]
    for name, method in methods.items():
        for score in scores_of(method, scores):
            values, spent = corruption.suspicion(name, method, score)
            order = sort_down(values)
            for share in shares:
                checked = order[: count_share(share, len(order))]
                target = noisy.copy()
                target[checked] = true[checked]
                trainings.append(Training(target=target))
                lines.append(
                    {
                        "method": name,
                        "ranked_by": score,
                        "share": share,
                        "n_checked": len(checked),
                        "n_fixed": int(corruption.is_wrong[checked].sum()),
                        **spent._asdict(),
                    }
                )
    noisy_test, *predictions = corruption.experiment.predict_with(
        trainings, what="fixing"
    )
    start = float(np.mean(experiment.loss(noisy_test)))
    for line, prediction in zip(lines, predictions, strict=True):
        line["loss"] = float(experiment.loss(prediction).mean())
        line["loss_decrease"] = start - line["loss"]
        line["score"] = experiment.score(prediction)
    frame = pd.DataFrame(lines)
    times = [frame.pop(column) for column in Spent._fields]
    return pd.concat([frame, *times], axis=1)
