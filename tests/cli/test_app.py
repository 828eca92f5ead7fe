"""The command as a whole: help, version, what is not installed."""

import subprocess
import sys

import pytest

import treeinf


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"treeinf {treeinf.__version__}"


@pytest.mark.parametrize("command", ["clean", "explain", "inspect", "demo"])
def test_help_states_the_exit_codes(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done" in " ".join(result.stdout.split())


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
