"""Files of older LightGBMs, with or without a LightGBM at hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from treeinf.adapters import read_model
from treeinf.trace import TrainingTrace

HERE = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("case", ["regression", "binary", "multiclass", "categories"])
@pytest.mark.parametrize("version", ["2.0.12", "2.1.2", "2.2.3", "2.3.1"])
def test_files_of_older_versions_are_replayed(version, case):
    """Texts before 2.2 list no parameters, softmax hessians before 3.0 are doubled."""
    with np.load(HERE / f"lightgbm_{version}.npz") as stored:
        X, y, raw = stored["X"], stored[f"{case}.y"], stored[f"{case}.raw"]
        text = stored[f"{case}.text"].tobytes()
    ensemble = read_model(text)
    assert_allclose(ensemble.raw_score(X), raw.reshape(len(X), -1), rtol=1e-12)
    report = TrainingTrace.build(ensemble, X, y).report
    assert report.verdict == "exact"
    assert ("lambda_l2=0, " in report.explanation) == (version < "2.2")
    is_tried = (version, case) == ("2.3.1", "multiclass")
    assert ("hessians have the factor 2" in report.explanation) == is_tried
    same = ti.LeafRefit().fit(ensemble, X, y).refit_without([])
    assert_allclose(same.raw_score(X), ensemble.raw_score(X), rtol=1e-4, atol=1e-5)


def test_an_old_text_that_is_cut_off_is_refused():
    with np.load(HERE / "lightgbm_2.0.12.npz") as stored:
        text = stored["binary.text"].tobytes()
    end = text.index(b"feature importances:")
    for stop in (end // 2, end):
        with pytest.raises(ti.errors.ModelFormatError, match="it ends before"):
            read_model(text[:stop])
