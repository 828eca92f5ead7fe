"""Which rows each tree was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.explainers.row_sampling.recovery import recover_training, tabulate
from treeinf.kernels.threads import limit_threads

__all__ = ["in_bag"]


def in_bag(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    init_score: Any = None,
    group: Any = None,
    search_seed: bool = False,
    n_jobs: int | None = None,
) -> NDArray[np.bool_] | NDArray[np.int32] | NDArray[np.float32]:
    """Find which train rows each tree was fitted on.

    The library's random numbers are drawn again from its seed, and a draw is accepted
    only where it gives the leaf counts and leaf values that the model stores.

    Parameters
    ----------
    model : fitted estimator, pipeline, booster, path to a file, or TreeEnsemble
        The model. It need not be one that gradient-based influence explains: forests,
        ``boosting=rf``, dart and ranking are read too.
    X : array-like or frame, shape (n_rows, n_features), or list of them
        All rows that were passed to its training, in their order: draws go by position.
        Where training was continued on other rows, a list of the tables in the order
        of training, and lists of all that follows; rows are then numbered through all
        tables, and a tree saw no row of the other ones.
    y : array-like, shape (n_rows,), optional
        Their targets. Needed for a list of tables, where the model stores no counts of
        rows (XGBoost), where the draws depend on targets or gradients, and where draws
        must be searched tree by tree.
    sample_weight : array-like, shape (n_rows,), optional
        The weights it was trained with.
    init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
        The initial scores it was trained with.
    group : array-like of int, shape (n_queries,), optional
        Rows of each query, as LGBMRanker.fit takes them; needed where LightGBM bagged
        whole queries (``bagging_by_query``).
    search_seed : bool, default=False
        Where the seed or the share of rows is not stored, try many more than defaults
        and small seeds, which takes minutes and shows its progress. What is found is
        logged, and can be passed as ``read_model(path, parameters={...})`` next time.
    n_jobs : int or None, default=None
        Threads; None or -1 for all.

    Returns
    -------
    ndarray of bool, int32 or float32, shape (n_rows, n_trees)
        Whether each row was in the bag of each tree; for forests how often it was
        drawn; where sampling weighs rows (GOSS, gradient-based), the factor on its
        gradient. True for all rows in trees that were fitted on all.

    Raises
    ------
    BagsNotFoundError
        If some tree's bag is not found: the message names the trees and the commonest
        causes.
    ValueError, TypeError
        If the rows do not fit the model, or `y` is needed.

    Notes
    -----
    Without `y`, and for models whose gradients treeinf does not replay, bags are
    compared by leaf counts alone. CatBoost samples rows to choose splits; its leaf
    values are those of all rows, so that all are True. The first row is in every bag
    of XGBoost, by a flaw of its generator.
    """
    with limit_threads(n_jobs):
        training = recover_training(
            model,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            group=group,
            search_seed=search_seed,
        )
    return tabulate(training.source, training.bags)
