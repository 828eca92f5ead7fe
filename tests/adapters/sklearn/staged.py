"""The trees of a model and its train rows, replayed in plain loops for a sampler."""

import numpy as np


class NaiveTrees:
    """A `StagedTrees` of models whose leaf values are sums of gradients over hessians.

    Parameters
    ----------
    ensemble : TreeEnsemble
        A model of scikit-learn.
    X, y : ndarray
        The rows, and their targets as the loss reads them; None if not known.
    weight : ndarray, shape (n_rows,) or (0,)
        Their weights.
    """

    def __init__(self, ensemble, X, y, weight=()):
        self.ensemble, self.n_rows = ensemble, len(X)
        self._y, self.weight = y, np.asarray(weight, float)
        self._leaf = ensemble.apply(X).T.astype(int)
        self.compares_values = y is not None

    @property
    def y(self):
        if self._y is None:
            raise ValueError("pass y")
        return self._y

    def leaf(self, tree):
        return self._leaf[tree]

    def derivatives(self, iteration):
        ensemble = self.ensemble
        score = np.tile(ensemble.base_score, (self.n_rows, 1))
        for tree in np.flatnonzero(ensemble.iteration < iteration):
            value = ensemble.leaf_value[ensemble.leaf_offset[tree] + self.leaf(tree), 0]
            score[:, ensemble.output[tree]] += value
        gradient, hessian = ensemble.loss.derivatives(self.y, score)
        weight = self.weight if self.weight.size else 1.0
        return gradient.T * weight, hessian.T * weight

    def _sums(self, tree, numbers):
        first, last = self.ensemble.leaf_offset[tree : tree + 2]
        return np.bincount(self.leaf(tree), numbers, minlength=last - first)

    def counts_fit(self, tree, factor):
        factor = np.ones(self.n_rows) if factor is None else factor
        counted = np.asarray(factor) > 0
        if self.weight.size and not self.ensemble.training.counts_zero_weights:
            counted &= self.weight > 0
        first, last = self.ensemble.leaf_offset[tree : tree + 2]
        stored = self.ensemble.leaf_count[first:last]
        return np.array_equal(self._sums(tree, counted), stored)

    def difference(self, tree, factor):
        """Return the largest error of a leaf value, relative to the tree's largest."""
        ensemble = self.ensemble
        factor = np.ones(self.n_rows) if factor is None else factor
        gradient, hessian = self.derivatives(int(ensemble.iteration[tree]))
        column = ensemble.output[tree]
        first, last = ensemble.leaf_offset[tree : tree + 2]
        total = (
            self._sums(tree, factor * hessian[column]) + ensemble.leaf_l2[first:last]
        )
        step = -self._sums(tree, factor * gradient[column]) / total
        stored = ensemble.leaf_value[first:last, 0] / ensemble.shrinkage[tree]
        return np.abs(step - stored).max() / np.abs(stored).max()

    def fits(self, tree, factor):
        if not self.counts_fit(tree, factor):
            return False
        return not self.compares_values or self.difference(tree, factor) < 1e-6
