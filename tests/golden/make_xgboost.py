"""Write small models of the XGBoost that is installed, with its own leaves and scores.

    python tests/golden/make_xgboost.py

was run with xgboost-cpu 2.1.4 and 3.0.5 (without the cases of light leaves) and with
xgboost 3.2.0, 3.3.0 and 3.4.1, NumPy 2.4 and 2.5. The suite reads their files with any
XGBoost, or with none.
"""

import json
from pathlib import Path

import numpy as np
import xgboost

CASES = {
    "squarederror": ({"objective": "reg:squarederror", "base_score": 0.25}, 0),
    "logistic": ({"objective": "binary:logistic"}, 2),
    "softprob": ({"objective": "multi:softprob", "num_class": 3}, 3),
    "poisson": ({"objective": "count:poisson"}, 0),
    "dart": ({"booster": "dart", "rate_drop": 0.5, "one_drop": 1}, 0),
    "vectors": ({"multi_strategy": "multi_output_tree", "tree_method": "hist"}, -2),
    "targets": ({"num_parallel_tree": 2}, -2),
    "pruned": ({"tree_method": "exact", "gamma": 1.0}, 0),
    # leaves below min_child_weight
    "light_root": ({"gamma": 1e9, "min_child_weight": 1e4, "base_score": 0.5}, 0),
    "light_vectors": (
        {
            "objective": "multi:softprob",
            "num_class": 3,
            "multi_strategy": "multi_output_tree",
            "min_child_weight": 5.0,
        },
        3,
    ),
}


def make():
    rng = np.random.default_rng(11)
    X = rng.normal(size=(120, 4)).astype(np.float32)
    X[:, 1] = rng.integers(0, 40, 120)
    X[rng.random(X.shape) < 0.1] = np.nan
    known = np.nan_to_num(X)
    score = known[:, 0] + (known[:, 1] % 3 == 0) + 0.3 * rng.normal(size=120)
    found = {"X": X}
    for name, (params, n_classes) in CASES.items():
        y = np.exp(score / 3)
        if n_classes > 0:
            y = np.digitize(score, [0.0, 1.0][: n_classes - 1])
        elif n_classes < 0:
            y = np.column_stack([score, known[:, 2]])
        kinds = {"feature_types": ["q", "c", "q", "q"], "enable_categorical": True}
        is_plain = name in ("pruned", "light_vectors")
        # this version grows vector leaves from numbers alone
        is_plain |= name == "vectors" and xgboost.__version__.startswith("3.2.")
        rows = xgboost.DMatrix(X, y, **({} if is_plain else kinds))
        booster = xgboost.train({"nthread": 1, "max_depth": 3, **params}, rows, 3)
        for form in ("json", "ubj"):
            content = bytes(booster.save_raw(form))
            if form == "json":
                content = json.dumps(json.loads(content)).encode()
            found[f"{name}.{form}"] = np.frombuffer(content, np.uint8)
        found[f"{name}.leaf"] = booster.predict(rows, pred_leaf=True).astype(np.int16)
        found[f"{name}.score"] = booster.predict(rows, output_margin=True)
        found[f"{name}.y"] = y
    path = Path(__file__).with_name(f"xgboost_{xgboost.__version__}.npz")
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    make()
