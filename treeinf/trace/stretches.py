"""Find the trees that each table was used for, where training was continued."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import RecoveredBags, StagedTrees, find_sampler
from treeinf.dtypes import NODE, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.kernels.cpu import replay as kernels
from treeinf.trace.reproduction import ReproductionReport
from treeinf.trace.rows import StagedRows
from treeinf.trace.staged_trees import ReplayedTrees

__all__ = ["StretchSampler", "check_stretches"]


def check_stretches(
    report: ReproductionReport,
    recovered: RecoveredBags | None,
    table_start: NDArray[np.int64],
) -> ReproductionReport:
    """Name the tables that were used for no tree, and trees that follow from none.

    Parameters
    ----------
    report : ReproductionReport
        How well the leaf values follow with the stretches that were found.
    recovered : RecoveredBags or None
        Their bags; None if no tree follows from any table.
    table_start : ndarray of int64, shape (n_tables + 1,)
        First row of each table.

    Returns
    -------
    ReproductionReport
        Its verdict is "other rows" if some tree or table is left over.
    """
    n_tables = len(table_start) - 1
    unused = list(range(n_tables))
    if recovered is not None:
        is_seen = np.zeros(table_start[-1], np.bool_)
        for tree in np.unique(recovered.bags.of_tree, return_index=True)[1].tolist():
            factor = recovered.bags.row_factors(tree)
            if factor is not None:
                is_seen |= factor != 0.0
        is_used = np.logical_or.reduceat(is_seen, table_start[:-1])
        unused = np.flatnonzero(~is_used).tolist()
        if recovered.is_found.all() and not unused:
            return report
    words = "No iteration follows from the first table."
    if recovered is not None:
        words = f"Found: {recovered.source}."
    if recovered is not None and recovered.is_found.all():
        words += " Leave out the tables that no iteration was trained on."
    else:
        words += (
            " The other iterations follow from no table: pass the tables in the order "
            "in which training was continued on them, each with its rows, labels and "
            "weights as they were passed then."
        )
    explanation = f"Got {n_tables} tables. {words}"
    return dataclasses.replace(report, verdict="other rows", explanation=explanation)


@dataclasses.dataclass(frozen=True, eq=False)
class _Stretch:
    """Iterations that follow from one table.

    Parameters
    ----------
    table : int
        The table.
    first_tree, n_trees, n_iterations : int
        Its trees.
    bags : Bags
        Their bags, of the table's rows; all trees from the first one on.
    source : str
        How they were drawn; empty for all rows.
    held_out : ndarray of bool, shape (n_table_rows,) or (0,)
        Rows of the table that no part of its training saw.
    """

    table: int
    first_tree: int
    n_trees: int
    n_iterations: int
    bags: Bags
    source: str
    held_out: NDArray[np.bool_] = dataclasses.field(
        default_factory=lambda: np.empty(0, np.bool_)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class StretchSampler:
    """Finds which trees were fitted on which of several tables, and on which rows.

    Each table was used for a stretch of iterations, in the order of the tables. A
    stretch ends before the first iteration that its table does not reproduce. It is a
    `RowSampler`: rows of the other tables are in no bag of a stretch.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model with the base score of the first table taken out.
    rows : StagedRows
        Rows of all tables, with the weights of their gradients.
    is_wide : bool
        Search through many seeds where rows were sampled.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    is_wide: bool = False

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Return None: no stretch is known before it was compared."""
        return None

    def search(self, trees: StagedTrees) -> RecoveredBags:
        """Find the stretches one after the other; see `RowSampler`."""
        stretches: list[_Stretch] = []
        n_tables = len(self.rows.table_start) - 1
        following = None
        for table in range(n_tables):
            stretch = following or self._measure(table, stretches)
            following = None
            done = [*stretches, stretch]
            is_open = sum(each.n_iterations for each in done) < (
                self.ensemble.n_iterations
            )
            if is_open and table < n_tables - 1:
                following = self._measure(table + 1, done)
                if not following.n_iterations:
                    following = self._measure(table + 1, done, is_thorough=True)
            if is_open and (following is None or not following.n_iterations):
                longer = self._measure(table, stretches, is_thorough=True)
                if longer.n_iterations > stretch.n_iterations:
                    stretch, following = longer, None
            stretches.append(stretch)
        return self._collect(stretches)

    def _measure(
        self, table: int, earlier: list[_Stretch], *, is_thorough: bool = False
    ) -> _Stretch:
        """Count the iterations after some stretches that a table reproduces.

        All rows are tried, then the bags that the library would draw, or where
        `is_thorough` those that are found tree by tree.
        """
        first = sum(stretch.n_iterations for stretch in earlier)
        starts = self.ensemble.flat_leaves.iteration_start
        first_tree = int(starts[min(first, self.ensemble.n_iterations)])
        n_rows = int(np.diff(self.rows.table_start)[table])
        if first_tree == self.ensemble.n_trees:
            return _Stretch(table, first_tree, 0, 0, Bags.all_rows(n_rows), "")
        trees = self._take(table, earlier)
        no_bags = np.empty(0, np.bool_)
        candidates = [RecoveredBags(Bags.all_rows(n_rows), no_bags, "")]
        sampler = find_sampler(trees.ensemble, is_wide=self.is_wide)
        if sampler is not None:
            recovered = sampler.search(trees) if is_thorough else sampler.draw(trees)
            if recovered is not None:
                candidates.append(recovered)
        lengths = [_count_iterations(trees, tried.bags) for tried in candidates]
        best = int(np.argmax(lengths))
        chosen = candidates[best]
        return _Stretch(
            table,
            first_tree,
            int(starts[first + lengths[best]]) - first_tree,
            lengths[best],
            chosen.bags,
            chosen.source,
            chosen.held_out,
        )

    def _take(self, table: int, earlier: list[_Stretch]) -> ReplayedTrees:
        """Return the trees after some stretches, with the rows of a table.

        Their `TrainingFacts.row_sampling` says in "earlier" what was drawn before:
        rows, iterations and trees of each stretch.
        """
        ensemble, rows = self.ensemble, self.rows
        first_tree = sum(stretch.n_trees for stretch in earlier)
        of_table = slice(*rows.table_start[table : table + 2].tolist())
        leaf = np.ascontiguousarray(rows.leaf[ensemble.row_of_tree, of_table])
        later = ensemble.take_trees(np.arange(first_tree, ensemble.n_trees))
        iteration = later.iteration - later.iteration[0]
        facts = later.training
        if first_tree and facts.row_sampling is not None:
            drawn = tuple(
                (stretch.bags.n_rows, stretch.n_iterations, stretch.n_trees)
                for stretch in earlier
            )
            settings = (*facts.row_sampling, ("earlier", drawn))
            facts = dataclasses.replace(facts, row_sampling=settings)
        later = dataclasses.replace(
            later, iteration=iteration.astype(NODE), training=facts
        )
        n_rows = leaf.shape[1]
        offset = rows.offset[of_table] if rows.offset.size else rows.offset
        if first_tree:
            every = ensemble.take_trees(np.arange(ensemble.n_trees))
            score = np.empty((n_rows, ensemble.n_outputs), REAL)
            kernels.sum_leaf_values(leaf, every.flat_leaves, offset, first_tree, score)
            offset = score - ensemble.base_score
        return ReplayedTrees(
            later,
            StagedRows(
                leaf=leaf[first_tree:],
                y=rows.y[of_table],
                weight=rows.weight[of_table] if rows.weight.size else rows.weight,
                offset=np.ascontiguousarray(offset),
                fingerprint=rows.fingerprint[of_table],
            ),
        )

    def _collect(self, stretches: list[_Stretch]) -> RecoveredBags:
        """Put the bags of all stretches into bags of all rows."""
        n_rows, n_trees = self.rows.n_rows, self.ensemble.n_trees
        has_factors = any(stretch.bags.factor.size for stretch in stretches)
        dtype: Any = np.float32 if has_factors else np.bool_
        of_tree = np.full(n_trees, -1, NODE)
        bags: list[NDArray[Any]] = []
        for stretch in stretches:
            begin, end = self.rows.table_start[stretch.table : stretch.table + 2]
            numbers: dict[int, int] = {}
            for tree in range(stretch.n_trees):
                line = stretch.bags.of_tree[tree] if stretch.bags.of_tree.size else -1
                if int(line) not in numbers:
                    numbers[int(line)] = len(bags)
                    factor = stretch.bags.row_factors(tree)
                    bag = np.zeros(n_rows, dtype)
                    bag[begin:end] = 1 if factor is None else factor
                    bags.append(bag)
                of_tree[stretch.first_tree + tree] = numbers[int(line)]
        held_out = self.rows.after_first_table.copy()
        if stretches[0].held_out.size:
            held_out[: len(stretches[0].held_out)] = stretches[0].held_out
        return RecoveredBags(
            Bags.from_rows(n_rows, bags, of_tree),
            of_tree >= 0,
            self._describe(stretches),
            held_out=held_out,
        )

    def _describe(self, stretches: list[_Stretch]) -> str:
        words, first = [], 0
        for stretch in stretches:
            end = first + stretch.n_iterations
            which = "none" if end == first else f"iterations {first} to {end - 1}"
            drawn = f" ({stretch.source})" if stretch.source else ""
            words.append(f"table {stretch.table}: {which}{drawn}")
            first = end
        return ", ".join(words)


def _count_iterations(trees: ReplayedTrees, bags: Bags) -> int:
    """Count the iterations from the first on whose trees all fit."""
    starts = trees.ensemble.flat_leaves.iteration_start
    for tree in range(trees.ensemble.n_trees):
        if not trees.fits(tree, bags.row_factors(tree)):
            return int(np.searchsorted(starts, tree, "right")) - 1
    return trees.ensemble.n_iterations
