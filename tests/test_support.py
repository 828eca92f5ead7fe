"""The README's table of what is read how exactly, and that of leaf values, are true.

    TREEINF_WRITE_TABLES=1 python -m pytest tests/test_support.py

writes both anew.
"""

import os
import re
from pathlib import Path

import pytest

from tests import support

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
REPRODUCTION = ROOT / "docs" / "reproduction.md"


@pytest.fixture(scope="module")
def measured():
    for family in support.FITTERS:
        if not support.is_installed(family):
            pytest.skip(f"{family} is not installed")
    return {
        (family, task, feature): support.measure(family, task, feature)
        for family in support.FITTERS
        for feature in support.FEATURES
        for task in support.TASKS
    }


def between(text, name):
    """The part of a text between its marks."""
    pattern = f"<!-- {name} -->\n(.*?)<!-- end of {name} -->"
    found = re.search(pattern, text, re.DOTALL)
    assert found, f"no marks for {name}"
    return found


def check_or_write(path, name, table):
    text = path.read_text(encoding="utf-8")
    found = between(text, name)
    if os.environ.get("TREEINF_WRITE_TABLES"):
        path.write_text(
            text[: found.start(1)] + table + "\n" + text[found.end(1) :],
            encoding="utf-8",
        )
        return None
    return found.group(1).strip()


def test_the_readme_says_how_exactly_each_model_is_read(measured):
    table = support.make_support_table(measured)
    shown = check_or_write(README, "what is read", table)
    assert shown in (None, table)


def test_leaf_values_are_reproduced_as_well_as_the_table_says(measured):
    table = support.make_reproduction_table()
    shown = check_or_write(REPRODUCTION, "leaf values", table)
    if shown is None:
        return
    lines, desired = shown.splitlines(), table.splitlines()
    assert len(lines) == len(desired)
    for ours, theirs in zip(lines, desired, strict=True):
        *names, written = ours.strip("|").split("|")
        *same, found = theirs.strip("|").split("|")
        assert names == same
        if re.search(r"\de", written):
            # other versions and processors round elsewhere: the order of size stays
            assert float(found) <= 30 * max(float(written), 1e-15), ours
