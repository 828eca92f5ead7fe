"""Where time matters, no row is scored, chosen or judged by later rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.model_selection import KFold, TimeSeriesSplit, cross_validate

from treeinf import InfluenceCleaner, InfluenceSelector
from treeinf.cleaning import cleaner as cleaner_module
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.trial.splits import list_score_folds, plan_splits
from treeinf.training.rows import LabelledRows

N = 240
MODEL = HistGradientBoostingClassifier(max_iter=4, random_state=0)


def make(rng, n=N):
    X = rng.normal(size=(n, 4))
    y = (X[:, 0] + 0.2 * rng.normal(size=n) > 0).astype(int)
    wrong = rng.random(n) < 0.15
    return X, np.where(wrong, 1 - y, y), wrong, rng.permutation(n)


def clean(**options):
    settings_ = {"method": "loss", "baselines": False, "n_jobs": 1, "random_state": 0}
    return InfluenceCleaner(MODEL, **settings_ | options)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([0.2, 0.5, 3, 5, 8, "series", "gap"]),
    st.booleans(),
    st.integers(3, 60),
)
def test_copies_are_trained_on_earlier_rows_of_other_groups(
    seed, validation, grouped, n_times
):
    rng = np.random.default_rng(seed)
    n = 120
    time = np.unique(rng.integers(0, n_times, n), return_inverse=True)[1]
    if len(np.unique(time)) < 3:
        return
    validation = {
        "series": TimeSeriesSplit(4),
        "gap": TimeSeriesSplit(3, gap=5, max_train_size=50),
    }.get(validation, validation)
    group = rng.integers(0, 40, n) if grouped else None
    rows = LabelledRows(
        np.zeros((n, 1)), np.arange(n) % 2, np.arange(n) % 2, group=group, time=time
    )
    try:
        splits, scored = plan_splits(validation, rows, None, rng)
    except ValueError:  # too few rows, see `test_groups_stay_on_one_side`
        return
    folds = list_score_folds(validation, rows, scored)
    for split in splits:
        first, second = split.sets
        train, *sets = (time[s.positions] for s in (split.train, first, second))
        assert train.max() < sets[0].min()
        assert sets[0].max() < sets[1].min()
        assert split.roles == [(0, 1)]
    plan = plan_copies(rows, splits, scored, rng, folds=folds)
    for copy in plan:
        assert time[copy.train].max() < time[copy.scored].min()
        if grouped:
            assert not set(group[copy.train]) & set(group[copy.scored])
    for split in splits:
        inside = set(split.train.positions)
        serving = [copy for copy in plan if set(copy.train) <= inside]
        assert any(set(copy.scored) & inside for copy in serving)


@pytest.mark.parametrize("validation", [5, 0.3])
def test_later_rows_change_no_earlier_score(rng, validation):
    X, y, _, time = make(rng)
    options = {"method": "stacking", "validation": validation, "amount": 0.1}
    options["guard"] = False
    before = clean(**options).fit(X, y, time=time).scores_
    ordered = np.sort(time[np.isfinite(before)])
    # the border of two blocks, of eleven and nine that have a score
    border = ordered[{5: 120, 0.3: 67}[validation]]
    later = time >= border
    X2, y2 = X.copy(), y.copy()
    X2[later] = rng.exponential(size=(later.sum(), 4))
    y2[later] = rng.integers(0, 2, later.sum())
    after = clean(**options).fit(X2, y2, time=time).scores_
    np.testing.assert_array_equal(after[~later], before[~later])
    assert np.isfinite(before[~later]).sum() > 20
    assert (after[later] != before[later]).any()


def test_a_twin_in_the_future_reveals_nothing(rng):
    X, y, wrong, _ = make(rng, 300)
    # rows 300 on repeat rows 100 to 200, their tell-tale column and their labels
    telltale = np.full(300, -1.0)
    telltale[100:200] = np.where(y[100:200] == 1, 5.0, -5.0)
    X = np.column_stack([X, telltale])
    X = np.concatenate([X, X[100:200]])
    y = np.concatenate([y, y[100:200]])
    past = np.arange(100, 200)
    options = {"join_equal_rows": False, "amount": 0.1, "guard": False}
    options["method"] = "stacking"
    gap = []
    for time in (None, np.arange(400)):
        scores = clean(**options).fit(X, y, time=time).scores_[past]
        gap.append(scores[wrong[past]].mean() - scores[~wrong[past]].mean())
    assert gap[0] < 0.2 < gap[1]


def test_the_first_rows_have_no_score_and_are_kept(rng):
    X, y, _, time = make(rng)
    fitted = clean(amount=30, guard=False).fit(X, y, time=time)
    unscored = np.isnan(fitted.scores_)
    assert time[unscored].max() < time[~unscored].min()
    assert unscored.sum() == N // 12
    assert fitted.kept_[unscored].all()
    report = fitted.report_
    assert report.n_scored == (~unscored).sum()
    assert report.n_removed == 30
    (note,) = [note for note in report.notes if "earlier rows alone" in note]
    assert f"{unscored.sum()} rows have none before them" in note


@pytest.mark.parametrize("kind", ["dates", "texts", "floats", "series"])
def test_times_of_any_kind_are_ranks(rng, kind):
    pd = pytest.importorskip("pandas")
    X, y, _, time = make(rng)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(time, unit="D")
    other = {
        "dates": days.to_numpy(),
        "texts": days.strftime("%d.%m.%Y").to_numpy(),
        "floats": time / 7.0,
        "series": pd.Series(days),
    }[kind]
    options = {"amount": 0.1, "validation": 0.3}
    expected = clean(**options).fit(X, y, time=time).scores_
    scores = clean(**options).fit(X, y, time=other).scores_
    np.testing.assert_array_equal(scores, expected)


def test_time_series_split_is_the_order_of_rows(rng):
    X, y, _, _ = make(rng)
    expected = clean(validation=5, amount=0.1).fit(X, y, time=np.arange(N))
    fitted = [
        clean(validation=validation, amount=0.1).fit(X, y)
        for validation in (TimeSeriesSplit(5), list(TimeSeriesSplit(5).split(X)))
    ]
    np.testing.assert_array_equal(fitted[0].scores_, fitted[1].scores_)
    assert fitted[0].report_.guard == fitted[1].report_.guard
    # of a number of folds the first block is cut in two for the scores
    unscored = [np.flatnonzero(np.isnan(f.scores_)) for f in (*fitted, expected)]
    assert unscored[0].tolist() == list(range(N // 6))
    assert unscored[2].tolist() == list(range(N // 12))


def test_groups_stay_on_one_side(rng):
    X, y, _, time = make(rng)
    group = time // 12 % 15
    fitted = clean(amount=0.1).fit(X, y, groups=group, time=time)
    assert np.isfinite(fitted.scores_).any()
    same = np.zeros(N, dtype=int)
    same[time > 200] = 1
    with pytest.raises(ValueError, match="these groups"):
        clean(amount=0.1).fit(X, y, groups=same, time=time % 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "boostin"}, "method='boostin' measures rows in models that"),
        ({"method": "out_of_bag_sum"}, "cannot be used with time"),
        ({"action": "relabel"}, "pass relabel_by='suggestion'"),
        ({"validation": KFold(4)}, "trains on later rows than it holds out"),
    ],
)
def test_what_looks_ahead_is_refused(rng, options, message, monkeypatch):
    monkeypatch.setattr(cleaner_module, "plan_copies", lambda *_: pytest.fail("work"))
    X, y, _, time = make(rng)
    with pytest.raises(ValueError, match=message):
        clean(**options).fit(X, y, time=time)


def test_time_is_routed(rng):
    X, y, _, time = make(rng)
    with config_context(enable_metadata_routing=True):
        estimator = clean(validation=0.4, amount=0.1).set_fit_request(time=True)
        found = cross_validate(
            estimator, X, y, cv=2, params={"time": time}, return_estimator=True
        )
    for fitted in found["estimator"]:
        assert any("earlier rows" in note for note in fitted.report_.notes)


def test_values_are_scored_forward_too(rng):
    X, _, wrong, time = make(rng)
    target = X[:, 0] + 3.0 * wrong
    model = HistGradientBoostingRegressor(max_iter=4, random_state=0)
    options = {"amount": 0.1, "guard": False, "baselines": False, "n_jobs": 1}
    fitted = InfluenceCleaner(model, validation=0.3, **options).fit(
        X, target, time=time
    )
    scored = np.isfinite(fitted.scores_)
    assert (
        fitted.scores_[scored & wrong].mean() > fitted.scores_[scored & ~wrong].mean()
    )


@pytest.mark.parametrize("method", ["loss", "random"])
def test_other_methods_take_time(rng, method):
    X, y, _, time = make(rng)
    fitted = clean(method=method, amount=0.1, validation=0.3).fit(X, y, time=time)
    assert np.isfinite(fitted.scores_).any()


def test_rows_are_selected_by_later_ones(rng, monkeypatch):
    X, y, _, time = make(rng)
    options = {"n_random": 1, "n_jobs": 1, "random_state": 0, "shares": (0.5,)}
    selector = InfluenceSelector(MODEL, keep=0.5, **options).fit(X, y, time=time)
    held_out = np.isnan(selector.influence_)
    assert time[~held_out].max() < time[held_out].min()
    assert any("later ones" in note for note in selector.report_.notes)
    with pytest.raises(ValueError, match="pass a share of the rows"):
        InfluenceSelector(MODEL, validation=5, **options).fit(X, y, time=time)
