"""Draw again which rows scikit-learn's forests and bagged trees were fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError

__all__ = ["describe_bootstrap", "draw_counts", "find_chance", "find_tree_weights"]

_UNKNOWN = -1
_LARGEST_SEED = int(np.iinfo(np.int32).max)


def describe_bootstrap(model: Any, n_trees: int) -> tuple[tuple[str, Any], ...] | None:
    """Return what `draw_counts` and `find_tree_weights` need to know of a model.

    Parameters
    ----------
    model : estimator
        A fitted forest, bagging or single tree.
    n_trees : int
        Trees that are read of it.

    Returns
    -------
    tuple of (name, value) pairs, or None
        None for a single tree.

    Notes
    -----
    Since scikit-learn 1.9 sample and class weights of a bootstrapped forest are the
    probability that a row is drawn, and bagging has used sample weights so since 1.8;
    before, they were factors on the number of times that a row was drawn. A model says
    which by storing the weights.
    """
    if not hasattr(model, "estimators_"):
        return None
    is_bagging = hasattr(model, "estimators_features_")
    weight = getattr(model, "_sample_weight", None)
    settings: dict[str, Any] = {
        "kind": "bagging" if is_bagging else "forest",
        "n_rows": int(model._n_samples),
        "bootstrap": bool(model.bootstrap),
        "by_weight": hasattr(model, "_sample_weight"),
        "has_weight": weight is not None,
        "single_weight": weight is not None and weight.dtype == np.float32,
    }
    if is_bagging:
        inner = getattr(model.estimator_, "class_weight", None)
        if isinstance(inner, Mapping):  # its keys are class numbers
            codes = range(len(model.classes_))
            inner = tuple(float(inner.get(code, 1.0)) for code in codes)
        settings |= {
            "seeds": _bagging_seeds(model)[:n_trees],
            "n_drawn": int(model._max_samples),
            "bootstrap_features": bool(model.bootstrap_features),
            "n_features": int(model.n_features_in_),
            "n_drawn_features": int(model._max_features),
            "inner_class_weight": inner,
        }
    elif model.bootstrap:
        trees = model.estimators_[:n_trees]
        weights = getattr(model, "class_weight", None)
        settings |= {
            "seeds": tuple(int(tree.random_state) for tree in trees),
            "n_drawn": int(model._n_samples_bootstrap),
            "balances_samples": isinstance(weights, str)
            and weights == "balanced_subsample",
        }
    return tuple(settings.items())


def _bagging_seeds(model: Any) -> tuple[int, ...]:
    """Return the seed of each tree's draw; -1 where it is not known.

    A model that was continued keeps the seeds of the last trees alone; an integer
    `random_state` gives the others.
    """
    seeds, n_trees = [int(seed) for seed in model._seeds], len(model.estimators_)
    n_missing = n_trees - len(seeds)
    if n_missing <= 0:
        return tuple(seeds)
    first = [_UNKNOWN] * n_missing
    if isinstance(model.random_state, int | np.integer):
        generator = np.random.RandomState(model.random_state)
        drawn = generator.randint(_LARGEST_SEED, size=n_trees).tolist()
        if drawn[n_missing:] == seeds:
            first = drawn[:n_missing]
    return (*first, *seeds)


def draw_counts(
    ensemble: TreeEnsemble, n_rows: int, chance: NDArray[np.floating[Any]] | None
) -> Iterator[NDArray[np.int64] | None]:
    """Count how often each train row was drawn, tree by tree.

    Parameters
    ----------
    ensemble : TreeEnsemble
        A model whose `TrainingFacts.row_sampling` has the seeds of its trees.
    n_rows : int
        Train rows.
    chance : ndarray of float, shape (n_rows,), or None
        Rows are drawn in proportion to it; None for equal probabilities.

    Yields
    ------
    ndarray of int64, shape (n_rows,), or None
        None where the seed is not known.
    """
    settings = dict(ensemble.training.row_sampling or ())
    if chance is not None:
        chance = chance / np.sum(chance)
    for seed in settings["seeds"]:
        if seed == _UNKNOWN:
            yield None
            continue
        generator = np.random.RandomState(seed)
        if settings["kind"] == "bagging":
            n_features = settings["n_features"], settings["n_drawn_features"]
            _draw(generator, settings["bootstrap_features"], *n_features)
        if chance is None:
            n_drawn = settings["n_drawn"]
            drawn = _draw(generator, settings["bootstrap"], n_rows, n_drawn)
        else:
            drawn = generator.choice(
                n_rows, settings["n_drawn"], replace=settings["bootstrap"], p=chance
            )
        yield np.bincount(drawn, minlength=n_rows)


def _draw(
    generator: np.random.RandomState, replaces: bool, n: int, n_drawn: int
) -> NDArray[np.integer[Any]]:
    if replaces:
        return generator.randint(0, n, n_drawn)
    from sklearn.utils.random import sample_without_replacement

    drawn: NDArray[np.integer[Any]] = sample_without_replacement(
        n, n_drawn, random_state=generator
    )
    return drawn


def find_chance(
    ensemble: TreeEnsemble,
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.floating[Any]] | None:
    """Return the weights by which rows were drawn; None where all are alike.

    Parameters
    ----------
    ensemble, target, weight
        See `find_tree_weights`; targets are read where classes have weights.
    """
    settings = dict(ensemble.training.row_sampling or ())
    if not settings["by_weight"] or not settings["has_weight"]:
        return None
    chance = weight if weight.size else np.ones(settings["n_rows"])
    if ensemble.training.class_weight is not None:
        return chance * _class_factors(ensemble, target, weight)
    return chance.astype(np.float32) if settings["single_weight"] else chance


def find_tree_weights(
    ensemble: TreeEnsemble,
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Recover the weight that each train row had in each tree.

    Parameters
    ----------
    ensemble : TreeEnsemble
        A forest, bagging or single tree.
    target : ndarray of float64, shape (n_rows,)
        Targets; class numbers for classifiers.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        The sample weights of its training; empty for none.

    Returns
    -------
    ndarray of float64, shape (n_trees, n_rows)
        Leaf values are averages with these weights, and stored leaf weights their sums.

    Raises
    ------
    UnsupportedModelError
        If the model does not store how some tree's rows were drawn.
    ValueError
        If it was trained on a different number of rows.
    """
    facts, n_rows = ensemble.training, len(target)
    settings = dict(facts.row_sampling or ())
    if not settings and facts.subsample is not None:
        raise UnsupportedModelError(
            f"Each tree of this forest had its own rows ({facts.subsample}), and its "
            "file was written before seeds were stored. Pass the scikit-learn model, "
            "or read and save it again."
        )
    n_train = settings.get("n_rows", n_rows)
    if n_train != n_rows:
        raise ValueError(f"The model was trained on {n_train} rows; got {n_rows}.")
    row_weight = weight if weight.size else np.ones(n_rows)
    factors = _class_factors(ensemble, target, weight)
    if settings.get("inner_class_weight") is not None:
        inner = _inner_factors(settings["inner_class_weight"], target)
    else:
        inner = np.ones(n_rows)
    if "seeds" not in settings:
        return np.tile(row_weight * factors * inner, (ensemble.n_trees, 1))
    chance = find_chance(ensemble, target, weight)
    weights = np.empty((ensemble.n_trees, n_rows), REAL)
    for tree, counts in enumerate(draw_counts(ensemble, n_rows, chance)):
        if counts is None:
            raise UnsupportedModelError(
                "This bagging was continued (warm_start=True) without an integer "
                "random_state, and keeps the seeds of the last trees alone. Fit it "
                "with an integer, or in one go."
            )
        weights[tree] = counts * inner
        if settings.get("balances_samples"):
            weights[tree] *= _balance(target, counts.astype(REAL))
        if not settings["by_weight"]:
            weights[tree] *= row_weight * factors
    return weights


def _class_factors(
    ensemble: TreeEnsemble,
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weight of each row's class, shape (n_rows,)."""
    class_weight = ensemble.training.class_weight
    if class_weight is None:
        return np.ones(len(target))
    if isinstance(class_weight, str):
        settings = dict(ensemble.training.row_sampling or ())
        counts_weights = settings.get("kind") == "forest" and settings["by_weight"]
        has_weight = counts_weights and weight.size
        return _balance(target, weight if has_weight else np.ones(len(target)))
    labels = range(ensemble.n_outputs) if ensemble.classes is None else ensemble.classes
    factors = dict(class_weight)
    of_class = np.array([factors.get(label, 1.0) for label in labels])
    return of_class[target.astype(np.intp)]


def _inner_factors(
    class_weight: str | tuple[float, ...], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the class weights that bagged trees apply themselves, row by row."""
    if isinstance(class_weight, str):
        return _balance(target, np.ones(len(target)))
    return np.array(class_weight)[target.astype(np.intp)]


def _balance(
    target: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weights by which all classes that are present weigh the same."""
    codes = target.astype(np.intp)
    totals = np.bincount(codes, weight)
    is_present = totals > 0.0
    factors = np.zeros(len(totals))
    factors[is_present] = totals.sum() / (is_present.sum() * totals[is_present])
    return factors[codes]
