"""Running, resuming, and the pages that quote a run."""

import dataclasses
import json

import pytest

from benchmarks.speed import report, runner
from benchmarks.speed.bench import Bench, Measured
from benchmarks.speed.report import fill_page, to_markdown, write_report
from benchmarks.speed.rows import Curve, Reach, Row
from benchmarks.speed.runner import GROUPS, read_bench, run_bench
from treeinf.evaluation.machine import describe_run
from treeinf.evaluation.timing import Timing

TINY = Bench(n_rows=100, repeats=1, n_jobs=1)


@pytest.fixture
def calls(monkeypatch):
    """Put groups in the place of the real ones that only note that they ran."""
    calls = []

    def make(name):
        def measure(bench):
            calls.append(name)
            row = Row.quicker(
                f"work of {name}",
                Timing([1.0]),
                "SciPy",
                Timing([4.0]),
                3.0,
                must_move=1e9,
                note="by hand",
            )
            slow = dataclasses.replace(row, work="slow", reach=Reach("at least", 5.0))
            curve = Curve(f"line of {name}", "rows", [1, 2, 4], [1.0, 2.0, 4.0], 1.0)
            return Measured([row, slow], [curve])

        return measure

    for name, group in GROUPS.items():
        fake = dataclasses.replace(group, measure=make(name), needs=())
        monkeypatch.setitem(GROUPS, name, fake)
    monkeypatch.setattr(runner, "measure_bandwidth", lambda n_jobs: 1e10)
    return calls


def run(out, **options):
    return run_bench(options.pop("bench", TINY), out, verbose=False, **options)


def test_all_groups_run_in_order_and_are_stored(calls, tmp_path):
    record = run(tmp_path / "new")
    assert calls == list(GROUPS)
    assert read_bench(tmp_path / "new") == json.loads(json.dumps(record))
    assert record["settings"] == {"n_rows": 100, "repeats": 1, "n_jobs": 1}


def test_an_interrupted_run_keeps_what_ended_and_goes_on(calls, tmp_path, monkeypatch):
    def interrupt(bench):
        raise KeyboardInterrupt

    names = list(GROUPS)
    whole = GROUPS[names[2]]
    monkeypatch.setitem(GROUPS, names[2], dataclasses.replace(whole, measure=interrupt))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert list(read_bench(tmp_path)["groups"]) == names[:2]
    monkeypatch.setitem(GROUPS, names[2], whole)
    record = run(tmp_path, resume=True)
    assert calls == names  # none twice
    assert list(record["groups"]) == names


def test_a_failed_group_does_not_stop_the_others_and_runs_again(
    calls, tmp_path, monkeypatch
):
    def fail(bench):
        raise ArithmeticError("differs by  0.1")

    whole = GROUPS["totals"]
    monkeypatch.setitem(GROUPS, "totals", dataclasses.replace(whole, measure=fail))
    record = run(tmp_path, only=["totals", "checks"])
    assert record["groups"]["totals"]["status"] == "failed"
    assert record["groups"]["totals"]["reason"] == "ArithmeticError: differs by 0.1"
    assert record["groups"]["checks"]["status"] == "done"
    assert "Failed: ArithmeticError: differs by 0.1." in to_markdown(record)
    monkeypatch.setitem(GROUPS, "totals", whole)
    assert run(tmp_path, resume=True)["groups"]["totals"]["status"] == "done"


def test_what_lies_there_is_not_replaced_by_accident(calls, tmp_path):
    run(tmp_path, only=["totals", "checks"])
    with pytest.raises(FileExistsError, match=r"bench\.json is there"):
        run(tmp_path)
    run(tmp_path, only=["checks"], force=True)
    assert calls == ["totals", "checks", "checks"]
    assert list(read_bench(tmp_path)["groups"]) == ["totals", "checks"]


def test_settings_and_machines_do_not_mix(calls, tmp_path, monkeypatch):
    run(tmp_path, only=["totals"])
    other = Bench(n_rows=200, repeats=1, n_jobs=1)
    for options in ({"resume": True}, {"force": True, "only": ["checks"]}):
        with pytest.raises(
            ValueError, match=r"n_rows 100; this would be with n_rows 200"
        ):
            run(tmp_path, bench=other, **options)
    monkeypatch.setattr(
        runner, "describe_run", lambda: {**describe_run(), "python": "4.0"}
    )
    with pytest.raises(ValueError, match=r"with python 3\..* with python 4\.0"):
        run(tmp_path, resume=True)
    # all anew: the old ones go
    assert run(tmp_path, bench=other, force=True)["settings"]["n_rows"] == 200


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'gpu'; expected some of routing, totals"):
        run(tmp_path, only=["gpu"])
    with pytest.raises(ValueError, match="n_rows=0"):
        Bench(n_rows=0)


def test_a_group_without_its_library_says_so(calls, tmp_path, monkeypatch):
    needs = dataclasses.replace(GROUPS["catboost"], needs=("no_such_library",))
    monkeypatch.setitem(GROUPS, "catboost", needs)
    record = run(tmp_path, only=["catboost"])
    assert record["groups"]["catboost"]["status"] == "not installed"
    assert "Not installed: no_such_library: not installed." in to_markdown(record)
    assert not calls


def test_every_part_of_the_table_stands_in_the_markdown(calls, tmp_path):
    record = run(tmp_path, only=["totals"])
    text = to_markdown(record)
    for group in GROUPS.values():
        assert f"## {group.title}\n" in text
    assert text.count("Not measured in this run.") == len(GROUPS) - 1
    assert "| work of totals | 4 x quicker | at least 3 | 1 s | SciPy, 4 s |" in text
    assert "0.1 s, 10.0 x" in text  # 1e9 bytes at 1e10 a second
    assert "- work of totals, slow: by hand." in text


def test_targets_are_judged_at_full_size_only(calls, tmp_path):
    small = to_markdown(run(tmp_path / "small", only=["totals"]))
    assert "reached" not in small.replace("to be reached", "")
    full = dataclasses.replace(TINY, n_rows=500_000)
    text = to_markdown(run(tmp_path / "full", bench=full, only=["totals"]))
    assert "at least 3: reached" in text
    assert "at least 5: **missed**" in text


def test_the_report_draws_growth_where_it_can(calls, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    run(tmp_path, only=["growth"])
    written = write_report(tmp_path)
    assert "line of growth (1.00)" in written["growth"].read_text()
    assert "growth.svg" in written["markdown"].read_text()
    written["growth"].unlink()
    monkeypatch.setattr(report, "is_installed", lambda name: False)
    assert list(write_report(tmp_path)) == ["markdown"]
    assert "growth.svg" not in written["markdown"].read_text()


def test_pages_take_their_figures_from_a_run(calls, tmp_path):
    record = run(tmp_path, only=["totals", "checks"])
    page = tmp_path / "page.md"
    page.write_text(
        "Words.\n\n<!-- bench -->\nformer figures\n<!-- /bench -->\n\nMore.\n\n"
        "<!-- bench totals checks -->\n<!-- /bench -->\nend\n"
    )
    text = fill_page(page, record)
    assert "former" not in text
    assert text.startswith("Words.\n\n<!-- bench -->\n\n")
    assert text.endswith("<!-- /bench -->\nend\n")
    assert text.index("work of totals") < text.index("work of checks")
    page.write_text(text)
    assert fill_page(page, record) == text
