"""The subcommands of `treeinf` and their options; each calls the file of its name."""

from __future__ import annotations

import enum
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from treeinf.cli.bench import bench
from treeinf.cli.data import data_app
from treeinf.cli.evaluate import evaluate
from treeinf.cli.exits import EPILOG, ends_cleanly

__all__ = ["app"]

# imported later, where they are used; missed now, in one place
for _name in ("pandas", "rich"):
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

app = typer.Typer(
    name="treeinf",
    help=(
        "Find the training rows that made a tree ensemble say this, and those that "
        "hurt it."
    ),
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app)
app.command(epilog=EPILOG)(ends_cleanly(evaluate))
app.command(epilog=EPILOG)(ends_cleanly(bench))


class Task(enum.StrEnum):
    """What a target asks for."""

    AUTO = "auto"
    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class Action(enum.StrEnum):
    """What can be done with suspect rows."""

    DROP = "drop"
    RELABEL = "relabel"
    DOWNWEIGHT = "downweight"


class RelabelRule(enum.StrEnum):
    """Which suspects get another label."""

    INFLUENCE = "influence"
    INFLUENCE_OR_LEAVE = "influence_or_leave"
    SUGGESTION = "suggestion"


class Strategy(enum.StrEnum):
    """How the rows to keep are picked."""

    AUTO = "auto"
    INFLUENCE = "influence"
    DIVERSE = "diverse"
    RANDOM = "random"


class ExplainMethod(enum.StrEnum):
    """Explainers of ``treeinf explain``."""

    BOOSTIN = "boostin"
    LEAF_INFLUENCE = "leaf-influence"
    LEAF_REFIT = "leaf-refit"
    TREX = "trex"
    TREESIM = "treesim"


class DemoData(enum.StrEnum):
    """Data that the demo knows."""

    DIGITS_PARITY = "digits_parity"
    BREAST_CANCER = "breast_cancer"


def _option(flag: str, help_: str, *more: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(flag, *more, help=help_)
    return option


Target = Annotated[str, _option("--target", "Column to predict.", "-y")]
OptionalTarget = Annotated[
    str | None, _option("--target", "Column that was learnt.", "-y")
]
Weight = Annotated[str | None, _option("--weight", "Column of row weights.", "-w")]
DropColumns = Annotated[
    str, _option("--drop-columns", "Columns that are no features: a,b,c.")
]
TaskChoice = Annotated[
    Task, _option("--task", "What the target asks for; auto: by its type.")
]
Seed = Annotated[int, _option("--seed", "Random state of all that is random.")]
Jobs = Annotated[int | None, _option("--n-jobs", "Threads; all by default.")]
Force = Annotated[bool, _option("--force", "Replace outputs that exist.")]
Json = Annotated[bool, _option("--json", "Print one JSON object instead of text.")]
Quiet = Annotated[bool, _option("--quiet", "Print errors and warnings only.", "-q")]


def _split(columns: str) -> list[str]:
    return [name for name in columns.split(",") if name]


def _show_version(wanted: bool) -> None:
    if wanted:
        import treeinf

        print(f"treeinf {treeinf.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Say the version."
        ),
    ] = False,
) -> None:
    """Find the training rows that made a tree ensemble say this."""


@app.command(epilog=EPILOG)
@ends_cleanly
def clean(
    train: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Train rows, CSV or Parquet.")
    ],
    target: Target,
    model: Annotated[
        str,
        _option(
            "--model",
            "lightgbm, xgboost, catboost or sklearn; or a model file trained on "
            "these rows.",
        ),
    ] = "lightgbm",
    test: Annotated[
        Path | None,
        _option("--test", "Rows for the scores before and after; never used to clean."),
    ] = None,
    weight: Weight = None,
    drop_columns: DropColumns = "",
    task: TaskChoice = Task.AUTO,
    method: Annotated[
        str,
        _option(
            "--method",
            "stacking, boostin, boostin_self, boostin_total, loss or random: the "
            "scores.",
        ),
    ] = "stacking",
    amount: Annotated[
        str,
        _option(
            "--amount",
            "auto, a share (0.1 or 10%), a number (200), or score>=0.5: how many.",
        ),
    ] = "auto",
    action: Annotated[
        Action, _option("--action", "What is done with the rows found.")
    ] = Action.DROP,
    suspect_weight: Annotated[
        float,
        _option("--suspect-weight", "What downweight multiplies their weights by."),
    ] = 0.1,
    relabel_by: Annotated[
        RelabelRule,
        _option(
            "--relabel-by",
            "Which of them relabel gives another label; influence drops the others, "
            "the other two leave them.",
        ),
    ] = RelabelRule.INFLUENCE,
    validation: Annotated[
        str,
        _option(
            "--validation", "Folds (5), a share (0.2), or a table of trusted rows."
        ),
    ] = "5",
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard", help="Keep all rows unless the gain is beyond noise."
        ),
    ] = True,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Try as many random rows, and trusted rows appended, beside it.",
        ),
    ] = True,
    refit_on_validation: Annotated[
        bool | None,
        typer.Option(
            "--refit-on-validation/--no-refit-on-validation",
            help="Train the final model, whose test scores are told, on the validation "
            "rows too; by default on those held out of TRAIN, not on a table of them.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        _option(
            "--fail-on",
            "Exit with code 4 if the cleaning touched so many rows (10) or such a "
            "share (0.02 or 2%), once the guard has spoken; files are written all the "
            "same.",
        ),
    ] = None,
    out: Annotated[
        Path | None, _option("--out", "The table to go on with: cleaned.")
    ] = None,
    removed: Annotated[
        Path | None, _option("--removed", "Table of the rows found, and why.")
    ] = None,
    report: Annotated[Path | None, _option("--report", "HTML report.")] = None,
    seed: Seed = 0,
    n_jobs: Jobs = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find train rows that harm a model, clean them, prove what it brought."""
    from treeinf.cli.clean import CleanOptions, run_clean
    from treeinf.cli.printing import Printer

    options = CleanOptions(
        train=train,
        target=target,
        model=model,
        test=test,
        weight=weight,
        drop_columns=_split(drop_columns),
        task=task.value,
        method=method,
        amount=amount,
        action=action.value,
        suspect_weight=suspect_weight,
        relabel_by=relabel_by.value,
        validation=validation,
        guard=guard,
        baselines=baselines,
        refit_on_validation=refit_on_validation,
        fail_on=fail_on,
        seed=seed,
        n_jobs=n_jobs,
        out=out,
        removed=removed,
        report=report,
        force=force,
    )
    code = run_clean(options, Printer(as_json=json, quiet=quiet))
    if code:
        raise typer.Exit(code)


@app.command(epilog=EPILOG)
@ends_cleanly
def select(
    train: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Train rows, CSV or Parquet.")
    ],
    target: Target,
    model: Annotated[
        str,
        _option(
            "--model",
            "lightgbm, xgboost, catboost or sklearn; or a model file, for its "
            "settings.",
        ),
    ] = "lightgbm",
    test: Annotated[
        Path | None,
        _option(
            "--test",
            "Rows for the scores of all and of those kept; never used to pick.",
        ),
    ] = None,
    weight: Weight = None,
    drop_columns: DropColumns = "",
    task: TaskChoice = Task.AUTO,
    keep: Annotated[
        str,
        _option(
            "--keep",
            "auto: the smallest part shown to be enough; a share (0.3 or 30%), or a "
            "number (200).",
        ),
    ] = "auto",
    strategy: Annotated[
        Strategy,
        _option(
            "--strategy",
            "The most helpful; the most helpful of each cluster; any; auto: the best "
            "of the three.",
        ),
    ] = Strategy.AUTO,
    tolerance: Annotated[
        float,
        _option("--tolerance", "How far the loss may be above that of all rows."),
    ] = 0.02,
    validation: Annotated[
        str,
        _option(
            "--validation",
            "Rows to pick and judge by: a share held out (0.3), folds (5), or a table.",
        ),
    ] = "0.3",
    refit_on_validation: Annotated[
        bool,
        typer.Option(
            "--refit-on-validation/--no-refit-on-validation",
            help="Train the final model on the validation rows too, and write those "
            "held out of TRAIN.",
        ),
    ] = False,
    out: Annotated[Path | None, _option("--out", "The rows kept.")] = None,
    ranking: Annotated[
        Path | None,
        _option("--ranking", "Table of all rows: influence, cluster, kept or not."),
    ] = None,
    seed: Seed = 0,
    n_jobs: Jobs = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep the part of the train rows that is enough, by influence."""
    from treeinf.cli.printing import Printer
    from treeinf.cli.select import SelectOptions, run_select

    options = SelectOptions(
        train=train,
        target=target,
        model=model,
        test=test,
        weight=weight,
        drop_columns=_split(drop_columns),
        task=task.value,
        keep=keep,
        strategy=strategy.value,
        tolerance=tolerance,
        validation=validation,
        refit_on_validation=refit_on_validation,
        seed=seed,
        n_jobs=n_jobs,
        out=out,
        ranking=ranking,
        force=force,
    )
    run_select(options, Printer(as_json=json, quiet=quiet))


@app.command(epilog=EPILOG)
@ends_cleanly
def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Model file; or lightgbm, xgboost, catboost, sklearn to train one.",
        ),
    ],
    train: Annotated[Path, _option("--train", "Train rows, CSV or Parquet.")],
    test: Annotated[Path, _option("--test", "Rows to explain, CSV or Parquet.")],
    target: Target,
    rows: Annotated[
        str | None, _option("--rows", "Test rows by position, 0,5,7; all by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Rows on each side.")] = 10,
    total: Annotated[
        bool, _option("--total", "Explain the summed loss of the test rows.")
    ] = False,
    method: Annotated[
        ExplainMethod, _option("--method", "How influence is estimated.")
    ] = ExplainMethod.BOOSTIN,
    out: Annotated[
        Path | None, _option("--out", "Table to write, CSV or Parquet.")
    ] = None,
    weight: Weight = None,
    drop_columns: DropColumns = "",
    task: TaskChoice = Task.AUTO,
    seed: Seed = 0,
    n_jobs: Jobs = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the train rows that help and harm test rows most."""
    from treeinf.cli.explain import run_explain
    from treeinf.cli.printing import Printer

    run_explain(
        model,
        train,
        test,
        target,
        weight=weight,
        drop_columns=_split(drop_columns),
        task=task.value,
        rows=rows,
        k=k,
        total=total,
        method=method.value,
        out=out,
        seed=seed,
        n_jobs=n_jobs,
        force=force,
        printer=Printer(as_json=json, quiet=quiet),
    )


@app.command(epilog=EPILOG)
@ends_cleanly
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODELFILE", help="Model file.")],
    train: Annotated[
        Path | None, _option("--train", "The rows it was trained on, to check that.")
    ] = None,
    target: OptionalTarget = None,
    weight: Weight = None,
    drop_columns: DropColumns = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Describe a model file; with --train, check what it was trained on."""
    from treeinf.cli.inspect import run_inspect
    from treeinf.cli.printing import Printer

    run_inspect(
        model,
        train,
        target,
        weight,
        _split(drop_columns),
        Printer(as_json=json, quiet=quiet),
    )


@app.command(epilog=EPILOG)
@ends_cleanly
def demo(
    library: Annotated[
        str, _option("--library", "Whose model: lightgbm, xgboost, catboost, sklearn.")
    ] = "lightgbm",
    data: Annotated[
        DemoData, _option("--data", "Which of scikit-learn's data.")
    ] = DemoData.DIGITS_PARITY,
    out: Annotated[Path, _option("--out", "Folder for report.html.")] = Path(
        "treeinf-demo"
    ),
    share: Annotated[float, _option("--share", "Share of train labels to flip.")] = 0.2,
    seed: Seed = 0,
    n_jobs: Jobs = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Flip a fifth of real labels, explain an error, find the flips, clean, prove."""
    from treeinf.cli.demo import run_demo
    from treeinf.cli.printing import Printer

    run_demo(
        library=library,
        data=data.value,
        out=out,
        share=share,
        seed=seed,
        n_jobs=n_jobs,
        force=force,
        printer=Printer(as_json=json, quiet=quiet),
    )
