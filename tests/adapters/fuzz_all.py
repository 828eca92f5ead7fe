"""Read damaged files of all formats: ``python -m tests.adapters.fuzz_all``.

Each file gives a model that routes rows, or a refusal, in bounded time and memory.
Prints how many of each format did what, and what else came out.
"""

import argparse
import collections
import io
import json
import random
import resource
import signal
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np

import treeinf as ti
from tests.adapters.fuzz import REFUSALS, mutate, spoil
from treeinf.errors import ModelFormatError

VALUES = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**30, -(2**31) - 1, 0.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "1", "nan", [], [1], [[]], {}, {"a": 1}),
    *([0] * 1000, "9" * 5000, [None], [1e308, -1e308], [2**40], ["a", 1]),
)
TOKENS = (b"0", b"-1", b"1e999", b"nan", b"[]", b"{}", b"null", b"99999999999", b"=")


def make_files(folder):
    """Write a small model in every format; gives the content of each by its name."""
    import catboost
    import lightgbm
    import pandas as pd
    import xgboost

    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"])
    X["d"] = pd.Categorical(rng.integers(0, 4, 200).astype(str))
    y = np.digitize(X["a"] + (X["d"] == "2"), [-0.5, 0.5])
    light = lightgbm.LGBMClassifier(
        n_estimators=2, num_leaves=4, min_child_samples=5, verbose=-1, n_jobs=1
    ).fit(X, y)
    xgb = xgboost.XGBClassifier(
        n_estimators=2, max_depth=2, n_jobs=1, enable_categorical=True
    ).fit(X, y)
    cat = catboost.CatBoostClassifier(
        iterations=2, depth=2, thread_count=1, verbose=0, allow_writing_files=False
    ).fit(X, y, cat_features=["d"])
    paths = {name: folder / f"model.{name}" for name in ("json", "ubj", "cbm", "cjson")}
    xgb.save_model(paths["json"])
    xgb.save_model(paths["ubj"])
    cat.save_model(paths["cbm"])
    cat.save_model(paths["cjson"], format="json", pool=catboost.Pool(X, y, ["d"]))
    ti.read_model(light).save(folder / "model.npz")
    booster = light.booster_
    return {
        "LightGBM text": booster.model_to_string().encode(),
        "LightGBM JSON": json.dumps(booster.dump_model()).encode(),
        "XGBoost JSON": paths["json"].read_bytes(),
        "XGBoost UBJSON": paths["ubj"].read_bytes(),
        "CatBoost binary": paths["cbm"].read_bytes(),
        "CatBoost JSON": paths["cjson"].read_bytes(),
        "npz": (folder / "model.npz").read_bytes(),
    }


def damage(name, content, generator):
    """Change bytes, entries of JSON, or arrays of an npz file."""
    if generator.random() < 0.5 or name.endswith(("text", "binary", "UBJSON")):
        return mutate(content, TOKENS, generator)
    if name != "npz":
        model = json.loads(content)
        for _ in range(generator.choice([1, 1, 2])):
            spoil(model, generator.choice(VALUES), generator)
        return json.dumps(model).encode()
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    chosen = generator.choice(sorted(arrays))
    if chosen == "header" or generator.random() < 0.4:
        header = json.loads(arrays["header"].tobytes())
        spoil(header, generator.choice(VALUES), generator)
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    else:
        arrays[chosen] = change(arrays[chosen], generator)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def change(array, generator):
    """Change the shape, the type or the numbers of an array."""
    kind = generator.randrange(7)
    if kind == 0:
        return array[: generator.randrange(len(array) + 1)]
    if kind == 1:
        return np.concatenate([array, array[:3]])
    if kind == 2:
        return array.astype(generator.choice(["f4", "i8", "i1", "u8", "?", "U3", "c8"]))
    if kind == 3:
        return array[np.newaxis]
    if kind == 4:
        return generator.sample(list(array.ravel()), array.size)
    changed = array.copy()
    if array.size:
        with np.errstate(all="ignore"):
            value = generator.choice([0, 1, -1, 5, 120, np.iinfo("i4").max])
            changed.flat[generator.randrange(array.size)] = np.asarray(value).astype(
                array.dtype
            )
    return changed


def read(content, path):
    """Read a file and route rows; gives what came out."""
    model = content
    if content.startswith(b"PK\x03\x04"):
        path.write_bytes(content)
        model = path
    try:
        ensemble = ti.read_model(model)
    except REFUSALS as error:
        return "refused" if isinstance(error, ModelFormatError) else "unsupported"
    if ensemble.n_features > 1000:
        return "read"
    try:
        rows = np.zeros((3, ensemble.n_features), np.int64)
        assert np.isfinite(ensemble.raw_score(rows)).all()
    except (ValueError, TypeError) as error:
        # splits that CatBoost alone can evaluate, scores on top of another model,
        # categories whose labels are no numbers
        expected = ("evaluate", "init_score", "the model was trained on '")
        if not any(words in str(error) for words in expected):
            raise
    ensemble.describe()
    return "read"


def stop(*_):
    raise TimeoutError("it takes too long")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    generator = random.Random(options.seed)
    counts, faults = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        path = Path(folder, "damaged.npz")
        for content in files.values():
            assert read(content, path) == "read"
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
        signal.signal(signal.SIGVTALRM, stop)
        for number in range(options.files):
            name = list(files)[number % len(files)]
            content = damage(name, files[name], generator)
            signal.setitimer(signal.ITIMER_VIRTUAL, 5.0)
            try:
                outcome = read(content, path)
            except Exception as error:
                outcome = "FAULT"
                where = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{name}: {type(error).__name__} in {where.name}: {error}"[:150]
                if not faults[fault]:
                    print(fault, where.filename, where.lineno, flush=True)
                faults[fault] += 1
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            counts[name, outcome] += 1
            if number % 10_000 == 9_999:
                print(number + 1, dict(counts), flush=True)
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name:<16}{outcome:<12}{count:>8,}")
    for fault, count in faults.most_common():
        print(f"{count:>6,} {fault}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
