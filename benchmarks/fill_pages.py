"""Write tables of committed results into the pages that show them.

    python -m benchmarks.speed --out benchmarks/results/bench --force
    treeinf evaluate report build/evaluation_real --to benchmarks/results/evaluation
    python -m benchmarks.removal --out benchmarks/results/removal
    python benchmarks/fill_pages.py

Pages say where: blocks from `<!-- bench NAME ... -->` to `<!-- /bench -->`, with the
names of groups of `benchmarks.speed`, or none for how it was measured; and from
`<!-- evaluation TITLE -->` to `<!-- /evaluation -->`, with the title of a section of
evaluation.md that has a table, and `| N` after it for its first N lines; likewise
`removal` of removal.md. Numbers between the tables are written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.speed.report import fill_page
from benchmarks.speed.runner import read_bench

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BENCH = RESULTS / "bench"
PAGES = ("README.md", "docs/speed.md", "docs/evaluation.md", "benchmarks/README.md")
BLOCK = re.compile(
    r"(?P<head><!-- (?P<file>evaluation|removal) "
    r"(?P<title>[^|]*?)(?: \| (?P<first>\d+))? -->\n)"
    r".*?(?P<end><!-- /(?P=file) -->)",
    re.DOTALL,
)


def read_tables(text: str) -> dict[str, list[str]]:
    """Give the first table under each heading: its lines, by the heading."""
    tables: dict[str, list[str]] = {}
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found = re.search(r"(?:^\|.*\n)+", body, flags=re.MULTILINE)
        if found:
            tables[title.strip()] = found[0].splitlines()
    return tables


def fill_tables(text: str) -> str:
    """Put tables of results into the blocks of a page."""

    def fill(block: re.Match[str]) -> str:
        path = RESULTS / f"{block['file']}.md"
        tables = read_tables(path.read_text(encoding="utf-8"))
        if block["title"] not in tables:
            raise SystemExit(
                f"{path} has no table {block['title']!r}; it has {', '.join(tables)}."
            )
        lines = tables[block["title"]]
        if block["first"]:
            lines = lines[: 2 + int(block["first"])]
        return "\n".join([block["head"].rstrip(), *lines, block["end"]])

    return BLOCK.sub(fill, text)


def main() -> None:
    record = read_bench(BENCH)
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        text = fill_tables(fill_page(page, record))
        if text != before:
            page.write_text(text, encoding="utf-8")
            print(name)


if __name__ == "__main__":
    main()
