"""Baselines that leave out whole groups: twins with wrong labels, naive repetitions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import treeinf as ti
from tests.explainers.row_sampling.test_out_of_bag import sample_rows
from tests.naive.boosting import NaiveModel
from tests.naive.knn_shapley import worth
from tests.naive.out_of_bag import out_of_bag_step, out_of_bag_sum
from tests.naive.shapley import enumerate_shapley
from treeinf.explainers.baselines import out_of_bag_loss
from treeinf.explainers.baselines.neighbours import InputSim, KNNShapley
from treeinf.explainers.baselines.out_of_bag import OutOfBagProbability
from treeinf.explainers.baselines.out_of_bag_loss import OutOfBagLoss
from treeinf.explainers.baselines.out_of_fold import OutOfFoldLoss
from treeinf.explainers.row_sampling import unseen_trees

LEAVING_OUT = [
    OutOfFoldLoss(n_folds=4, n_jobs=1),
    OutOfBagProbability(n_estimators=60),
    OutOfBagLoss(),
    KNNShapley(n_neighbors=1),
]


class Acquainted(RegressorMixin, BaseEstimator):
    """Predicts 1 for rows whose first column it has met, and 0 for the others."""

    def fit(self, X, y):
        self.met_ = set(X[:, 0].tolist())
        return self

    def predict(self, X):
        return np.array([float(name in self.met_) for name in X[:, 0].tolist()])


def named(groups):
    return np.array([f"machine {number}" for number in groups])


@pytest.mark.parametrize("score", LEAVING_OUT, ids=lambda score: type(score).__name__)
def test_a_twin_does_not_vouch_for_a_wrong_label(score):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    X[:, 0] += np.sign(X[:, 0])
    y = (X[:, 0] > 0).astype(int)
    wrong = rng.choice(80, 6, replace=False)
    y[wrong] = 1 - y[wrong]
    X, y, groups = np.tile(X, (2, 1)), np.tile(y, 2), np.tile(np.arange(80), 2)
    is_wrong = np.isin(groups, wrong)
    model = KNeighborsClassifier(6)
    if isinstance(score, OutOfBagLoss):
        model = RandomForestClassifier(60, random_state=0).fit(X, y)

    def contrast(groups):
        values = clone(score).fit(model, X, y, groups=groups).self_influence().values
        return values[is_wrong].mean() - values[~is_wrong].mean(), values

    grouped, values = contrast(named(groups))
    assert is_wrong[np.argsort(-values)[: is_wrong.sum()]].mean() > 0.8
    alone, _ = contrast(None)
    assert grouped > 1.3 * alone


def test_out_of_fold_copies_have_met_no_row_of_the_group():
    X = np.repeat(np.arange(12.0), 5)[:, np.newaxis]
    y = np.zeros(60)
    score = OutOfFoldLoss(n_folds=3, n_repeats=2, n_jobs=1)
    assert score.fit(Acquainted(), X, y).scores_.max() > 0.0
    score.fit(Acquainted(), X, y, groups=X[:, 0])
    assert_array_equal(score.scores_, np.zeros(60))


@pytest.mark.parametrize("weighted", [False, True])
def test_out_of_bag_probability_equals_a_forest_grown_by_hand(weighted):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    groups = rng.permutation(np.repeat(np.arange(10), 4))
    weight = rng.uniform(0.5, 2.0, 40) if weighted else None
    score = OutOfBagProbability(n_estimators=30, random_state=5)
    score.fit(None, X, y, sample_weight=weight, groups=groups)
    # bootstrap samples are drawn of groups, numbered by their first rows
    order = list(dict.fromkeys(groups.tolist()))
    total, n = np.zeros((40, 2)), np.zeros(40)
    for seed in np.random.RandomState(5).randint(2**31 - 1, size=30):
        drawn = np.random.RandomState(seed).randint(0, 10, 10).tolist()
        count = np.array([drawn.count(order.index(g)) for g in groups.tolist()])
        factor = count * (1.0 if weight is None else weight)
        tree = DecisionTreeClassifier(max_features="sqrt", random_state=seed)
        tree.fit(X, y, sample_weight=factor)
        unseen = count == 0
        total[unseen] += tree.predict_proba(X[unseen])
        n[unseen] += 1
    assert_allclose(score.scores_, 1 - total[np.arange(40), y] / n, rtol=1e-12)


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
def test_trees_that_saw_one_row_of_a_group_have_seen_all(monkeypatch, recipe):
    training, rows = sample_rows(recipe)
    for module in (unseen_trees, out_of_bag_loss):
        monkeypatch.setattr(module, "recover_training", lambda *a, **k: training)
    groups = np.arange(240) % 120
    naive = NaiveModel(training.ensemble)
    leaves = training.ensemble.apply(rows[1]).tolist()
    table = training.bags.table(training.ensemble.n_trees)
    table = [(table[i] + table[(i + 120) % 240]).tolist() for i in range(240)]
    sums = [out_of_bag_sum(naive, *row) for row in zip(leaves, table, strict=True)]
    steps = [
        out_of_bag_step(naive, *row)
        for row in zip(leaves, training.rows.y, table, strict=True)
    ]
    found = ti.out_of_bag(*rows, groups=named(groups))
    assert_allclose(found.raw_score, [score for score, _ in sums], rtol=1e-12)
    assert_array_equal(found.n_trees, [n for _, n in sums])
    assert found.n_trees.mean() < ti.out_of_bag(*rows).n_trees.mean()
    by_step = OutOfBagLoss(kind="step").fit(*rows, groups=groups)
    assert_allclose(by_step.scores_, steps, rtol=1e-11, atol=1e-13)
    by_sum = OutOfBagLoss().fit(*rows, groups=groups)
    assert_array_equal(by_sum.n_trees_, found.n_trees)
    loss = training.ensemble.loss.loss(training.rows.y, found.raw_score)
    assert_array_equal(by_sum.scores_, loss)


@pytest.mark.parametrize("classes", [None, ["u", "v"]])
def test_neighbours_of_the_own_group_take_no_part(classes):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(7, 2))
    y = X[:, 0] if classes is None else np.array(classes)[(X[:, 0] > 0).astype(int)]
    groups = np.array([0, 1, 0, 2, 1, 3, 0])
    model = DecisionTreeRegressor() if classes is None else DecisionTreeClassifier()
    explainer = KNNShapley(n_neighbors=2).fit(model, X, y, groups=groups)
    place = ((X - X.mean(axis=0)) / X.std(axis=0)).tolist()
    target = y - y.mean() if classes is None else y
    weight = np.linspace(0.5, 2.0, 7)

    def values(players, row):
        game = worth(
            [place[i] for i in players],
            [target[i] for i in players],
            place[row],
            target[row],
            2,
            classes is not None,
        )
        return dict(zip(players, enumerate_shapley(game, len(players)), strict=True))

    desired, own = np.zeros((7, 7)), np.zeros(7)
    for row in range(7):
        others = np.flatnonzero(groups != groups[row]).tolist()
        for player, value in values(others, row).items():
            desired[player, row] = value
        own[row] = values(sorted([*others, row]), row)[row]
    influence = explainer.explain(X, y, exclude_self=True)
    assert_allclose(influence, desired, rtol=1e-10, atol=1e-13)
    assert_allclose(explainer.self_influence(), own, rtol=1e-10, atol=1e-13)
    weighted = explainer.total(X, y, sample_weight=weight, exclude_self=True)
    assert_allclose(weighted, desired @ weight, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("batch_size", [3, 100])
@pytest.mark.parametrize("kind", [InputSim, KNNShapley])
def test_excluded_groups_are_left_out_of_totals_and_ranks(kind, batch_size):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(20, 3)), rng.integers(2, size=20)
    groups = rng.integers(6, size=20)
    explainer = kind(batch_size=batch_size).fit(None, X, y, groups=groups)
    influence = explainer.explain(X, y, exclude_self=True).values
    is_own = np.equal.outer(groups, groups)
    assert (influence[is_own] == 0.0).all()
    total = explainer.total(X, y, exclude_self=True)
    assert_allclose(total, influence.sum(axis=1), atol=1e-13)
    ranked = explainer.top_k(X, y, k=17, exclude_self=True)
    for row in range(20):
        others = np.flatnonzero(~is_own[row])
        order = others[np.argsort(-np.abs(influence[others, row]), kind="stable")][:17]
        found = ranked.positions[row]
        assert_array_equal(found[: len(order)], order)
        assert (found[len(order) :] == -1).all()
    # without groups, only the row itself
    alone = kind().fit(None, X, y).explain(X, y, exclude_self=True).values
    assert (alone[is_own & ~np.eye(20, dtype=bool)] != 0.0).any()


def test_groups_that_cannot_be_left_out_are_refused():
    X, y = np.arange(24.0).reshape(-1, 1), np.arange(24) % 2
    model = DecisionTreeClassifier()
    forest = RandomForestClassifier(4, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="Loss scores rows by a model that has seen"):
        ti.Loss().fit(forest, X, y, groups=y)
    with pytest.raises(ValueError, match="groups has 2 values; expected at least n_fo"):
        OutOfFoldLoss(n_folds=3).fit(model, X, y, groups=y)
    with pytest.raises(ValueError, match="one value in all rows"):
        OutOfFoldLoss().fit(model, X, y, groups=np.zeros(24))
    with pytest.raises(ValueError, match="groups has 7 values, X has 24 rows"):
        KNNShapley().fit(model, X, y, groups=np.arange(7))
    with pytest.raises(ValueError, match="groups is missing"):
        OutOfBagProbability().fit(None, X, y, groups=[None, *y[1:]])
    with pytest.raises(ValueError, match="or another of its group; its 4 trees"):
        OutOfBagLoss().fit(forest, X, y, groups=np.arange(24) // 12)
