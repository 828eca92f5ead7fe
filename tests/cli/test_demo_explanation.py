"""The demo's explanation of one test row."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("lightgbm")
pytest.importorskip("pandas")
pytest.importorskip("typer")

import lightgbm
import pandas as pd

import treeinf as ti
from treeinf.cli.commands.demo.explanation import (
    Explanation,
    InfluentialRow,
    explain_worst_row,
)
from treeinf.cli.tables.training_data import TrainingData

N_TRAIN = 120


@pytest.fixture(scope="module")
def case():
    """Give a model of labels in words, its rows, others, and which labels are wrong."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc"))
    y = np.where(X["a"] > 0, "yes", "no")
    is_flipped = rng.random(200) < 0.2
    train = TrainingData(
        X[:N_TRAIN],
        np.where(is_flipped, np.where(y == "yes", "no", "yes"), y)[:N_TRAIN],
        None,
        "classification",
        "label",
        ("a", "b", "c"),
        ("no", "yes"),
        (),
    )
    test = dataclasses.replace(
        train, X=X[N_TRAIN:].reset_index(drop=True), y=y[N_TRAIN:]
    )
    model = lightgbm.LGBMClassifier(
        n_estimators=8, min_child_samples=5, verbose=-1, n_jobs=1, random_state=0
    ).fit(train.X, train.y)
    return model, train, test, is_flipped[:N_TRAIN]


def test_the_worst_row_is_explained_by_the_strongest_rows(case):
    model, train, test, is_flipped = case
    found = explain_worst_row(*case, n_jobs=1)
    # plain loops over the rows
    worst, least = -1, np.inf
    for row, (label, pair) in enumerate(
        zip(test.y, model.predict_proba(test.X), strict=True)
    ):
        given = pair[1] if label == "yes" else pair[0]
        if given < least:
            worst, least = row, given
    assert (found.test_row, found.probability) == (worst, least)
    assert found.label == test.y[worst]
    assert found.predicted == found.other == model.predict(test.X)[worst] != found.label
    influence = np.asarray(
        ti.LeafInfluence(n_jobs=1)
        .fit(model, train.X, train.y)
        .explain(test.X.iloc[[worst]], test.y[[worst]])
    )[:, 0]
    for side, sign in ((found.harmful, -1.0), (found.helpful, 1.0)):
        desired = sorted(range(N_TRAIN), key=lambda i: (-sign * influence[i], i))[:5]
        assert [one.row for one in side] == desired
        for one in side:
            assert one.influence == influence[one.row]
            assert one.label == train.y[one.row]
            assert one.is_flipped == is_flipped[one.row]


def test_a_model_without_errors_is_asked_why_it_doubts(case):
    model, train, test, is_flipped = case
    said = model.predict(test.X)
    right = dataclasses.replace(test, y=said)
    found = explain_worst_row(model, train, right, is_flipped, 1)
    assert found.predicted == found.label != found.other
    assert found.probability >= 0.5
    assert "least sure" in found.question
    assert f"towards {found.other}" in found.answer


def test_the_words_count_the_flipped_labels():
    rows = [
        InfluentialRow(3, "even", -0.5, True),
        InfluentialRow(8, "even", -0.25, False),
    ]
    found = Explanation(7, "odd", "even", "even", 0.125, rows, [])
    assert "Test row 7 is odd; the model predicts even (88% sure)" in found.question
    assert "1 of the 2" in found.answer
    assert found.cells[0] == ["even", "3", "even", "-0.5000", "yes"]
    assert found.cells[1][-1] == "no"
    assert found.to_dict()["harmful"][0]["is_flipped"] is True
