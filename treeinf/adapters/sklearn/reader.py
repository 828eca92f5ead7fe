"""Read scikit-learn's fitted tree models into a `TreeEnsemble`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.sklearn import forest, gradient_boosting, hist_gradient_boosting
from treeinf.adapters.sklearn.trees import lay_out_trees
from treeinf.ensemble import InputRules, TreeEnsemble
from treeinf.errors import UnsupportedModelError

__all__ = ["init_score", "leaf_nodes", "raw_score", "read"]

_FAMILIES = {
    "HistGradientBoosting": hist_gradient_boosting,
    "GradientBoosting": gradient_boosting,
    "RandomForest": forest,
    "ExtraTrees": forest,
    "Bagging": forest,
    "DecisionTree": forest,
}
"""The module that reads each family of estimators and its subclasses."""

_SUPPORTED = (
    "Supported are HistGradientBoosting*, GradientBoosting*, RandomForest*, "
    "ExtraTrees*, DecisionTree*, ExtraTree* and Bagging* of decision trees, each as "
    "Classifier and Regressor."
)


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted tree model of scikit-learn; see `Adapter.read`.

    All fitted iterations are read, also after early stopping, as in scikit-learn's
    predictions. `parameters` must be None: the estimator has its own.
    """
    if parameters is not None:
        raise ValueError(
            "Got parameters for a scikit-learn model, which holds its own; set them "
            "with model.set_params if they have changed since it was fitted."
        )
    ensemble: TreeEnsemble = _family(model).read(model, iterations)
    return ensemble


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute scikit-learn's own raw scores; see `Adapter.raw_score`.

    For averaged trees they are predictions or class probabilities.
    """
    family = _family(model)
    rows = _library_rows(family, model, X)
    with warnings.catch_warnings():
        # column names are checked elsewhere
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        scores: NDArray[np.float64] = family.raw_score(model, rows, iterations)
    return scores


def init_score(model: Any, X: Any) -> NDArray[np.float64] | None:
    """Compute the initial scores of rows; see `Adapter.init_score`."""
    if _family(model) is not gradient_boosting:
        return None
    rows = _library_rows(gradient_boosting, model, X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return gradient_boosting.init_score(model, rows)


def leaf_nodes(model: Any) -> NDArray[np.int64]:
    """Return scikit-learn's node number of each leaf of the ensemble.

    Parameters
    ----------
    model : estimator
        The model.

    Returns
    -------
    ndarray of int64, shape (n_leaves,)
        Position of each leaf among the nodes of its tree, which is what scikit-learn's
        ``apply`` returns.
    """
    family = _family(model)
    if family is hist_gradient_boosting:
        return hist_gradient_boosting.find_layout(model).leaf_node
    if family is gradient_boosting:
        estimators = model.estimators_.ravel()
    else:
        estimators = forest.find_estimators(model)
    return lay_out_trees([estimator.tree_ for estimator in estimators]).leaf_node


def _family(model: Any) -> ModuleType:
    """Return the module that reads a fitted model, or refuse the model."""
    from sklearn import ensemble, tree
    from sklearn.utils.validation import check_is_fitted

    for name, family in _FAMILIES.items():
        for suffix in ("Classifier", "Regressor"):
            kind = getattr(tree if name == "DecisionTree" else ensemble, name + suffix)
            if isinstance(model, kind):
                check_is_fitted(model)
                return family
    kind = type(model)
    raise UnsupportedModelError(
        f"Got a {kind.__module__}.{kind.__qualname__}, which does not predict targets "
        f"by boosted or averaged trees. {_SUPPORTED}"
    )


def _library_rows(family: ModuleType, model: Any, X: Any) -> Any:
    """Convert rows to a type that scikit-learn accepts."""
    if family is hist_gradient_boosting:
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
