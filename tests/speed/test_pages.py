"""Pages quote the committed speed run, and nothing else."""

from pathlib import Path

import pytest

from benchmarks.speed.report import fill_page
from benchmarks.speed.runner import FILE, GROUPS, read_bench

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "bench"
PAGES = ("docs/speed.md", "benchmarks/README.md", "README.md")


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_committed_run(page):
    if not (RESULT / FILE).exists():
        pytest.skip("no run is committed")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill_page(ROOT / page, read_bench(RESULT)) == text, (
        "run python benchmarks/fill_pages.py"
    )


def test_the_page_on_speed_has_a_place_for_every_group():
    text = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    for name in GROUPS:
        assert f"<!-- bench {name} -->" in text
