"""`treeinf evaluate`: run, resume, report."""

import json
import textwrap

import pytest

pytest.importorskip("typer")
pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

SUITE = """
    n_train = 40
    n_test = 5
    data = ["breast_cancer"]
    libraries = ["gradient_boosting"]
    methods = ["BoostIn"]
    [models.gradient_boosting]
    n_estimators = 5
    [measures.removal_set]
    shares = [0.1]
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(textwrap.dedent(SUITE))
    return path


def test_runs_reports_and_resumes(run, suite, tmp_path):
    only = ("--only", "method == 'Random'")
    first = run("evaluate", suite, "--n-jobs", 1, "--json", *only)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["done"] == 1
    folder = tmp_path / "evaluation" / "tiny"
    # the second run must be meant
    refused = run("evaluate", suite, "--n-jobs", 1)
    assert refused.exit_code == 1
    assert "--resume" in refused.stderr
    second = run("evaluate", suite, "--n-jobs", 1, "--resume")
    assert second.exit_code == 0, second.output
    assert "BoostIn" in second.stdout
    assert "stored" in second.stdout
    (folder / "report.md").unlink()
    again = run("evaluate", "report", folder, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["html"] == str(folder / "report.html")
    assert "BoostIn" in (folder / "report.md").read_text()
    kept = run("evaluate", "report", folder, "--to", "results/field", "--json")
    assert kept.exit_code == 0, kept.output
    files = json.loads(kept.stdout)
    assert files["markdown"] == "results/field.md"
    assert files["figures"] == "results/field.parquet"
    assert "BoostIn" in (tmp_path / "results" / "field.md").read_text()


def test_an_interrupt_tells_how_to_go_on(run, suite, monkeypatch):
    from treeinf.evaluation import run as runner

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_measure", interrupt)
    result = run("evaluate", suite, "--n-jobs", 1, "--quiet")
    assert result.exit_code == 130
    assert "--resume" in result.stderr


def test_failed_cells_end_in_an_exit_code(run, suite, tmp_path):
    suite.write_text(suite.read_text() + "together = 3\nmax_depth = 1\n")
    wrong = run("evaluate", suite, "--out", tmp_path / "o")
    assert wrong.exit_code == 1
    assert "no option 'max_depth'" in wrong.stderr
    assert not (tmp_path / "o").exists()
    text = textwrap.dedent(SUITE).replace("n_estimators = 5", "n_estimators = -5")
    suite.write_text(text)
    failed = run("evaluate", suite, "--out", tmp_path / "o", "--n-jobs", 1)
    assert failed.exit_code == 1
    assert "failed in 2 cells" in failed.stdout
    assert "no report is written" in failed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.toml"], 1, "absent.toml does not exist"),
        (["report"], 2, "needs DIR"),
        (["report", "absent"], 1, "run.json"),
        (["tiny.toml", "folder"], 2, "expected one suite"),
        (["tiny.toml", "--only", "sed == 1"], 1, "only="),
        (["tiny.toml", "--to", "results/field"], 2, "--to needs"),
    ],
)
def test_mistakes_are_one_line(run, suite, arguments, code, words):
    result = run("evaluate", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_groups_are_a_column_of_the_data_sets(run, suite, tmp_path):
    wrong = run("evaluate", suite, "--groups", "patient", "--out", tmp_path / "o")
    assert wrong.exit_code == 1
    assert "breast_cancer has no column 'patient'" in " ".join(wrong.stderr.split())
    arguments = "--groups", "mean radius", "--n-jobs", 1, "--json"
    result = run("evaluate", suite, *arguments, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["done"] == 2
