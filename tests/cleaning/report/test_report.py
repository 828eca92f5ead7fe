"""The report as text and as plain types."""

import json

import numpy as np

from treeinf.cleaning.report.sentences import write_headline


def test_to_dict_is_json(cleaned):
    text = json.dumps(cleaned.report_.to_dict(), allow_nan=False)
    report = json.loads(text)
    assert report["acted"] is True
    assert report["guard"]["gain_low"] > 0
    assert report["settings"]["method"] == "stacking"
    assert report["settings"]["estimator_parameters"]["num_leaves"] == 15
    assert {"treeinf", "lightgbm", "numpy"} <= set(report["versions"])
    assert report["random_state"] == 0


def test_history_is_json(cleaned):
    json.dumps(cleaned.history_, allow_nan=False)


def test_text_has_headline_first_and_all_times(cleaned):
    lines = str(cleaned.report_).splitlines()
    assert lines[0] == cleaned.report_.headline
    for name in ("train", "stacking", "retrain", "final", "explain", "total"):
        assert f"{name} " in lines[-1]
    assert np.isclose(
        cleaned.report_.seconds["total"],
        sum(cleaned.report_.seconds.values()) / 2,
        rtol=0.5,
    )


def test_headline_without_comparison():
    text = write_headline("unguarded", "drop", 3, 30, None, None)
    assert text == "Removed 3 of 30 rows (10.0%), not evaluated; the guard was off."
