"""The speed table: what treeinf's work takes, beside what its peers take."""

from treeinf.speed.bench import Bench
from treeinf.speed.report import to_markdown, write_report
from treeinf.speed.runner import GROUPS, read_bench, run_bench

__all__ = [
    "GROUPS",
    "Bench",
    "read_bench",
    "run_bench",
    "to_markdown",
    "write_report",
]
