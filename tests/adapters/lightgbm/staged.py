"""A slow stand-in for the trace: trees and their train rows, tree by tree."""

import numpy as np

from treeinf.trace.leaf_rule import newton_step
from treeinf.trace.rows import StagedRows
from treeinf.trace.training_trace import as_trained


class SlowTrees:
    """Implement `StagedTrees` in NumPy."""

    compares_values = True

    def __init__(self, source, X, y, sample_weight=None, init_score=None):
        rows = StagedRows.read(
            source, X, y, sample_weight=sample_weight, init_score=init_score
        )
        self.ensemble, self._rows, _ = as_trained(source, rows)
        self.n_rows, self.y, self.weight = rows.n_rows, rows.y, self._rows.weight
        start = self.ensemble.base_score + np.zeros((self.n_rows, 1))
        if self._rows.offset.size:
            start = start + self._rows.offset
        self._staged = [start]
        self.n_asked = 0

    def leaf(self, tree):
        return self._rows.leaf[self.ensemble.row_of_tree[tree]]

    def derivatives(self, iteration):
        ensemble = self.ensemble
        for before in range(len(self._staged) - 1, iteration):
            score = self._staged[-1].copy()
            for tree in np.flatnonzero(ensemble.iteration == before):
                values = ensemble.leaf_value[self._leaves(tree), 0]
                score[:, ensemble.output[tree]] += values[self.leaf(tree)]
            self._staged.append(score)
        pair = ensemble.loss.derivatives(self.y, self._staged[iteration])
        weight = self.weight if self.weight.size else np.ones(self.n_rows)
        return tuple(np.ascontiguousarray((part * weight[:, None]).T) for part in pair)

    def counts_fit(self, tree, factor):
        self.n_asked += 1
        counts = self.ensemble.leaf_count[self._leaves(tree)]
        leaf = self.leaf(tree)
        drawn = leaf if factor is None else leaf[factor > 0]
        return np.array_equal(np.bincount(drawn, minlength=len(counts)), counts)

    def fits(self, tree, factor):
        if not self.counts_fit(tree, factor):
            return False
        if not self.compares_values:
            return True
        ensemble, own = self.ensemble, self._leaves(tree)
        iteration, output = ensemble.iteration[tree], ensemble.output[tree]
        factor = np.ones(self.n_rows) if factor is None else factor.astype(float)
        sums = [
            np.bincount(self.leaf(tree), part[output] * factor, own.stop - own.start)
            for part in self.derivatives(iteration)
        ]
        expected = newton_step(*sums, ensemble.leaf_l2[own], ensemble.leaf_rule)[0]
        stored = ensemble.leaf_value[own, 0] / ensemble.shrinkage[tree]
        largest = np.abs(stored).max()
        return bool(np.abs(expected - stored).max() <= 1e-3 * largest + 1e-9)

    def _leaves(self, tree):
        return slice(*self.ensemble.leaf_offset[tree : tree + 2].tolist())
