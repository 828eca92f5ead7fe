"""The speed table: what treeinf's work takes, beside what its peers take."""

from benchmarks.speed.bench import Bench
from benchmarks.speed.report import to_markdown, write_report
from benchmarks.speed.runner import GROUPS, read_bench, run_bench

__all__ = [
    "GROUPS",
    "Bench",
    "read_bench",
    "run_bench",
    "to_markdown",
    "write_report",
]
