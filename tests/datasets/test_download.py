"""Downloads from a server on this machine: what is kept, and what is refused."""

import dataclasses
import gc
import gzip
import hashlib
import http.server
import io
import json
import sys
import types
import zipfile

import numpy as np
import pytest

from tests.server import serve, serve_folder
from treeinf.datasets import check, fetch, load
from treeinf.datasets.fetch import fetch_entry
from treeinf.datasets.loading import load_from_home
from treeinf.datasets.manifest import DataFile, Entry

pd = pytest.importorskip("pandas")
pytest.importorskip("pooch")

TABLE = b"size,label\n1,no\n2,yes\n3,no\n"
SHA256 = hashlib.sha256(TABLE).hexdigest()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Serve a folder on this machine; give the folder and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "table.csv").write_bytes(TABLE)
    monkeypatch.setenv("no_proxy", "*")
    with serve_folder(folder) as address:
        yield folder, address


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make an empty data home."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TREEINF_DATA", str(folder))
    return folder


def make_entry(**file):
    return Entry(
        name="toy",
        task="binary",
        target="label",
        positive=("yes",),
        categorical=(),
        rows=3,
        features=1,
        files=(DataFile(**{"path": "toy/table.csv", "rows": 3, **file}),),
        obtain="Ask for it.",
        source="https://host/toy",
    )


def know(monkeypatch, entry):
    """Put an entry into the manifest."""
    monkeypatch.setattr(
        "treeinf.datasets.manifest.read_manifest", lambda: {"toy": entry}
    )


def test_a_download_with_the_known_hash_is_kept_packed(site, home):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256)
    (item,) = fetch_entry(entry, home)
    assert item.is_verified
    assert item.sha256 == SHA256
    assert item.path == home / "toy" / "table.csv.gz"
    assert gzip.decompress(item.path.read_bytes()) == TABLE
    assert load_from_home(entry, home).y.tolist() == [0, 1, 0]
    assert (
        json.loads((home / "fetched.json").read_text())["toy/table.csv"]["origin"]
        == entry.files[0].url
    )
    assert not list(home.rglob("*.part"))
    # nothing is downloaded twice
    assert fetch_entry(entry, home) == []


def test_a_download_with_another_hash_is_refused_and_nothing_kept(site, home):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256="0" * 64)
    with pytest.raises(ValueError, match=f"has sha256 {SHA256}, expected 0000"):
        fetch_entry(entry, home)
    assert not home.exists()


def test_a_download_with_another_hash_is_kept_where_that_is_asked_for(
    site, home, monkeypatch
):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256="0" * 64)
    with pytest.warns(UserWarning, match="does not have the sha256 of the manifest"):
        (item,) = fetch_entry(entry, home, verify=False)
    assert not item.is_verified
    # and compared with itself from then on
    know(monkeypatch, entry)
    assert check("toy").verdict == "recorded"
    assert load("toy").n_rows == 3


def test_a_download_without_a_known_hash_says_so_and_is_watched(
    site, home, monkeypatch
):
    entry = make_entry(url=f"{site[1]}/table.csv")
    know(monkeypatch, entry)
    with pytest.warns(UserWarning, match=r"table\.csv\.gz has no known sha256"):
        (item,) = fetch("toy")
    assert not item.is_verified
    assert check("toy").verdict == "recorded"
    (home / "toy" / "table.csv.gz").write_bytes(gzip.compress(TABLE + b"\n"))
    assert check("toy").verdict == "changed"
    with pytest.raises(ValueError, match="expected that of its download"):
        load("toy")
    (home / "fetched.json").unlink()
    (home / "toy" / "table.csv.gz").write_bytes(gzip.compress(TABLE))
    state = check("toy")
    assert state.verdict == "unknown"
    assert "No sha256 is known" in state.message


def test_one_changed_file_changes_the_verdict(site, home, monkeypatch):
    entry = make_entry(url=f"{site[1]}/table.csv")
    notes = DataFile(path="toy/notes.txt", is_table=False, sha256="0" * 64)
    entry = dataclasses.replace(entry, files=(*entry.files, notes))
    know(monkeypatch, entry)
    with pytest.warns(UserWarning, match="no known sha256"):
        fetch("toy")
    # files that document the others may be missing
    assert check("toy").verdict == "recorded"
    (home / "toy" / "notes.txt").write_text("other notes")
    assert check("toy").verdict == "changed"
    assert load("toy").n_rows == 3


def test_a_broken_download_leaves_the_old_file(site, home):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256)
    (item,) = fetch_entry(entry, home)
    before = item.path.read_bytes()
    (site[0] / "table.csv").write_bytes(TABLE[:-4])
    with pytest.raises(ValueError, match="sha256"):
        fetch_entry(entry, home, overwrite=True)
    assert item.path.read_bytes() == before


def test_overwriting_replaces_an_unpacked_file(site, home):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256)
    (home / "toy").mkdir(parents=True)
    (home / "toy" / "table.csv").write_bytes(b"size,label\n9,yes\n")
    assert fetch_entry(entry, home) == []
    fetch_entry(entry, home, overwrite=True)
    assert load_from_home(entry, home).X["size"].tolist() == [1, 2, 3]


def test_members_of_archives_are_found_by_path_or_by_name(site, home):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "none")
        archive.writestr("new folder/table.csv", TABLE)
    data = buffer.getvalue()
    (site[0] / "all.zip").write_bytes(data)
    url = f"{site[1]}/all.zip"
    for member in ("new folder/table.csv", "old/table.csv"):
        entry = make_entry(url=url, member=member, sha256=SHA256)
        fetch_entry(entry, home, overwrite=True)
        assert load_from_home(entry, home).n_rows == 3
    entry = make_entry(url=url, member="none.csv")
    with pytest.raises(ValueError, match=r"has no none\.csv; it has notes\.txt"):
        fetch_entry(entry, home, overwrite=True)
    entry = make_entry(url=url, member="table.csv", download_sha256="1" * 64)
    with pytest.raises(ValueError, match="expected 1111"):
        fetch_entry(entry, home, overwrite=True)
    known = hashlib.sha256(data).hexdigest()
    entry = make_entry(url=url, member="table.csv", download_sha256=known)
    (item,) = fetch_entry(entry, home, overwrite=True)
    assert item.is_verified
    (site[0] / "all.zip").write_bytes(data[:50])
    with pytest.raises(ValueError, match="not a complete zip"):
        fetch_entry(make_entry(url=url, member="table.csv"), home, overwrite=True)


def test_line_ends_are_stored_as_lf(site, home):
    (site[0] / "table.csv").write_bytes(TABLE.replace(b"\n", b"\r\n"))
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256, crlf=True)
    (item,) = fetch_entry(entry, home)
    assert item.is_verified


def test_arff_becomes_csv(site, home):
    (site[0] / "table.arff").write_text(
        "@RELATION toy\n@ATTRIBUTE size REAL\n@ATTRIBUTE label {no, yes}\n@DATA\n"
        "1.25,no\n0.1,yes\n3,no\n"
    )
    entry = make_entry(url=f"{site[1]}/table.arff", format="arff", sha256="0" * 64)
    with pytest.warns(UserWarning, match="no known sha256"):
        fetch_entry(entry, home)
    data = load_from_home(entry, home)
    assert data.X["size"].tolist() == [1.25, 0.1, 3.0]
    assert data.y.tolist() == [0, 1, 0]


def test_workbooks_become_csv_without_their_margins(site, home, monkeypatch):
    sheet = pd.DataFrame(
        {"size": [1.0, 2.0, 3.0, np.nan], "label": ["no", "yes", "no", None]}
    ).assign(gap=np.nan)
    monkeypatch.setattr(pd, "read_excel", lambda _: sheet)
    entry = make_entry(url=f"{site[1]}/table.csv", format="excel")
    with pytest.warns(UserWarning, match="no known sha256"):
        fetch_entry(entry, home)
    assert load_from_home(entry, home).X["size"].tolist() == [1, 2, 3]


def test_a_workbook_is_read(site, home):
    pytest.importorskip("openpyxl")
    sheet = pd.DataFrame({"size": [1.5, 2.0, 3.0], "label": ["no", "yes", "no"]})
    # a sheet as people save it: a row and a column of nothing
    sheet.reindex(range(4)).assign(gap=np.nan).to_excel(
        site[0] / "table.xlsx", index=False
    )
    entry = make_entry(url=f"{site[1]}/table.xlsx", format="excel")
    with pytest.warns(UserWarning, match="no known sha256"):
        fetch_entry(entry, home)
    data = load_from_home(entry, home)
    assert data.X["size"].tolist() == [1.5, 2.0, 3.0]
    assert data.y.tolist() == [0, 1, 0]


def test_a_missing_reader_of_workbooks_is_named(site, home, monkeypatch):
    def fail(_):
        raise ImportError("Missing optional dependency 'openpyxl'.")

    monkeypatch.setattr(pd, "read_excel", fail)
    entry = make_entry(url=f"{site[1]}/table.csv", format="excel")
    with pytest.raises(ImportError, match=r"treeinf\[excel\].*save its first sheet"):
        fetch_entry(entry, home)


def test_tables_of_openml_get_the_names_of_the_manifest(home, monkeypatch):
    asked = {}

    def fetch_openml(**options):
        asked.update(options)
        frame = pd.DataFrame({"V1": [1, 2, 3], "Class": ["no", "yes", "no"]})
        return types.SimpleNamespace(frame=frame)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    entry = make_entry(openml=77, columns=("size", "label"), sha256="0" * 64)
    with pytest.warns(UserWarning, match="no known sha256"):
        (item,) = fetch_entry(entry, home)
    assert asked["data_id"] == 77
    assert item.origin == "https://www.openml.org/d/77"
    assert load_from_home(entry, home).y.tolist() == [0, 1, 0]
    entry = make_entry(openml=77, columns=("size",))
    with pytest.raises(ValueError, match="2 columns, expected 1"):
        fetch_entry(entry, home, overwrite=True)
    entry = make_entry(openml=77, columns=("size", "label"), rows=9)
    with pytest.raises(ValueError, match="3 rows, expected 9"):
        fetch_entry(entry, home, overwrite=True)


def test_loading_fetches_what_is_missing(site, home, monkeypatch):
    know(monkeypatch, make_entry(url=f"{site[1]}/table.csv", sha256=SHA256))
    with pytest.raises(FileNotFoundError, match="treeinf data fetch toy"):
        load("toy", download=False)
    assert not home.exists()
    assert load("toy").n_rows == 3
    assert load("toy", download=False).n_rows == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/table.csv", "{site}/none.csv"])
def test_without_a_network_the_way_by_hand_is_told(site, home, monkeypatch, url):
    url = url.format(site=site[1])
    know(monkeypatch, make_entry(url=url, sha256=SHA256))
    with pytest.raises(ConnectionError, match="manually") as raised:
        fetch("toy")
    assert url in str(raised.value)
    assert "https://host/toy" in str(raised.value)
    with pytest.raises(FileNotFoundError, match="The download failed") as raised:
        load("toy")
    assert str(home) in str(raised.value)


# pooch leaves the connection to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_download_is_not_kept(home, monkeypatch):
    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(TABLE)))
            self.end_headers()
            self.wfile.write(TABLE[:-4])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with serve(Cut) as address:
        entry = make_entry(url=f"{address}/table.csv")
        with pytest.raises(ConnectionError, match="could not be downloaded"):
            fetch_entry(entry, home)
    assert not home.exists()
    gc.collect()


def test_a_missing_pooch_is_named_with_the_way_out(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    know(monkeypatch, make_entry(url="http://127.0.0.1:9/table.csv"))
    with pytest.raises(ImportError, match=r"pip install 'treeinf\[data\]'"):
        fetch("toy")
    with pytest.raises(FileNotFoundError, match=r"toy/table\.csv .*treeinf\[data\]"):
        load("toy")


def test_what_needs_an_account_is_told_after_the_rest_is_there(site, home):
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256)
    files = (*entry.files, DataFile(path="toy/other.csv", rows=3))
    entry = dataclasses.replace(entry, files=files)
    with pytest.raises(FileNotFoundError, match=r"toy/other\.csv .*Ask for it"):
        fetch_entry(entry, home)
    assert (home / "toy" / "table.csv.gz").is_file()


def test_sets_without_public_files_say_so(home):
    with pytest.raises(FileNotFoundError, match="twitter cannot be read"):
        load("twitter")
    with pytest.raises(FileNotFoundError, match="twitter cannot be read"):
        fetch("twitter")


def test_shipped_sets_have_nothing_to_fetch(home):
    assert fetch("iris") == []
    assert not home.exists()


def test_a_broken_list_of_downloads_is_refused(site, home):
    home.mkdir()
    (home / "fetched.json").write_text("[")
    entry = make_entry(url=f"{site[1]}/table.csv", sha256=SHA256)
    with pytest.raises(ValueError, match=r"fetched\.json is not valid JSON"):
        fetch_entry(entry, home)


def test_downloads_of_several_sets_are_all_remembered(site, home):
    for path in ("toy/a.csv", "toy/b.csv"):
        fetch_entry(
            make_entry(path=path, url=f"{site[1]}/table.csv", sha256=SHA256), home
        )
    notes = json.loads((home / "fetched.json").read_text())
    assert sorted(notes) == ["toy/a.csv", "toy/b.csv"]
