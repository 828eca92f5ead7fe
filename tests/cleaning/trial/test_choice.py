"""Which amount or subset is chosen, and whether to act on it."""

import numpy as np
import pytest

from treeinf.cleaning.report.sentences import write_headline
from treeinf.cleaning.trial.choice import choose_subset, choose_treatment, decide
from treeinf.cleaning.trial.judging import Evaluation
from treeinf.cleaning.trial.losses import RowLosses

# amounts


def gains(*means, n_rows=400):
    """Return losses of an uncleaned model, and of others with these mean gains.

    Gains have a standard error of 0.05, independent of one another.
    """
    noise = np.random.default_rng(7).normal(size=(len(means) + 1, n_rows))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(
        axis=1, keepdims=True
    )
    losses = noise - np.array([0.0, *means])[:, None]
    losses[0] = 0.0
    return RowLosses(losses, losses, np.zeros_like(losses))


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        ((0.2, 0.3, 0.32), 1),  # all are as good by the primary score
        ((0.02, 0.3, 0.32), 2),
        ((0.02, 0.04, 0.03), 0),  # not beyond noise
        ((-0.3, -0.2), 0),
        ((0.5,), 1),
        ((), 0),
    ],
)
def test_the_mildest_treatment_as_good_as_the_best_is_chosen(means, chosen):
    assert choose_treatment(gains(*means)) == chosen


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        ((0.2, 0.3, 0.32), 2),  # within a standard error (0.05) of the best
        ((0.3, 0.31, 0.32), 1),
    ],
)
def test_where_wrong_labels_are_certain_the_selection_loss_chooses(means, chosen):
    assert choose_treatment(gains(*means), least_noise=0.1) == chosen


def test_the_primary_score_chooses_among_what_gains():
    selection = gains(0.3, 0.3, 0.3).selection_loss
    primary = gains(0.1, 0.3, 0.31).selection_loss
    losses = RowLosses(selection, selection, primary)
    assert choose_treatment(losses) == 2


def test_the_selection_loss_chooses_only_among_what_the_guard_loss_cannot_tell_apart():
    selection = gains(0.1, 0.3, 0.5).selection_loss
    guard = gains(0.3, 0.29, -0.2).selection_loss
    same = np.zeros_like(selection)
    for guarding, number in ((guard, 2), (selection, 3)):
        losses = RowLosses(selection, guarding, same)
        assert choose_treatment(losses, least_noise=0.1) == number


def test_what_lowers_the_primary_score_beyond_noise_is_not_chosen():
    selection = gains(0.3, 0.5, 0.9).selection_loss
    for fall, chosen in ((0.5, 2), (0.05, 3)):
        primary = gains(0.0, 0.0, -fall).selection_loss
        losses = RowLosses(selection, selection, primary)
        assert choose_treatment(losses) == chosen


# subsets


def losses(*behind, noise=0.0):
    """Return losses of 1 and more whose differences have this spread over 400 rows."""
    spread = noise * np.random.default_rng(0).normal(size=(len(behind), 400))
    spread -= spread.mean(axis=1, keepdims=True)
    lines = 1.0 + np.array([0.0, *behind])[:, None] + np.r_[np.zeros((1, 400)), spread]
    return RowLosses(lines, lines, lines)


SUBSETS = [
    ("all", 1.0),
    ("influence", 0.1),
    ("influence", 0.5),
    ("diverse", 0.1),
    ("diverse", 0.5),
]


@pytest.mark.parametrize(
    ("behind", "noise", "chosen"),
    [
        ((0.5, 0.01, 0.6, 0.3), 0.0, 2),
        ((0.5, 0.01, 0.01, 0.3), 0.0, 3),
        ((0.5, 0.4, 0.6, 0.3), 0.0, 0),
        ((0.01, 0.01, 0.01, 0.01), 1.0, 0),  # too noisy to show that it is enough
        ((-0.5, 0.01, 0.6, 0.3), 0.0, 1),
    ],
)
def test_the_smallest_subset_shown_to_be_enough_is_chosen(behind, noise, chosen):
    number = choose_subset(
        SUBSETS,
        losses(*behind, noise=noise),
        strategies=("influence", "diverse"),
        shares=(0.1, 0.5),
        is_free=True,
        tolerance=0.05,
        confidence=0.9,
    )
    assert number == chosen


def test_a_share_that_is_asked_for_is_taken():
    number = choose_subset(
        SUBSETS,
        losses(0.5, 0.4, 0.6, 0.3),
        strategies=("influence", "diverse"),
        shares=(0.5,),
        is_free=False,
        tolerance=0.0,
        confidence=0.9,
    )
    assert number == 4


# the guard


def chosen(rng, guard, primary, n_rows=400, n_classes=2):
    """Return an evaluation of a cleaning that gains this much, standard error 0.05."""
    noise = rng.normal(size=n_rows)
    noise = (noise - noise.mean()) / noise.std()
    zero = np.zeros(n_rows)
    losses = RowLosses(
        np.array([zero, noise]),
        np.array([zero, noise - guard]),
        np.array([zero, noise - primary]),
    )
    return Evaluation(losses, np.zeros(2), n_classes, losses.guard_loss.shape[1])


@pytest.mark.parametrize(
    ("guard", "primary", "n_classes", "verdict"),
    [
        (0.2, 0.1, 2, "helped"),
        (0.2, -0.04, 2, "helped"),  # a fall of less than the noise
        (0.2, -0.1, 2, "vetoed"),
        (0.05, 0.5, 2, "helped"),  # by the primary score alone
        (-0.05, 0.5, 2, "helped"),
        (0.05, 0.05, 2, "not beyond noise"),
        (-0.2, 0.5, 2, "worse beyond noise"),
        (0.2, -0.04, 3, "helped"),
        (0.05, 0.2, 0, "helped"),
        (0.2, 0.01, 0, "not beyond noise"),  # R2 must rise beyond noise
        (0.2, -0.01, 0, "vetoed"),  # R2 must not fall at all
    ],
)
def test_a_gain_in_loss_is_not_bought_with_the_primary_score(
    rng, guard, primary, n_classes, verdict
):
    evaluation = chosen(rng, guard, primary, n_classes=n_classes)
    assert decide(evaluation, 3, guard=True, confidence=0.9) == verdict
    assert decide(evaluation, 3, guard=False, confidence=0.9) == "unguarded"
    assert decide(evaluation, 0, guard=True, confidence=0.9) == "nothing to remove"


def test_the_headline_of_a_veto_names_the_score(rng):
    evaluation = chosen(rng, 0.2, -0.1)
    text = write_headline(
        "vetoed",
        "drop",
        5,
        400,
        evaluation.compare_selection(0, 1, 0.9, "accuracy"),
        evaluation.compare_guard(0, 1, 0.9, "accuracy"),
        evaluation.compare_primary(0, 1, 0.9),
    )
    assert text.startswith(
        "Kept all 400 rows: removing 5 of them made the AUC worse beyond noise on"
    )
    few = chosen(rng, 0.2, -0.01, n_classes=0).compare_primary(0, 1, 0.9)
    text = write_headline("vetoed", "drop", 5, 400, None, None, few)
    assert "made the R2 worse on" in text


@pytest.mark.parametrize(
    ("guard", "primary", "verdict"),
    [
        (0.05, 0.05, "noise is certain"),
        (-0.05, -0.05, "noise is certain"),
        (-0.05, -0.2, "not beyond noise"),
        (-0.2, 0.5, "worse beyond noise"),
        (0.2, 0.0, "helped"),
    ],
)
def test_where_wrong_labels_are_certain_nothing_worse_is_enough(
    rng, guard, primary, verdict
):
    evaluation = chosen(rng, guard, primary)
    decided = decide(evaluation, 3, guard=True, confidence=0.9, least_noise=0.1)
    assert decided == verdict


def test_some_treatment_is_chosen_where_wrong_labels_are_certain():
    assert choose_treatment(gains(0.01, 0.02)) == 0
    assert choose_treatment(gains(0.01, 0.02), least_noise=0.1) > 0
    assert choose_treatment(gains(), least_noise=0.1) == 0
