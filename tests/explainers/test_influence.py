"""The result object, and what the caller's own labels become."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import treeinf as ti
from tests import models
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers import Influence

VALUES = np.array([[3.0, -1.0], [0.0, 2.0], [-5.0, 4.0]])


def labelled():
    return ti.Influence(
        VALUES, train_labels=np.array(["a", "b", "c"]), test_labels=np.array([7, 9])
    )


def test_it_behaves_as_an_array():
    influence = labelled()
    assert influence.shape == (3, 2)
    assert len(influence) == 3
    assert_array_equal(np.asarray(influence), VALUES)
    assert_array_equal(influence + 1, VALUES + 1)
    assert_array_equal(np.abs(influence), np.abs(VALUES))
    assert_array_equal(influence[:, 0], VALUES[:, 0])
    assert np.asarray(influence, dtype=np.float32).dtype == np.float32
    assert_array_equal(influence.sum(), [2.0, 2.0, -1.0])
    assert_array_equal(influence.sum(axis=0), [-2.0, 5.0])
    assert influence.sum().sum(axis=None) == 3.0


def test_rankings_carry_the_callers_labels():
    influence = labelled()
    harmful = influence.harmful(2)
    assert harmful.labels.tolist() == [["c", None], ["a", None]]
    rows, values = harmful
    assert_array_equal(rows, [[2, -1], [0, -1]])
    assert_array_equal(values, [[-5.0, np.nan], [-1.0, np.nan]])
    assert influence.top(2).labels.tolist() == [["c", "a"], ["c", "b"]]
    assert influence.top(1).labels.tolist() == [["c"], ["c"]]
    total = influence.sum()
    assert total.harmful(3).labels.tolist() == ["c"]  # only rows that harm
    assert total.helpful(1).labels.tolist() == ["a"]
    assert len(total.top(99)) == 3


def test_frames_carry_the_callers_labels():
    pytest.importorskip("pandas")
    frame = labelled().to_frame()
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame.columns.tolist() == [7, 9]
    assert_array_equal(frame.to_numpy(), VALUES)
    single = labelled().sum().to_frame()
    assert single.loc["c", "influence"] == -1.0
    ranked = labelled().harmful(2).to_frame()
    assert ranked.columns.tolist() == ["test_row", "rank", "row", "influence"]
    assert ranked["row"].tolist() == ["c", "a"]
    assert ranked["test_row"].tolist() == [7, 9]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_come_in_the_callers_own_library(library):
    pytest.importorskip(library)
    for influence in (labelled(), labelled().sum()):
        influence.library = library
        frame = influence.to_frame()
        assert type(frame).__module__.startswith(library)
        names = frame.columns if library == "polars" else frame.column_names
        assert names[0] == "row"


@pytest.mark.parametrize(
    ("k", "error"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_bad_k_and_order_are_refused(k, error):
    with pytest.raises(error, match="expected a positive integer"):
        labelled().top(k)
    with pytest.raises(ValueError, match="Got order='best'"):
        labelled().top(1, "best")


def test_it_prints_for_people():
    influence = labelled()
    assert repr(influence) == (
        "<Influence of 3 train rows on 2 test rows: 3 helpful, 2 harmful>"
    )
    assert "most harmful" in influence._repr_html_()
    assert "c" in repr(influence.sum().harmful())
    assert "2 test rows" in repr(influence.harmful())
    assert "(none)" in repr(ti.Influence(np.ones(3)).harmful())
    hostile = ti.Influence(np.array([-1.0]), train_labels=np.array(["<script>"]))
    assert "<script>" not in hostile._repr_html_()


def test_a_pandas_index_comes_back():
    pd = pytest.importorskip("pandas")
    model, X, y, _, X_test, y_test = models.fit("binary")
    train = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))])
    test = pd.DataFrame(X_test, index=range(100, 100 + len(X_test)))
    labels = pd.Series(y, index=train.index)
    explainer = ti.BoostIn().fit(model, train, labels)
    influence = explainer.explain(test, y_test)
    assert influence.to_frame().index[3] == "row 3"
    assert influence.to_frame().columns[0] == 100
    top = explainer.top_k(test, y_test, k=4, order="helpful")
    assert top.labels[0, 0] == f"row {top.positions[0, 0]}"
    assert top.to_frame()["test_row"].iloc[0] == 100
    assert explainer.total(test, y_test).harmful(1).labels[0].startswith("row ")


def test_explainers_keep_scikit_learns_manners():
    explainer = ti.BoostIn(theta="published", n_jobs=1)
    assert clone(explainer).get_params() == explainer.get_params()
    assert explainer.set_params(count_power=2).count_power == 2
    with pytest.raises(NotFittedError):
        explainer.self_influence()
    with pytest.raises(NotFittedError):
        explainer.explain(np.zeros((1, 6)), [0])
    model, X, y, *_ = models.fit("regression")
    before = explainer.get_params()
    assert explainer.fit(model, X, y) is explainer
    assert explainer.get_params() == before
    assert explainer.n_features_in_ == 6


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"theta": "both"}, "Got theta='both'; expected 'exact' or 'published'"),
        ({"count_power": "one"}, "Got count_power='one'"),
        ({"count_power": np.nan}, "Got count_power=nan"),
        ({"batch_size": 0}, "Got batch_size=0"),
        ({"n_jobs": 0}, "Got n_jobs=0"),
        ({"parity": "some"}, "Got parity='some'"),
        ({"on_mismatch": "no"}, "Got on_mismatch='no'"),
    ],
)
def test_bad_parameters_are_refused_when_fitting(parameters, words):
    model, X, y, *_ = models.fit("regression")
    with pytest.raises(ValueError, match=words):
        ti.BoostIn(**parameters).fit(model, X, y)


def test_out_arrays_and_memmaps_are_filled(tmp_path):
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.BoostIn(batch_size=16).fit(model, X, y)
    desired = explainer.explain(X_test, y_test).values
    out = np.empty((240, 40))
    assert explainer.explain(X_test, y_test, out=out).values is out
    assert_array_equal(out, desired)
    file = np.memmap(tmp_path / "out", np.float64, "w+", shape=(240, 40))
    explainer.explain(X_test, y_test, out=file)
    assert_array_equal(file, desired)


def test_top_k_without_the_row_itself():
    model, X, y, *_ = models.fit("regression")
    explainer = ti.BoostIn(batch_size=50).fit(model, X, y)
    top = explainer.top_k(X, y, k=5, exclude_self=True)
    assert (top.positions != np.arange(len(X))[:, np.newaxis]).all()
    everything = explainer.top_k(X, y, k=10**6, exclude_self=True)
    assert everything.positions.shape == (240, 239)
    with pytest.raises(ValueError, match="exclude_self=True needs the train rows"):
        explainer.top_k(X[::-1], y[::-1], exclude_self=True)


def test_explaining_seen_rows_warns():
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.BoostIn().fit(model, X, y)
    with pytest.warns(SelfExplanationWarning, match="scored by a model that has seen"):
        explainer.total(X, y)
    with pytest.warns(SelfExplanationWarning, match="75% of the explained rows"):
        explainer.total(np.vstack([X[:30], X_test[:10]]), [*y[:30], *y_test[:10]])
    explainer.total(X, y, exclude_self=True)  # no warning
    explainer.explain(X[:1], y[:1])  # a single row may well be a train row


def test_weights_of_test_rows_scale_their_columns():
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    explainer = ti.BoostIn().fit(model, X, y)
    weight = np.linspace(0.5, 2, len(y_test))
    plain = explainer.explain(X_test, y_test).values
    weighted = explainer.explain(X_test, y_test, sample_weight=weight).values
    assert_allclose(weighted, plain * weight, rtol=1e-12, atol=1e-16)
    total = explainer.total(X_test, y_test, sample_weight=weight).values
    assert_allclose(total, plain @ weight, rtol=1e-9, atol=1e-13)


def test_a_progress_bar_is_shown_on_request(capfd):
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.BoostIn(batch_size=8, verbose=True).fit(model, X, y)
    explainer.explain(X_test, y_test)
    assert "BoostIn.explain" in capfd.readouterr().err
    explainer.set_params(verbose=False).explain(X_test, y_test)
    assert capfd.readouterr().err == ""


def test_a_pipeline_is_explained_through_its_steps():
    lightgbm = pytest.importorskip("lightgbm")
    pd = pytest.importorskip("pandas")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y, _ = models.make_rows("binary")
    frame = pd.DataFrame(X, index=[f"r{i}" for i in range(len(X))])
    inner = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    pipeline = make_pipeline(StandardScaler(), inner).fit(frame[:200], y[:200])
    scaled = pipeline[:-1].transform(frame)
    desired = ti.BoostIn().fit(pipeline[-1], scaled[:200], y[:200])
    search = GridSearchCV(pipeline, {"lgbmclassifier__num_leaves": [31]}, cv=2)
    for model in (pipeline, make_pipeline(pipeline), search):
        if model is not pipeline:
            model.fit(frame[:200], y[:200])
        explainer = ti.BoostIn().fit(model, frame[:200], y[:200])
        influence = explainer.explain(frame[200:], y[200:])
        assert_array_equal(influence, desired.explain(scaled[200:], y[200:]))
        assert influence.train_labels[0] == "r0"
        assert influence.test_labels[0] == "r200"


def test_initial_scores_of_the_explained_rows_are_asked_for():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = models.make_rows("regression")
    start = np.linspace(-1, 1, len(y))
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(X[:200], y[:200], init_score=start[:200])
    explainer = ti.BoostIn().fit(model, X[:200], y[:200], init_score=start[:200])
    with pytest.raises(ValueError, match="pass init_score= for these rows too"):
        explainer.total(X[200:], y[200:])
    dense = explainer.explain(X[200:], y[200:], init_score=start[200:]).values
    total = explainer.total(X[200:], y[200:], init_score=start[200:])
    assert_allclose(total, dense.sum(axis=1), rtol=1e-9, atol=1e-12)
    assert np.abs(dense).max() > 0


def test_a_model_that_starts_from_another_model_is_explained():
    ensemble = pytest.importorskip("sklearn.ensemble")
    from sklearn.linear_model import LinearRegression

    X, y, _ = models.make_rows("regression")
    model = ensemble.GradientBoostingRegressor(
        n_estimators=5, init=LinearRegression(), random_state=0
    ).fit(X[:200], y[:200])
    explainer = ti.BoostIn().fit(model, X[:200], y[:200])
    assert explainer.reproduction_.verdict == "exact"
    assert np.abs(explainer.total(X[200:], y[200:])).max() > 0


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([7, 7, 8], ["7", "7 (2)", "8"]),
        ([1, "1", "1 (2)"], ["1", "1 (2)", "1 (2) (2)"]),
        (["row", "a", "b"], ["row (2)", "a", "b"]),
        ([(1, "a"), (1, "b"), (2, "a")], ["(1, 'a')", "(1, 'b')", "(2, 'a')"]),
    ],
)
def test_frames_keep_a_column_for_each_label(library, labels, names):
    pytest.importorskip(library)
    test_labels = np.empty(3, object)
    test_labels[:] = labels
    values = np.arange(6.0).reshape(2, 3)
    train_labels = np.array([5, "five"], object)
    influence = Influence(
        values, train_labels=train_labels, test_labels=test_labels, library=library
    )
    frame = influence.to_frame()
    if library == "pandas":
        assert frame.columns.tolist() == labels
        assert frame.index.tolist() == [5, "five"]
        assert_array_equal(frame, values)
        return
    found = frame.columns if library == "polars" else frame.column_names
    assert found == ["row", *names]
    assert list(frame["row"].to_numpy()) == ["5", "five"]
    columns = [frame[name].to_numpy() for name in names]
    assert_array_equal(np.column_stack(columns), values)
    assert len(influence.top(2).to_frame()) == 6
