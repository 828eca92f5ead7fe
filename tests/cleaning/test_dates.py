"""Frames with dates: the estimator's own columns, and those of other base models."""

import datetime

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from treeinf import InfluenceCleaner
from treeinf.training.encoding import TableEncoder

pd = pytest.importorskip("pandas")

N = 120
RNG = np.random.default_rng(0)
WHEN = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), unit="D"))
X = pd.DataFrame({"a": RNG.normal(size=N), "when": WHEN})
Y = (X["a"] > 0).astype(int)
QUICK = {"validation": 0.4, "amount": 0.1, "n_jobs": 1}


def to_numbers(frame):
    return frame.assign(when=(frame["when"] - WHEN.min()).dt.days)


@pytest.mark.parametrize(
    "convert",
    [
        lambda s: s,
        lambda s: s.dt.date,
        lambda s: s.dt.tz_localize("UTC"),
        lambda s: s - s.min(),
        lambda s: s.dt.time,
    ],
)
def test_dates_are_refused_by_name_before_any_training(convert, monkeypatch):
    monkeypatch.setattr(InfluenceCleaner, "_fit_rows", lambda *_: pytest.fail("work"))
    frame = X.assign(when=convert(X["when"]))
    model = HistGradientBoostingClassifier(max_iter=3)
    with pytest.raises(TypeError, match="Column 'when' of X holds dates") as raised:
        InfluenceCleaner(model, **QUICK).fit(frame, Y)
    assert "Pipeline" in str(raised.value)


def test_dates_of_other_libraries_are_refused():
    polars = pytest.importorskip("polars")
    model = HistGradientBoostingClassifier(max_iter=3)
    with pytest.raises(TypeError, match="Column 'when'"):
        InfluenceCleaner(model, **QUICK).fit(polars.from_pandas(X), Y.to_numpy())


def test_a_pipeline_converts_dates_itself():
    model = make_pipeline(
        FunctionTransformer(to_numbers), HistGradientBoostingClassifier(max_iter=3)
    )
    for table in (X, X.assign(when=X["when"].dt.tz_localize("Asia/Tokyo"))):
        if table is not X:
            model = make_pipeline(
                FunctionTransformer(lambda frame: frame[["a"]]),
                HistGradientBoostingClassifier(max_iter=3),
            )
        cleaner = InfluenceCleaner(model, random_state=0, **QUICK).fit(table, Y)
        assert np.isfinite(cleaner.scores_).sum() > 0


def test_the_encoder_reads_dates_as_days():
    frame = pd.DataFrame({"when": WHEN, "span": WHEN - WHEN.min()})
    frame.loc[3, "when"] = pd.NaT
    frame["day"] = [datetime.date(1970, 1, 1 + i % 9) for i in range(N)]
    encoder = TableEncoder.fit(frame)
    numbers = encoder.number(frame)
    days = (WHEN - pd.Timestamp(0)).dt.days.to_numpy(dtype=float)
    days[3] = np.nan
    np.testing.assert_array_equal(numbers[:, 0], days)
    np.testing.assert_array_equal(numbers[:, 1], np.arange(N))
    np.testing.assert_array_equal(numbers[:, 2], np.arange(N) % 9)
    scaled = (days - np.nanmean(days)) / np.nanstd(days)
    scaled[3] = 0.0
    np.testing.assert_allclose(encoder.standardise(frame)[:, 0], scaled)


def test_the_encoder_refuses_dates_where_numbers_were():
    encoder = TableEncoder.fit(pd.DataFrame({"when": ["a", "b"]}))
    with pytest.raises(TypeError, match="labels in the train rows and numbers here"):
        encoder.number(pd.DataFrame({"when": WHEN[:2]}))


@pytest.mark.parametrize("values", [WHEN.to_numpy()[:, None], [[1.0, WHEN[0]]] * N])
def test_dates_of_arrays_are_refused_too(values):
    values = np.asarray(values, dtype=object if isinstance(values, list) else None)
    model = HistGradientBoostingClassifier(max_iter=3)
    with pytest.raises(TypeError, match=r"Column '[01]' of X holds dates"):
        InfluenceCleaner(model, **QUICK).fit(values, Y)
