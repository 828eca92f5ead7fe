"""The measures: what each does to the rows, known answers, what is refused."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from treeinf import explainers
from treeinf.evaluation import (
    cost,
    detection,
    faithfulness,
    fixing,
    label_edit,
    poisoning,
    pruning,
    removal,
    rows_to_flip,
    stability,
)
from treeinf.evaluation.corruption import Noise
from treeinf.evaluation.experiment import Experiment
from treeinf.evaluation.methods import METHODS
from treeinf.explainers import (
    LOO,
    BoostIn,
    Influence,
    LeafInfluence,
    LeafRefit,
    Loss,
    Random,
)
from treeinf.explainers.baselines.row_score import RowScore

pd = pytest.importorskip("pandas")

TESTED = (
    removal,
    label_edit,
    fixing,
    poisoning,
    faithfulness,
    pruning,
    stability,
    cost,
)


class Neighbour(ClassifierMixin, BaseEstimator):
    """Predicts the class of the nearest train row of one column: simple to foresee."""

    def fit(self, X, y):
        self.X_, self.y_ = np.asarray(X), np.asarray(y)
        self.classes_ = np.unique(self.y_)
        return self

    def predict_proba(self, X):
        place = np.abs(np.asarray(X) - self.X_.T).argmin(axis=1)
        # far from 0 and 1, so that losses are finite
        hit = self.y_[place][:, np.newaxis] == self.classes_
        return np.where(hit, 0.9, 0.1 / max(len(self.classes_) - 1, 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Nearness(Random):
    """Calls rows of the target's own class helpful, the nearest one most."""

    def fit(self, model, X, y, *, sample_weight=None, init_score=None):
        super().fit(model, X, y)
        self.X_, self.y_ = np.asarray(X), np.asarray(y)
        return self

    def explain(self, X, y=None, **given):
        near = 1.0 / (1.0 + np.abs(self.X_ - np.asarray(X).T))
        return Influence(near * (self.y_[:, np.newaxis] == np.asarray(y)))

    def total(self, X, y=None, **given):
        return Influence(self.explain(X, y).values.sum(axis=1))


def line():
    """Ten rows at 0..9, classes 0 below 5 and 1 above, and two test rows."""
    X = np.arange(10.0)[:, np.newaxis]
    y = (X[:, 0] >= 5).astype(int)
    return X, y, np.array([[0.1], [8.9]]), np.array([0, 1])


def table(task="binary", n=90, n_test=6):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n + n_test, 4))
    signal = X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=n + n_test)
    y = {
        "binary": (signal > 0).astype(int),
        "multiclass": np.digitize(signal, [-0.7, 0.7]),
        "regression": signal,
    }[task]
    return X[:n], y[:n], X[n:], y[n:]


def model(task="binary"):
    kind = GradientBoostingClassifier
    if task == "regression":
        kind = GradientBoostingRegressor
    return kind(n_estimators=8, max_depth=3, random_state=0)


def test_removal_takes_the_most_helpful_rows_of_each_test_row():
    frame = removal(
        Neighbour(), {"near": Nearness()}, *line(), shares=(0.1, 0.5), n_jobs=1
    )
    near = frame[frame["method"] == "near"]
    # without its own class, five rows, the nearest row is of the other one
    assert near["n_removed"].tolist() == [1, 5, 1, 5]
    assert near["flipped"].tolist() == [0, 1, 0, 1]
    # only one class is left then, so its probability is 1, and that of the own class
    # is raised to 1e-15 before the logarithm
    gone = -np.log(1e-15) + np.log(0.9)
    assert_allclose(near["loss_increase"], [0, gone, 0, gone], rtol=1e-12, atol=1e-12)
    assert "Random" in set(frame["method"])


def test_removal_together_ranks_once():
    frame = removal(
        Neighbour(),
        {"near": Nearness()},
        *line(),
        shares=(0.2, 0.8),
        together=True,
        with_random=False,
        n_jobs=1,
    )
    assert frame["test_row"].tolist() == ["all", "all"]
    # 0 and 9 go first, which are nearest to either; then both classes keep one row
    assert frame["flipped"].tolist() == [0, 0]
    assert frame["score"].tolist() == [1, 1]


def test_removal_judges_some_of_the_test_rows():
    X, y, X_test, y_test = table()
    given = {"shares": (0.1,), "n_jobs": 1}
    whole = removal(model(), ["BoostIn"], X, y, X_test, y_test, **given)
    some = removal(model(), ["BoostIn"], X, y, X_test, y_test, n_judged=2, **given)
    assert len(some) == 4
    assert some["test_row"].nunique() == 2
    keys = ["method", "test_row"]
    both = some.merge(whole, on=keys, suffixes=("", "_whole"))
    assert (both["loss"] == both["loss_whole"]).all()
    same = removal(model(), ["BoostIn"], X, y, X_test, y_test, n_judged=9, **given)
    assert len(same) == len(whole)
    with pytest.raises(ValueError, match="n_judged=0"):
        removal(model(), ["BoostIn"], X, y, X_test, y_test, n_judged=0)
    with pytest.raises(TypeError, match="n_judged=True"):
        removal(model(), ["BoostIn"], X, y, X_test, y_test, n_judged=True)


class CountedBoosting(GradientBoostingClassifier):
    """Counts the models that are trained."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


def test_measures_of_the_same_rows_share_retraining():
    X, y, X_test, y_test = table(n=31)
    boosting = CountedBoosting(n_estimators=3, random_state=0)
    given = {"shares": (0.1,), "n_jobs": 1, "with_random": False}
    methods = {"LOO": LOO(n_jobs=1)}
    rows = (X, y, X_test, y_test)
    alone = removal(boosting, methods, *rows, **given)
    n_first = CountedBoosting.fits
    assert n_first > 31
    again = removal(boosting, methods, *rows, **given)
    # the copies without the rows that were named, and no leaving out again
    assert CountedBoosting.fits - n_first < 31
    pd.testing.assert_frame_equal(alone, again, check_exact=True)
    # what is asked of other rows is another question
    n_before = CountedBoosting.fits
    removal(boosting, methods, X, y, X_test[:3], y_test[:3], **given)
    assert CountedBoosting.fits - n_before > 31
    # the sum over the test rows is that of the method itself
    together = removal(boosting, methods, *rows, together=True, **given)
    total = LOO(n_jobs=1).fit(boosting, X, y).total(X_test, y_test, output="loss")
    best = np.argsort(-total.values, kind="stable")[:3]
    kept = np.setdiff1d(np.arange(31), best)
    copy = GradientBoostingClassifier(n_estimators=3, random_state=0)
    chances = copy.fit(X[kept], y[kept]).predict_proba(X_test)
    loss = -np.log(chances[np.arange(len(y_test)), y_test]).mean()
    assert_allclose(together["loss"], loss, rtol=1e-9)


def test_times_are_wall_and_processor():
    frame = removal(model(), ["LeafRefit"], *table(), shares=(0.1,), n_jobs=1)
    assert (frame[["seconds", "cpu_seconds"]] > 0).all(axis=None)
    assert frame.groupby("method")["cpu_seconds"].nunique().eq(1).all()


def noisy_rows(noise, task="multiclass", n=300, n_estimators=8):
    """Make targets wrong; gives true and noisy ones, and the experiment."""
    X, y, _, _ = table(task, n=n)
    estimator = model(task).set_params(n_estimators=n_estimators)
    experiment = Experiment.read(estimator, X, y, X, y, n_jobs=1)
    noisy, is_wrong = noise.make(experiment)
    true = experiment.learner.target
    assert (is_wrong == (noisy != true)).all()
    return experiment, true, noisy, is_wrong


def test_pairs_of_classes_depend_on_the_class():
    _, true, noisy, is_wrong = noisy_rows(Noise(0.2, of_labels="pairs"))
    assert (noisy[is_wrong] == (true[is_wrong] + 1) % 3).all()
    assert is_wrong.sum() == 60


def test_noise_at_the_boundary_takes_rows_that_are_hard():
    def mean_margins(kind):
        noise = Noise(0.2, of_labels=kind)
        experiment, _, _, is_wrong = noisy_rows(noise, "binary", n_estimators=60)
        X = experiment.X_train
        margin = np.abs(X[:, 0] + X[:, 1] * X[:, 2])
        return margin[is_wrong].mean(), margin[~is_wrong].mean()

    wrong, right = mean_margins("boundary")
    assert wrong < 0.7 * right
    wrong, right = mean_margins("uniform")
    assert wrong > 0.8 * right


def test_noise_of_values():
    _, true, noisy, is_wrong = noisy_rows(Noise(0.2), "regression")
    assert sorted(noisy[is_wrong]) == sorted(true[is_wrong])
    _, true, noisy, is_wrong = noisy_rows(
        Noise(0.2, of_values="outliers"), "regression"
    )
    assert (np.abs(noisy - true)[is_wrong] >= 2 * true.std() - 1e-12).all()


@pytest.mark.parametrize("kind", ["uniform", "pairs", "boundary"])
def test_detection_takes_kinds_of_noise(kind):
    X, y, _, _ = table(n=100)
    frame = detection(model(), {"Loss": Loss()}, X, y, noise_of_labels=kind, n_jobs=1)
    assert (frame["n_wrong"] == 16).all()


def test_rows_to_flip_finds_the_exact_number():
    frame = rows_to_flip(
        Neighbour(), {"near": Nearness()}, *line(), max_share=0.9, n_jobs=1
    )
    near = frame[frame["method"] == "near"]
    assert near["n_to_flip"].tolist() == [5, 5]
    assert_allclose(near["share_to_flip"], 0.5, rtol=1e-15)
    # 1, 2, 4, 8, then 6 and 5
    assert near["n_refits"].tolist() == [6, 6]
    short = rows_to_flip(
        Neighbour(), {"near": Nearness()}, *line(), max_share=0.4, n_jobs=1
    )
    assert short.loc[short["method"] == "near", "n_to_flip"].isna().all()


def test_rows_to_flip_explains_the_predicted_class():
    X, y, X_test, _ = line()
    wrong = rows_to_flip(
        Neighbour(), {"near": Nearness()}, X, y, X_test, [1, 0], max_share=0.9, n_jobs=1
    )
    assert wrong.loc[wrong["method"] == "near", "n_to_flip"].tolist() == [5, 5]


def test_rows_to_flip_refuses_regressors():
    with pytest.raises(TypeError, match="takes classifiers"):
        rows_to_flip(model("regression"), ["BoostIn"], *table("regression"), n_jobs=1)


def test_label_edit_turns_the_nearest_rows():
    frame = label_edit(
        Neighbour(), {"near": Nearness()}, *line(), shares=(0.1,), n_jobs=1
    )
    near = frame[frame["method"] == "near"]
    assert near["flipped"].tolist() == [1, 1]
    assert_allclose(near["loss_increase"], np.log(0.9 / 0.1), rtol=1e-12)


def test_label_edit_skips_rows_that_have_the_label():
    X, y, X_test, y_test = line()

    class Opposite(Nearness):
        def explain(self, X, y=None, **given):
            near = 1.0 / (1.0 + np.abs(self.X_ - np.asarray(X).T))
            return Influence(near * (self.y_[:, np.newaxis] != np.asarray(y)))

    frame = label_edit(
        Neighbour(), {"no": Opposite()}, X, y, X_test, y_test, shares=(0.5,), n_jobs=1
    )
    # rows of the wrong label cannot be given it: the five others are turned
    assert (frame.loc[frame["method"] == "no", "flipped"] == 1).all()


def test_poisoning_gives_other_labels():
    frame = poisoning(
        Neighbour(), {"near": Nearness()}, *line(), shares=(0.2,), n_jobs=1
    )
    near = frame[frame["method"] == "near"].iloc[0]
    # the rows at 0 and 9 are turned, which both test rows hang on
    assert near["n_poisoned"] == 2
    assert near["flipped"] == 1
    assert near["score"] == 0


def test_detection_of_an_oracle_is_perfect_and_of_its_opposite_is_not():
    X, y, _, _ = table(n=100)

    class Knows(Random):
        sign = 1.0

        def fit(self, model, X, y, **given):
            super().fit(model, X, y)
            rows, labels = table(n=100)[:2]
            truth = dict(zip(map(tuple, rows), labels, strict=True))
            self.wrong_ = np.array([truth[tuple(row)] for row in X]) != y
            return self

        def self_influence(self):
            return Influence(self.sign * self.wrong_)

        def total(self, X, y=None, **given):
            return Influence(-self.sign * self.wrong_)

    class Lies(Knows):
        sign = -1.0

    methods = {"knows": Knows(), "lies": Lies()}
    frame = detection(model(), methods, X, y, noise_share=0.1, n_jobs=1)
    found = frame.set_index(["method", "score"])
    for score in ("self", "trusted"):
        assert found.loc[("knows", score), "average_precision"] == 1
        assert found.loc[("knows", score), "auroc"] == 1
        assert found.loc[("knows", score), "precision"] == 1
        assert found.loc[("lies", score), "auroc"] == 0
    assert (frame["n_rows"] == 80).all()
    assert (frame["n_wrong"] == 8).all()
    curve = fixing(
        model(), methods, *table(n=100), noise_share=0.1, shares=(0, 0.1), n_jobs=1
    )
    fixed = curve.set_index(["method", "ranked_by", "share"])
    assert fixed.loc[("knows", "self", 0.1), "n_fixed"] == 8
    assert fixed.loc[("lies", "self", 0.1), "n_fixed"] == 0
    assert_allclose(fixed.xs(0.0, level="share")["loss_decrease"], 0.0, atol=1e-15)


def test_scores_of_train_rows_are_methods_where_they_can_be():
    X, y, X_test, y_test = table()
    frame = detection(model(), {"loss": Loss(), "BoostIn": BoostIn()}, X, y, n_jobs=1)
    assert frame[frame["method"] == "loss"]["score"].tolist() == ["self"]
    assert len(frame) == 5
    with pytest.raises(TypeError, match="scores train rows alone"):
        removal(model(), {"loss": Loss()}, X, y, X_test, y_test)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_leaf_refit_is_faithful_to_itself(task):
    rows = table(task)
    # groups of one row: the sum is the influence of the row
    frame = faithfulness(
        model(task),
        {"LeafRefit": LeafRefit(), "LOO": LOO(n_jobs=1)},
        *rows,
        n_groups=12,
        shares=(0.01,),
        n_jobs=1,
    )
    one = frame.set_index(["method", "reference"]).sort_index()
    itself = one.loc[("LeafRefit", "LeafRefit")]
    # sums of the same numbers; the refits add up in the same order
    assert_allclose(itself["relative_error"], 0.0, atol=1e-9)
    assert_allclose(itself["slope"], 1.0, rtol=1e-9)
    retrained = one.loc[("LOO", "retraining")]
    assert_allclose(retrained["relative_error"], 0.0, atol=1e-9)
    assert (one.loc[("Random", "retraining"), "spearman"].abs() < 0.95).all()


def test_faithfulness_of_groups_is_a_claim_that_can_fail():
    frame = faithfulness(model(), ["LeafInfluence"], *table(), n_jobs=1)
    means = frame.groupby(["method", "reference"])["spearman"].mean()
    assert means["LeafInfluence", "LeafRefit"] > 0.8
    assert abs(means["Random", "LeafRefit"]) < 0.3


def test_pruning_all_rows_changes_nothing():
    frame = pruning(model(), ["BoostIn"], *table(), shares=(0.5, 1.0), n_jobs=1)
    full = frame[frame["share"] == 1.0]
    assert_allclose(full["loss_decrease"], 0.0, atol=1e-15)
    assert (full["n_kept"] == 72).all()


def test_stability_of_what_does_not_draw():
    frame = stability(model(), ["BoostIn"], *table(), n_seeds=3, n_jobs=1)
    assert sorted(set(frame["pair"])) == ["0, 1", "0, 2", "1, 2"]
    same = frame[frame["method"] == "BoostIn"]
    assert_allclose(same["spearman"], 1.0, rtol=1e-12)
    assert (same["overlap"] == 1).all()
    assert frame[frame["method"] == "Random"]["spearman"].abs().max() < 0.5


def test_stability_sees_a_model_that_draws():
    drawing = model().set_params(subsample=0.5)
    frame = stability(drawing, ["TreeSim"], *table(), n_seeds=2, n_jobs=1)
    assert frame[frame["method"] == "TreeSim"]["spearman"].max() < 1


def test_cost_counts_the_matrix():
    X, y, X_test, y_test = table()
    frame = cost(model(), ["BoostIn"], X, y, X_test, y_test, n_repeats=1, n_jobs=1)
    found = frame.set_index(["method", "step"])
    assert list(found.loc["BoostIn"].index) == ["fit", "explain", "total"]
    assert (frame["seconds_low"] <= frame["seconds_high"]).all()
    assert (frame["per_training"] > 0).all()
    # the result alone
    assert found.loc[("BoostIn", "explain"), "peak_mib"] * 2**20 >= 90 * 6 * 8


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("measure", TESTED, ids=lambda measure: measure.__name__)
def test_every_measure_on_every_task(measure, task):
    X, y, X_test, y_test = table(task)
    if task == "multiclass":
        y, y_test = (np.array(["a", "b", "c"])[v] for v in (y, y_test))
    frame = measure(
        model(task),
        {"leaf": LeafInfluence()},
        pd.DataFrame(X).add_prefix("x"),
        y,
        pd.DataFrame(X_test, index=list("uvwxyz")).add_prefix("x"),
        y_test,
        n_jobs=1,
    )
    assert list(frame["method"].drop_duplicates()) == ["leaf", "Random"]
    if "test_row" in frame:
        assert list(frame["test_row"].drop_duplicates()) == list("uvwxyz")
    numbers = frame.select_dtypes("number").drop(
        columns=["flipped", "spearman", "pearson", "slope"], errors="ignore"
    )
    assert np.isfinite(numbers.to_numpy()).all()
    # the helpful rows are of use
    if measure in (removal, label_edit, poisoning):
        means = frame.groupby("method")["loss_increase"].mean()
        assert means["leaf"] > means["Random"]


@pytest.mark.parametrize("measure", [removal, poisoning, pruning])
def test_same_bits_for_any_number_of_processes(measure):
    frames = [
        measure(model(), ["BoostIn"], *table(), n_jobs=n_jobs).drop(
            columns=["seconds", "cpu_seconds"]
        )
        for n_jobs in (1, 2)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_weights_and_pipelines():
    X, y, X_test, y_test = table()
    rows = (X, y, X_test, y_test)
    twice = removal(
        model(), ["BoostIn"], *rows, sample_weight=np.full(90, 2.0), n_jobs=1
    )
    assert len(twice) == 2 * 6 * 5
    piped = removal(make_pipeline(StandardScaler(), model()), ["BoostIn"], *rows)
    assert np.isfinite(piped["loss"]).all()


def test_polars_rows():
    pl = pytest.importorskip("polars")
    X, y, X_test, y_test = table()
    frames = [pl.DataFrame(rows, schema=list("abcd")) for rows in (X, X_test)]
    given = removal(
        model(), ["BoostIn"], frames[0], pl.Series(y), frames[1], pl.Series(y_test)
    )
    plain = removal(model(), ["BoostIn"], X, y, X_test, y_test)
    assert_allclose(given["loss"], plain["loss"], rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shares": (0.0,)}, "expected shares in"),
        ({"shares": (1.0,)}, "expected shares in"),
        ({"shares": ()}, "is empty"),
    ],
)
def test_wrong_shares_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        removal(model(), ["BoostIn"], *table(), **given)


@pytest.mark.parametrize(
    ("explainers", "error", "message"),
    [
        ("BoostIn", TypeError, "expected a dict"),
        ([], ValueError, "is empty"),
        (["Boostin"], ValueError, "expected one of"),
        ({"b": BoostIn}, TypeError, "expected an explainer"),
    ],
)
def test_wrong_explainers_are_refused(explainers, error, message):
    with pytest.raises(error, match=message):
        removal(model(), explainers, *table())


def test_wrong_rows_are_refused():
    X, y, X_test, y_test = table()
    with pytest.raises(ValueError, match="y_test 5; expected equal lengths"):
        removal(model(), ["BoostIn"], X, y, X_test, y_test[:5])
    with pytest.raises(ValueError, match="X_test has no rows"):
        removal(model(), ["BoostIn"], X, y, X_test[:0], y_test[:0])


def test_every_explainer_of_losses_can_be_named():
    public = [getattr(explainers, name) for name in explainers.__all__]
    kinds = {
        kind.__name__
        for kind in public
        if isinstance(kind, type)
        and issubclass(kind, (explainers.Explainer, RowScore))
        and not inspect.isabstract(kind)
    }
    # it explains another quantity than the loss
    assert kinds - {"TargetInfluence"} == set(METHODS)


def test_the_method_that_fails_is_named():
    rows = line()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        removal(Neighbour(), ["BoostIn"], *rows)
    assert any("'BoostIn'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("measure", "given"),
    [
        (faithfulness, {"n_groups": 2}),
        (faithfulness, {"references": ["LOO"]}),
        (stability, {"n_seeds": 1}),
        (cost, {"n_repeats": 0}),
        (fixing, {"scores": ["own"]}),
        (fixing, {"noise_share": 0.001}),
        (fixing, {"noise_of_labels": "some"}),
        (fixing, {"noise_of_values": "uniform"}),
        (pruning, {"validation_share": 1.0}),
    ],
)
def test_wrong_parameters_are_refused(measure, given):
    with pytest.raises(ValueError, match=r"Got |makes 0"):
        measure(model(), ["BoostIn"], *table(), n_jobs=1, **given)
