"""Measures of rows in groups: whole groups removed, corrupted and held out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from tests.evaluation.test_measures import Nearness, model, table
from treeinf.datasets import Dataset
from treeinf.evaluation import (
    Suite,
    detection,
    faithfulness,
    fixing,
    poisoning,
    pruning,
    read_results,
    removal,
    rows_to_flip,
    run_suite,
)
from treeinf.evaluation import experiment as experiments
from treeinf.evaluation.corruption import Corruption, Noise, set_aside
from treeinf.evaluation.experiment import Experiment
from treeinf.explainers import LOO, BoostIn, LeafRefit, Loss, OutOfFoldLoss

pytest.importorskip("pandas")

GROUPS = np.array([f"patient {number}" for number in np.arange(90) % 30])


@pytest.fixture
def trainings(monkeypatch):
    """Note what every copy is trained on."""
    seen = []
    predict = Experiment.predict_with

    def note(self, asked, *args, **more):
        seen.extend((self, training) for training in asked)
        return predict(self, asked, *args, **more)

    monkeypatch.setattr(Experiment, "predict_with", note)
    return seen


def whole(mask, groups=GROUPS):
    """Whether a mask holds all or no rows of each group."""
    return all(len(set(mask[groups == name].tolist())) == 1 for name in set(groups))


@pytest.mark.parametrize("together", [True, False])
def test_removal_removes_the_groups_of_largest_sum(trainings, together):
    X, y, X_test, y_test = table()
    frame = removal(
        model(),
        {"near": Nearness()},
        X[:, :1],
        y,
        X_test[:2, :1],
        y_test[:2],
        shares=(0.1, 0.5),
        together=together,
        groups=GROUPS,
        with_random=False,
        n_jobs=1,
    )
    assert frame["n_removed"].tolist() == [9, 45] * (1 if together else 2)
    influence = Nearness().fit(None, X[:, :1], y).explain(X_test[:2, :1], y_test[:2])
    names = list(dict.fromkeys(GROUPS))
    by_group = np.array(
        [influence.values[name == GROUPS].sum(axis=0) for name in names]
    )
    asked = by_group.sum(axis=1) if together else by_group[:, 0]
    first = {names[number] for number in np.argsort(-asked, kind="stable")[:3]}
    _, training = trainings[1]
    assert set(GROUPS[~training.kept]) == first
    assert all(whole(t.kept) for _, t in trainings[1:])


@pytest.mark.parametrize("method", [LeafRefit(), LOO(n_jobs=1), BoostIn()])
def test_groups_rank_by_their_removal_where_the_method_knows_it(method):
    X, y, X_test, y_test = table()
    experiment = Experiment.read(
        model(), X, y, X_test, y_test, groups=GROUPS, n_jobs=1, random_state=0
    )
    values, _ = experiment.explain("m", method)
    total, _ = experiment.total("m", method)
    assert values.shape == (30, 6)
    assert_allclose(total, values.sum(axis=1), rtol=1e-9, atol=1e-12)
    fitted = method.fit(experiment.model, X, y)
    if isinstance(method, BoostIn):
        desired = fitted.explain(X_test, y_test).values.reshape(3, 30, 6).sum(axis=0)
    else:
        desired = fitted.group_influence(GROUPS, X_test, y_test).values
    assert_allclose(values, desired, rtol=1e-10, atol=1e-13)
    experiments._cache.clear()


def test_pruning_and_poisoning_keep_groups_whole(trainings):
    X, y, X_test, y_test = table()
    given = model(), ["BoostIn"], X, y, X_test, y_test
    frame = pruning(*given, shares=(0.5,), groups=GROUPS, n_jobs=1)
    for experiment, training in trainings[1:]:
        assert whole(training.kept, experiment.group)
        assert experiment.n_units == 24
    assert (frame["n_kept"] == 36).all()
    trainings.clear()
    frame = poisoning(*given, shares=(0.1,), groups=GROUPS, n_jobs=1)
    assert (frame["n_poisoned"] == 9).all()
    for experiment, training in trainings[1:]:
        assert whole(training.target != experiment.learner.target)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["uniform", "pairs", "boundary"])
def test_whole_groups_are_corrupted(task, kind):
    X, y, X_test, y_test = table(task)
    if task != "regression":
        # a group has one label
        y = np.tile(y[:30], 3)
    elif kind != "uniform":
        pytest.skip("kinds of label noise")
    experiment = Experiment.read(
        model(task), X, y, X_test, y_test, groups=GROUPS, n_jobs=1
    )
    noisy, is_wrong = Noise(0.2, of_labels=kind).make(experiment)
    assert whole(is_wrong)
    assert 9 <= is_wrong.sum() <= 18
    if task != "regression":
        assert set(noisy) <= set(experiment.learner.target)
        assert all(len(set(noisy[name == GROUPS])) == 1 for name in set(GROUPS))


def test_trusted_rows_share_no_group_with_the_others():
    X, y, X_test, y_test = table()
    experiment = Experiment.read(model(), X, y, X_test, y_test, groups=GROUPS)
    rest, aside = set_aside(experiment, 0.2)
    assert_array_equal(np.sort(np.concatenate([rest, aside])), np.arange(90))
    assert not set(GROUPS[rest]) & set(GROUPS[aside])
    assert 12 <= len(aside) <= 24
    corruption = Corruption.start(experiment, Noise(0.2), 0.2)
    assert corruption.experiment.n_units == len(set(GROUPS[rest]))
    with pytest.raises(ValueError, match="2 groups are too few to set 20% of the rows"):
        set_aside(
            Experiment.read(model(), X, y, X_test, y_test, groups=np.arange(90) % 2),
            0.2,
        )


def test_scores_leave_out_groups_in_detection_and_fixing():
    rng = np.random.default_rng(0)
    X = np.tile(rng.normal(size=(60, 3)), (3, 1))
    y, groups = (X[:, 0] > 0).astype(int), np.tile(np.arange(60), 3)
    methods = {"fold": OutOfFoldLoss(n_folds=4, n_jobs=1), "loss": Loss()}
    given = {"groups": groups, "n_jobs": 1, "with_random": False, "scores": "self"}
    experiment = Experiment.read(model(), X, y, X, y, groups=groups)
    assert "groups" in experiment.fit_arguments(methods["fold"])
    assert "groups" not in experiment.fit_arguments(methods["loss"])
    frame = detection(model(), methods, X, y, **given).set_index("method")
    assert frame["n_wrong"]["fold"] % 3 == 0
    # the model learns three twins of one wrong label, copies without the group do not
    found = frame["average_precision"]
    assert found["fold"] > found["loss"] + 0.1
    frame = fixing(model(), methods, X, y, X, y, shares=(0.2,), **given)
    fixed = frame.set_index("method")["n_fixed"]
    assert fixed["fold"] > fixed["loss"]


def test_groups_are_removed_to_flip_a_prediction():
    X, y, X_test, y_test = table()
    frame = rows_to_flip(
        model(),
        {"refit": LeafRefit()},
        X,
        y,
        X_test[:3],
        y_test[:3],
        groups=GROUPS,
        with_random=False,
        n_jobs=1,
    ).set_index("method")
    flipped = frame.loc["refit"].dropna()
    assert len(flipped)
    assert_allclose(flipped["share_to_flip"], flipped["n_to_flip"] / 30)
    assert flipped["n_to_flip"].max() <= 15


def test_faithfulness_removes_the_groups_passed():
    X, y, X_test, y_test = table()
    frame = faithfulness(
        model(),
        {"refit": LeafRefit(), "loo": LOO(n_jobs=1), "boostin": BoostIn()},
        X,
        y,
        X_test,
        y_test,
        groups=GROUPS,
        n_groups=12,
        with_random=False,
        n_jobs=1,
    ).set_index(["method", "reference"])
    # two methods know the effect of a whole group by one reference each
    for pair in (("refit", "LeafRefit"), ("loo", "retraining")):
        assert_allclose(frame.loc[pair, "relative_error"], 0.0, atol=1e-9)
    assert (frame.loc[("boostin", "retraining"), "relative_error"] > 0.01).all()


def test_groups_that_do_not_fit_are_refused():
    X, y, X_test, y_test = table()
    with pytest.raises(ValueError, match="groups has 7 values, X has 90 rows"):
        removal(
            LogisticRegression(), ["LOO"], X, y, X_test, y_test, groups=np.arange(7)
        )


def suite(**more):
    pd = pytest.importorskip("pandas")
    X, y, *_ = table()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(patient=GROUPS)
    return Suite(
        **{
            "data": {"ward": Dataset("ward", "binary", frame, y, n_test=20)},
            "models": {"gradient_boosting": {"n_estimators": 5, "max_depth": 2}},
            "methods": ["BoostIn"],
            "measures": {"removal_set": {"shares": [0.1]}, "detection": {}},
            "groups": {"ward": "patient"},
            **more,
        }
    )


def test_suites_split_and_remove_the_groups_of_a_column(tmp_path):
    pytest.importorskip("pyarrow")
    planned = suite()
    ward = planned.dataset("ward")
    assert "patient" not in ward.X.columns
    assert planned.split("ward") == "grouped"
    cut = ward.split(kind="grouped", seed=0)
    assert not set(ward.groups[cut.train_rows]) & set(ward.groups[cut.test_rows])
    counts = run_suite(planned, tmp_path, n_jobs=1, verbose=False)
    assert counts["done"] == len(planned.cells())
    frame = read_results(tmp_path, "removal_set")
    # a tenth of the 24 groups of three rows on the train side
    assert (frame["n_removed"] == 6).all()
    assert (read_results(tmp_path, "detection")["n_wrong"] % 3 == 0).all()
    # other groups are other cells
    plain = {cell.identity for cell in suite(groups={}).cells()}
    assert not plain & {cell.identity for cell in planned.cells()}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"ward": "nurse"}, "ward has no column 'nurse' to group rows by; it has a, b"),
        ({"ward": True}, "ward comes without groups; name a column"),
    ],
)
def test_suites_name_groups_that_a_data_set_has_not(tmp_path, groups, message):
    with pytest.raises(ValueError, match=message):
        run_suite(suite(groups=groups), tmp_path, n_jobs=1, verbose=False)
    with pytest.raises(ValueError, match="Got groups for 'clinic', which is not in da"):
        suite(groups={"clinic": True})
