"""`treeinf bench`: measure, print, resume."""

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("lightgbm")

TINY = ("--rows", 500, "--repeats", 1, "--n-jobs", 1)


def test_measures_prints_and_stores(run, tmp_path):
    out = tmp_path / "bench"
    first = run("bench", *TINY, "--only", "latency", "--out", out)
    assert first.exit_code == 0, first.output
    assert "explain of one row" in " ".join(first.stdout.split())
    assert "bench.md" in first.stdout
    assert "One row at a time" in (out / "bench.md").read_text()
    refused = run("bench", *TINY, "--out", out)
    assert refused.exit_code == 1
    assert "--resume" in refused.stderr
    again = run(
        "bench", *TINY, "--only", "latency,", "--out", out, "--resume", "--json"
    )
    assert again.exit_code == 0, again.output
    result = json.loads(again.stdout)
    assert result["groups"]["latency"]["status"] == "done"
    assert result["files"]["markdown"] == str(out / "bench.md")


def test_quick_is_a_small_run(run, tmp_path, monkeypatch):
    from treeinf import speed

    seen = []
    monkeypatch.setattr(
        speed, "run_bench", lambda bench, out, **_: seen.append(bench) or {}
    )
    # there is nothing to report on
    assert run("bench", "--quick", "--out", tmp_path).exit_code == 1
    run_rows = [(bench.n_rows, bench.repeats, bench.n_jobs) for bench in seen]
    assert run_rows == [(20_000, 3, 2)]


def test_an_interrupt_tells_how_to_go_on(run, tmp_path, monkeypatch):
    from benchmarks.speed import runner

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_run_group", interrupt)
    result = run("bench", *TINY, "--out", tmp_path, "--quiet")
    assert result.exit_code == 130
    assert "--resume" in result.stderr


def test_a_failed_group_ends_in_an_exit_code(run, tmp_path, monkeypatch):
    from benchmarks.speed import runner

    failed = {"status": "failed", "reason": "why", "rows": [], "curves": []}
    monkeypatch.setattr(runner, "_run_group", lambda *_: failed)
    result = run("bench", *TINY, "--only", "trex", "--out", tmp_path)
    assert result.exit_code == 1
    assert "Trex: failed: why" in result.stdout


def test_unknown_groups_are_refused(run, tmp_path):
    result = run("bench", "--only", "gpu", "--out", tmp_path)
    assert result.exit_code == 1
    assert "'gpu'; expected some of routing" in result.stderr
