"""Raw scores by the slow twin of LeafRefit."""

import numpy as np

from tests.naive.boosting import NaiveModel
from tests.naive.leaf_refit import refit, score


def naive_scores(explainer, X_test, removed, base, **rule):
    """Raw scores of test rows by the slow twin."""
    ensemble, rows = explainer.ensemble_, explainer.trace_.rows
    naive = NaiveModel(ensemble)
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    values = refit(
        naive,
        rows.leaf.T.tolist(),
        rows.y.tolist(),
        weight.tolist(),
        removed,
        base,
        rows.offset.tolist() if rows.offset.size else None,
        factors=rows.bags.table(ensemble.n_trees).tolist(),
        **rule,
    )
    test = ensemble.apply(X_test).tolist()
    return np.array([score(naive, values, leaves, base) for leaves in test])
