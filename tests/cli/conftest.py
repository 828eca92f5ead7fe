"""Small tables, a runner, and what a command said."""

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

from typer.testing import CliRunner  # noqa: E402

from treeinf.cli.commands import app  # noqa: E402
from treeinf.datasets import flip_labels  # noqa: E402


@pytest.fixture(autouse=True)
def no_announcement(monkeypatch):
    """Say nothing of kernels, which tests may or may not find compiled."""
    monkeypatch.setattr("treeinf.cli.printing._show_log", lambda: None)


@pytest.fixture
def outputs(tmp_path):
    """Name the files that `treeinf clean` writes."""
    return {
        "--out": tmp_path / "cleaned.csv",
        "--removed": tmp_path / "removed.csv",
        "--report": tmp_path / "report.html",
    }


@pytest.fixture
def run():
    """Run a command and give its result: exit_code, stdout, stderr."""
    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:
        # newer releases keep the two apart in any case
        runner = CliRunner()

    def call(*arguments):
        result = runner.invoke(app, [str(argument) for argument in arguments])
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return result

    return call


def make_frame(n_rows, seed):
    """Make rows of numbers, text and gaps whose label can be learnt."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n_rows)
    color = rng.choice(["red", "green", "blue, dark"], size=n_rows)
    score = size + 1.5 * (color == "red") + 0.3 * rng.normal(size=n_rows)
    frame = pd.DataFrame(
        {
            "size": size.round(3),
            "color": color,
            "weight kg": np.where(rng.random(n_rows) < 0.1, np.nan, score.round(2)),
            "noise": rng.integers(0, 9, n_rows),
        }
    )
    return frame, np.where(score > 0.5, "yes", "no"), score.round(4)


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Write train.csv, of whose labels a fifth is wrong, and test.csv."""
    folder = tmp_path_factory.mktemp("tables")
    for name, n_rows, seed in (("train", 240, 1), ("test", 150, 2)):
        frame, label, value = make_frame(n_rows, seed)
        if name == "train":
            label, _ = flip_labels(label, 0.2, seed=0)
        frame["label"] = label
        frame["value"] = value
        frame["row_weight"] = np.where(np.arange(n_rows) % 3, 1.0, 2.0)
        frame.to_csv(folder / f"{name}.csv", index=False)
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


@pytest.fixture(scope="session")
def model_files(tables):
    """Train LightGBM on the tables and save it: binary.txt, value.txt, binary.json."""
    import json

    import lightgbm

    frame = pd.read_csv(tables / "train.csv")
    X = frame.drop(columns=["label", "value", "row_weight"])
    X["color"] = X["color"].astype("category")
    common = {"n_estimators": 12, "num_leaves": 7, "verbosity": -1, "n_jobs": 1}
    binary = lightgbm.LGBMClassifier(reg_lambda=2.0, **common)
    binary.fit(X, (frame["label"] == "yes").astype(int))
    binary.booster_.save_model(tables / "binary.txt")
    (tables / "binary.json").write_text(json.dumps(binary.booster_.dump_model()))
    value = lightgbm.LGBMRegressor(**common).fit(
        X, frame["value"], sample_weight=frame["row_weight"]
    )
    value.booster_.save_model(tables / "value.txt")
    return tables
