"""The page in a real browser: Debian's Chromium, steered by playwright."""

import csv
import shutil

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed"
)

from treeinf.reports import write_cleaning_report  # noqa: E402

from .test_cleaning_report import NASTY, make_cleaner  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield one
        one.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Write the report of forty cleaned rows, some with awkward texts."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    cleaner = make_cleaner(n_rows=120, n_removed=40)
    cleaner.removed_["label"] = ["no" if i % 4 else NASTY for i in range(40)]
    cleaner.removed_["suggestion"] = [None if i % 10 == 0 else "yes" for i in range(40)]
    write_cleaning_report(
        path,
        cleaner,
        title="Cleaning of t.csv",
        values=(
            ["age", "note"],
            [[str(90 - i), 'said "a, b"\nand left'] for i in range(40)],
        ),
        is_noisy=np.arange(120) < 20,
        X=np.random.default_rng(0).normal(size=(120, 3)),
    )
    return path.as_uri()


@pytest.fixture
def open_page(browser, address):
    """Open the page and fail on anything that it complains of or asks the network."""
    contexts, complaints = [], []

    def call(width=1400, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "data:", "blob:"))
                else complaints.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield call
    for context in contexts:
        context.close()
    assert complaints == []


def read_column(page, name):
    """Read a column of the rows that are shown."""
    return page.evaluate(
        """(name) => {
          const heads = [...document.querySelectorAll('#rows th')];
          const place = heads.findIndex((head) => head.textContent.trim() === name);
          return [...document.querySelectorAll('#rows tbody tr')]
            .filter((row) => row.offsetParent !== null)
            .map((row) => row.cells[place].textContent.trim());
        }""",
        name,
    )


def export(page):
    with page.expect_download() as found:
        page.click("#export")
    with open(found.value.path(), encoding="utf-8", newline="") as file:
        return found.value.suggested_filename, list(csv.DictReader(file))


def test_sorts_numbers_both_ways_and_texts(open_page):
    page = open_page()
    before = [float(value) for value in read_column(page, "score")]
    assert before == sorted(before, reverse=True)
    page.click("#rows th button:text-is('score')")
    assert [float(v) for v in read_column(page, "score")] == sorted(before)
    page.click("#rows th button:text-is('score')")
    assert [float(v) for v in read_column(page, "score")] == before
    page.click("#rows th button:text-is('age')")
    ages = [int(value) for value in read_column(page, "age")]
    assert ages == sorted(ages)
    assert page.get_attribute("#rows th:has(button:text-is('age'))", "aria-sort") == (
        "ascending"
    )


def test_searches_and_filters_together(open_page):
    page = open_page()
    assert "40 rows" in page.inner_text("#count")
    page.fill("#search", "ROW 1")
    rows = read_column(page, "row")
    assert 0 < len(rows) < 40
    assert all("row 1" in row for row in rows)
    page.fill("#search", "")
    page.select_option("label:has-text('label') select", label="no")
    assert set(read_column(page, "label")) == {"no"}
    assert len(read_column(page, "label")) == 30
    page.select_option("label:has-text('suggestion') select", label="(none)")
    assert set(read_column(page, "suggestion")) == {""}
    assert page.inner_text("#count").startswith("2 of 40 rows")
    page.select_option("label:has-text('label') select", label="all")
    page.select_option("label:has-text('suggestion') select", label="all")
    assert len(read_column(page, "row")) == 40


def test_exports_what_is_shown_or_ticked_in_the_order_shown(open_page):
    page = open_page()
    page.click("#rows th button:text-is('age')")
    page.fill("#search", "row 1")
    name, rows = export(page)
    assert name == "rows.csv"
    assert [row["row"] for row in rows] == read_column(page, "row")
    assert {row["note"] for row in rows} == {'said "a, b"\nand left'}
    # scores are exported in full, not as shown
    assert max(len(row["score"]) for row in rows) > 10
    page.fill("#search", "")
    page.check("#rows tbody tr:nth-child(3) input")
    page.check("#rows tbody tr:nth-child(7) input")
    assert page.inner_text("#count").endswith("2 ticked")
    names = read_column(page, "row")
    _, rows = export(page)
    assert [row["row"] for row in rows] == [names[2], names[6]]
    assert {row["label"] for row in rows} <= {"no", NASTY}
    page.check("#tick-all")
    assert len(export(page)[1]) == 40


FORMULAS = [
    ("=1+1", True), ("+a", True), ("-a", True), ("@a", True), ('"=1', True),
    ("\uff1d1", True), ("-1.5", False), ("-1,5", False), ("a=1", False), ("+5%", False),
]  # fmt: skip


def test_exports_no_formulas_unless_asked(browser, tmp_path):
    path = tmp_path / "report.html"
    texts = [text for text, _ in FORMULAS]
    write_cleaning_report(
        path,
        make_cleaner(n_rows=30, n_removed=len(texts)),
        values=(["=note"], [[text] for text in texts]),
    )
    page = browser.new_page(accept_downloads=True)
    page.goto(path.as_uri())
    expected = ["'" + text if is_run else text for text, is_run in FORMULAS]
    assert [row["'=note"] for row in export(page)[1]] == expected
    page.uncheck("#escape")
    assert [row["=note"] for row in export(page)[1]] == texts
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_fits_narrow_and_wide_pages_in_light_and_dark(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for picture in page.query_selector_all("figure svg"):
        box = picture.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] > 100
    # text on its ground: the contrast that WCAG asks of small text
    colors = page.evaluate(
        """() => [...document.querySelectorAll('p, td, dd, h2, .card span')]
          .map((part) => {
            let ground = part;
            while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') {
              ground = ground.parentElement;
            }
            return [getComputedStyle(part).color,
                    getComputedStyle(ground).backgroundColor].join(';');
          })"""
    )
    for pair in set(colors):
        assert contrast(*pair.split(";")) >= 4.5, pair


def contrast(one, other):
    """Compute the contrast ratio of WCAG 2.1 of two colours ``rgb(r, g, b)``."""
    lights = []
    for color in (one, other):
        parts = color[color.index("(") + 1 : -1].split(",")[:3]
        levels = np.array([int(part) for part in parts]) / 255.0
        linear = np.where(
            levels <= 0.03928, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4
        )
        lights.append(linear @ [0.2126, 0.7152, 0.0722])
    low, high = sorted(lights)
    return (high + 0.05) / (low + 0.05)


def test_a_table_of_many_rows_opens_fast_and_says_that_it_is_cut(browser, tmp_path):
    cleaner = make_cleaner(n_rows=110_000, n_removed=100_000)
    path = tmp_path / "report.html"
    values = (["a", "b"], [["1.25", "text"]] * 100_000)
    write_cleaning_report(path, cleaner, values=values)
    assert path.stat().st_size < 5_000_000
    page = browser.new_page()
    page.goto(path.as_uri())
    assert "3,000 rows" in page.inner_text("#count").replace("3000", "3,000")
    shown = "The 3,000 of 100,000 rows with the highest scores"
    assert shown in page.inner_text("main")
    page.fill("#search", "row 99")
    assert "of 3000 rows" in page.inner_text("#count")
    page.close()


def test_contrast_is_that_of_wcag():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21.0)
