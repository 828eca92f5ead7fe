"""`treeinf demo`: the whole way, on data that ship with scikit-learn."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("pandas")
pytest.importorskip("lightgbm")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from benchmarks.speed import startup
from treeinf.cli.commands.demo.report import draw_thumbnail

QUICK = ("--data", "breast_cancer", "--n-jobs", "1")


def test_finds_flipped_labels_and_writes_the_report(run, tmp_path):
    folder = tmp_path / "deep" / "demo"
    result = run("demo", *QUICK, "--out", folder, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n_flipped"] == 80
    assert found["precision_at_true_count"] > 0.6
    assert 0 < found["seconds_to_first_result"] < found["seconds"]
    check_explanation(found["explanation"])
    assert {"with the flipped labels", "with the true labels"} < set(found["scores"])
    before, oracle = (
        found["scores"][f"with the {name} labels"]["AUC"]
        for name in ("flipped", "true")
    )
    assert before < oracle
    report = (folder / "report.html").read_text()
    assert "treeinf demo: breast_cancer" in report
    assert found["explanation"]["answer"] in report
    assert "was flipped" in report or "Kept all" in report
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    # a second run replaces what the first one wrote
    assert run("demo", *QUICK, "--out", folder, "--quiet").exit_code == 0


def check_explanation(found):
    """See that the rows stand on their sides, the strongest first, and are told of."""
    assert found["predicted"] != found["label"]  # a fifth of the labels is wrong
    assert found["other"] == found["predicted"]
    assert found["probability"] < 0.5
    harmful, helpful = found["harmful"], found["helpful"]
    assert len(harmful) == len(helpful) == 5
    assert all(row["influence"] < 0 for row in harmful)
    assert all(row["influence"] > 0 for row in helpful)
    for side in (harmful, helpful):
        sizes = [abs(row["influence"]) for row in side]
        assert sizes == sorted(sizes, reverse=True)
    flipped = sum(row["is_flipped"] for row in harmful)
    assert f"{flipped} of the 5" in found["answer"]
    assert found["predicted"] in {row["label"] for row in harmful}


def test_the_explanation_comes_before_the_cleaning(run, tmp_path):
    result = run("demo", *QUICK, "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    order = [
        "Which train rows",
        "pushes towards",
        startup._FIRST_WORDS,
        "rows with the highest scores",
    ]
    places = [result.stdout.index(words) for words in order]
    assert places == sorted(places)


def test_foreign_files_are_safe(run, tmp_path):
    (tmp_path / "report.html").write_text("<p>mine")
    result = run("demo", *QUICK, "--out", tmp_path)
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert (tmp_path / "report.html").read_text() == "<p>mine"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--library", "prophet"], 2),
        (["--share", "0.7"], 2),
        (["--data", "adult"], 2),
    ],
)
def test_what_the_demo_does_not_know_is_a_usage_error(run, tmp_path, options, code):
    assert run("demo", "--out", tmp_path / "d", *options).exit_code == code
    assert not (tmp_path / "d").exists()


def test_out_may_not_be_a_file(run, tmp_path):
    (tmp_path / "d").write_text("")
    assert run("demo", "--out", tmp_path / "d").exit_code == 1


def test_thumbnails_are_pictures_of_the_pixels():
    import base64
    import io

    from matplotlib.image import imread

    pixels = np.arange(12.0).reshape(3, 4)
    address = draw_thumbnail(pixels, 11.0)
    head, data = address.split(",")
    assert head == "data:image/png;base64"
    found = imread(io.BytesIO(base64.b64decode(data)), format="png")
    np.testing.assert_allclose(found, pixels / 11.0, atol=1 / 255)
