"""`treeinf data`: what it lists, tells, fetches and verifies."""

import dataclasses
import gzip
import hashlib
import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("pandas")

from tests.server import serve_folder
from treeinf.datasets import read_manifest

TABLE = b"size,kind,label\n1,x,yes\n2,y,no\n3,,yes\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a data home with one set of its own."""
    folder = tmp_path / "home"
    (folder / "toy").mkdir(parents=True)
    packed = gzip.compress(TABLE, mtime=0)
    (folder / "toy" / "toy.csv.gz").write_bytes(packed)
    facts = {
        "task": "binary",
        "target": "label",
        "positive": ["yes"],
        "drop": [],
        "numeric": ["size"],
        "files": [
            {
                "file": "toy/toy.csv.gz",
                "rows": 3,
                "read_csv": {},
                "sha256": hashlib.sha256(packed).hexdigest(),
            }
        ],
        "licence": "CC0",
    }
    (folder / "index.json").write_text(json.dumps({"toy": facts}))
    monkeypatch.setenv("TREEINF_DATA", str(folder))
    return folder


@pytest.mark.parametrize("command", ["list", "show", "fetch", "check"])
def test_help_states_the_exit_codes(run, command):
    result = run("data", command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done" in " ".join(result.stdout.split())


def test_list_names_all_sets_and_where_they_are(run, home):
    result = run("data", "list", "--json")
    assert result.exit_code == 0
    found = {one["name"]: one for one in json.loads(result.stdout)["sets"]}
    assert set(found) == {*read_manifest(), "toy"}
    assert sum(one["in_paper"] for one in found.values()) == 22
    assert found["iris"]["where"] == "scikit-learn"
    assert found["toy"]["where"] == "data home"
    assert found["spambase"]["where"] == "to fetch"
    assert found["life"]["where"] == "by hand"
    assert found["twitter"]["where"] == "not public"
    text = run("data", "list").stdout
    # no name is cut off, so that each can be copied
    assert all(f" {name} " in text for name in found)
    assert str(home.name) in text


def test_list_can_leave_out_what_is_not_there(run, home):
    result = run("data", "list", "--available", "--json")
    found = {one["name"] for one in json.loads(result.stdout)["sets"]}
    assert {"toy", "iris"} <= found
    assert "spambase" not in found


def test_show_tells_source_licence_and_the_way_to_the_files(run, home):
    result = run("data", "show", "spambase")
    assert result.exit_code == 0
    for part in (
        "4,601",
        "CC BY 4.0",
        "spambase/spambase.data (missing)",
        "b1ef93de71f97714d3d7d4f58fc9f718da7bbc8ac8a150eff2778616a8097b12",
        "treeinf data fetch spambase",
        "doi:10.24432/C53G6X",
    ):
        assert part in result.stdout
    facts = json.loads(run("data", "show", "life", "--json").stdout)
    assert facts["splits"] == ["published", "random", "grouped", "time"]
    assert facts["categorical"] == ["Country", "Status"]
    assert not facts["redistribute"]
    assert "Kaggle account" in facts["how_to_get"]
    facts = json.loads(run("data", "show", "toy", "--json").stdout)
    assert facts["files"][0]["found"].endswith("toy.csv.gz")
    assert facts["how_to_get"] == ""


@pytest.mark.parametrize("command", ["show", "fetch", "check"])
def test_unknown_names_are_one_line(run, home, command):
    result = run("data", command, "spambasse")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Did you mean 'spambase'" in result.stderr


def test_homes_that_are_no_folders_are_refused(run, tmp_path):
    result = run("data", "list", "--home", tmp_path / "none")
    assert result.exit_code == 1
    assert "is not a folder" in result.stderr


def test_check_verifies_what_is_there(run, home):
    result = run("data", "check", "--json")
    assert result.exit_code == 0
    (state,) = json.loads(result.stdout)["sets"]
    assert (state["name"], state["verdict"]) == ("toy", "verified")
    assert (state["rows"], state["features"]) == (3, 2)
    assert "verified" in run("data", "check", "toy", "iris").stdout


def test_check_fails_where_a_file_is_damaged_or_missing(run, home):
    (home / "toy" / "toy.csv.gz").write_bytes(gzip.compress(TABLE + b"4,x,no\n"))
    result = run("data", "check")
    assert result.exit_code == 1
    assert "damaged or another release" in result.stdout
    assert result.stderr.startswith("Error: toy:")
    assert run("data", "check", "spambase").exit_code == 1


def test_check_of_an_empty_home_says_so(run, tmp_path):
    result = run("data", "check", "--home", tmp_path)
    assert result.exit_code == 0
    assert "No data set found" in result.stdout


@pytest.mark.filterwarnings("default")
def test_fetch_keeps_and_verifies(run, home, tmp_path, monkeypatch):
    # spambase from a server of this machine, with the hash of its file
    pytest.importorskip("pooch")
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "site").mkdir()
    source = tmp_path / "site" / "spambase.data"
    source.write_bytes(b"0.5,1\n0.1,0\n")
    with serve_folder(source.parent) as address:
        check_fetch(run, source, address, tmp_path / "new home", monkeypatch)


def check_fetch(run, source, address, new, monkeypatch):
    manifest = dict(read_manifest())
    entry = manifest["spambase"]
    file = dataclasses.replace(
        entry.files[0],
        url=f"{address}/spambase.data",
        rows=2,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
    )
    manifest["spambase"] = dataclasses.replace(
        entry, files=(file,), rows=2, features=1, target=1
    )
    monkeypatch.setattr("treeinf.datasets.manifest.read_manifest", lambda: manifest)
    result = run("data", "fetch", "spambase", "--home", new, "--json")
    assert result.exit_code == 0
    (item,) = json.loads(result.stdout)["fetched"]
    assert item["is_verified"]
    assert (new / "spambase" / "spambase.data.gz").is_file()
    again = run("data", "fetch", "spambase", "--home", new)
    assert "already" in again.stdout
    assert run("data", "check", "spambase", "--home", new).exit_code == 0
    source.write_bytes(b"0.5,1\n0.1,1\n")
    result = run("data", "fetch", "spambase", "--home", new, "--force")
    assert result.exit_code == 1
    assert "--no-verify" in result.stderr
    result = run("data", "fetch", "spambase", "--home", new, "--force", "--no-verify")
    assert result.exit_code == 0
    assert (
        "Warning: spambase: spambase.data.gz does not have the sha256" in result.stderr
    )


def test_fetch_of_what_ships_with_scikit_learn_says_so(run, home):
    result = run("data", "fetch", "iris")
    assert result.exit_code == 0
    assert "ships with scikit-learn" in result.stdout


def test_fetch_of_what_needs_an_account_says_how(run, home):
    result = run("data", "fetch", "life")
    assert result.exit_code == 1
    assert "Kaggle account" in result.stderr
