"""Write small models of the LightGBM that is installed, with its own scores.

    python tests/golden/make_lightgbm.py

was run with LightGBM 2.0.12, 2.1.2, 2.2.3 and 2.3.1 (NumPy 1.x spellings of int and
float restored). The suite reads their files with any LightGBM, or with none.
"""

from pathlib import Path

import lightgbm
import numpy as np

CASES = {
    "regression": ({"objective": "regression"}, []),
    "binary": ({"objective": "binary", "lambda_l2": 0.0}, []),
    "multiclass": ({"objective": "multiclass", "num_class": 3}, []),
    "categories": ({"objective": "regression", "cat_smooth": 1.0}, [2]),
}


def make():
    rng = np.random.default_rng(11)
    X = rng.normal(size=(120, 3)).round(3)
    X[::7, 1] = np.nan
    X[:, 2] = rng.integers(0, 9, 120)
    score = X[:, 0] + np.isnan(X[:, 1]) + 2.0 * (X[:, 2] % 3 == 1)
    targets = {
        "binary": (score > 0.5) * 1.0,
        "multiclass": np.digitize(score, [0.0, 1.5]) * 1.0,
    }
    found = {"X": X}
    for name, (params, categorical) in CASES.items():
        y = targets.get(name, score)
        rows = lightgbm.Dataset(X, y, categorical_feature=categorical)
        settings = {"num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1}
        settings.update(params, verbose=-1, min_data_per_group=5)
        booster = lightgbm.train(settings, rows, 3)
        path = Path("model.txt")
        booster.save_model(str(path))
        found[f"{name}.text"] = np.frombuffer(path.read_bytes(), np.uint8)
        found[f"{name}.y"] = y
        found[f"{name}.raw"] = booster.predict(X, raw_score=True)
        path.unlink()
    here = Path(__file__).parent
    np.savez_compressed(str(here / f"lightgbm_{lightgbm.__version__}.npz"), **found)


if __name__ == "__main__":
    make()
