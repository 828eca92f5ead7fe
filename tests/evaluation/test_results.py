"""The committed results: what the pages say is what the files hold."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from treeinf.evaluation import MEASURES, rank_table

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def lines_of_tables(text):
    """Give the lines of tables, but their heads' rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines
    return lines


def test_tables_of_the_page_are_those_of_the_results():
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    known = set()
    for name in ("evaluation.md", "removal.md"):
        known |= set((RESULTS / name).read_text(encoding="utf-8").splitlines())
    assert [line for line in lines_of_tables(page) if line not in known] == []


def test_the_removal_table_follows_from_its_cells():
    result = json.loads((RESULTS / "removal.json").read_text(encoding="utf-8"))
    text = (RESULTS / "removal.md").read_text(encoding="utf-8")
    for library, averages in result["averages"].items():
        section = text.partition(f"## {library}: methods")[2].partition("##")[0]
        shown = {
            line.split(" | ")[0].removeprefix("| "): line.split(" | ")
            for line in lines_of_tables(section)[1:]
        }
        assert shown.keys() == averages.keys()
        cells = [cell for cell in result["cells"] if cell["library"] == library]
        for method in averages:
            for column, part in enumerate(("validation", "test"), 3):
                of_set = {}
                for cell in cells:
                    figures = [
                        line[part]
                        for name, line in cell["methods"].items()
                        if name == method
                        or (name.startswith(f"{method} ") and method == "Random")
                    ]
                    if figures:
                        of_set.setdefault(cell["data"], []).append(np.mean(figures))
                mean = 100.0 * np.mean([np.mean(values) for values in of_set.values()])
                told = float(shown[method][column].partition(" ")[0])
                assert told == pytest.approx(mean, abs=0.06)


def test_tables_of_the_readme_are_those_of_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"<!-- evaluation .*? -->\n(.*?)<!-- /evaluation -->", text, re.DOTALL
    )
    if not blocks:
        pytest.skip("the README shows no table of the evaluation")
    known = set((RESULTS / "evaluation.md").read_text(encoding="utf-8").splitlines())
    tables = lines_of_tables("\n".join(blocks))
    assert [line for line in tables if line not in known] == []


@pytest.mark.parametrize("measure", ["removal", "removal_set", "faithfulness"])
def test_ranks_follow_from_the_figures(measure):
    how = MEASURES[measure]
    kept = pd.read_parquet(RESULTS / "evaluation.parquet")
    kept = kept[kept["measure"] == measure]
    for column, value in how.keep.items():
        kept = kept[kept[column] == value]
    keys = ["data", "library", "seed", "method"]
    figures = kept.groupby(keys, sort=False)[how.figure].mean().rename("figure")
    ranking = rank_table(figures.reset_index(), higher_is_better=how.higher_is_better)
    assert ranking.n_data >= 12
    text = (RESULTS / "evaluation.md").read_text(encoding="utf-8")
    section = text.partition(f"### {measure}: All libraries")[2].partition("###")[0]
    told = {
        line.split(" | ")[0].removeprefix("| "): float(line.split(" | ")[1])
        for line in lines_of_tables(section)[1:]
    }
    for line in ranking.lines.itertuples():
        # figures are kept in float32, in which two may tie
        assert told[line.method] == pytest.approx(line.rank, abs=0.03)


def test_committed_files_are_small():
    sizes = {path.name: path.stat().st_size for path in RESULTS.glob("evaluation*")}
    assert {"evaluation.md", "evaluation.parquet"} <= set(sizes)
    assert max(sizes.values()) < 1_000_000
