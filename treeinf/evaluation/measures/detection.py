"""Detection: rank corrupted targets first."""

from __future__ import annotations

from typing import Any

from sklearn.metrics import average_precision_score, roc_auc_score

from treeinf.evaluation.corruption import Corruption, Noise, check_scores, scores_of
from treeinf.evaluation.experiment import (
    check_shares,
    import_pandas,
    sort_down,
)
from treeinf.evaluation.methods import read_experiment

__all__ = ["detection"]


def detection(
    estimator: Any,
    explainers: Any,
    X_train: Any,
    y_train: Any,
    *,
    noise_share: float = 0.2,
    noise_of_labels: str = "uniform",
    noise_of_values: str = "shuffle",
    trusted_share: float = 0.2,
    scores: Any = ("self", "trusted"),
    sample_weight: Any = None,
    groups: Any = None,
    with_random: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Measure how well each method finds corrupted targets; needs pandas.

    Parameters
    ----------
    estimator, explainers
        See `removal`; scores of train rows alone, such as `Loss`, too.
    X_train : array-like or frame, shape (n_train, n_features)
        Rows.
    y_train : array-like, shape (n_train,)
        Their targets, assumed correct.
    noise_share : float, default=0.2
        Share of the targets to corrupt, in (0, 1).
    noise_of_labels : {"uniform", "pairs", "boundary"}, default="uniform"
        Which labels are flipped: uniformly; mostly every second class, to the next one;
        or of rows near the decision boundary of models trained without them. See
        `treeinf.datasets.flip_labels`. Not for regression.
    noise_of_values : {"shuffle", "outliers"}, default="shuffle"
        In regression: values of the chosen rows are shuffled among them, or moved far
        away. See `treeinf.datasets.shift_targets`.
    trusted_share : float, default=0.2
        Share of the rows set aside with correct targets, in (0, 1).
    scores : str or sequence of str, default=("self", "trusted")
        "self" ranks by self influence, the largest first; "trusted" by the harm
        to the trusted rows. Scores of train rows alone have the first only.
    groups : array-like of labels, shape (n_train,), optional
        Train rows that belong together, such as those of a patient or a machine: whole
        groups are corrupted, and set aside; methods that leave rows out leave out the
        group. Rows are ranked one by one.
    sample_weight, with_random, random_state, n_jobs, verbose
        See `removal`.

    Returns
    -------
    pandas.DataFrame
        One line for each method and score, with columns

        ``method``, ``score``
            Names.
        ``noise_share``, ``n_wrong``, ``n_rows``
            Corrupted targets among the ranked rows.
        ``average_precision``, ``auroc``
            Of the ranking; at random `noise_share` and 1/2.
        ``precision``
            Share of corrupted targets among the `n_wrong` highest scores.
        ``seconds``, ``cpu_seconds``
            Wall and CPU time of fitting and querying the explainer.

    Raises
    ------
    TypeError, ValueError, UnsupportedModelError
        See `removal`.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023), section 5 (fixing
    mislabelled examples).
    """
    pd = import_pandas()
    noise = Noise(noise_share, noise_of_labels, noise_of_values)
    (trusted_share,) = check_shares("trusted_share", [trusted_share], with_one=False)
    scores = check_scores(scores)
    # the test rows take no part
    experiment, methods = read_experiment(
        estimator,
        explainers,
        X_train,
        y_train,
        X_train,
        y_train,
        sample_weight=sample_weight,
        groups=groups,
        with_random=with_random,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
        takes_scores=True,
    )
    corruption = Corruption.start(experiment, noise, trusted_share)
    is_wrong = corruption.is_wrong
    n_wrong = int(is_wrong.sum())
    lines = []
    for name, method in methods.items():
        for score in scores_of(method, scores):
            values, spent = corruption.suspicion(name, method, score)
            lines.append(
                {
                    "method": name,
                    "score": score,
                    "noise_share": noise_share,
                    "n_wrong": n_wrong,
                    "n_rows": len(is_wrong),
                    "average_precision": float(
                        average_precision_score(is_wrong, values)
                    ),
                    "auroc": float(roc_auc_score(is_wrong, values)),
                    "precision": float(is_wrong[sort_down(values)[:n_wrong]].mean()),
                    **spent._asdict(),
                }
            )
    return pd.DataFrame(lines)
