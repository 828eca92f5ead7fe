"""The trees of a model over its train rows, judged in double precision."""

import numpy as np

from treeinf.trace import StagedRows, as_trained


class JudgedTrees:
    """`StagedTrees` by plain sums; `n_fits` counts the bags that were compared."""

    def __init__(self, ensemble, X, y, weight=None):
        rows = StagedRows.read(ensemble, X, y, sample_weight=weight)
        self.ensemble, self.rows, _ = as_trained(ensemble, rows)
        self.n_rows, self.y = self.rows.n_rows, self.rows.y
        self.weight = self.rows.weight
        self.compares_values = not ensemble.training.approximations
        self.n_fits = 0

    def leaf(self, tree):
        return self.rows.leaf[self.ensemble.row_of_tree[tree]]

    def derivatives(self, iteration):
        ensemble = self.ensemble
        score = np.tile(ensemble.base_score, (self.n_rows, 1))
        for tree in np.flatnonzero(ensemble.iteration < iteration):
            values = ensemble.leaf_value[ensemble.leaf_offset[tree] + self.leaf(tree)]
            columns = (
                slice(None) if ensemble.leaf_width > 1 else [ensemble.output[tree]]
            )
            score[:, columns] += values
        weight = self.weight[:, np.newaxis] if self.weight.size else 1.0
        return [(part * weight).T for part in ensemble.loss.derivatives(self.y, score)]

    def errors(self, tree, factor):
        """Relative errors of covers, and of leaf values before shrinkage."""
        ensemble, leaf = self.ensemble, self.leaf(tree)
        factor = np.ones(self.n_rows) if factor is None else factor
        leaves = slice(*ensemble.leaf_offset[tree : tree + 2])
        n_leaves, l2 = leaves.stop - leaves.start, ensemble.leaf_l2[leaves]
        outputs = [ensemble.output[tree]]
        if ensemble.leaf_width > 1:
            outputs = range(ensemble.n_outputs)
        derivatives = self.derivatives(ensemble.iteration[tree])
        errors = np.zeros(2)
        for column, output in enumerate(outputs):
            gradient, hessian = (
                np.bincount(leaf, part[output] * factor, n_leaves)
                for part in derivatives
            )
            value = ensemble.leaf_value[leaves, column] / ensemble.shrinkage[tree]
            gap = np.abs(-gradient / (hessian + l2) - value).max() / np.abs(value).max()
            errors[1] = max(errors[1], gap)
            if ensemble.leaf_hessian is not None:
                cover = ensemble.leaf_hessian[leaves]
                errors[0] = max(errors[0], (np.abs(hessian - cover) / cover).max())
        return errors

    def counts_fit(self, tree, factor):
        return True

    def fits(self, tree, factor):
        self.n_fits += 1
        if not self.compares_values:
            return True
        cover, value = self.errors(tree, factor)
        return cover < 1e-5 and value < 1e-4
