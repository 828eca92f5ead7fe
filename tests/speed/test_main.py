"""`python -m benchmarks.speed`: measure, print, resume."""

import pytest

from benchmarks.speed import __main__ as command
from benchmarks.speed import runner
from benchmarks.speed.runner import read_bench

TINY = ("--rows", "500", "--repeats", "1", "--n-jobs", "1")


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


def test_measures_prints_and_stores(tmp_path, capsys):
    pytest.importorskip("lightgbm")
    out = tmp_path / "bench"
    assert run(*TINY, "--only", "latency", "--out", out) == 0
    assert "bench.md" in capsys.readouterr().out
    text = (out / "bench.md").read_text()
    assert "One row at a time" in text
    assert "explain of one row" in text
    assert run(*TINY, "--out", out) == 1
    assert "--resume" in capsys.readouterr().err
    assert run(*TINY, "--only", "latency,", "--out", out, "--resume") == 0
    assert read_bench(out)["groups"]["latency"]["status"] == "done"


def test_quick_is_a_small_run(tmp_path, monkeypatch):
    benches = []

    def note(bench, out, **_):
        benches.append(bench)
        raise ValueError("there is nothing to report on")

    monkeypatch.setattr(command, "run_bench", note)
    assert run("--quick", "--out", tmp_path) == 2
    sizes = [(bench.n_rows, bench.repeats, bench.n_jobs) for bench in benches]
    assert sizes == [(20_000, 3, 2)]


def test_an_interrupt_tells_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_run_group", interrupt)
    assert run(*TINY, "--out", tmp_path, "--quiet") == 130
    assert "--resume" in capsys.readouterr().err


def test_a_failed_group_ends_in_an_exit_code(tmp_path, monkeypatch, capsys):
    failed = {"status": "failed", "reason": "why", "rows": [], "curves": []}
    monkeypatch.setattr(runner, "_run_group", lambda *_: failed)
    assert run(*TINY, "--only", "trex", "--out", tmp_path) == 1
    assert "Trex: failed: why" in capsys.readouterr().out


def test_unknown_groups_are_refused(tmp_path, capsys):
    assert run("--only", "gpu", "--out", tmp_path) == 2
    assert "'gpu'; expected some of routing" in capsys.readouterr().err
