"""Suites: plans, runs that are killed and resumed, ranks, reports."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from treeinf.datasets import Dataset
from treeinf.evaluation import (
    MEASURES,
    Suite,
    critical_difference,
    rank_run,
    rank_table,
    read_outcomes,
    read_results,
    read_suite,
    run_suite,
)
from treeinf.evaluation.cells import CellStore
from treeinf.evaluation.rows import draw_rows
from treeinf.explainers import BoostIn

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parents[2]
SUITES = ROOT / "benchmarks" / "suites"
SMALL = {"n_estimators": 5, "max_depth": 2}
TIMES = ("seconds", "cpu_seconds", "reference_seconds", "reference_cpu_seconds")


def make_suite(**more):
    """Twelve cells on data of scikit-learn."""
    return Suite(
        **{
            "data": ["breast_cancer", "sklearn_wine"],
            "models": {"gradient_boosting": SMALL},
            "methods": ["BoostIn", "TreeSim"],
            "measures": {"removal_set": {"shares": [0.1]}, "detection": {}},
            "n_train": 60,
            "n_test": 8,
            "name": "small",
            **more,
        }
    )


def results(folder, measures=("removal_set", "detection")):
    """All results without the times, in order."""
    return {
        name: read_results(folder, name).drop(columns=[*TIMES], errors="ignore")
        for name in measures
    }


def assert_same_results(first, second):
    for name, frame in first.items():
        pd.testing.assert_frame_equal(frame, second[name], check_exact=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    counts = run_suite(make_suite(), folder, n_jobs=1, verbose=False)
    assert counts == {"done": 12, "unsupported": 0, "failed": 0, "stored": 0}
    return folder


def test_a_run_is_stored_cell_by_cell(whole):
    outcomes = read_outcomes(whole)
    assert len(outcomes) == 12
    assert set(outcomes["method"]) == {"BoostIn", "TreeSim", "Random"}
    assert (outcomes["status"] == "done").all()
    frame = read_results(whole, "removal_set")
    assert list(frame.columns[:3]) == ["data", "library", "seed"]
    assert len(frame) == 6
    record = json.loads((whole / "run.json").read_text())
    assert record["runs"][0]["ended"]
    assert "scikit-learn" in record["runs"][0]["versions"]
    assert record["runs"][0]["machine"]["cores"] == os.cpu_count()
    assert not list(whole.rglob("*.part"))


def test_nothing_runs_again(whole):
    times = {path: path.stat().st_mtime_ns for path in whole.glob("cells/*")}
    counts = run_suite(make_suite(), whole, resume=True, n_jobs=1, verbose=False)
    assert counts["stored"] == 12
    assert counts["done"] == 0
    assert times == {path: path.stat().st_mtime_ns for path in whole.glob("cells/*")}


def test_a_folder_with_cells_is_not_taken_by_accident(whole):
    with pytest.raises(FileExistsError, match="12 cells"):
        run_suite(make_suite(), whole, verbose=False)


def test_two_processes_give_the_same(whole, tmp_path):
    run_suite(make_suite(), tmp_path, n_jobs=2, verbose=False)
    assert_same_results(results(whole), results(tmp_path))


KILLED = """
    import os, sys
    from treeinf.evaluation import run as runner
    from tests.evaluation.test_suite import make_suite

    run_cell = runner._run_cell
    def slow(suite, cell, folder):
        status = run_cell(suite, cell, folder)
        print("stored", flush=True)
        sys.stdin.readline()
        return status

    runner._run_cell = slow
    runner.run_suite(make_suite(), sys.argv[1], n_jobs=1, verbose=False)
"""


def test_kill_and_resume_give_the_same_result(whole, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    for n_stored in range(1, 6):
        assert process.stdout.readline() == "stored\n"
        if n_stored < 5:
            process.stdin.write("\n")
            process.stdin.flush()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*")}
    assert len(before) == 5
    # what a kill in the middle of writing leaves behind
    (tmp_path / "cells" / ".torn.parquet.00000000.part").write_bytes(b"PAR1")
    counts = run_suite(make_suite(), tmp_path, resume=True, n_jobs=1, verbose=False)
    assert counts == {"done": 7, "unsupported": 0, "failed": 0, "stored": 5}
    assert_same_results(results(whole), results(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(tmp_path.rglob("*.part"))
    assert len(json.loads((tmp_path / "run.json").read_text())["runs"]) == 2


class Broken(BoostIn):
    """Fails while a file is not there."""

    def __init__(self, path=""):
        super().__init__()
        self.path = path

    def total(self, *given, **named):
        if not Path(self.path).exists():
            raise RuntimeError("the roof is on fire")
        return super().total(*given, **named)


def test_what_fails_runs_again_and_stops_nothing(tmp_path):
    mended = tmp_path / "mended"
    suite = make_suite(
        methods={"broken": Broken(str(mended)), "Random": {}},
        measures={"removal_set": {"shares": [0.1]}},
    )
    run = tmp_path / "run"
    counts = run_suite(suite, run, n_jobs=1, verbose=False)
    assert counts == {"done": 2, "unsupported": 0, "failed": 2, "stored": 0}
    outcomes = read_outcomes(run)
    reasons = set(outcomes.loc[outcomes["status"] == "failed", "reason"])
    assert reasons == {"RuntimeError: the roof is on fire"}
    mended.touch()
    counts = run_suite(suite, run, resume=True, n_jobs=1, verbose=False)
    assert counts == {"done": 2, "unsupported": 0, "failed": 0, "stored": 2}
    # one of the two methods is missing nowhere now
    assert rank_run(run, "removal_set").n_cells == 2


def test_only_runs_some_cells_and_the_rest_later(whole, tmp_path):
    condition = "data == 'sklearn_wine' and measure == 'detection'"
    counts = run_suite(make_suite(), tmp_path, only=condition, n_jobs=1, verbose=False)
    assert counts["done"] == 3
    assert (read_outcomes(tmp_path)["status"] == "missing").sum() == 9
    assert rank_run(tmp_path, "removal_set") is None
    counts = run_suite(make_suite(), tmp_path, resume=True, n_jobs=1, verbose=False)
    assert counts["stored"] == 3
    assert_same_results(results(whole), results(tmp_path))


@pytest.mark.parametrize("only", ["colour == 'red'", "data ==", "seed > 7"])
def test_only_must_be_a_condition_that_leaves_something(only, tmp_path):
    with pytest.raises(ValueError, match="only="):
        run_suite(make_suite(), tmp_path, only=only, verbose=False)


def test_cells_change_with_what_they_depend_on():
    def files(**more):
        return {cell.file_name for cell in make_suite(**more).cells()}

    same = files()
    assert same == files()
    assert not same & files(n_train=61)
    assert not same & files(models={"gradient_boosting": {**SMALL, "max_depth": 3}})
    random = files(splits={"breast_cancer": "random"})
    assert len(same & random) == 6
    assert same < files(methods=["BoostIn", "TreeSim", "InputSim"])
    assert same < files(seeds=(0, 1))
    changed = files(measures={"removal_set": {"shares": [0.2]}, "detection": {}})
    assert len(same & changed) == 6


def test_what_a_model_cannot_have_is_unsupported(tmp_path):
    suite = make_suite(
        data=["breast_cancer", "sklearn_diabetes"],
        models={"random_forest": {"n_estimators": 5}},
        methods=["BoostIn", "TreeSim", "LeafRefit"],
        measures={
            "rows_to_flip": {"max_share": 0.1},
            "faithfulness": {"n_groups": 3, "references": ["retraining"]},
        },
        n_train=40,
        n_test=3,
    )
    counts = run_suite(suite, tmp_path, n_jobs=1, verbose=False)
    assert counts["failed"] == 0
    outcomes = read_outcomes(tmp_path)
    boosted = outcomes[outcomes["method"] == "BoostIn"]
    assert (boosted["status"] == "unsupported").all()
    flips = outcomes[outcomes["measure"] == "rows_to_flip"]
    values = flips[flips["data"] == "sklearn_diabetes"]
    assert (values["status"] == "unsupported").all()
    assert set(values["reason"]) == {"rows_to_flip is for classes only."}
    together = outcomes[outcomes["measure"] == "faithfulness"]
    assert together["notes"].str.contains("BoostIn left out").all()
    named = set(read_results(tmp_path, "faithfulness")["method"])
    assert named == {"TreeSim", "LeafRefit", "Random"}


def test_every_measure_runs_in_a_suite(tmp_path):
    small = {
        "agreement": {"references": ["LeafRefit", "LOO"]},
        "stability": {"n_seeds": 2},
        "cost": {"n_repeats": 1},
        "faithfulness": {"n_groups": 3},
    }
    suite = make_suite(
        data=["breast_cancer"],
        methods=["BoostIn", "LOO", "Loss"],
        measures={name: small.get(name, {}) for name in MEASURES},
        n_train=30,
        n_test=3,
    )
    counts = run_suite(suite, tmp_path, n_jobs=1, verbose=False)
    assert counts["failed"] == counts["unsupported"] == 0
    for name in MEASURES:
        ranking = rank_run(tmp_path, name)
        assert ranking.left_out == {}
        methods = set(ranking.lines["method"].str.partition(", ")[0])
        assert "BoostIn" in methods
        assert ("Loss" in methods) == MEASURES[name].scores_rows


def test_own_model_and_table(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.normal(size=120), "kind": list("abc") * 40})
    y = np.where(X["size"] + (X["kind"] == "a") > 0.5, "yes", "no")
    suite = Suite(
        data={"mine": (X, y)},
        models={"forest": RandomForestClassifier(5), "boosted": gradient_boosting()},
        methods=["TreeSim", "LeafRefit"],
        measures=["removal_set"],
    )
    run_suite(suite, tmp_path, n_jobs=1, verbose=False)
    assert rank_run(tmp_path, "removal_set").n_cells == 2
    # another table is another cell
    other = Suite(
        data={"mine": (X, y[::-1])},
        models=suite.models,
        methods=suite.methods,
        measures=suite.measures,
    )
    names = {cell.file_name for cell in suite.cells()}
    assert not names & {cell.file_name for cell in other.cells()}


def test_splits_by_time_and_group():
    X = pd.DataFrame({"x": np.arange(40.0)})
    mine = Dataset(
        "mine",
        "regression",
        X,
        X["x"].to_numpy(),
        times=X["x"].to_numpy(),
        groups=np.repeat(np.arange(8), 5),
    )
    late = draw_rows(mine, 20, 4, 0, "time")
    assert late.X_train.shape == (20, 1)
    assert late.X_train.max() < 32 <= late.X_test.min()
    grouped = draw_rows(mine, None, None, 0, "grouped")
    groups = [set(rows[:, 0] // 5) for rows in (grouped.X_train, grouped.X_test)]
    assert not groups[0] & groups[1]


def test_classes_that_only_test_rows_have_are_left_out():
    y = np.array([0, 0, 0, 2, 2, 2, 1])
    rare = Dataset("rare", "multiclass", pd.DataFrame({"x": y}), y, n_test=4)
    rows = draw_rows(rare, None, None, 0)
    assert rows.y_train.tolist() == [0, 0, 0]
    assert rows.y_test.tolist() == []


def test_plots_refuse_what_does_not_fit():
    pytest.importorskip("matplotlib")
    from treeinf.plots.evaluation import plot_ranks

    with pytest.raises(ValueError, match="Got 2 methods, 1 ranks"):
        plot_ranks(["a", "b"], [1.0], [1.0], [1.0])


def gradient_boosting():
    return GradientBoostingClassifier(n_estimators=5, max_depth=2, random_state=0)


def test_five_lines_for_the_readme():
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    my_model = gradient_boosting()

    from treeinf.evaluation.measures.registry import removal

    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=5, random_state=0
    )
    methods = ["BoostIn", "LeafInfluence"]
    frame = removal(my_model, methods, X_train, y_train, X_test, y_test, shares=[0.05])
    means = frame.groupby("method")["loss_increase"].mean()

    assert means["BoostIn"] > means["Random"]


@pytest.mark.parametrize("name", ["quick", "real"])
def test_committed_suites_are_sound(name, monkeypatch):
    if name == "real":
        home = os.environ.get("TREEINF_DATA", str(ROOT.parent / "shared" / "data"))
        if not (Path(home) / "index.json").is_file():
            pytest.skip(f"there is no data home at {home}")
        monkeypatch.setenv("TREEINF_DATA", home)
    suite = read_suite(SUITES / f"{name}.toml")
    assert suite.name == name
    assert len(suite.cells()) == len({cell.file_name for cell in suite.cells()})
    assert len(suite.models) == 4
    assert "Random" in suite.methods
    if name == "real":
        assert len(suite.data) >= 12
        assert len(suite.measures) >= 3
        assert len(suite.seeds) == 3


SOUND = """
    seeds = [0]
    data = ["iris"]
    libraries = ["sklearn"]
    methods = ["BoostIn"]
    [measures.removal]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("iris", "irises", "data set 'irises'"),
        ('["sklearn"]', '["prophet"]', "library 'prophet'"),
        ("BoostIn", "Boosting", "'Boosting'; expected one of"),
        ("measures.removal", "measures.removals", "measure 'removals'"),
        ("[measures.removal]", "[measures.removal]\nn_jobs = 2", "no option 'n_jobs'"),
        ("[measures.removal]", "", "has no 'measures'"),
        ("seeds = [0]", "seed = [0]", "has 'seed'"),
        ("seeds = [0]", "seeds = 0", "expected a list"),
        ("seeds = [0]", "seeds = [-1]", "seed -1"),
        ("seeds = [0]", "seeds = ", "is not TOML"),
        ("[measures.removal]", "[measures.removal]\n[models.xgboost]", "'xgboost'"),
        ("[measures.removal]", "[measures.removal]\n[splits]\nadult='time'", "'adult'"),
    ],
)
def test_faults_of_a_suite_are_told(old, new, message, tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(textwrap.dedent(SOUND))
    assert len(read_suite(path).cells()) == 2
    path.write_text(textwrap.dedent(SOUND).replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_suite(path)


def test_a_strange_parameter_of_a_method_is_told(tmp_path):
    with pytest.raises(TypeError, match="no parameter 'theta_'"):
        make_suite(methods={"mine": {"kind": "BoostIn", "theta_": 1}})


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        read_outcomes(tmp_path)


def test_a_cell_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    store = CellStore(tmp_path)
    cell = make_suite().cells()[0]

    import pyarrow.parquet

    def torn(table, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    from treeinf.evaluation.cells import Outcome

    monkeypatch.setattr(pyarrow.parquet, "write_table", torn)
    with pytest.raises(KeyboardInterrupt):
        store.write(Outcome(cell, "done"), pd.DataFrame({"a": [1]}))
    assert list(store.cells.iterdir()) == []
    assert store.outcome(cell) is None


def test_critical_differences_are_those_of_the_book():
    # Demsar (2006), table 5: q of 2, 5 and 10 classifiers, and the example of 3.2.2
    for n_methods, q in ((2, 1.960), (5, 2.728), (10, 3.164)):
        factor = math.sqrt(n_methods * (n_methods + 1) / (6 * 14))
        assert_allclose(critical_difference(n_methods, 14), q * factor, rtol=4e-4)
    assert_allclose(critical_difference(4, 14), 1.25, atol=0.005)
    assert math.isnan(critical_difference(5, 1))


def figures(values, methods="abc"):
    """One line a data set and method, of one library and seed."""
    return pd.DataFrame(
        [
            {"data": f"d{i}", "library": "l", "seed": 0, "method": m, "figure": v}
            for i, line in enumerate(values)
            for m, v in zip(methods, line, strict=True)
        ]
    )


def test_ranks_by_hand():
    frame = figures([[3, 2, 1], [3, 1, 2], [2, 2, 1]])
    ranking = rank_table(frame)
    assert ranking.lines["method"].tolist() == ["a", "b", "c"]
    assert_allclose(ranking.lines["rank"], [3.5 / 3, 6.5 / 3, 8 / 3], rtol=1e-12)
    assert ranking.n_cells == ranking.n_data == 3
    downwards = rank_table(frame, higher_is_better=False)
    assert downwards.lines["method"].tolist() == ["c", "b", "a"]
    against = rank_table(figures([[3, 2], [2, 2], [1, 2]], ["a", "Random"]))
    share = against.lines.set_index("method")["beats_random"]
    assert share["a"] == 0.5
    assert math.isnan(share["Random"])


def test_a_method_without_a_figure_has_no_rank():
    ranking = rank_table(figures([[3, 2, 1], [3, np.nan, 2]]))
    assert ranking.lines["method"].tolist() == ["a", "c"]
    assert ranking.left_out == {"b": 1}
    assert rank_table(figures([[np.nan, 1]], "ab")) is None


def test_how_far_a_method_is_behind_the_best():
    lines = rank_table(figures([[3, 2, 1], [3, 1, 2], [2, 2, 1]])).lines
    assert_allclose(lines["behind"], [0, 1, 4.5 / 3], rtol=1e-12)
    # the first ties with the second once, and is never worse
    assert lines["behind_low"][1] >= 0
    assert lines["behind_low"][2] >= 1
    assert (lines["behind_high"] >= lines["behind"]).all()
    # nothing was said of time
    assert lines["cpu_seconds"].isna().all()


def test_data_sets_count_the_same_however_many_cells_they_have():
    frame = figures([[2, 1], [1, 2]], "ab")
    more = frame[frame["data"] == "d0"]
    many = pd.concat([frame, more.assign(seed=1), more.assign(seed=2)])
    assert_allclose(rank_table(many).lines["rank"], [1.5, 1.5], rtol=1e-12)


def test_the_report_holds_the_ranks(whole):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from treeinf.reports.evaluation import write_evaluation_report

    files = write_evaluation_report(whole)
    text = files["markdown"].read_text()
    page = files["html"].read_text()
    best = rank_run(whole, "removal_set").lines.iloc[0]
    assert f"| {best['method']} | {best['rank']:.2f} |" in text
    assert "TreeSim, trusted" in text
    assert "](removal_set_curves.svg)" in text
    assert (whole / "removal_set_curves.svg").read_text().startswith("<?xml")
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert "http-equiv" in page
    assert "Average rank at each share" not in text  # there is one share only
    assert "### detection: In numbers" in text
    written = (text, page)
    assert write_evaluation_report(whole) == files
    assert written == (files["markdown"].read_text(), files["html"].read_text())


def test_the_report_to_be_committed_is_made_of_its_figures(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from treeinf.reports.evaluation import write_evaluation_report

    suite = make_suite(
        data=["sklearn_wine", "sklearn_diabetes"],
        measures={
            "removal": {"shares": [0.05, 0.1], "n_judged": 2},
            "faithfulness": {},
        },
    )
    run_suite(suite, tmp_path / "run", n_jobs=1, verbose=False)
    start = tmp_path / "results" / "evaluation"
    files = write_evaluation_report(tmp_path / "run", start)
    assert files["markdown"] == tmp_path / "results" / "evaluation.md"
    text = files["markdown"].read_text()
    assert "](evaluation_removal_curves.svg)" in text
    assert (tmp_path / "results" / "evaluation_removal_curves.svg").is_file()
    assert "| method | 0.05 | 0.1 |" in text
    assert "In numbers, LeafRefit" in text
    assert "### removal: Data sets of values\n\n1 cells, 1 data sets." in text
    assert not list((tmp_path / "run").glob("report*"))
    kept = pd.read_parquet(files["figures"])
    assert set(kept["measure"]) == {"removal", "faithfulness"}
    frame = read_results(tmp_path / "run", "removal")
    keys = ["data", "method", "share"]
    means = frame.groupby(keys)["loss_increase"].mean()
    ours = kept[kept["measure"] == "removal"].set_index(keys)
    # stored in float32
    assert_allclose(ours["loss_increase"], means.loc[ours.index], rtol=1e-6)
    assert {"slope", "relative_error", "cpu_seconds"} <= set(kept.columns)


def test_a_run_without_results_has_no_report(tmp_path):
    pytest.importorskip("jinja2")
    from treeinf.reports.evaluation import write_evaluation_report

    store = CellStore(tmp_path)
    cells = [vars(cell) for cell in make_suite().cells()]
    store.write_json("run.json", {"cells": cells, "runs": []})
    with pytest.raises(ValueError, match="No cell"):
        write_evaluation_report(tmp_path)
