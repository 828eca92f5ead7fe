"""Train targets made wrong on purpose, and how suspect each method finds the rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.datasets import flip_labels
from treeinf.evaluation.experiment import Experiment, fit_method
from treeinf.explainers.baselines import RowScore
from treeinf.validation import take_rows

__all__ = ["Corruption", "corrupt_targets", "other_targets"]

# streams of random numbers apart from those of `Random`, under the same seed
_SWAPS, _OTHERS, _TRUSTED = 0x73776170, 0x6F746865, 0x74727573
SCORES = ("self", "trusted")


def corrupt_targets(
    target: NDArray[np.float64], share: float, *, classifies: bool, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Make a random share of the targets wrong.

    Parameters
    ----------
    target : ndarray of float64, shape (n_rows,)
        Class numbers or values.
    share : float
        Share of the rows, in (0, 1).
    classifies : bool
        Whether they are class numbers.
    seed : int, default=0
        Seed of the choice.

    Returns
    -------
    noisy : ndarray of float64, shape (n_rows,)
        Each chosen row has another class, all with the same chance; or, in regression,
        the value of another chosen row.
    is_wrong : ndarray of bool, shape (n_rows,)
        Which differ from `target`.

    Raises
    ------
    ValueError
        If the classes are fewer than two.
    """
    if classifies:
        return flip_labels(target, share, seed=seed)
    rng = np.random.default_rng([seed, _SWAPS])
    rows = rng.choice(len(target), size=round(share * len(target)), replace=False)
    noisy = target.copy()
    noisy[rows] = target[np.roll(rows, 1)]
    return noisy, noisy != target


def other_targets(experiment: Experiment) -> NDArray[np.float64]:
    """Give every train row a wrong target.

    Returns
    -------
    ndarray of float64, shape (n_train,)
        Another class, each with the same chance; or, in regression, the smallest or the
        largest of the train values, whichever is farther away.
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
    """Give the smallest or largest train value, whichever is farther away."""
    low, high = train_target.min(), train_target.max()
    return np.where(target - low > high - target, low, high)


@dataclasses.dataclass(frozen=True, eq=False)
class Corruption:
    """An experiment of which some train targets are wrong.

    Make it with `start`.

    Parameters
    ----------
    experiment : Experiment
        With the wrong targets, without the trusted rows.
    true_target : ndarray of float64, shape (n_train,)
        What the targets should be.
    is_wrong : ndarray of bool, shape (n_train,)
        Which are not.
    X_trusted, y_trusted
        Rows set aside before: their targets are right.
    """

    experiment: Experiment
    true_target: NDArray[np.float64]
    is_wrong: NDArray[np.bool_]
    X_trusted: Any
    y_trusted: NDArray[Any]

    @classmethod
    def start(
        cls, experiment: Experiment, noise_share: float, trusted_share: float
    ) -> Corruption:
        """Set rows aside and make targets of the others wrong."""
        train, trusted = set_aside(experiment, trusted_share)
        rest = experiment.take_train(train)
        target = rest.learner.target
        noisy, is_wrong = corrupt_targets(
            target, noise_share, classifies=rest.classifies, seed=rest.seed
        )
        if not is_wrong.any() or is_wrong.all():
            raise ValueError(
                f"noise_share={noise_share!r} makes {int(is_wrong.sum()):,} of "
                f"{len(target):,} targets wrong; expected some, and not all."
            )
        return cls(
            rest.with_targets(noisy),
            target,
            is_wrong,
            take_rows(experiment.X_train, trusted),
            experiment.y_train[trusted],
        )

    def suspicion(
        self, name: str, method: Any, score: str
    ) -> tuple[NDArray[np.float64], float]:
        """Score the train rows, the most suspect highest; and give the seconds.

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
            values = fitted.total(self.X_trusted, self.y_trusted, target="loss").values
            return -values

        one = self.experiment
        return fit_method(
            name, method, one.model, one.X_train, one.y_train, one.weights, ask
        )


def scores_of(method: Any, scores: tuple[str, ...]) -> tuple[str, ...]:
    """Give the scores that a method has: scores of train rows alone have one."""
    return ("self",) if isinstance(method, RowScore) else scores


def check_scores(scores: Any) -> tuple[str, ...]:
    """Check names of scores of suspicion.

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
    """Deal the train rows in two, stratified by class; gives positions, in order."""
    from sklearn.model_selection import train_test_split

    drawn = experiment.rng(_TRUSTED).integers(2**31)
    rest, aside = train_test_split(
        np.arange(experiment.n_train),
        test_size=share,
        random_state=int(drawn),
        stratify=experiment.learner.target if experiment.classifies else None,
    )
    return np.sort(rest), np.sort(aside)
