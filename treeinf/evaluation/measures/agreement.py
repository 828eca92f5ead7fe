"""Correlate methods with refitting and retraining, test row by test row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import clone

from treeinf.dtypes import REAL
from treeinf.evaluation.experiment import Spent, import_pandas, start_clock
from treeinf.evaluation.methods import read_methods
from treeinf.explainers.base import Explainer
from treeinf.explainers.retraining import LOO
from treeinf.frames import count_rows, row_labels
from treeinf.training.learner import copy_estimator
from treeinf.training.seeds import check_random_state, derive_seed
from treeinf.training.subsets import SubsetLearner

__all__ = ["agreement", "compare_columns", "mean_agreement"]


def agreement(
    estimator: Any,
    explainers: Mapping[str, Explainer | str] | Iterable[str],
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    *,
    references: Mapping[str, Explainer | str] | Iterable[str] = ("LeafRefit", "LOO"),
    sample_weight: Any = None,
    with_other_seed: bool = True,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Any:
    """Compare methods with references, test row by test row; needs pandas.

    A copy of the estimator is trained, and every method and reference computes the
    influence of each train row on each test row's loss. For a test row, the two lists
    of n_train numbers are compared by rank and by size.

    Parameters
    ----------
    estimator : estimator
        Of LightGBM, XGBoost, CatBoost or scikit-learn, fitted or not; copies are
        trained, with one thread.
    explainers : dict of str to Explainer, or list of str
        Methods by the names they get in the result, or names of classes, which are
        taken with their defaults. Explainers are copied.
    X_train : array-like or frame, shape (n_train, n_features)
        Train rows.
    y_train : array-like, shape (n_train,)
        Their targets.
    X_test : array-like or frame, shape (n_test, n_features)
        Rows to explain, which should not be among the train rows.
    y_test : array-like, shape (n_test,)
        Their targets.
    references : dict of str to Explainer, or list of str
        Methods to compare with, passed like `explainers`. Earlier references are also
        compared with later ones: LeafRefit with LOO, by default.
    sample_weight : array-like, shape (n_train,), optional
        Weights of the train rows.
    with_other_seed : bool, default=True
        If the estimator's predictions depend on its seed, run each `LOO` among the
        references again under another seed and compare the two: their difference is
        noise that no method can predict. It takes as long as `LOO` itself.
    random_state : int, default=0
        For seeds of the estimator that are not set, for the other seed, and for methods
        given by name.
    n_jobs : int or None, default=None
        Threads or processes of the explainers that are given by name; None or -1 for
        all.
    verbose : bool, default=False
        Show progress bars of these.

    Returns
    -------
    pandas.DataFrame
        One line for each test row, method and reference, with columns

        ``test_row``
            Label of the test row: the index of a pandas frame, or the position.
        ``method``, ``reference``
            Names. The second run of a reference is called "LOO, other seed".
        ``spearman``
            Spearman rank correlation over the train rows, in [-1, 1]; NaN where one
            side is constant or not finite, ties sharing the mean of their ranks.
        ``pearson``
            Pearson correlation; sensitive to a few large values.
        ``slope``
            Least-squares slope of the reference on the method: 1 if the magnitudes are
            right too. Meaningless for methods in another unit, such as similarities.
        ``undefined``
            Why there is no correlation: "constant method", "constant reference" or
            "not finite"; else "".
        ``seconds``, ``cpu_seconds``, ``reference_seconds``, ``reference_cpu_seconds``
            Wall time of fit and explain, and CPU time of all threads of this process;
            the same in all lines of a method. The first run of a process includes the
            compilation of kernels.

    Raises
    ------
    TypeError, ValueError
        If explainers, references, rows or targets do not fit.
    UnsupportedModelError
        If a method cannot explain the model; its name is in the notes of the error.

    Notes
    -----
    All explainers are fitted before the first explains, so that errors are raised
    before hours of retraining. Memory: n_train x n_test numbers for each method.

    If two runs of a reference under different seeds correlate by r, a method that knows
    their common part without noise reaches about the square root of r with either, not
    1 (the correction for attenuation). Retraining without a row can be just as noisy
    for a model without seeds; this is not measured.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023) (correlation of
    the methods with one another).
    C. Spearman, "The Proof and Measurement of Association between Two Things", American
    Journal of Psychology 15 (1904) (rank correlation and attenuation).
    """
    pd = import_pandas()
    common: dict[str, Any] = {
        "random_state": random_state,
        "n_jobs": n_jobs,
        "verbose": verbose,
    }
    methods = read_methods(explainers, with_random=False, **common)
    reference_methods = read_methods(
        references, with_random=False, what="references", **common
    )
    _check_names(methods, reference_methods)
    n_test = _check_rows(X_test, y_test, "test")
    _check_rows(X_train, y_train, "train")
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    seed = check_random_state(random_state)
    estimator = SubsetLearner.read(estimator, X_train, y_train, sample_weight).estimator
    model = copy_estimator(estimator, derive_seed(seed))
    model.fit(X_train, y_train, **weights)

    runs = {name: _Run(name, explainer) for name, explainer in methods.items()}
    runs |= {
        name: _Run(name, explainer) for name, explainer in reference_methods.items()
    }
    for run in runs.values():
        run.fit(model, X_train, y_train, weights)
    pairs = [
        (method, reference_name)
        for method in methods
        for reference_name in reference_methods
    ]
    order = list(reference_methods)
    pairs += [(a, b) for k, b in enumerate(order) for a in order[:k]]
    retrained = [name for name in order if isinstance(reference_methods[name], LOO)]
    if with_other_seed and retrained:
        other = copy_estimator(estimator, derive_seed(seed, 1), replace_seeds=True)
        other.fit(X_train, y_train, **weights)
        if not _predict_alike(model, other, (X_train, X_test)):
            for name in retrained:
                again = f"{name}, other seed"
                runs[again] = _Run(again, clone(reference_methods[name]))
                runs[again].fit(other, X_train, y_train, weights)
                pairs.append((again, name))
    for run in runs.values():
        run.explain(X_test, y_test)

    labels = row_labels(X_test)
    labels = np.arange(n_test) if labels is None else labels
    frames = []
    for method, reference_name in pairs:
        compared = compare_columns(runs[method].values, runs[reference_name].values)
        frames.append(
            pd.DataFrame(
                {
                    "test_row": labels,
                    "method": method,
                    "reference": reference_name,
                    **compared,
                    "seconds": runs[method].seconds,
                    "cpu_seconds": runs[method].cpu_seconds,
                    "reference_seconds": runs[reference_name].seconds,
                    "reference_cpu_seconds": runs[reference_name].cpu_seconds,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def mean_agreement(frame: Any) -> Any:
    """Average the result of `agreement` over the test rows.

    Parameters
    ----------
    frame : pandas.DataFrame
        Result of `agreement`.

    Returns
    -------
    pandas.DataFrame
        Indexed by method and reference, in their order, with columns ``n_test``,
        ``n_undefined`` (test rows without a correlation, which the others leave out),
        the means of ``spearman`` and ``pearson``, the median of ``slope``, and
        ``seconds``. NaN where no test row has a correlation.
    """
    grouped = frame.groupby(["method", "reference"], sort=False)
    result = grouped.agg(
        n_test=("spearman", "size"),
        n_undefined=("undefined", lambda reasons: int((reasons != "").sum())),
        spearman=("spearman", "mean"),
        pearson=("pearson", "mean"),
        slope=("slope", "median"),
        seconds=("seconds", "first"),
    )
    return result


def compare_columns(
    influence: NDArray[np.float64], reference: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Compare two influence matrices column by column.

    Parameters
    ----------
    influence, reference : ndarray of float64, shape (n_train, n_test)
        Influence by a method and by the reference.

    Returns
    -------
    dict of str to ndarray, shape (n_test,)
        ``spearman``, ``pearson``, ``slope`` and ``undefined``; see `agreement`.
    """
    n_test = influence.shape[1]
    result: dict[str, NDArray[Any]] = {
        name: np.full(n_test, np.nan) for name in ("spearman", "pearson", "slope")
    }
    undefined = np.full(n_test, "", dtype=object)
    is_finite = np.isfinite(influence).all(axis=0) & np.isfinite(reference).all(axis=0)
    undefined[~is_finite] = "not finite"
    for side, values in (("reference", reference), ("method", influence)):
        is_constant = (values == values[:1]).all(axis=0)
        undefined[is_finite & is_constant] = f"constant {side}"
    rows = undefined == ""
    estimate, truth = influence[:, rows], reference[:, rows]
    result["spearman"][rows] = _correlate(
        np.asarray(rankdata(estimate, axis=0)), np.asarray(rankdata(truth, axis=0))
    )[0]
    result["pearson"][rows], result["slope"][rows] = _correlate(estimate, truth)
    return {**result, "undefined": undefined}


def _correlate(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute Pearson correlations and slopes of y on x, column by column."""
    x_size, y_size = np.abs(x).max(axis=0), np.abs(y).max(axis=0)
    # scaled to 1, so that squares of tiny values do not underflow
    x, y = x / x_size, y / y_size
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, xy, yy = (x * x).sum(axis=0), (x * y).sum(axis=0), (y * y).sum(axis=0)
    return np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0), xy / xx * (y_size / x_size)


class _Run:
    """One explainer, its influence values and its running time.

    Parameters
    ----------
    name : str
        Its name in the result.
    explainer : Explainer
        An unfitted copy.
    """

    def __init__(self, name: str, explainer: Explainer) -> None:
        self.name = name
        self.explainer = explainer
        self.seconds = self.cpu_seconds = 0.0
        self.values = np.empty((0, 0), dtype=REAL)

    def fit(self, model: Any, X: Any, y: Any, weights: dict[str, Any]) -> None:
        """Fit the explainer, naming it where that fails."""
        clock = start_clock()
        try:
            self.explainer.fit(model, X, y, **weights)
        except Exception as error:
            error.add_note(f"This came from fitting {self.name!r}.")
            raise
        self._add(clock())

    def _add(self, spent: Spent) -> None:
        self.seconds += spent.seconds
        self.cpu_seconds += spent.cpu_seconds

    def explain(self, X: Any, y: Any) -> None:
        """Compute the influence of all train rows on all test rows."""
        clock = start_clock()
        try:
            self.values = self.explainer.explain(X, y, output="loss").values
        except Exception as error:
            error.add_note(f"This came from {self.name!r} explaining the test rows.")
            raise
        self._add(clock())


def _check_names(
    methods: Mapping[str, Explainer], reference_methods: Mapping[str, Explainer]
) -> None:
    common = sorted(set(methods) & set(reference_methods))
    if common:
        raise ValueError(
            f"{common[0]!r} is among both explainers and references. References are "
            "compared with one another anyway; to compare others, rename one."
        )
    taken = [
        name for name in (*methods, *reference_methods) if name.endswith(", other seed")
    ]
    if taken:
        raise ValueError(
            f"Got the name {taken[0]!r}; names that end in ', other seed' are reserved "
            "for second runs of LOO."
        )


def _check_rows(X: Any, y: Any, kind: str) -> int:
    n_rows = count_rows(X)
    n_labels = count_rows(y)
    if n_rows != n_labels:
        raise ValueError(
            f"X_{kind} has {n_rows:,} rows, y_{kind} {n_labels:,}; expected equal "
            "lengths."
        )
    return n_rows


def _predict_alike(model: Any, other: Any, tables: tuple[Any, ...]) -> bool:
    """Return whether two models predict bitwise the same."""
    how = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    return all(
        np.array_equal(getattr(model, how)(X), getattr(other, how)(X)) for X in tables
    )
