"""The report of a cleaning: whole, escaped, and without any network."""

import dataclasses
import html
import html.parser
import re
import shutil
import subprocess
import types

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from treeinf.cleaning import Alternative, CleaningReport, Comparison
from treeinf.reports import (
    ComparisonLine,
    ReportTable,
    render_cleaning,
    write_cleaning_report,
)

NASTY = "<script>alert('x')</script> & \"quoted\" $x_{"


def make_cleaner(n_rows=60, n_removed=7, **changes):
    """Make what the report reads of a fitted cleaner."""
    rng = np.random.default_rng(0)
    scores = rng.random(n_rows)
    scores[-3:] = np.nan
    order = np.argsort(-np.nan_to_num(scores))[:n_removed]
    comparison = Comparison(
        50, "log loss", 0.5, 0.4, 0.1, 0.05, 0.15, 0.9, "accuracy", 0.8, 0.85
    )
    report = CleaningReport(
        headline="Removed 7 of 60 rows: accuracy 0.800 -> 0.850.",
        acted=n_removed > 0,
        action="drop",
        method="boostin",
        task="binary",
        n_train=n_rows,
        n_scored=n_rows - 3,
        n_removed=n_removed,
        share=n_removed / (n_rows - 3),
        chosen_share=n_removed / (n_rows - 3),
        noise_rate=0.12,
        noise_rate_low=0.08,
        noise_rate_high=0.17,
        choice=comparison,
        guard=comparison,
        primary=dataclasses.replace(comparison, metric="AUC"),
        alternatives=tuple(
            Alternative(key, name, comparison, comparison, comparison)
            for key, name in (
                ("all", "all rows"),
                ("cleaned", "cleaned"),
                ("random", "as many at random"),
                ("appended", "clean rows appended"),
            )
        ),
        verdict="helped",
        seconds={"train": 1.0, "total": 2.5},
        n_fits=11,
        settings={"amount": "auto", "estimator_parameters": {"num_leaves": 31}},
        versions={"python": "3", "treeinf": "0"},
        random_state=0,
        notes=("A note.",),
    )
    history = [
        {
            "share": share,
            "gain": gain,
            "gain_low": gain - 0.01,
            "gain_high": gain + 0.01,
            "random_gain": -gain if share == 0.2 else None,
            "chosen": share == 0.1,
        }
        for share, gain in ((0.0, 0.0), (0.1, 0.02), (0.2, 0.01))
    ]
    removed = {
        "row": [f"row {i}" for i in order],
        "position": order.tolist(),
        "rank": list(range(1, n_removed + 1)),
        "score": scores[order].tolist(),
        "percentile": [99.0] * n_removed,
        "action": ["drop"] * n_removed,
        "label": ["no"] * n_removed,
        "suggestion": ["yes"] * n_removed,
        "opponent_1": list(range(n_removed)),
        "opponent_2": [None] * n_removed,
        "helper_1": [f"helper {i}" for i in range(n_removed)],
        "reason": ["Because."] * n_removed,
    }
    return types.SimpleNamespace(
        report_=dataclasses.replace(report, **changes),
        scores_=scores,
        history_=history,
        removed_=removed,
        suspects_=removed,
        contradictions_={},
    )


class Page(html.parser.HTMLParser):
    """Collect what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    handle_startendtag = handle_starttag


def test_page_says_what_was_done(rng):
    cleaner = make_cleaner()
    text = render_cleaning(
        cleaner,
        title="Cleaning of t.csv",
        values=(["age", "town"], [[str(40 + i), "Bern"] for i in range(7)]),
        comparisons=[ComparisonLine("test rows", 99, "AUC", 0.8, 0.9, 0.1, 0.05, 0.2)],
        tables=[ReportTable("Others", ["what", "score"], [["oracle", "0.95"]])],
        is_noisy=rng.random(60) < 0.2,
        notes=["Said by the caller."],
        X=rng.normal(size=(60, 3)),
    )
    for part in (
        "Cleaning of t.csv",
        cleaner.report_.headline.replace("->", "\u2192"),
        "test rows: 99 rows",
        "+0.0500 to +0.2000",
        "oracle",
        "Said by the caller.",
        "A note.",
        "num_leaves",
        cleaner.removed_["row"][0],
        "Bern",
        "Because.",
        "Known wrong rows found",
        "Gain of each amount",
        "Scores of the train rows",
        "8% to 17%",
        "helper 3",
        "as many at random",
        "+0.1000 (+0.0500 to +0.1500)",
        "AUC",
        "removed at random",
        "Where the cleaned rows lie",
    ):
        assert part in text, part


def test_page_loads_nothing_and_has_each_id_once():
    page = Page(render_cleaning(make_cleaner(), is_noisy=np.arange(60) < 9))
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 3


def test_everything_is_escaped():
    cleaner = make_cleaner(headline=NASTY, notes=(NASTY,), settings={NASTY: NASTY})
    cleaner.removed_["label"] = [NASTY] * 7
    cleaner.removed_["reason"] = [NASTY] * 7
    text = render_cleaning(
        cleaner,
        title=NASTY,
        values=([NASTY], [[NASTY]] * 7),
        comparisons=[ComparisonLine(NASTY, 9, NASTY, 0.8, 0.9, 0.1)],
        tables=[ReportTable(NASTY, [NASTY], [[NASTY]], NASTY)],
        notes=[NASTY],
    )
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "<script>alert" not in text


def test_the_same_cleaning_gives_the_same_bytes():
    assert render_cleaning(make_cleaner()) == render_cleaning(make_cleaner())


@pytest.mark.parametrize(
    ("action", "actions", "title"),
    [
        ("drop", ["drop"], "Removed rows"),
        ("relabel", ["relabel"], "Relabelled rows"),
        ("relabel", ["relabel", "drop"], "Relabelled and removed rows"),
        ("relabel", ["drop"], "Removed rows"),
        ("downweight", ["downweight"], "Down-weighted rows"),
    ],
)
def test_the_heading_says_what_was_done_with_the_rows(action, actions, title):
    cleaner = make_cleaner(action=action)
    cleaner.removed_["action"] = (actions * 7)[:7]
    text = render_cleaning(cleaner)
    assert f">{title}</h2>" in text
    assert f"{title.lower()} (" in text
    # which of the two it was stands in each line, where that is a question
    assert ("<td>drop</td>" in text) == (len(actions) == 2)


@pytest.mark.parametrize(
    ("low", "said"),
    [
        (0.08, ["12%", "of the labels look wrong (8% to 17%)"]),
        (0.0, ["17%", "of the labels look wrong at most, perhaps none"]),
    ],
)
def test_a_share_that_may_be_0_is_an_upper_end(low, said):
    cleaner = make_cleaner(noise_rate_low=low)
    text = render_cleaning(cleaner)
    assert all(part in text for part in said)
    assert ("at most 17.0%" in cleaner.report_.noise_rate_text) == (not low)


def test_a_cleaning_that_kept_all_rows_is_reported():
    text = render_cleaning(make_cleaner(n_removed=0, verdict="not beyond noise"))
    assert '<table id="rows">' not in text
    assert "no row was cleaned" in text


def test_a_cleaning_that_nothing_judged_is_reported():
    cleaner = make_cleaner(
        choice=None,
        guard=None,
        primary=None,
        alternatives=(),
        noise_rate=None,
    )
    cleaner.history_ = []
    assert "Before and after" not in render_cleaning(cleaner)


def test_long_tables_are_cut_and_say_so():
    cleaner = make_cleaner(n_rows=9_000, n_removed=8_000)
    text = render_cleaning(cleaner)
    assert "The 3,000 of 8,000 rows with the highest scores" in text
    assert text.count("Because.") == 3_000
    wide = render_cleaning(
        make_cleaner(n_rows=9_000, n_removed=8_000),
        values=([f"c{i}" for i in range(100)], [["1"] * 100] * 8_000),
    )
    assert "Only the first 60 of 100 columns" in wide
    assert len(wide) < 5_000_000


def test_long_values_are_shortened_and_kept_for_the_search():
    value = "x" * 500
    text = render_cleaning(make_cleaner(), values=(["note"], [[value]] * 7))
    assert f'title="{value}"' in text


def test_thumbnails_are_data_addresses_only():
    picture = "data:image/png;base64,AAAA"
    assert picture in render_cleaning(make_cleaner(), thumbnails=[picture] * 7)
    with pytest.raises(ValueError, match="data:image/"):
        render_cleaning(make_cleaner(), thumbnails=["http://example.org/x.png"] * 7)


def test_tables_without_numbers_have_no_picture_of_features():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"town": ["Bern"] * 60})
    assert "Where the cleaned rows lie" not in render_cleaning(make_cleaner(), X=X)


def test_files_are_not_overwritten_unless_asked(tmp_path):
    path = tmp_path / "report.html"
    write_cleaning_report(path, make_cleaner())
    assert path.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(FileExistsError):
        write_cleaning_report(path, make_cleaner())
    write_cleaning_report(path, make_cleaner(), overwrite=True, title="Again")
    assert "Again" in path.read_text()


def test_pictures_are_in_the_colours_of_the_page():
    text = render_cleaning(make_cleaner())
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}", drawn)
    assert "var(--helpful)" in drawn


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_sorts_and_searches_in_a_browser(tmp_path):
    """Click and type by a script of the test's own, and read the page it leaves."""
    text = render_cleaning(make_cleaner())
    probe = """<script>
    var said = [];
    window.onerror = function (message) { said.push("error " + message); };
    function column(n) {
      return Array.from(document.querySelectorAll("#rows tbody tr:not([hidden])"))
        .map(function (row) { return row.cells[n + 1].textContent; });
    }
    var button = document.querySelectorAll("#rows th button")[3];
    button.click();
    said.push("up " + column(3));
    button.click();
    said.push("down " + column(3));
    var search = document.getElementById("search");
    search.value = "ROW " + column(0)[2].slice(4);
    search.dispatchEvent(new Event("input"));
    said.push("found " + column(0).length);
    var out = document.createElement("pre");
    out.id = "probe";
    out.textContent = said.join("\\n");
    document.body.appendChild(out);
    </script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", probe))
    result = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="probe">(.*?)</pre>', result.stdout, flags=re.DOTALL)
    assert found, result.stderr[-500:]
    up, down, searched = found[1].splitlines()
    rising = [float(value) for value in up.removeprefix("up ").split(",")]
    falling = [float(value) for value in down.removeprefix("down ").split(",")]
    assert rising == sorted(rising)
    assert falling == rising[::-1]
    assert searched == "found 1"


def test_choices_are_of_classes_and_not_of_measured_numbers():
    cleaner = make_cleaner(n_rows=120, n_removed=40)
    for labels, is_offered in (([i % 2 for i in range(40)], True), (range(40), False)):
        cleaner.removed_["label"] = [float(label) for label in labels]
        page = render_cleaning(cleaner)
        assert ("<label>label <select" in page) == is_offered


@pytest.mark.parametrize(
    ("primary", "is_told"), [("AUC", True), ("R2", False)], ids=["other", "same"]
)
def test_a_score_is_told_once(primary, is_told):
    """R2 with its interval, and the scorer "r2", are the same."""
    cleaner = make_cleaner()
    report = cleaner.report_
    cleaner.report_ = dataclasses.replace(
        report,
        guard=dataclasses.replace(report.guard, metric="r2"),
        alternatives=tuple(
            dataclasses.replace(
                one,
                primary=dataclasses.replace(one.primary, metric=primary),
                guard=dataclasses.replace(one.guard, metric="r2"),
            )
            for one in report.alternatives
        ),
    )
    page = render_cleaning(cleaner)
    assert ("R2 (score reported)" in page) == is_told
    assert ">r2<" not in page


def test_equal_rows_with_different_labels_are_listed():
    cleaner = make_cleaner(n_contradicting=5)
    assert "Equal rows with" not in render_cleaning(cleaner)
    cleaner.contradictions_ = {
        "row": [3, 40, 7, 8, NASTY],
        "position": [3, 40, 7, 8, 9],
        "set": [0, 0, 1, 1, 1],
        "label": ["yes", "no", "no", "no", "yes"],
    }
    text = render_cleaning(cleaner)
    assert "Equal rows with different labels" in text
    assert "5 rows equal others in all columns and have other labels" in text
    assert "3, 40" in text
    assert "no, no, yes" in text
    assert NASTY not in text
