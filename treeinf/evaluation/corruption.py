"""Corrupt train targets, and score the train rows by each method."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.datasets.label_noise import (
    LABEL_KINDS,
    TARGET_KINDS,
    flip_labels,
    shift_targets,
)
from treeinf.evaluation.experiment import (
    Experiment,
    Spent,
    Training,
    check_shares,
    fit_method,
)
from treeinf.explainers.baselines.row_score import RowScore
from treeinf.frames import take_rows
from treeinf.training.row_groups import deal_groups

__all__ = ["Corruption", "Noise", "other_targets"]

# streams of random numbers apart from those of `Random`, under the same seed
_FOLDS, _OTHERS, _TRUSTED = 0x666F6C64, 0x6F746865, 0x74727573
SCORES = ("self", "trusted")
_N_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Noise:
    """Kind and share of label or target noise.

    Parameters
    ----------
    share : float
        Share of the targets to corrupt, in (0, 1).
    of_labels : {"uniform", "pairs", "boundary"}
        Kind of label noise; see `treeinf.datasets.flip_labels`.
    of_values : {"shuffle", "outliers"}
        Kind of noise in regression; see `treeinf.datasets.shift_targets`.

    Raises
    ------
    ValueError
        If a kind is unknown, or the share out of bounds.
    """

    share: float
    of_labels: str = "uniform"
    of_values: str = "shuffle"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_shares("noise_share", [self.share], with_one=False)
        for name, choices in (("of_labels", LABEL_KINDS), ("of_values", TARGET_KINDS)):
            kind = getattr(self, name)
            if kind not in choices:
                option = name.replace("of_", "noise_of_")
                raise ValueError(f"Got {option}={kind!r}; expected one of {choices}.")

    def make(
        self, experiment: Experiment
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Corrupt train targets, those of a group together.

        A group is corrupted as its first row is: by the same number of classes, or the
        same difference.

        Returns
        -------
        noisy : ndarray of float64, shape (n_train,)
            Class numbers or values.
        is_wrong : ndarray of bool, shape (n_train,)
            Whether each differs from the true one.

        Raises
        ------
        ValueError
            If none or all would be wrong, or this kind cannot corrupt that many.
        """
        target = experiment.learner.target
        group = experiment.group
        first = slice(None) if group is None else np.unique(group, return_index=True)[1]
        if experiment.classifies:
            chances = None
            if self.of_labels == "boundary":
                chances = _probability_out_of_fold(experiment)[first]
            noisy, _ = flip_labels(
                target[first],
                self.share,
                kind=self.of_labels,
                probability=chances,
                seed=experiment.seed,
            )
        else:
            noisy, _ = shift_targets(
                target[first], self.share, kind=self.of_values, seed=experiment.seed
            )
        if group is not None:
            noisy = target + (noisy - target[first])[group]
            if experiment.classifies:
                noisy %= experiment.learner.task.n_classes
        # shuffling may return a row its own value
        is_wrong = noisy != target
        if not is_wrong.any() or is_wrong.all():
            raise ValueError(
                f"noise_share={self.share!r} makes {int(is_wrong.sum()):,} of "
                f"{len(target):,} targets wrong; expected some, and not all."
            )
        return noisy, is_wrong


def _probability_out_of_fold(experiment: Experiment) -> NDArray[np.float64]:
    """Predict the classes of each train row by copies that were trained without it."""
    rng = experiment.rng(_FOLDS)
    if experiment.group is None:
        fold = np.arange(experiment.n_train) % _N_FOLDS
        rng.shuffle(fold)
    else:
        fold = deal_groups(experiment.group, None, [1.0] * _N_FOLDS, rng)
    trainings = [Training(fold != number) for number in range(_N_FOLDS)]
    predicted = experiment.predict_with(trainings, experiment.X_train, what="noise")
    return np.stack(predicted)[fold, np.arange(experiment.n_train)]


def other_targets(experiment: Experiment) -> NDArray[np.float64]:
    """Corrupt the target of every train row.

    Returns
    -------
    ndarray of float64, shape (n_train,)
        Another class, uniformly drawn; in regression the smallest or the largest train
        value, whichever is farther away.
    """
    target = experiment.learner.target
    n_classes = experiment.learner.task.n_classes
    if experiment.classifies:
        step = experiment.rng(_OTHERS).integers(1, n_classes, size=len(target))
        return (target + step) % n_classes
    return farthest(target, target)


def farthest(
    target: NDArray[np.float64], train_target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smallest or largest train value, whichever is farther away."""
    low, high = train_target.min(), train_target.max()
    return np.where(target - low > high - target, low, high)


@dataclasses.dataclass(frozen=True, eq=False)
class Corruption:
    """An experiment with some corrupted train targets.

    Create it with `start`.

    Parameters
    ----------
    experiment : Experiment
        The experiment with the wrong targets, without the trusted rows.
    true_target : ndarray of float64, shape (n_train,)
        The true targets.
    is_wrong : ndarray of bool, shape (n_train,)
        Whether each target was corrupted.
    X_trusted, y_trusted
        Rows set aside before, with their true targets.
    """

    experiment: Experiment
    true_target: NDArray[np.float64]
    is_wrong: NDArray[np.bool_]
    X_trusted: Any
    y_trusted: NDArray[Any]

    @classmethod
    def start(
        cls, experiment: Experiment, noise: Noise, trusted_share: float
    ) -> Corruption:
        """Set trusted rows aside and corrupt targets of the others."""
        train, trusted = set_aside(experiment, trusted_share)
        rest = experiment.take_train(train)
        noisy, is_wrong = noise.make(rest)
        return cls(
            rest.with_targets(noisy),
            rest.learner.target,
            is_wrong,
            take_rows(experiment.X_train, trusted),
            experiment.y_train[trusted],
        )

    def suspicion(
        self, name: str, method: Any, score: str
    ) -> tuple[NDArray[np.float64], Spent]:
        """Score the train rows, larger for more harmful, and measure the time.

        Parameters
        ----------
        name : str
            Of the method.
        method : Explainer or RowScore
            To be fitted.
        score : {"self", "trusted"}
            By self influence, or by harm to the trusted rows.
        """

        def ask(fitted: Any) -> Any:
            if score == "self":
                return fitted.self_influence().values
            values = fitted.total(self.X_trusted, self.y_trusted, output="loss").values
            return -values

        experiment = self.experiment
        return fit_method(
            name,
            method,
            experiment.model,
            experiment.X_train,
            experiment.y_train,
            experiment.fit_arguments(method),
            ask,
        )


def scores_of(method: Any, scores: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scores that a method offers; a `RowScore` offers one."""
    return ("self",) if isinstance(method, RowScore) else scores


def check_scores(scores: Any) -> tuple[str, ...]:
    """Check the names of scores.

    Raises
    ------
    ValueError
        If one is unknown, or there are none.
    """
    values = (scores,) if isinstance(scores, str) else tuple(scores)
    if not values or not set(values) <= set(SCORES):
        raise ValueError(f"Got scores={scores!r}; expected some of {SCORES}.")
    return values


def set_aside(
    experiment: Experiment, share: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split the train rows in two, stratified by class; return sorted positions.

    Groups are on one side.
    """
    from sklearn.model_selection import train_test_split

    if experiment.group is not None:
        code = experiment.learner.target.astype(np.int64)
        fold = deal_groups(
            experiment.group,
            code if experiment.classifies else None,
            [1.0 - share, share],
            experiment.rng(_TRUSTED),
        )
        if len(np.unique(experiment.group[fold == 0])) < 2 or not (fold == 1).any():
            raise ValueError(
                f"{experiment.n_units} groups are too few to set {share:.0%} of the "
                "rows aside; pass more groups."
            )
        return np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    drawn = experiment.rng(_TRUSTED).integers(2**31)
    rest, aside = train_test_split(
        np.arange(experiment.n_train),
        test_size=share,
        random_state=int(drawn),
        stratify=experiment.learner.target if experiment.classifies else None,
    )
    return np.sort(rest), np.sort(aside)
