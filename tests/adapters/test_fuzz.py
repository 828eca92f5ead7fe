"""A small sample of what ``python -m tests.adapters.fuzz_all`` reads."""

import random

import pytest

from tests.adapters.fuzz_all import damage, make_files, read

FORMATS = (
    *("LightGBM text", "LightGBM JSON", "XGBoost JSON", "XGBoost UBJSON"),
    *("CatBoost binary", "CatBoost JSON", "npz"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    for library in ("catboost", "lightgbm", "pandas", "xgboost"):
        pytest.importorskip(library)
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_gives_a_model_or_a_refusal(name, files, tmp_path):
    assert list(files) == list(FORMATS)
    generator = random.Random(name)
    outcomes = {
        read(damage(name, files[name], generator), tmp_path / "damaged.npz")
        for _ in range(80)
    }
    assert {"read", "refused"} <= outcomes <= {"read", "refused", "unsupported"}
