"""The command as a whole: help, version, what is not installed."""

import inspect
import subprocess
import sys

import pytest
import typer

import treeinf
from treeinf.cli.commands import app


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"treeinf {treeinf.__version__}"


@pytest.mark.parametrize("command", ["clean", "explain", "inspect", "demo"])
def test_help_states_the_exit_codes(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("clean", treeinf.InfluenceCleaner), ("select", treeinf.InfluenceSelector)],
)
def test_options_have_the_defaults_of_their_estimator(name, estimator):
    command = typer.main.get_command(app).commands[name]
    options = command.get_params(typer.Context(command))
    parameters = inspect.signature(estimator).parameters
    defaults = {option.name: option.default for option in options}
    # None is all cores for a command, one thread for an estimator
    shared = defaults.keys() & parameters.keys() - {"n_jobs"}
    assert {key: defaults[key] for key in shared} == {
        key: parameters[key].default for key in shared
    }
    assert len(shared) >= 4


@pytest.mark.parametrize("command", ["clean", "select"])
def test_help_imports_neither_cleaning_nor_scikit_learn(command):
    code = (
        "import sys\n"
        "from treeinf.cli.commands import app\n"
        f"try: app([{command!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'treeinf.cleaning', 'sklearn', 'numba'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_no_command_shows_help_and_unknown_options_are_usage_errors(run):
    assert "clean" in run().output
    assert run("clean", "--nonsense").exit_code == 2
    assert run("polish").exit_code == 2


@pytest.mark.parametrize("missing", ["typer", "rich", "pandas"])
def test_a_missing_library_is_named_with_the_way_out(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from treeinf.cli.main import run; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert missing in result.stderr
    assert "pip install 'treeinf[cli]'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--version"], 0, "treeinf "),
        (["inspect", "--help"], 0, "Usage: treeinf inspect "),
        (["polish"], 2, "Usage: treeinf "),
        (["inspect", "none.txt"], 1, "Error: The model file none.txt does not exist."),
    ],
)
def test_the_module_runs_as_the_command_does(tmp_path, arguments, code, text):
    result = subprocess.run(
        [sys.executable, "-m", "treeinf", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == code
    assert (result.stdout + result.stderr).lstrip().startswith(text)
    assert "Traceback" not in result.stderr
