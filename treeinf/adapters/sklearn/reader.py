"""Read scikit-learn's boosted trees, forests, bagged trees and single trees."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.sklearn import forest as sklearn_forest
from treeinf.adapters.sklearn import gradient_boosting as sklearn_gradient
from treeinf.adapters.sklearn import hist_gradient_boosting as sklearn_hist
from treeinf.adapters.sklearn.forest import bootstrap_counts, tree_weights
from treeinf.adapters.sklearn.trees import join_trees
from treeinf.ensemble import InputRules, TreeEnsemble
from treeinf.errors import UnsupportedModelError

__all__ = [
    "bootstrap_counts",
    "init_score",
    "leaf_nodes",
    "raw_score",
    "read",
    "training_rows",
    "tree_weights",
]

_READ = (
    "Read are HistGradientBoosting*, GradientBoosting*, RandomForest*, ExtraTrees*, "
    "DecisionTree*, ExtraTree* and Bagging* of decision trees, each as Classifier and "
    "Regressor."
)


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted tree model of scikit-learn.

    Parameters
    ----------
    model : estimator
        The model. Iterations after the one at which early stopping stopped are part of
        it, as they are in scikit-learn's own predictions.
    iterations : int or None
        First iterations, or trees of a forest, to read; None for all.
    parameters : None
        A live model knows its own.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    UnsupportedModelError
        If the model cannot be represented exactly.
    """
    if parameters is not None:
        raise ValueError(
            "Got parameters for a scikit-learn model, which knows its own; set them "
            "with model.set_params if they have changed since it was fitted."
        )
    ensemble: TreeEnsemble = _family(model).read(model, iterations)
    return ensemble


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute scikit-learn's own raw scores.

    Parameters
    ----------
    model : estimator
        The model.
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows, as scikit-learn takes them.
    iterations : int or None
        First iterations, or trees of a forest, to use; None for all.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
        Scores before the link for boosted trees; predictions or class probabilities
        for averaged ones.
    """
    family = _family(model)
    rows = _library_rows(family, model, X)
    with warnings.catch_warnings():
        # whether the rows have the names of the columns is checked elsewhere
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        found: NDArray[np.float64] = family.raw_score(model, rows, iterations)
    return found


def init_score(model: Any, X: Any) -> NDArray[np.float64] | None:
    """Compute the score each row starts from, where a model of the rows gives it.

    Parameters
    ----------
    model : estimator
        The model.
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs), or None
        None where the ensemble's base score is all.
    """
    if _family(model) is not sklearn_gradient:
        return None
    rows = _library_rows(sklearn_gradient, model, X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return sklearn_gradient.init_score(model, rows)


def leaf_nodes(model: Any) -> NDArray[np.int64]:
    """Give scikit-learn's node number of each leaf of the ensemble.

    Parameters
    ----------
    model : estimator
        The model.

    Returns
    -------
    ndarray of int64, shape (n_leaves,)
        Place of each leaf among the nodes of its tree, which is what scikit-learn's
        ``apply`` returns.
    """
    family = _family(model)
    if family is sklearn_hist:
        return sklearn_hist.find_layout(model).leaf_node
    if family is sklearn_gradient:
        estimators = model.estimators_.ravel()
    else:
        estimators = sklearn_forest.find_estimators(model)
    return join_trees([estimator.tree_ for estimator in estimators])[0].leaf_node


def training_rows(model: Any, y: Any) -> NDArray[np.int64]:
    """Find the rows that early stopping did not hold out.

    Parameters
    ----------
    model : estimator
        The model.
    y : array-like, shape (n_rows,)
        All targets that were passed to its ``fit``.

    Returns
    -------
    ndarray of int64, shape (n_training,)
        Positions of the rows that the trees were fitted on, rising.

    Raises
    ------
    ValueError
        If the rows were split by a random state that is not known any more.
    """
    from sklearn.base import is_classifier
    from sklearn.model_selection import train_test_split

    family, y = _family(model), np.asarray(y)
    everything = np.arange(len(y))
    if family is sklearn_hist:
        is_split = model.do_early_stopping_ and model.validation_fraction is not None
        # rows for validation of the caller's own leave all others for training
        if not is_split or sklearn_hist.root_count(model) == len(y):
            return everything
        seed = model._random_seed
    elif family is sklearn_gradient and model.n_iter_no_change is not None:
        seed = model.random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise ValueError(
                f"The model was fitted with random_state={seed!r}: which rows early "
                "stopping held out is not known. Fit it with an integer."
            )
    else:
        return everything
    kept, _ = train_test_split(
        everything,
        test_size=model.validation_fraction,
        stratify=y if is_classifier(model) else None,
        random_state=seed,
    )
    return np.sort(kept)


def _family(model: Any) -> ModuleType:
    """Find the module that reads a fitted model, or say what is wrong with it."""
    from sklearn import ensemble, tree
    from sklearn.utils.validation import check_is_fitted

    families: tuple[tuple[ModuleType, tuple[type, ...]], ...] = (
        (
            sklearn_hist,
            (
                ensemble.HistGradientBoostingClassifier,
                ensemble.HistGradientBoostingRegressor,
            ),
        ),
        (
            sklearn_gradient,
            (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor),
        ),
        (
            sklearn_forest,
            (
                ensemble.RandomForestClassifier,
                ensemble.RandomForestRegressor,
                ensemble.ExtraTreesClassifier,
                ensemble.ExtraTreesRegressor,
                ensemble.BaggingClassifier,
                ensemble.BaggingRegressor,
                tree.DecisionTreeClassifier,
                tree.DecisionTreeRegressor,
            ),
        ),
    )
    for family, kinds in families:
        if isinstance(model, kinds):
            check_is_fitted(model)
            return family
    kind = type(model)
    raise UnsupportedModelError(
        f"Got a {kind.__module__}.{kind.__qualname__}, which does not predict targets "
        f"by boosted or averaged trees. {_READ}"
    )


def _library_rows(family: ModuleType, model: Any, X: Any) -> Any:
    """Bring rows to what scikit-learn takes."""
    if family is sklearn_hist:
        if sparse.issparse(X):
            return sparse.csr_array(X).toarray()
        return X if model.is_categorical_ is not None else _plain_rows(model, X)
    return _plain_rows(model, X)


def _plain_rows(model: Any, X: Any) -> Any:
    if sparse.issparse(X):
        return sparse.csr_matrix(sparse.csr_array(X))
    if isinstance(X, np.ndarray) or hasattr(X, "iloc"):
        return X
    return InputRules(model.n_features_in_).read(X)
