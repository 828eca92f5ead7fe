"""Tables beside model files: columns, categories, labels and training parameters."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
catboost = pytest.importorskip("catboost")
lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

LIBRARIES = ["lightgbm", "xgboost", "catboost"]
N_ROWS = 200


def fit(library, X, y, *, is_classifier=False, **params):
    """Train a small model on a frame, whose categorical columns stay categorical."""
    kind = "Classifier" if is_classifier else "Regressor"
    n_trees = {"n_estimators": 4}
    if library == "lightgbm":
        settings = {"verbose": -1, "n_jobs": 1, "min_data_per_group": 5, **n_trees}
        model = getattr(lightgbm, f"LGBM{kind}")(num_leaves=5, **settings, **params)
        return model.fit(X, y)
    if library == "xgboost":
        settings = {"max_depth": 3, "n_jobs": 1, "enable_categorical": True, **n_trees}
        return getattr(xgboost, f"XGB{kind}")(**settings, **params).fit(X, y)
    settings = {"verbose": 0, "thread_count": 1, "allow_writing_files": False}
    cats = [name for name in X.columns if X[name].dtype == "category"]
    settings |= {"cat_features": cats, "one_hot_max_size": 20, "depth": 3, **n_trees}
    return getattr(catboost, f"CatBoost{kind}")(**settings, **params).fit(X, y)


def save(model, folder):
    """Write a model file as its library does; return its path."""
    if isinstance(model, lightgbm.LGBMModel):
        model.booster_.save_model(folder / "model.txt")
        return folder / "model.txt"
    suffix = "cbm" if isinstance(model, catboost.CatBoost) else "json"
    model.save_model(str(folder / f"model.{suffix}"))
    return folder / f"model.{suffix}"


def inspect(run, path, frame, target="y", kind="csv", *options):
    """Return the verdict of `treeinf inspect` on a frame, and the result."""
    table = path.with_name(f"train.{kind}")
    if kind == "csv":
        frame.to_csv(table, index=False)
    else:
        frame.to_parquet(table)
    command = ["inspect", path, "--train", table, "--target", target, "--json"]
    result = run(*command, *options)
    content = json.loads(result.stdout or "{}").get("train") or {}
    return content.get("verdict"), result


CATEGORIES = {
    "integers": [1, 2, 3, 4, 5, 6, 7],
    "negative": [-1, 0, 3],
    "booleans": [False, True],
    "floats": [0.5, 1.5, 2.5],
    "digits": ["01234", "02139", "94110"],
    "plain digits": ["1", "2", "10"],
    "text": ["a", "b b", "c, d"],
    "unicode": ["caf\u00e9", "\u6771\u4eac", "b"],
    "true": ["true", "false", "maybe"],
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("labels", CATEGORIES.values(), ids=CATEGORIES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_categories_are_the_labels_of_the_model(run, tmp_path, library, labels, kind):
    refused = {"catboost": (float,), "xgboost": (bool, float)}.get(library, ())
    if isinstance(labels[0], refused):
        pytest.skip(f"{library} refuses such categories")
    rng = np.random.default_rng(0)
    column = pd.Series(rng.choice(labels, N_ROWS), name="the place")
    x = rng.normal(size=N_ROWS).round(3)
    X = pd.DataFrame({"the place": column.astype("category"), "x": x})
    y = (X["the place"].cat.codes % 2) * 2.0 + x
    path = save(fit(library, X, y), tmp_path)
    frame = pd.DataFrame({"the place": column, "x": x, "y": y})
    verdict, result = inspect(run, path, frame, "y", kind)
    assert verdict == "exact", result.stderr


def test_categories_of_another_column_are_refused(run, tmp_path):
    rng = np.random.default_rng(0)
    column = pd.Series(rng.choice([1, 2, 3], N_ROWS), name="store")
    X = pd.DataFrame({"store": column.astype("category"), "x": rng.normal(size=N_ROWS)})
    path = save(fit("lightgbm", X, X["x"] + column), tmp_path)
    frame = pd.DataFrame({"store": column + 10, "x": X["x"], "y": X["x"]})
    _, result = inspect(run, path, frame)
    assert result.exit_code == 1
    assert "'store' holds 11.0, 12.0, 13.0, none of the model's categories 1, 2, 3" in (
        " ".join(result.stderr.split())
    )


NAMES = {
    "signs": ["distance, km", "ratio a:b", 'size "L"', "{x}"],
    "brackets": ["load [%]", "a<b", "c>d", "e]f["],
    "unicode": ["gr\u00f6\u00dfe", "\u6771\u4eac", "\u00e9 t\u00e9", "x"],
    "blanks": ["two words", "two_words", " lead", "trail "],
    "quotes": ["it's", "a\\b", "a/b", "50%"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_matched_by_the_names_of_the_model(run, tmp_path, library, names):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 4)).round(3), columns=names)
    y = X.iloc[:, 0] - 2.0 * X.iloc[:, 1]
    try:
        path = save(fit(library, X, y), tmp_path)
    except (ValueError, lightgbm.basic.LightGBMError):
        pytest.skip(f"{library} refuses such names")
    frame = X.assign(other=1.0, y=y)[["other", *names[::-1], "y"]]
    if any(name != name.strip() for name in names):
        pytest.skip("a CSV file has no blanks around its names")
    verdict, result = inspect(run, path, frame)
    assert verdict == "exact", result.stderr


LABELS = {
    "text": ["poor", "rich"],
    "digits": ["0", "1"],
    "integers": [1, 2],
    "negative": [-1, 1],
    "booleans": [False, True],
    "three": ["low", "mid", "high"],
    "three integers": [0, 1, 2],
    "three from 1": [1, 2, 3],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_labels_are_those_of_the_model(run, tmp_path, library, labels):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 2)).round(3), columns=["a", "b"])
    code = np.digitize(X["a"] + 0.3 * X["b"], [-0.3, 0.6][: len(labels) - 1])
    y = pd.Series(np.array(labels)[code], name="y")
    is_numbered = library == "xgboost"
    trained_on = np.searchsorted(np.sort(labels), y) if is_numbered else y
    path = save(fit(library, X, trained_on, is_classifier=True), tmp_path)
    frame = X.assign(y=y)
    verdict, result = inspect(run, path, frame)
    assert verdict == "exact", result.stderr
    test = tmp_path / "test.csv"
    frame.assign(a=frame["a"] + 0.0001).to_csv(test, index=False)
    command = ["explain", path, "--train", path.with_name("train.csv"), "-y", "y"]
    explained = run(*command, "--test", test, "--rows", "0", "--method", "boostin")
    assert explained.exit_code == 0, explained.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_other_labels_than_the_models_are_refused(run, tmp_path, library):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 2)).round(3), columns=["a", "b"])
    code = np.digitize(X["a"], [-0.5, 0.5])
    path = save(fit(library, X, code, is_classifier=True), tmp_path)
    frame = X.assign(y=np.where(code > 0, "p", "q"))
    _, result = inspect(run, path, frame)
    assert result.exit_code == 1
    assert "2 labels 'p', 'q'; the model's 3 classes" in " ".join(result.stderr.split())
    # two of three classes keep their numbers
    frame = X.assign(y=code)[code != 1]
    _, result = inspect(run, path, frame)
    assert result.exit_code == 3, result.stderr
    assert "rows" in result.stderr


@pytest.mark.parametrize("form", ["one by one", "file"])
def test_training_parameters_are_options(run, tmp_path, form):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 2)).round(3), columns=["a", "b"])
    y = (X["a"] > 0).astype(int)

    def logistic(score, rows):
        p = 1.0 / (1.0 + np.exp(-score))
        return p - rows.get_label(), p * (1.0 - p)

    rows = xgboost.DMatrix(X, y)
    path = save(xgboost.train({"nthread": 1}, rows, 4, obj=logistic), tmp_path)
    verdict, result = inspect(run, path, X.assign(y=y))
    assert verdict != "exact"
    assert "--parameter objective=binary:logistic" in result.stderr
    assert "read_model" not in result.stderr
    told = ["--parameter", "objective=binary:logistic", "--parameter", "eta=0.3"]
    if form == "file":
        (tmp_path / "training.json").write_text('{"objective": "binary:logistic"}')
        told = ["--parameters", tmp_path / "training.json"]
    verdict, result = inspect(run, path, X.assign(y=y), "y", "csv", *told)
    assert verdict == "exact", result.stderr
    table, test = tmp_path / "train.csv", tmp_path / "test.csv"
    X.assign(a=X["a"] + 0.0001, y=y).to_csv(test, index=False)
    common = ["--train", table, "-y", "y", *told]
    method = ["--test", test, "--rows", "0", "--method", "boostin"]
    done = run("explain", path, *common, *method)
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eta", "expected NAME=VALUE"),
        ("none.json", "expected NAME=VALUE"),
        ("list.json", "JSON is a list"),
        ("eta=fast", "Got eta='fast' among the training parameters"),
    ],
)
def test_bad_parameters_are_one_clear_error(run, tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    X = pd.DataFrame({"a": np.arange(20.0), "b": 1.0})
    path = save(fit("xgboost", X, X["a"]), tmp_path)
    result = run("inspect", path, "--parameter", text)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.stderr.split())
    X.assign(y=X["a"]).to_csv("train.csv", index=False)
    result = run(
        "bench", "xgboost", "--train", "train.csv", "-y", "y", "--parameter", "eta=1"
    )
    assert result.exit_code == 2
    assert "describes the training of a model file" in result.stderr
