"""`treeinf inspect`: a model file described, and its train rows checked."""

import json

import pytest

pytest.importorskip("typer")
pd = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")

DROP = "value,row_weight"


def test_describes_a_model(run, model_files):
    result = run("inspect", model_files / "binary.txt")
    assert result.exit_code == 0
    assert "12 in 12 iterations" in result.stdout
    found = json.loads(run("inspect", model_files / "binary.json", "--json").stdout)
    assert found["n_trees"] == 12
    assert found["n_features"] == 4
    assert found["train"] is None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_knows_its_own_train_rows(run, model_files, kind):
    result = run(
        "inspect", model_files / "binary.txt", "--train", model_files / f"train.{kind}",
        "--target", "label", "--drop-columns", DROP, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    train = json.loads(result.stdout)["train"]
    assert train["verdict"] == "exact"
    assert train["largest_difference"] < 1e-3
    assert train["largest_parity_difference"] < 1e-10


def test_columns_may_be_in_another_order_and_more_than_the_model_knows(
    run, model_files, tmp_path
):
    frame = pd.read_csv(model_files / "train.csv")
    frame[frame.columns[::-1]].to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "inspect", model_files / "binary.txt", "--train", tmp_path / "train.csv",
        "--target", "label",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "Columns that the model does not use: 'row_weight', 'value'" in said
    assert "'no' is 0, 'yes' is 1" in said


@pytest.mark.parametrize("change", ["rows", "labels", "order"])
def test_other_rows_end_with_code_3(run, model_files, tmp_path, change):
    frame = pd.read_csv(model_files / "train.csv")
    if change == "rows":
        frame = frame.iloc[:200]
    elif change == "labels":
        frame.loc[:9, "label"] = frame.loc[:9, "label"].map({"yes": "no", "no": "yes"})
    else:
        frame["label"] = frame["label"].to_numpy()[::-1]
    frame.to_csv(tmp_path / "train.csv", index=False)
    result = run(
        "inspect", model_files / "binary.txt", "--train", tmp_path / "train.csv",
        "--target", "label", "--drop-columns", DROP,
    )  # fmt: skip
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "was not trained on" in result.stderr


def test_forgotten_weights_are_noticed(run, model_files):
    arguments = [
        "inspect", model_files / "value.txt", "--train", model_files / "train.csv",
        "--target", "value", "--drop-columns", "label,row_weight",
    ]  # fmt: skip
    assert run(*arguments).exit_code == 3
    arguments[-1] = "label"
    assert run(*arguments, "--weight", "row_weight").exit_code == 0


@pytest.mark.parametrize(
    "options", [["--train", "train.csv"], ["--target", "label"], ["--weight", "w"]]
)
def test_options_that_need_one_another_are_usage_errors(run, model_files, options):
    result = run("inspect", model_files / "binary.txt", *options)
    assert result.exit_code == 2


def test_rows_of_other_columns_are_refused(run, model_files, tmp_path):
    (tmp_path / "train.csv").write_text("a,b,label\n1,2,no\n3,4,yes\n")
    result = run(
        "inspect", model_files / "binary.txt", "--train", tmp_path / "train.csv",
        "--target", "label",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "columns" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="session")
def bagged(tables):
    """A LightGBM file with bagging, and its table in one folder."""
    import lightgbm

    frame = pd.read_csv(tables / "train.csv")
    settings = {"n_estimators": 6, "num_leaves": 5, "verbosity": -1, "n_jobs": 1}
    settings |= {"subsample": 0.7, "subsample_freq": 1, "random_state": 4}
    X = frame[["size", "noise"]]
    model = lightgbm.LGBMClassifier(**settings).fit(X, frame["label"] == "yes")
    model.booster_.save_model(tables / "bagged.txt")
    settings |= {"boosting_type": "rf"}
    forest = lightgbm.LGBMClassifier(**settings).fit(X, frame["label"] == "yes")
    forest.booster_.save_model(tables / "bagged_rf.txt")
    return tables


def inspect_bagged(run, folder, *more, model="bagged.txt"):
    return run(
        "inspect", folder / model, "--train", folder / "train.csv",
        "--target", "label", *more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("model", ["bagged.txt", "bagged_rf.txt"])
def test_writes_the_rows_of_each_tree(run, bagged, tmp_path, kind, model):
    import treeinf as ti

    out = tmp_path / f"bags.{kind}"
    result = inspect_bagged(run, bagged, "--in-bag", out, model=model)
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(out) if kind == "csv" else pd.read_parquet(out)
    assert frame["row"].tolist() == list(range(240))
    rows = pd.read_csv(bagged / "train.csv")
    desired = ti.in_bag(bagged / model, rows[["size", "noise"]])
    assert (frame.drop(columns="row").to_numpy() == desired).all()
    assert frame.columns[1] == "tree_0"
    said = inspect_bagged(run, bagged, "--in-bag", out)
    assert said.exit_code == 1
    assert "pass --force" in said.stderr


def test_says_how_many_bags_were_found_and_their_seed(run, bagged):
    result = inspect_bagged(run, bagged, "--json")
    assert result.exit_code == 0, result.output
    train = json.loads(result.stdout)["train"]
    assert train["verdict"] == "exact"
    bags = train["bags"]
    assert (bags["n_found"], bags["n_iterations"]) == (6, 6)
    assert "seed" in bags["source"]
    assert bags["share_in_bag"] == pytest.approx(0.7, abs=0.05)
    assert bags["missing_trees"] == []
    said = inspect_bagged(run, bagged).stdout
    assert "bags of 6 of 6 iterations found: LightGBM bagging, seed" in said


def test_bags_of_other_rows_are_not_written(run, bagged, tmp_path):
    frame = pd.read_csv(bagged / "train.csv")
    frame.iloc[::-1].to_csv(tmp_path / "train.csv", index=False)
    out = tmp_path / "bags.csv"
    result = run(
        "inspect", bagged / "bagged.txt", "--train", tmp_path / "train.csv",
        "--target", "label", "--in-bag", out,
    )  # fmt: skip
    assert result.exit_code == 1
    assert "another order than in training" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not out.exists()
    assert run("inspect", bagged / "bagged.txt", "--in-bag", out).exit_code == 2
