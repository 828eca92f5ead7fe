"""`treeinf demo`: flip labels of real data, explain an error, clean, compare."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from treeinf.cli import options
from treeinf.cli.exits import CommandError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from treeinf.cleaning import InfluenceCleaner
    from treeinf.cli.tables.training_data import TrainingData
    from treeinf.datasets import Dataset

__all__ = ["demo"]

_TEST_SIZE = 0.3
# Makes the random baseline independent of other uses of the seed.
_BASELINE_STREAM = 0x72616E64


def demo(
    library: Annotated[
        options.Library, typer.Option("--library", help="Library to train with.")
    ] = "lightgbm",
    data: Annotated[
        Literal["digits_parity", "breast_cancer"],
        typer.Option("--data", help="Data set of scikit-learn."),
    ] = "digits_parity",
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html.")] = Path(
        "treeinf-demo"
    ),
    share: Annotated[
        float, typer.Option("--share", help="Share of the training labels to flip.")
    ] = 0.2,
    seed: options.Seed = 0,
    n_jobs: options.Jobs = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Flip labels of a real data set, explain an error, clean, compare the models."""
    import numpy as np

    from treeinf.cleaning import InfluenceCleaner
    from treeinf.cli.commands.demo.explanation import explain_worst_row
    from treeinf.cli.commands.demo.report import write_demo_report
    from treeinf.cli.models import new_estimator
    from treeinf.cli.printing import Printer
    from treeinf.cli.scores import (
        compare_on_test_rows,
        predict_for_scores,
        print_changes,
        score_on_test_rows,
    )
    from treeinf.datasets import load

    begin = time.perf_counter()
    if not 0.0 < share < 0.5:
        raise CommandError(
            f"Got --share {share}; expected one between 0 and 0.5.", code=2
        )
    printer = Printer(as_json=json, quiet=quiet)
    report_path = _prepare_folder(out, force=force)
    dataset = load(data)
    if library == "xgboost":  # which needs class numbers
        numbers: Any = tuple(range(len(dataset.classes)))
        dataset = dataclasses.replace(dataset, classes=numbers)
    train, test, is_flipped = _flip(dataset, share, seed)
    printer.say(
        f"{dataset.name} ({dataset.source}): {len(train.y):,} train rows, "
        f"{len(test.y):,} test rows."
    )
    printer.say(
        f"Flipped the labels of {is_flipped.sum():,} train rows ({share:.0%}); the "
        "test rows keep their true ones."
    )
    model = _train(library, train.X, train.y, seed)
    explanation = explain_worst_row(model, train, test, is_flipped, n_jobs)
    explanation.print(printer)
    until_first = time.perf_counter() - begin
    printer.say(f"First result after {until_first:.1f} s. Cleaning the train rows ...")
    cleaner = InfluenceCleaner(
        new_estimator(library, "classification"),
        action="drop",
        random_state=seed,
        n_jobs=-1 if n_jobs is None else n_jobs,
        verbose=printer.shows_progress,
    )
    cleaner.fit(train.X, train.y)
    counts = _count_flipped(cleaner, is_flipped)
    true_labels = np.array(dataset.classes)[_true_codes(dataset, seed)]
    plans = _plan_models(cleaner, train, true_labels, seed)
    predictions: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for name, (rows, labels) in plans.items():
        if predictions:  # the first is the model explained
            model = _train(library, train.X[rows], labels[rows], seed)
        predictions[name] = predict_for_scores(model, test)
        scores[name] = score_on_test_rows(test, predictions[name])
    first, second, *_ = predictions.values()
    changes = (
        compare_on_test_rows(test, first, second, seed) if cleaner.report_.acted else []
    )
    sentence = _describe_flipped(counts)
    measures = list(scores["with the true labels"])
    lines = [
        [name, f"{plans[name][0].sum():,}", *(f"{values[m]:.4f}" for m in measures)]
        for name, values in scores.items()
    ]
    columns = ["model trained", "rows", *measures]
    write_demo_report(
        report_path,
        cleaner,
        dataset,
        train,
        is_flipped,
        changes,
        explanation,
        (columns, lines),
        sentence,
    )
    printer.say()
    printer.say(cleaner.report_.headline)
    printer.say(sentence)
    printer.say()
    printer.table(
        columns, lines, title=f"On {len(test.y):,} test rows with true labels"
    )
    print_changes(changes, printer, "Cleaned against not cleaned")
    spent = time.perf_counter() - begin
    printer.facts(
        [
            ("time", f"{spent:.1f} s, {cleaner.report_.n_fits:,} models trained"),
            ("report", str(report_path)),
        ]
    )
    printer.finish(
        {
            "command": "demo",
            "data": dataset.name,
            "library": library,
            "seed": seed,
            "n_train": len(train.y),
            "n_test": len(test.y),
            "explanation": explanation.to_dict(),
            **counts,
            "scores": scores,
            "test": [dataclasses.asdict(change) for change in changes],
            "cleaning": cleaner.report_.to_dict(),
            "seconds_to_first_result": until_first,
            "seconds": spent,
            "report": str(report_path),
        }
    )


def _train(library: str, X: Any, labels: NDArray[Any], seed: int) -> Any:
    from treeinf.cli.models import new_estimator

    return new_estimator(library, "classification", seed=seed, n_jobs=1).fit(X, labels)


def _prepare_folder(out: Path, *, force: bool) -> Path:
    """Make the folder; replace only a report that a demo wrote."""
    from treeinf.cli.commands.demo.report import TITLE
    from treeinf.cli.outputs import check_outputs

    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out} is a file; expected a folder.")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    is_demo = path.is_file() and TITLE in path.read_text(
        encoding="utf-8", errors="replace"
    )
    check_outputs({"--out": path}, [], force=force or is_demo)
    return path


def _split_codes(dataset: Dataset, seed: int) -> Any:
    return dataset.split(test_size=_TEST_SIZE, seed=seed)


def _true_codes(dataset: Dataset, seed: int) -> NDArray[Any]:
    codes: NDArray[Any] = _split_codes(dataset, seed).y_train
    return codes


def _flip(
    dataset: Dataset, share: float, seed: int
) -> tuple[TrainingData, TrainingData, NDArray[np.bool_]]:
    """Split the data and flip training labels, which are text."""
    import numpy as np

    from treeinf.cli.tables.training_data import TrainingData
    from treeinf.datasets import flip_labels

    split = _split_codes(dataset, seed)
    noisy, is_flipped = flip_labels(split.y_train, share, seed=seed)
    names = np.array(dataset.classes)
    train = TrainingData(
        split.X_train.reset_index(drop=True),
        names[noisy],
        None,
        "classification",
        "label",
        tuple(split.X_train.columns),
        tuple(sorted(dataset.classes)),
        (),
    )
    test = dataclasses.replace(
        train, X=split.X_test.reset_index(drop=True), y=names[split.y_test]
    )
    return train, test, is_flipped


def _count_flipped(
    cleaner: InfluenceCleaner, is_flipped: NDArray[np.bool_]
) -> dict[str, Any]:
    """Count flipped rows among those removed, and among those of highest score."""
    import numpy as np

    removed = ~cleaner.kept_
    n_flipped, n_removed = int(is_flipped.sum()), int(removed.sum())
    n_found = int((removed & is_flipped).sum())
    order = np.argsort(-cleaner.scores_, kind="stable")
    n_top = int(is_flipped[order[:n_flipped]].sum())
    return {
        "n_flipped": n_flipped,
        "n_removed": n_removed,
        "n_found": n_found,
        "precision": n_found / n_removed if n_removed else None,
        "recall": n_found / n_flipped,
        "precision_at_true_count": n_top / n_flipped,
    }


def _plan_models(
    cleaner: InfluenceCleaner, train: TrainingData, true_labels: NDArray[Any], seed: int
) -> dict[str, tuple[NDArray[np.bool_], NDArray[Any]]]:
    """Return the rows and labels of each model to compare, by its name."""
    import numpy as np

    report = cleaner.report_
    everything = np.ones(len(train.y), dtype=bool)
    kept, name = cleaner.kept_, "cleaned"
    if not report.acted:
        # the cleaning that the guard prevented
        n_flagged = round(report.chosen_share * report.n_scored)
        order = np.argsort(-cleaner.scores_, kind="stable")
        kept = everything.copy()
        kept[order[:n_flagged]] = False
        name = f"without the {n_flagged:,} flagged rows (not done)"
    plans = {"with the flipped labels": (everything, train.y)}
    if not kept.all():
        rng = np.random.default_rng([seed, _BASELINE_STREAM])
        plans[name] = (kept, train.y)
        plans["the same number of rows removed at random"] = (
            rng.permutation(kept),
            train.y,
        )
    plans["with the true labels"] = (everything, true_labels)
    return plans


def _describe_flipped(counts: dict[str, Any]) -> str:
    ranked = (
        f"Of the {counts['n_flipped']:,} rows with the highest scores "
        f"{counts['precision_at_true_count']:.0%} are flipped ones."
    )
    if not counts["n_removed"]:
        return f"No row was removed. {ranked}"
    return (
        f"Of the {counts['n_removed']:,} rows removed {counts['n_found']:,} are "
        f"flipped ones (precision {counts['precision']:.0%}), of "
        f"{counts['n_flipped']:,} that were flipped (recall {counts['recall']:.0%}). "
        f"{ranked}"
    )
