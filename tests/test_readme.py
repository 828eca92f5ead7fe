"""The README proves itself: its Python runs, and prints what it shows."""

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"

# <!-- no-run --> on the line before a block keeps it from being run.
BLOCK = re.compile(
    r"^(?P<skip><!-- no-run -->\n\s*)?"
    r"^```python\n(?P<code>.*?)^```$"
    r"(?:\s*^```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One Python block and, where one follows directly, the output shown for it."""

    line: int
    code: str
    shown: str | None


def find_blocks(text: str) -> list[Block]:
    """Give the blocks that are to be run, in order."""
    blocks = []
    for match in BLOCK.finditer(text):
        if not match["skip"]:
            line = text.count("\n", 0, match.start("code")) + 1
            blocks.append(Block(line, match["code"], match["shown"]))
    return blocks


def run_blocks(blocks: list[Block], name: str) -> list[tuple[int, str, str | None]]:
    """Run the blocks in one namespace; give each one's line, output, shown output."""
    namespace = {"__name__": "__main__"}
    results = []
    for block in blocks:
        # Empty lines before the code make a traceback show the file's own line numbers.
        source = "\n" * (block.line - 1) + block.code
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, name, "exec"), namespace)
        results.append((block.line, printed.getvalue(), block.shown))
    return results


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?")


def assert_same_output(printed: str, shown: str, where: str) -> None:
    """Compare word for word; numbers may differ by a tenth.

    Other versions of LightGBM, other processors and other numbers of threads grow
    slightly other trees.
    """
    lines = [
        [line.rstrip() for line in text.rstrip().splitlines()]
        for text in (printed, shown)
    ]
    words = [[NUMBER.sub("#", line) for line in text] for text in lines]
    assert words[0] == words[1], where
    numbers = [
        [float(n.replace(",", "")) for line in text for n in NUMBER.findall(line)]
        for text in lines
    ]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.1), where


def test_python_blocks_run_and_print_what_is_shown(tmp_path, monkeypatch):
    assert README.is_file(), f"{README} is missing; it is part of the project"
    blocks = find_blocks(README.read_text(encoding="utf-8"))
    assert blocks, "README.md shows no Python that runs"
    monkeypatch.chdir(tmp_path)
    for line, printed, shown in run_blocks(blocks, str(README)):
        if shown is not None:
            assert_same_output(printed, shown, f"output of README.md line {line}")


EXAMPLE = """\
# Title

```python
x = 1
```

Words.

```python
print(x + 1)
```

```text
2
```

<!-- no-run -->
```python
raise SystemExit
```

<!-- no-run -->

```python
raise SystemExit
```

```python
print("not shown")
```

Words.

```text
something else
```
"""


def test_blocks_are_found_with_their_output():
    blocks = find_blocks(EXAMPLE)
    assert [block.line for block in blocks] == [4, 10, 29]
    assert [block.shown for block in blocks] == [None, "2\n", None]


def test_blocks_share_one_namespace():
    printed = [text for _, text, _ in run_blocks(find_blocks(EXAMPLE), "example")]
    assert printed == ["", "2\n", "not shown\n"]


def test_a_failing_block_names_its_line():
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks([Block(7, "y = 0\n1 / y\n", None)], "example")
    assert caught.traceback[-1].lineno + 1 == 8


def test_output_may_differ_by_a_little_in_numbers_only():
    assert_same_output("50 of 1,000 rows: 0.51 \n", "49 of 1,000 rows: 0.5\n", "here")
    for printed in ("40 of 1,000 rows: 0.5", "50 of 1,000 lines: 0.5", "50 rows"):
        with pytest.raises(AssertionError):
            assert_same_output(printed, "50 of 1,000 rows: 0.5", "here")


def test_the_adult_figures_in_the_readme_are_the_committed_result():
    results = README.parent / "benchmarks" / "results" / "adult_cleaning.json"
    result = json.loads(results.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    run = result["runs"][0]
    for value in (
        f"{run['removed']:,} rows",
        f"{run['precision']:.0%}",
        f"{result['test_before']['auc']:.4f}",
        f"{run['test_after']['auc']:.4f}",
        f"{result['test_true_labels']['auc']:.4f}",
        f"{run['test_random']['auc']:.4f}",
    ):
        assert value in text, value
