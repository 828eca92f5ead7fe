"""Pictures: axes in, axes out, and what is drawn is what was given."""

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")

from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from treeinf import Influence, plots  # noqa: E402


@pytest.fixture
def ax():
    """Give axes that no pyplot state knows of."""
    return Figure().subplots()


def bars(ax):
    """Read the bars of a chart as a dict from label to length."""
    labels = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(labels, [patch.get_width() for patch in ax.patches], strict=True))


def test_influence_shows_the_ends_of_one_target(ax):
    influence = Influence(
        np.array([[1.0, 9.0], [-2.0, 9.0], [0.0, 9.0], [3.0, 9.0], [-0.5, 9.0]]),
        train_labels=np.array(["a", "b", "c", "d", "e"]),
        test_labels=np.array([70, 71]),
    )
    assert plots.plot_influence(influence, test_row=0, k=1, ax=ax) is ax
    assert bars(ax) == {"d": 3.0, "b": -2.0}
    assert "test row 70" in ax.get_title()


def test_influence_sums_over_targets_and_leaves_out_rows_without_influence(ax):
    plots.plot_influence(np.array([[1.0, 1.0], [0.0, 0.0], [-1.0, 0.5]]), ax=ax)
    assert bars(ax) == {"0": 2.0, "2": -0.5}
    assert "2 test rows" in ax.get_title()


def test_influence_draws_by_its_own_method_and_opens_a_figure():
    ax = Influence(np.array([1.0, -1.0])).plot()
    try:
        assert bars(ax) == {"0": 1.0, "1": -1.0}
    finally:
        pyplot.close(ax.figure)


def test_influence_of_nothing_but_zeros_is_an_empty_chart(ax):
    plots.plot_influence(np.zeros(4), ax=ax)
    assert not ax.patches


def test_labels_are_text_and_never_formulas(ax):
    influence = Influence(np.array([1.0, -1.0]), train_labels=np.array(["$x_", "a$b$"]))
    plots.plot_influence(influence, ax=ax)
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (np.ones((3, 2)), {"k": 0}, "k=0"),
        (np.ones((3, 2)), {"test_row": 2}, "2 queries"),
        (np.ones(3), {"test_row": 0}, "all queries"),
        (np.ones(0), {}, "shape"),
    ],
)
def test_influence_refuses(values, arguments, message, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_influence(values, ax=ax, **arguments)


def test_distribution_counts_kept_and_removed_rows(ax):
    scores = np.array([0.0, 0.1, 0.2, 0.9, np.nan])
    plots.plot_score_distribution(scores, [0, 0, 0, 1, 0], bins=10, ax=ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["kept (3)", "cleaned (1)"]


@pytest.mark.parametrize("scores", [[np.nan, np.nan], [1.0], [2.0, 2.0, 2.0]])
def test_distribution_of_little_is_drawn(scores, ax):
    plots.plot_score_distribution(scores, ax=ax)
    ax.figure.canvas.draw()


def test_distribution_refuses_marks_of_another_length(ax):
    with pytest.raises(ValueError, match="removed has shape"):
        plots.plot_score_distribution([1.0, 2.0], [True], ax=ax)


def test_amount_curve_is_in_the_order_of_the_amounts(ax):
    plots.plot_amount_curve(
        [0.2, 0.0, 0.1],
        [3.0, 1.0, 2.0],
        [2.0, 1.0, 1.5],
        [4.0, 1.0, 2.5],
        chosen=0.1,
        others={"random": [0.0, 0.0, -1.0]},
        ax=ax,
    )
    curve = next(line for line in ax.lines if line.get_label() == "by score")
    np.testing.assert_allclose(curve.get_xdata(), [0.0, 10.0, 20.0], rtol=1e-12)
    np.testing.assert_array_equal(curve.get_ydata(), [1.0, 2.0, 3.0])
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        "by score",
        "random",
        "chosen: 10.0%",
    }


def test_amount_curve_refuses_other_lengths(ax):
    with pytest.raises(ValueError, match="amounts has 2"):
        plots.plot_amount_curve([0.0, 0.1], [1.0], ax=ax)


def test_detection_curve_counts_what_was_found(ax):
    scores = {"ours": [0.9, 0.1, 0.8, np.nan], "theirs": [0.0, 1.0, 2.0, 3.0]}
    plots.plot_detection_curve(scores, [True, False, True, False], n_checked=2, ax=ax)
    curves = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(curves["ours"], [0, 50, 100, 100, 100])
    np.testing.assert_array_equal(curves["theirs"], [0, 0, 50, 50, 100])
    np.testing.assert_array_equal(curves["best possible"], [0, 50, 100, 100, 100])
    assert "cleaned: 2 rows" in curves


@pytest.mark.parametrize(
    ("scores", "is_noisy", "message"),
    [([1.0, 2.0], [False, False], "no row"), ([1.0], [True, False], "1 rows")],
)
def test_detection_curve_refuses(scores, is_noisy, message, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_detection_curve(scores, is_noisy, ax=ax)


def test_amount_curve_leaves_out_what_was_not_tried_and_draws_levels(ax):
    plots.plot_amount_curve(
        [0.0, 0.1, 0.2],
        [0.0, 1.0, 2.0],
        others={"random": [0.0, np.nan, -1.0]},
        levels={"clean rows appended": 0.7},
        ax=ax,
    )
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["random"].get_xdata(), [0.0, 20.0], rtol=1e-12)
    assert set(lines["clean rows appended"].get_ydata()) == {0.7}


def test_removal_curve_draws_means_in_order_with_a_band(ax):
    scores = {"by score": [[0.9, 0.7, 0.8], [0.7, 0.7, 0.8]], "random": [0.6, 0.7, 0.5]}
    assert plots.plot_removal_curve([0.2, 0.0, 0.1], scores, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["by score"].get_xdata(), [0, 10, 20], rtol=1e-12)
    np.testing.assert_allclose(lines["by score"].get_ydata(), [0.7, 0.8, 0.8])
    np.testing.assert_array_equal(lines["random"].get_ydata(), [0.7, 0.5, 0.6])
    # of two values a band of one standard error reaches both
    assert len(ax.collections) == 1
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.7, 0.9))


@pytest.mark.parametrize(
    ("scores", "message"), [({}, "empty"), ({"a": [1.0]}, r"shape \(1,\)")]
)
def test_removal_curve_refuses(scores, message, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_removal_curve([0.0, 0.1], scores, ax=ax)


def test_heat_map_shows_the_largest_rows_in_order(ax):
    values = np.array([[0.0, 0.1], [-3.0, -1.0], [5.0, 2.0], [0.2, 0.1]])
    influence = Influence(
        values, train_labels=np.array(list("abcd")), test_labels=np.array([7, 8])
    )
    plots.plot_heat_map(influence, n_train=3, ax=ax)
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_array_equal(shown, [[5.0, 2.0], [0.2, 0.1], [-3.0, -1.0]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["c", "d", "b"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["7", "8"]
    low, high = ax.images[0].get_clim()
    assert low == -high < 0
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (np.ones(3), {}, r"\(n_train, n_test\)"),
        (np.ones((2, 2)), {"n_test": 0}, "n_test=0"),
        (np.ones((2, 2)), {"n_train": 1.5}, r"n_train=1\.5"),
    ],
)
def test_heat_map_refuses(values, arguments, message, ax):
    with pytest.raises((ValueError, TypeError), match=message):
        plots.plot_heat_map(values, ax=ax, **arguments)


def test_heat_map_of_zeros_is_drawn(ax):
    plots.plot_heat_map(np.zeros((3, 2)), ax=ax)
    ax.figure.canvas.draw()


def test_long_labels_leave_room_for_the_picture(ax):
    influence = Influence(np.array([1.0]), train_labels=np.array(["x$" * 40]))
    plots.plot_influence(influence, ax=ax)
    [label] = [text.get_text() for text in ax.get_yticklabels()]
    assert label == r"x\$" * 10 + "x..."


@pytest.fixture
def table(rng):
    pd = pytest.importorskip("pandas")
    removed = np.arange(200) < 40
    return removed, pd.DataFrame(
        {
            "same": rng.normal(size=200),
            "shifted": rng.normal(size=200) + 3.0 * removed,
            "town": np.where(removed, "Bern", rng.choice(["Bern", "Chur"], 200)),
            "gaps": np.where(rng.random(200) < 0.5, np.nan, 1.0),
        }
    )


def test_features_that_differ_most_come_first(table, ax):
    removed, X = table
    plots.plot_features(X, removed, k=2, ax=ax)
    names = [text.get_text().split(" ")[0] for text in ax.get_yticklabels()]
    assert names == ["shifted", "same"]
    middles = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    # nearly all removed rows are above nearly all kept ones
    assert middles[0] > 95
    assert 20 < middles[1] < 80


def test_one_feature_is_drawn_as_shares(table, ax):
    removed, X = table
    plots.plot_features(X, removed, "town", ax=ax)
    heights = [patch.get_height() for patch in ax.patches]
    assert heights[2:] == [100.0, 0.0]
    assert sum(heights[:2]) == pytest.approx(100.0)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["kept (160)", "cleaned (40)"]


@pytest.mark.parametrize("feature", ["shifted", 1, -1])
def test_one_numeric_feature_is_a_histogram(table, feature, ax):
    removed, X = table
    plots.plot_features(X, removed, feature, ax=ax)
    heights = np.array([patch.get_height() for patch in ax.patches])
    assert heights.sum() == pytest.approx(200.0)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", ["nullable", "polars", "pyarrow"])
def test_numbers_of_every_kind_of_frame_are_numbers(table, kind, ax):
    removed, X = table
    X = X.assign(whole=np.arange(200), flag=removed)
    X.loc[::3, "gaps"] = np.nan
    plots.plot_features(X, removed, ax=ax)
    desired = [text.get_text() for text in ax.get_yticklabels()]
    assert len(desired) == 5
    if kind == "nullable":
        X = X.convert_dtypes()
    else:
        polars = pytest.importorskip("polars")
        pytest.importorskip("pyarrow")
        X = polars.from_pandas(X)
        X = X.to_arrow() if kind == "pyarrow" else X
    ax.clear()
    plots.plot_features(X, removed, ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == desired


def test_features_of_arrays_have_numbers(rng, ax):
    plots.plot_features(rng.normal(size=(50, 3)), np.arange(50) < 9, ax=ax)
    assert len(ax.get_yticklabels()) == 3
    assert ax.get_yticklabels()[0].get_text().startswith("feature ")


@pytest.mark.parametrize(
    ("removed", "arguments", "message"),
    [
        (np.zeros(200, bool), {}, "all rows or none"),
        (np.ones(3, bool), {}, "X has 200 rows"),
        (None, {"feature": "none"}, "feature='none'"),
        (None, {"feature": 9}, "feature=9"),
        (None, {"k": 0}, "k=0"),
    ],
)
def test_features_refuse(table, removed, arguments, message, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_features(
            table[1], table[0] if removed is None else removed, ax=ax, **arguments
        )
    with pytest.raises(ValueError, match="no numeric column"):
        plots.plot_features(table[1][["town"]], table[0], ax=ax)
