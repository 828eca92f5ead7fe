"""Recover the bags of any model that keeps what its library drew them from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import RecoveredBags, find_sampler
from treeinf.adapters.train_rows import read_with_rows
from treeinf.ensemble import InputRows, TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.ensemble.train_tables import join_rows, split_tables
from treeinf.errors import BagsNotFoundError, UnsupportedModelError
from treeinf.explainers.row_sampling.counted_trees import CountedTrees
from treeinf.trace import StagedRows, TrainingTrace, as_trained
from treeinf.trace.bag_report import BagReport

__all__ = [
    "SampledTraining",
    "count_bags",
    "find_bags",
    "recover_training",
    "tabulate",
]

_CAUSES = (
    "The commonest cause is rows in another order than in training, or not all of "
    "them: draws go by position. Pass the table that was passed to fit, in its order, "
    "with its labels and weights"
)


@dataclasses.dataclass(frozen=True, eq=False)
class SampledTraining:
    """A model, the rows it was trained on, and which of them each tree saw.

    Parameters
    ----------
    source : TreeEnsemble
        The model as it was read.
    ensemble : TreeEnsemble
        The model, its base score kept apart where that is known.
    rows : StagedRows
        Train rows; their weights are those of the gradients.
    bags : Bags
        The bag of each tree.
    knows_base_score : bool
        Whether no tree of `ensemble` holds an unknown base score.
    """

    source: TreeEnsemble
    ensemble: TreeEnsemble
    rows: StagedRows
    bags: Bags
    knows_base_score: bool


def recover_training(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    init_score: Any = None,
    group: Any = None,
    search_seed: bool = False,
) -> SampledTraining:
    """Read a model with its train rows, and recover the bag of every tree.

    Parameters
    ----------
    model, X, y, sample_weight, init_score, group, search_seed
        See `in_bag`.

    Returns
    -------
    SampledTraining

    Raises
    ------
    BagsNotFoundError
        If some tree's bag is not known.
    ValueError, TypeError
        If rows do not fit the model, or targets are needed and not passed.
    """
    tables = split_tables(X, y, sample_weight, init_score)
    read = [read_with_rows(model, table.X) for table in tables]
    ensemble = read[0][0]
    input_rows, y, sample_weight, init_score, _ = join_rows(
        tables,
        [rows for _, rows, _ in read],
        [
            predicted if table.init_score is None else table.init_score
            for table, (_, _, predicted) in zip(tables, read, strict=True)
        ],
    )
    if len(tables) > 1 and y is None:
        raise ValueError(
            f"Got a list of {len(tables)} tables and y=None; which trees each table "
            "was used for follows from gradients: pass y, a list of the targets of "
            "each."
        )
    trace = None
    if y is not None:
        trace = _replay(ensemble, input_rows, y, sample_weight, init_score, search_seed)
    if trace is not None:
        bags = find_bags(trace, search_seed=search_seed)
        return SampledTraining(ensemble, trace.ensemble, trace.rows, bags, True)
    if len(tables) > 1:
        raise UnsupportedModelError(
            f"Got a list of {len(tables)} tables; which trees each was used for "
            f"follows from gradients, which treeinf does not replay for this "
            f"{ensemble.library} model ({ensemble.loss_name!r}). Save the model before "
            "each continuation, and pass that file with its one table."
        )
    rows = StagedRows.read(
        ensemble,
        input_rows,
        _placeholder(ensemble, len(input_rows)) if y is None else y,
        sample_weight=sample_weight,
        init_score=init_score,
    )
    bags = count_bags(
        ensemble,
        rows,
        has_targets=y is not None,
        group=group,
        search_seed=search_seed,
    )
    loss, is_folded = ensemble.loss, bool(ensemble.base_score_folded.any())
    if y is None or loss is None or not loss.is_differentiable:
        return SampledTraining(ensemble, ensemble, rows, bags, not is_folded)
    trained, rows, _ = as_trained(ensemble, rows)
    return SampledTraining(ensemble, trained, rows, bags, True)


def find_bags(trace: TrainingTrace, *, search_seed: bool = False) -> Bags:
    """Return the bags that a replay found, or those that leaf counts accept.

    Parameters
    ----------
    trace : TrainingTrace
        The replay.
    search_seed : bool, default=False
        See `in_bag`.

    Raises
    ------
    BagsNotFoundError
        If those of some trees were not found.
    """
    try:
        return _bags_of_replay(trace)
    except BagsNotFoundError:
        # gradients at the scores of other trees: counts may tell nevertheless
        if not trace.source.training.approximations or trace.rows.table_start.size:
            raise
    return count_bags(trace.source, trace.rows, search_seed=search_seed)


def _bags_of_replay(trace: TrainingTrace) -> Bags:
    """Return the bags that a replay found.

    Raises
    ------
    BagsNotFoundError
        If it did not find those of all trees.
    """
    report, recovered = trace.report, trace.recovered
    if report.is_mismatch:
        text = f"These are not the training data ({report.verdict}). "
        if recovered is not None and recovered.is_found.all():
            text += "The bags follow from the rows alone: leave y out to get them. "
        raise BagsNotFoundError(text + report.explanation)
    training = trace.source.training
    # files that hold no parameters may be of sampled rows for all that they say
    samples_rows = training.subsample is not None or training.row_sampling is not None
    if report.verdict != "exact" and (recovered is not None or samples_rows):
        if recovered is None:
            raise _not_found(trace.source, "no draw fits the leaves")
        if not recovered.is_found.all():
            raise _not_found(trace.source, _describe(trace.source, recovered))
    bags, n_rows = trace.rows.bags, trace.rows.n_rows
    return bags if bags.of_tree.size else Bags.all_rows(n_rows)


def tabulate(
    ensemble: TreeEnsemble, bags: Bags
) -> NDArray[np.bool_] | NDArray[np.int32] | NDArray[np.float32]:
    """Return each row's factor in each tree: counts where a forest drew rows anew."""
    table = bags.table(ensemble.n_trees)
    if ensemble.is_averaged and table.dtype != np.bool_:
        return table.astype(np.int32)
    return table


def _replay(
    ensemble: TreeEnsemble,
    rows: InputRows,
    y: Any,
    sample_weight: Any,
    init_score: Any,
    search_seed: bool,
) -> TrainingTrace | None:
    """Replay the training; None where gradients do not explain the leaf values."""
    try:
        return TrainingTrace.build(
            ensemble,
            rows,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            on_mismatch="ignore",
            search_seed=search_seed,
        )
    except UnsupportedModelError:
        return None


def _placeholder(ensemble: TreeEnsemble, n_rows: int) -> Any:
    """Return targets that every loss accepts: nothing reads them."""
    label = 1 if ensemble.classes is None else ensemble.classes[0]
    return np.full(n_rows, label)


def count_bags(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    *,
    has_targets: bool = True,
    group: Any = None,
    search_seed: bool = False,
) -> Bags:
    """Recover bags that are compared by the rows in each leaf alone.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    rows : StagedRows
        Train rows.
    has_targets : bool, default=True
        Whether their targets are those of the training.
    group, search_seed
        See `in_bag`.

    Raises
    ------
    BagsNotFoundError
        If those of some trees are not found.
    ValueError
        If targets are missing and needed.
    """
    trees = CountedTrees(ensemble, rows, has_targets)
    every_row, setting = Bags.all_rows(trees.n_rows), ensemble.training.subsample
    if setting is None and _all_fit(trees, every_row):
        return every_row
    if not trees.can_compare:
        if setting is None and ensemble.training.row_sampling is None:
            return every_row
        if not trees.has_targets:
            raise ValueError(
                f"Got y=None; models of {ensemble.library} store sums of hessians and "
                "no counts of rows, so pass y, and sample_weight if there were any."
            )
        raise _not_found(
            ensemble, "the model stores neither counts nor weights of its leaves"
        )
    sampler = find_sampler(ensemble, is_wide=search_seed, group=group)
    if sampler is None:
        cause = "the draws of this library or version are not known"
        if setting is None:
            cause = "its leaves held other numbers of rows in training"
        raise _not_found(ensemble, cause)
    recovered = sampler.draw(trees)
    if recovered is None or not _all_fit(trees, recovered.bags):
        if not trees.has_targets:
            raise ValueError(
                "Got y=None, and the bags are not those drawn from the seed alone: "
                "they depend on the targets, or must be searched tree by tree. Pass y. "
                f"{_CAUSES}."
            )
        recovered = sampler.search(trees)
    if not recovered.is_found.all():
        raise _not_found(ensemble, _describe(ensemble, recovered))
    return recovered.bags


def _all_fit(trees: CountedTrees, bags: Bags) -> bool:
    ensemble = trees.ensemble
    has_split = np.diff(ensemble.leaf_offset) > 1
    return all(
        trees.counts_fit(tree, bags.row_factors(tree))
        for tree in np.flatnonzero(has_split).tolist()
    )


def _describe(ensemble: TreeEnsemble, recovered: RecoveredBags) -> str:
    report = BagReport.of_trees(ensemble, recovered)
    return f"{report}, and not those of {report.missing.lower()}"


def _not_found(ensemble: TreeEnsemble, what: str) -> BagsNotFoundError:
    setting = ensemble.training.subsample
    drawn = "" if setting is None else f" ({setting})"
    message = f"Which rows each tree was fitted on was not found{drawn}: {what}."
    if setting is None and ensemble.training.row_sampling is None:
        return BagsNotFoundError(f"{message} Pass the rows of its training.")
    if setting is None:
        return BagsNotFoundError(
            f"{message} Pass the rows of its training. The model does not hold the "
            "share of rows that each tree was fitted on: pass it by "
            "read_model(model, parameters={'subsample': ...}), 1 for all rows."
        )
    return BagsNotFoundError(
        f"{message} {_CAUSES}. Where the model is a file that does not hold the "
        "parameters of its training, pass read_model(path, parameters={...}) with its "
        "seed and share of rows, or search_seed=True."
    )
