"""Finding wrong labels: every score of treeinf, and its peers, on data made noisy.

    TREEINF_DATA=../shared/data python benchmarks/label_noise.py [nine|real]
    python benchmarks/label_noise_report.py

`nine` is breast_cancer, digits (odd or even) and make_classification (3,000 rows, 20
columns, 10 informative, 5 redundant), 10, 20 and 30 % of labels flipped, 3 seeds. A
fifth of the rows is for testing. Without clean rows, the others are made noisy; with a
clean fifth, three fifths are, and the clean rows are trained on at the end, too.

`real` takes up to 1,000 train rows of each set at random, up to 2,000 further ones for
testing, and a quarter of the number of train rows that are clean and used by the
scores "with clean rows" alone. Categories are numbered in order. Test labels and clean
labels are right as far as the data are. "boundary" noise follows the probabilities of
LightGBM, cross-fitted on the true labels in 5 folds.

Each score ranks the rows; as many as are wrong are removed and the library's default
model is trained on the others: accuracy, or R2. Seconds are of one core and hold all
that a score needs, copies of the model too, but for the one model trained on all rows.

Cells are stored one by one under `--cells` (default build/label_noise), and those there
are not computed again; none is started after `--minutes` (default 35), and `--jobs` are
computed at once. It needs cleanlab, LightGBM, XGBoost and CatBoost. The other script
writes the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    cross_val_predict,
    train_test_split,
)

from treeinf.cleaning.costs import Costs
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.cleaning.scores.label_confusion import doubt_labels
from treeinf.cleaning.scores.methods import METHODS, Evidence, Method
from treeinf.cleaning.scores.scoring import RowScorer, RowScores
from treeinf.cleaning.scores.stacking import (
    BASE_MODELS,
    code_targets,
    stack_predictions,
)
from treeinf.cleaning.trial.splits import RowSet
from treeinf.datasets import load
from treeinf.datasets.label_noise import flip_labels, shift_targets
from treeinf.explainers import (
    BoostIn,
    GradientNorm,
    KNNShapley,
    Loss,
    OutOfBagProbability,
    TrainingDynamics,
)
from treeinf.training.checkpoint import ResultFolder
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

CELLS = Path("build/label_noise")
N_TRAIN, N_TEST = 1000, 2000
N_SEEDS = 5
PARTS = ("train", "influence", "stacking")
LIBRARIES = ("lightgbm", "xgboost")

DEVELOPMENT = ("breast_cancer", "spambase", "bean", "adult", "credit_card", "digits")
"""Sets that stacking was developed on, or that share rows with the nine cells."""

JUDGES = {
    "classification": (
        "compas", "german_credit", "vaccine", "no_show", "flight_delays", "diabetes",
        "sklearn_wine", "iris",
    ),
    "regression": ("power", "protein", "wine", "life", "obesity", "concrete"),
}  # fmt: skip
"""Sets that nothing was developed on."""

NOISE = {
    "classification": (
        ("uniform", 0.2), ("boundary", 0.2), ("pairs", 0.2), ("uniform", 0.4),
        ("uniform", 0.05), ("boundary", 0.4),
    ),
    "regression": (
        ("outliers", 0.2), ("shuffle", 0.2), ("outliers", 0.05), ("outliers", 0.4),
        ("shuffle", 0.4),
    ),
}  # fmt: skip


_ASKED = ("name", "task", "library", "kind", "share", "seed")


def new_model(library: str, task: str) -> Any:
    """Give an unfitted model of a library, with its defaults and one thread."""
    kind = "Regressor" if task == "regression" else "Classifier"
    if library == "lightgbm":
        import lightgbm

        return getattr(lightgbm, f"LGBM{kind}")(verbose=-1, n_jobs=1, random_state=0)
    import xgboost

    return getattr(xgboost, f"XGB{kind}")(n_jobs=1, random_state=0)


class Cell:
    """One table with wrong labels, and what the scores share.

    Parameters
    ----------
    task : str
        "classification" or "regression".
    library : str
        Library of the model.
    train, clean, test : tuple of ndarray
        Rows and targets; class numbers from 0 where there are classes.
    is_wrong : ndarray of bool, shape (n_train,)
        Train rows whose target was changed.
    seed : int
        Seed of the scores.
    """

    def __init__(
        self,
        task: str,
        library: str,
        train: tuple[Any, Any],
        clean: tuple[Any, Any],
        test: tuple[Any, Any],
        is_wrong: np.ndarray,
        seed: int,
    ) -> None:
        self.task, self.library, self.seed = task, library, seed
        self.X, self.y = train
        self.clean, self.test = clean, test
        self.is_wrong = is_wrong
        labels = [train[1], clean[1], test[1]]
        self.n_classes = 0
        if task == "classification":
            self.n_classes = int(max(v.max() for v in labels if len(v))) + 1
        self.both = np.vstack([self.X, clean[0]]), np.concatenate([self.y, clean[1]])

    def fit(self, X: np.ndarray, y: np.ndarray) -> Any:
        """Train the library's model."""
        return new_model(self.library, self.task).fit(X, y)

    def test_score(self, X: np.ndarray, y: np.ndarray) -> float:
        """Train and test; accuracy, or R2."""
        if self.task == "regression":
            return float(r2_score(self.test[1], self.fit(X, y).predict(self.test[0])))
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) == 1:
            return float((self.test[1] == classes[0]).mean())
        found = classes[self.fit(X, codes).predict(self.test[0])]
        return float(accuracy_score(self.test[1], found))

    def rows(self, X: np.ndarray, y: np.ndarray) -> LabelledRows:
        """Give rows as the cleaner takes them."""
        return LabelledRows(X, y, None if self.task == "regression" else y)

    def trainer(self) -> Learner:
        """Give what trains copies."""
        classes = None if self.task == "regression" else np.arange(self.n_classes)
        return Learner(new_model(self.library, self.task), classes)

    def out_of_fold(self, X: np.ndarray, y: np.ndarray, n_scored: int) -> np.ndarray:
        """Predict the first rows in 5 folds; the others are in every training part."""
        is_class = self.task == "classification"
        dealer = (StratifiedKFold if is_class else KFold)(
            5, shuffle=True, random_state=self.seed
        )
        result = np.zeros((n_scored, self.n_classes) if is_class else n_scored)
        others = np.arange(n_scored, len(y))
        for train, held_out in dealer.split(X[:n_scored], y[:n_scored]):
            part = np.concatenate([train, others])
            model = self.fit(X[part], y[part])
            if is_class:
                result[held_out[:, None], model.classes_] = model.predict_proba(
                    X[held_out]
                )
            else:
                result[held_out] = model.predict(X[held_out])
        return result

    def error(self, prediction: np.ndarray) -> np.ndarray:
        """Compare predictions with the labels given."""
        prediction = prediction[: len(self.y)]
        if self.task == "regression":
            return np.abs(prediction - self.y)
        return 1.0 - prediction[np.arange(len(self.y)), self.y]

    def doubt(self, prediction: np.ndarray) -> np.ndarray:
        """Compare predictions with the labels given, by how labels are confused."""
        if self.task == "regression":
            return self.error(prediction)
        return doubt_labels(prediction[: len(self.y)], self.y)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Call; gives the result and the processor's seconds."""
    begin = time.process_time()
    result = call()
    return result, time.process_time() - begin


def score_without_clean(cell: Cell) -> dict[str, tuple[np.ndarray, float]]:
    """Score the rows by all that needs no clean rows; scores and seconds."""
    X, y, seed = cell.X, cell.y, cell.seed
    model = cell.fit(X, y)
    found: dict[str, tuple[np.ndarray, float]] = {}

    def own(name: str, explainer: Any) -> None:
        scores, seconds = timed(
            lambda: np.asarray(explainer.fit(model, X, y).self_influence())
        )
        found[name] = scores, seconds

    found["random"] = np.random.default_rng([seed, 1]).random(len(y)), 0.0
    own("training loss", Loss())
    own("gradient norm", GradientNorm())
    if cell.n_classes:
        own("training dynamics", TrainingDynamics())
    own("BoostIn self", BoostIn())
    own("forest out-of-bag", OutOfBagProbability(random_state=seed))
    own(
        "extra trees out-of-bag",
        OutOfBagProbability(forest="extra_trees", random_state=seed),
    )
    found["kNN-Shapley, own queries"] = timed(
        lambda: -np.asarray(KNNShapley().fit(model, X, y).total(X, y))
    )
    folds, seconds = timed(lambda: cell.out_of_fold(X, y, len(y)))
    found["out-of-fold loss"] = cell.error(folds), seconds
    rank, more = timed(lambda: rank_by_cleanlab(cell, folds))
    found["cleanlab"] = rank, seconds + more
    rows = cell.rows(X, y)
    evidence: list[Evidence] = []

    def keep(row: Evidence) -> np.ndarray:
        evidence.append(row)
        return row.error

    # one set of copies serves every score that is made of copies
    measures = ("self_per_row", "total")
    asked = Method(keep, "", measures=measures, base_models=tuple(BASE_MODELS))
    costs = Costs()
    scored, seconds = timed(lambda: score_by(asked, cell, rows, costs))
    share = {key: costs.seconds[key] / sum(costs.seconds.values()) for key in PARTS}
    training, influence, stacking = (seconds * share[key] for key in PARTS)
    found["copies out-of-bag"] = cell.error(scored.prediction), training
    own = dataclasses.replace(evidence[0], error=cell.error(scored.prediction))
    for label, name in (("BoostIn total, copies", "boostin_total"), ("boostin",) * 2):
        found[label] = METHODS[name].formula(own), training + influence / 2.0
    if cell.n_classes:
        found["stacking, confusions ignored"] = (
            cell.error(scored.pooled),
            training + stacking,
        )
        found["stacking"] = scored.doubt, training + stacking
    else:
        found["stacking"] = cell.error(scored.pooled), training + stacking
        found["stacking, posterior"] = scored.doubt, training + stacking
    pool, seconds = timed(lambda: pool_base_models(cell, rows))
    found["stacking without copies"] = cell.doubt(pool), seconds
    return found


def score_by(
    method: Method,
    cell: Cell,
    rows: LabelledRows,
    costs: Costs,
    queries: LabelledRows | None = None,
) -> RowScores:
    """Score all rows by a method of the cleaner."""
    positions = np.arange(rows.n_rows)
    scored = RowSet(rows, positions)
    plan = plan_copies(rows, [], scored, np.random.default_rng(cell.seed))
    scorer = RowScorer(method, cell.trainer(), rows, plan, seed=cell.seed, costs=costs)
    return scorer.score(positions, queries)


def pool_base_models(cell: Cell, rows: LabelledRows) -> np.ndarray:
    """Predict all rows by the base models alone, pooled."""
    scored = RowSet(rows, np.arange(rows.n_rows))
    plan = plan_copies(rows, [], scored, np.random.default_rng(cell.seed))
    target = code_targets(rows, cell.n_classes)
    table = EncodedTable.read(rows.X)
    predictions = {}
    for name, predict in BASE_MODELS.items():
        total, count = np.zeros(target.shape), np.zeros((rows.n_rows, 1))
        for copy, values in zip(
            plan, predict(rows, table, target, plan, cell.seed, 1), strict=True
        ):
            total[copy.scored] += values
            count[copy.scored] += 1
        predictions[name] = total / count
    return stack_predictions(rows, cell.n_classes, predictions).prediction


def rank_by_cleanlab(cell: Cell, folds: np.ndarray) -> np.ndarray:
    """Rank as cleanlab does: issues it finds first, then by its score of quality."""
    if cell.task == "regression":
        from cleanlab.regression.rank import get_label_quality_scores

        return -get_label_quality_scores(cell.y, folds)
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    folds = np.clip(folds, 1e-9, 1.0)
    folds /= folds.sum(axis=1, keepdims=True)
    is_issue = find_label_issues(cell.y, folds, n_jobs=1)
    return is_issue - get_label_quality_scores(cell.y, folds)


def score_with_clean(cell: Cell) -> dict[str, tuple[np.ndarray, float]]:
    """Score the rows by all that looks at clean ones; scores and seconds."""
    X, y = cell.X, cell.y
    model, n_rows = cell.fit(X, y), len(y)
    found: dict[str, tuple[np.ndarray, float]] = {}
    found["clean: BoostIn total"] = timed(
        lambda: -np.asarray(BoostIn().fit(model, X, y).total(*cell.clean))
    )
    found["clean: kNN-Shapley"] = timed(
        lambda: -np.asarray(KNNShapley().fit(model, X, y).total(*cell.clean))
    )
    folds, seconds = timed(lambda: cell.out_of_fold(*cell.both, n_rows))
    found["clean: out-of-fold loss, appended"] = cell.error(folds), seconds
    if cell.n_classes < 3:
        # CatBoost refuses this for more classes
        found["clean: CatBoost object importance"] = timed(
            lambda: rank_by_catboost(cell, X, y)
        )
    rows, clean = cell.rows(X, y), cell.rows(*cell.clean)
    scored, seconds = timed(
        lambda: score_by(METHODS["stacking"], cell, rows, Costs(), clean)
    )
    found["clean: stacking"] = scored.score, seconds
    return found


def rank_by_catboost(cell: Cell, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rank by CatBoost's own influence of train rows on the clean rows."""
    import catboost

    kind = "Regressor" if cell.task == "regression" else "Classifier"
    model = getattr(catboost, f"CatBoost{kind}")(
        iterations=100,
        leaf_estimation_iterations=1,
        verbose=False,
        thread_count=1,
        random_seed=cell.seed,
        allow_writing_files=False,
    ).fit(X, y)
    places, scores = model.get_object_importance(
        catboost.Pool(*cell.clean), catboost.Pool(X, y), type="Average", thread_count=1
    )
    result = np.zeros(len(y))
    result[places] = scores
    return result


def measure(
    cell: Cell, found: dict[str, tuple[np.ndarray, float]], *, with_clean: bool
) -> dict[str, dict[str, float]]:
    """Measure how well scores find the wrong rows, and what removing them brings."""
    n_wrong = int(cell.is_wrong.sum())
    extra = cell.clean if with_clean else (cell.clean[0][:0], cell.clean[1][:0])
    result = {}
    for name, (score, seconds) in found.items():
        order = np.argsort(-score, kind="stable")
        kept = np.sort(order[n_wrong:])
        result[name] = {
            "ap": average_precision_score(cell.is_wrong, score),
            "auroc": roc_auc_score(cell.is_wrong, score),
            "precision": cell.is_wrong[order[:n_wrong]].mean(),
            "test": cell.test_score(
                np.vstack([cell.X[kept], extra[0]]),
                np.concatenate([cell.y[kept], extra[1]]),
            ),
            "seconds": seconds,
        }
    return result


def run_cell(cell: Cell, parts: tuple[str, ...]) -> dict[str, Any]:
    """Compute all that is kept of a cell."""
    kept = ~cell.is_wrong
    _, seconds = timed(lambda: cell.fit(cell.X, cell.y))
    record: dict[str, Any] = {
        "n_train": len(cell.y),
        "n_wrong": int(cell.is_wrong.sum()),
        "fit_seconds": seconds,
        "none": cell.test_score(cell.X, cell.y),
        "oracle": cell.test_score(cell.X[kept], cell.y[kept]),
        "methods": {},
    }
    if "without" in parts:
        record["methods"] |= measure(cell, score_without_clean(cell), with_clean=False)
    if "with" in parts:
        record["appended"] = cell.test_score(*cell.both)
        record["methods"] |= measure(cell, score_with_clean(cell), with_clean=True)
    return record


def nine_cell(name: str, rate: float, seed: int, part: str) -> Cell:
    """Make one of the nine small cells."""
    if name == "make_classification":
        X, y = make_classification(
            3000, 20, n_informative=10, n_redundant=5, flip_y=0, random_state=seed
        )
    elif name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
    else:
        X, y = load_digits(return_X_y=True)
        y = y % 2
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.2, random_state=seed, stratify=y
    )
    clean = X[:0], y[:0]
    if part == "with":
        X, X_clean, y, y_clean = train_test_split(
            X, y, test_size=0.25, random_state=seed + 1, stratify=y
        )
        clean = X_clean, y_clean
    is_wrong = np.random.default_rng(seed + 100).random(len(y)) < rate
    noisy = np.where(is_wrong, 1 - y, y)
    return Cell(
        "classification", "lightgbm", (X, noisy), clean, (X_test, y_test), is_wrong, 0
    )


@functools.lru_cache
def _load(name: str) -> Any:
    return load(name, verify=False)


def real_cell(name: str, library: str, kind: str, share: float, seed: int) -> Cell:
    """Sample a real set and make a share of its targets wrong."""
    import pandas as pd

    data = _load(name)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    n_rows = len(data.y)
    n_test = min(N_TEST, n_rows // 3)
    n_train = min(N_TRAIN, (n_rows - n_test) * 4 // 5)
    n_clean = n_train // 4
    picked = rng.permutation(n_rows)[: n_train + n_clean + n_test]
    frame, y = data.X.iloc[picked], np.asarray(data.y)[picked]
    X = np.column_stack(
        [
            column.to_numpy(np.float64)
            if pd.api.types.is_numeric_dtype(column)
            else np.where(column.isna(), np.nan, pd.factorize(column, sort=True)[0])
            for _, column in frame.items()
        ]
    )
    task = "regression" if data.task == "regression" else "classification"
    if task == "classification":
        y = np.unique(y, return_inverse=True)[1]
    else:
        y = y.astype(np.float64)
    train, clean, test = np.split(np.arange(len(y)), [n_train, n_train + n_clean])
    if task == "regression":
        noisy, is_wrong = shift_targets(y[train], share, kind=kind, seed=seed)
    else:
        probability = None
        if kind == "boundary":
            probability = cross_val_predict(
                new_model("lightgbm", task),
                X[train],
                y[train],
                cv=StratifiedKFold(5, shuffle=True, random_state=seed),
                method="predict_proba",
            )
        noisy, is_wrong = flip_labels(
            y[train], share, kind=kind, probability=probability, seed=seed
        )
    return Cell(
        task,
        library,
        (X[train], noisy),
        (X[clean], y[clean]),
        (X[test], y[test]),
        is_wrong,
        seed,
    )


def plan_nine() -> list[dict[str, Any]]:
    """List the small cells."""
    return [
        {"part": part, "name": name, "share": rate, "seed": seed}
        for part in ("without", "with")
        for name in ("breast_cancer", "digits_parity", "make_classification")
        for rate in (0.1, 0.2, 0.3)
        for seed in range(3)
    ]


def plan_real() -> list[dict[str, Any]]:
    """List the cells of the real sets, the most wanted kinds of noise first."""
    judges = [(name, task) for task, names in JUDGES.items() for name in names]
    plan = [
        (*judge, library, *NOISE[judge[1]][place], seed)
        for places in ((0, 1), (2, 3), (4, 5))
        for seed in range(N_SEEDS)
        for library in LIBRARIES
        for judge in judges
        for place in places
        if place < len(NOISE[judge[1]])
    ]
    plan += [
        (name, "classification", "lightgbm", *noise, 0)
        for name in DEVELOPMENT
        for noise in NOISE["classification"][:2]
    ]
    return [dict(zip(_ASKED, cell, strict=True)) for cell in plan]


def run(part: str, cells: Path, minutes: float, n_jobs: int) -> None:
    """Compute the cells that are not stored yet, until time is up."""
    store = ResultFolder(cells / part)
    end = time.time() + 60.0 * minutes
    plan = plan_nine() if part == "nine" else plan_real()
    work = (
        delayed(_run_asked)(part, asked, store, end)
        for asked in plan
        if _name(asked) not in store
    )
    left = sum(
        not done for done in Parallel(n_jobs, "multiprocessing", batch_size=1)(work)
    )
    print(f"{left} of {len(plan)} cells of {part} left", flush=True)


def _name(asked: dict[str, Any]) -> str:
    """Return the name that a cell is stored under."""
    return "-".join(str(value) for value in asked.values())


def _run_asked(
    part: str, asked: dict[str, Any], store: ResultFolder, end: float
) -> bool:
    """Compute one cell and store it, unless time is up."""
    if time.time() > end:
        return False
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if part == "nine":
        cell = nine_cell(asked["name"], asked["share"], asked["seed"], asked["part"])
        record = run_cell(cell, (asked["part"],))
    else:
        cell = real_cell(*(asked[key] for key in _ASKED if key != "task"))
        # what looks at clean rows is only asked at a fifth of wrong labels
        parts = ("without", "with") if asked["share"] == 0.2 else ("without",)
        record = run_cell(cell, parts)
    store.write(_name(asked), asked | record)
    print(f"{_name(asked)} {time.perf_counter() - start:.1f} s", flush=True)
    return True


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["nine", "real"])
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--minutes", type=float, default=35.0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    unknown = set(options.parts) - {"nine", "real"}
    if unknown:
        parser.error(f"got {sorted(unknown)}; expected nine, real or both")
    for part in options.parts:
        run(part, options.cells, options.minutes, options.jobs)


if __name__ == "__main__":
    main()
