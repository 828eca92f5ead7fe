"""The rows that look wrong most, kept or not, and how many of them are wrong."""

import numpy as np
import pytest
from scipy import special
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from treeinf import InfluenceCleaner
from treeinf.cleaning.report.sentences import describe_excess, why_kept
from treeinf.cleaning.report.suspects import Suspects, describe_suspects, share_wrong
from treeinf.cleaning.scores.noise_rate import NoiseRate
from treeinf.cleaning.scores.scoring import RowScores


def scores_of(prediction):
    none = np.zeros(len(prediction))
    return RowScores(score=none, error=none, suggestion=None, prediction=prediction)


def test_share_is_bayes_rule_with_the_noise_rate_as_prior(rng):
    # two kinds of rows, with evidence of 9 to 1 and of 1 to 9 for a wrong label
    doubt = np.repeat([0.9, 0.1], [100, 900])
    suspects = np.arange(100)
    share = share_wrong(doubt, suspects, 0.05)
    prior = share_wrong(doubt, np.arange(1000), 0.05)
    assert prior == pytest.approx(0.05)
    # by hand: odds 9 c and c / 9 with one factor c
    c = share / (1 - share) / 9
    assert 0.1 * share + 0.9 * (c / 9) / (1 + c / 9) == pytest.approx(0.05)


def test_no_more_rows_are_wrong_than_the_noise_rate_has(rng):
    doubt = special.expit(rng.normal(size=500))
    order = np.argsort(-doubt)
    for rate in (0.01, 0.1, 0.5):
        for n in (5, 50, 200):
            assert share_wrong(doubt, order[:n], rate) * n <= rate * 500 + 1e-6
    assert share_wrong(doubt, order[:9], 0.0) == 0.0
    assert share_wrong(doubt, order[:9], 1.0) == 1.0


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_estimates_hold_where_most_rows_are_easy(rng, share):
    n = 4000
    probability = special.expit(12.0 * rng.normal(size=n))
    truth = rng.random(n) < probability
    wrong = rng.random(n) < share
    code = np.where(wrong, ~truth, truth).astype(np.int64)
    noisy = probability * (1 - share) + (1 - probability) * share
    prediction = np.column_stack([1 - noisy, noisy])
    suspects = np.argsort(prediction[np.arange(n), code])[: n // 10]
    noise = NoiseRate(share, 0.9 * share, 1.1 * share)
    found = describe_suspects(suspects, noise, scores_of(prediction), code)
    assert found.low <= found.precision <= found.high
    assert found.precision == pytest.approx(wrong[suspects].mean(), abs=0.12)


def test_of_targets_only_an_upper_end_is_told():
    noise = NoiseRate(0.02, 0.0, 0.05)
    found = describe_suspects(np.arange(20), noise, scores_of(np.zeros(200)), None)
    assert found == Suspects(20, high=0.5)
    assert found.text("targets") == "at most 50% of their targets are wrong"


@pytest.mark.parametrize(
    ("suspects", "text"),
    [
        (Suspects(0), ""),
        (Suspects(5), ""),
        (Suspects(5, 0.0, 0.0, 0.3), "at most 30% of their labels are wrong, perhaps"),
        (Suspects(5, 0.8, 0.7, 0.9), "about 80% of their labels are wrong (70% to 90%"),
    ],
)
def test_texts(suspects, text):
    assert suspects.text("labels").startswith(text)
    assert bool(suspects.text("labels")) == bool(text)


def test_reasons_are_told_apart():
    reasons = {
        why_kept(verdict, None)
        for verdict in ("not beyond noise", "vetoed", "nothing to remove")
    }
    assert len(reasons) == 3


def test_more_rows_cleaned_than_wrong_are_explained():
    assert describe_excess("drop", 0.05, 0.1, "labels") == ""
    assert describe_excess("drop", 0.05, None, "labels") == ""
    text = describe_excess("drop", 0.2, 0.1, "labels")
    assert "20.0% of the rows" in text
    assert "at most 10.0% of the labels" in text


def fit(y, **options):
    X, clean = make_classification(240, 5, n_informative=3, random_state=0)
    model = HistGradientBoostingClassifier(max_iter=5)
    settings = {"validation": 0.4, "baselines": False, "n_jobs": 1}
    cleaner = InfluenceCleaner(model, random_state=0, **settings, **options)
    return cleaner.fit(X, y(clean))


def test_suspects_are_listed_where_all_rows_are_kept():
    pytest.importorskip("pandas")
    cleaner = fit(lambda y: y, method="random", amount=0.1)
    assert not cleaner.report_.acted
    assert len(cleaner.removed_) == 0
    suspects = cleaner.suspects_
    assert cleaner.report_.suspects.n_rows == len(suspects) == 14
    assert set(suspects["action"]) == {"kept"}
    assert (np.diff(suspects["score"]) <= 0).all()
    text = cleaner.report_.suspects_text
    assert text.startswith("14 rows look wrong most; kept, because")
    assert text in str(cleaner.report_)


def test_suspects_are_the_rows_cleaned_where_any_are():
    pytest.importorskip("pandas")
    cleaner = fit(lambda y: y, amount=10, guard=False)
    assert cleaner.suspects_ is cleaner.removed_
    found = cleaner.report_.suspects
    assert found.n_rows == 10
    assert 0.0 <= found.low <= found.high <= 1.0
    assert "kept" not in cleaner.report_.suspects_text
