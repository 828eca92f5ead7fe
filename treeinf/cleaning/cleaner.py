"""The estimator that cleans its train rows, and proves that it helped."""

from __future__ import annotations

import contextlib
import dataclasses
import numbers
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    is_classifier,
    is_regressor,
)
from sklearn.metrics import get_scorer
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from treeinf.cleaning.inputs import (
    check_index,
    check_table,
    join_rows,
    read_classes,
    read_labels,
    read_rows,
    refuse_overlap,
    replace_labels,
)
from treeinf.cleaning.listing import list_touched_rows
from treeinf.cleaning.parameters import (
    check_amount,
    check_count,
    check_name,
    check_number,
)
from treeinf.cleaning.ranking import METHODS, RowScores, check_readable
from treeinf.cleaning.rehearsal import Recipe, Rehearsal, candidate_shares, rehearse
from treeinf.cleaning.repair import ACTIONS, Repair
from treeinf.cleaning.report import (
    CleaningReport,
    list_settings,
    list_versions,
    write_headline,
)
from treeinf.cleaning.rounds import check_validation, plan_rounds
from treeinf.cleaning.training import (
    CopyTrainer,
    Costs,
    LabelledRows,
    accepts_weights,
)
from treeinf.errors import TreeinfWarning
from treeinf.explainers.influence import frame_library
from treeinf.validation import count_rows, row_labels, take_rows

__all__ = ["InfluenceCleaner"]

_FEW_GUARD_ROWS = 100


def _estimator_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        estimator = getattr(self, "estimator_", self.estimator)
        return estimator is None or getattr(estimator, name, None) is not None

    return check


class InfluenceCleaner(MetaEstimatorMixin, BaseEstimator):
    """Find train rows that harm an estimator, clean them, and retrain if it helps.

    Rows are scored by the estimator's own copies, trained on random halves of the
    rows. How many suspects to clean is chosen by retraining; what was chosen is judged
    on rows that neither the scores nor the choice have seen. If the gain there is not
    beyond noise, all rows are kept, and the report says so.

    Parameters
    ----------
    estimator : estimator, optional
        Classifier or regressor to clean for, alone or at the end of a pipeline.
        Methods that use influence need one that `treeinf.read_model` reads; "loss" and
        "random" take any. By default LightGBM's, as the targets ask.
    method : {"boostin", "boostin_self", "boostin_total", "loss", "random"}, \
default="boostin"
        How rows are scored; see Notes.
    action : {"drop", "relabel", "downweight"}, default="drop"
        What is done with suspects. "relabel" gives them the label (the value) that
        copies trained without them predict, where that is another.
    amount : "auto", float or int, default="auto"
        Share of the rows, in (0, 1), or number of rows to clean. "auto" tries shares
        from 1 % to 40 % and takes the smallest that does as well as the best, to within
        its standard error.
    threshold : float, optional
        Clean the rows whose score is at least this, in place of an amount.
    validation : int, float, splitter or (X_val, y_val), default=5
        Rows to choose and judge by.

        - a number of folds, or a scikit-learn splitter: the cleaning is rehearsed
          without each fold and the next, and what one of the two chooses the other
          judges; in the end all rows are scored and cleaned;
        - a share in (0, 1): so many rows are held out and never cleaned; what one half
          of them chooses the other judges;
        - rows of your own, used in the same way. Trusted labels are worth most here.
    guard : bool, default=True
        Keep all rows unless the gain is beyond noise. False cleans in any case.
    confidence : float, default=0.9
        Of the guard's interval, both ends of which must be above 0.
    scoring : str, callable or None, default=None
        Score reported beside the losses: a scikit-learn scorer. By default accuracy or
        R2. It takes no part in decisions.
    n_repeats : int, default=5
        Times the rows are split in halves for the scores; two copies each.
    suspect_weight : float, default=0.1
        What action "downweight" multiplies the weights of suspects by.
    refit_on_validation : bool, optional
        Train the final model on the validation rows too. By default on those held out
        of X, and not on those given.
    random_state : int, RandomState or None, default=None
        Seed; gives the same rows for any `n_jobs`.
    n_jobs : int or None, default=None
        Copies trained at a time; None for 1, -1 for one a core. A copy has one thread
        unless `estimator` says otherwise.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    estimator_ : estimator
        The final model, trained on the rows kept.
    kept_ : ndarray of bool, shape (n_train,)
        Rows kept; all of them for actions that drop none.
    removed_ : frame
        The rows cleaned, most suspicious first: ``row`` (the caller's label),
        ``position``, ``rank``, ``score``, ``percentile``, ``action``, ``label``,
        ``suggestion`` (label or value that copies without the row predict),
        ``opponent_1`` to ``opponent_3`` (train rows that speak most against it, where
        influence can tell) and ``reason``. Of pandas, or of the library of X; a
        dictionary of lists where no frame library is installed.
    scores_ : ndarray of float64, shape (n_train,)
        Score of each row, higher for more harmful; NaN for rows held out.
    suggestions_ : ndarray, shape (n_train,), or None
        Label or value that copies without the row predict; None or NaN where there is
        none. None for methods without copies.
    labels_ : ndarray, shape (n_train,)
        Labels after the cleaning; those given, unless action is "relabel".
    weights_ : ndarray of float64, shape (n_train,), or None
        Weights after the cleaning; None for 1.
    history_ : list of dict
        One for each amount tried, the uncleaned model first: ``share``, ``n_removed``
        (at that share), the ``loss`` that chooses with its ``gain``, ``gain_low`` and
        ``gain_high``, the ``guard_loss`` that judges with its ``guard_gain``, the
        ``score`` reported, ``n_rows`` and ``chosen``.
    report_ : CleaningReport
        What was done and what it brought.
    classes_ : ndarray, shape (n_classes,)
        Labels; only for classifiers.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str
        Names of the columns, where X has them.

    Notes
    -----
    Scores: "boostin" is a row's out-of-bag error (1 minus the probability of its label,
    or the absolute residual) times the root of its BoostIn influence on its own loss in
    copies that have seen it, each leaf's term multiplied by the leaf's rows;
    "boostin_self" is BoostIn self influence alone;
    "boostin_total" is the harm a row does to the loss of rows its copies have not seen,
    or of validation rows given; "loss" is the out-of-bag loss; "random" is a baseline.

    Amounts are chosen by, and the guard judges by, losses that hold up on rows that are
    as noisy as the train rows; see `treeinf.cleaning.judging`.

    Training the estimator on all rows being 1, the default costs about 50: in each of 5
    rounds 10 copies on 30 % of the rows and 11 on up to 60 %, in the end 10 on half of
    them. A share in place of folds costs about a quarter of that.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023).
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: str = "boostin",
        action: str = "drop",
        amount: Any = "auto",
        threshold: float | None = None,
        validation: Any = 5,
        guard: bool = True,
        confidence: float = 0.9,
        scoring: Any = None,
        n_repeats: int = 5,
        suspect_weight: float = 0.1,
        refit_on_validation: bool | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.action = action
        self.amount = amount
        self.threshold = threshold
        self.validation = validation
        self.guard = guard
        self.confidence = confidence
        self.scoring = scoring
        self.n_repeats = n_repeats
        self.suspect_weight = suspect_weight
        self.refit_on_validation = refit_on_validation
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> InfluenceCleaner:
        """Score the rows, clean them if that helps, and train the final model.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows, of any type that the estimator takes.
        y : array-like, shape (n_train,)
            Labels or targets.
        sample_weight : array-like, shape (n_train,), optional
            Weights, for training and for judging.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data cannot be used; before any training.
        UnsupportedModelError
            If the method needs influence and no adapter reads the estimator.
        """
        begin = time.perf_counter()
        self._check_kind()
        rows = self._read_train(X, y, sample_weight)
        given = self._read_validation(rows)
        estimator = self._resolve_estimator(rows)
        self._check_parameters(estimator, rows)
        trainer = CopyTrainer(
            estimator, getattr(self, "classes_", None), self.n_jobs, self.verbose
        )
        with _once_each():
            report = self._clean(rows, given, trainer)
        seconds = {**report.seconds, "total": time.perf_counter() - begin}
        self.report_ = dataclasses.replace(report, seconds=seconds)
        return self

    def clean(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Fit, and give the rows that remain.

        Parameters
        ----------
        X, y, sample_weight
            See `fit`.

        Returns
        -------
        X_kept, y_kept : same types as given
            Rows kept, and their labels after the cleaning.
        kept : ndarray of bool, shape (n_train,)
            Which they are.
        """
        self.fit(X, y, sample_weight)
        if self.action == "relabel" and self.report_.acted:
            y = replace_labels(y, self.labels_)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    # checks, before long work

    def _check_kind(self) -> None:
        """Refuse what is neither classifier nor regressor."""
        one = self.estimator
        if one is not None and not (
            hasattr(one, "get_params") and (is_classifier(one) or is_regressor(one))
        ):
            raise TypeError(
                f"Got estimator={one!r}; expected a scikit-learn classifier or "
                "regressor, such as LGBMClassifier()."
            )

    def _read_train(self, X: Any, y: Any, sample_weight: Any) -> LabelledRows:
        X = self._check_table(X, "X")
        validate_data(self, X, skip_check_array=True)
        check_index(X, y)
        n_rows = count_rows(X)
        labels = read_labels(y, n_rows, "y", as_numbers=False)
        if self._is_classification(labels):
            self.classes_ = read_classes(labels)
            return read_rows(X, labels, self.classes_, sample_weight=sample_weight)
        if hasattr(self, "classes_"):
            del self.classes_
        labels = read_labels(y, n_rows, "y", as_numbers=True)
        return read_rows(X, labels, None, sample_weight=sample_weight)

    def _check_table(self, X: Any, name: str) -> Any:
        tags = get_tags(self).input_tags
        return check_table(X, name, sparse_too=tags.sparse, nan_too=tags.allow_nan)

    def _is_classification(self, y: NDArray[Any]) -> bool:
        if self.estimator is None:
            return not type_of_target(y).startswith("continuous")
        return bool(is_classifier(self.estimator))

    def _read_validation(self, rows: LabelledRows) -> LabelledRows | None:
        """Check the kind of validation, and the rows given."""
        if check_validation(self.validation) != "rows":
            return None
        X_val, y_val = self.validation
        X_val = self._check_table(X_val, "X_val")
        if X_val.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X_val has {X_val.shape[1]} columns, X has {self.n_features_in_}."
            )
        is_regression = rows.code is None
        y_val = read_labels(y_val, count_rows(X_val), "y_val", as_numbers=is_regression)
        classes = None if is_regression else self.classes_
        given = read_rows(X_val, y_val, classes, name="y_val")
        refuse_overlap(rows, given)
        return given

    def _resolve_estimator(self, rows: LabelledRows) -> Any:
        if self.estimator is not None:
            return self.estimator
        try:
            import lightgbm
        except ImportError as error:
            raise ImportError(
                "InfluenceCleaner() without an estimator uses LightGBM's, which is not "
                "installed: pip install 'treeinf[lightgbm]', or pass an estimator."
            ) from error
        if rows.code is None:
            return lightgbm.LGBMRegressor(verbose=-1)
        return lightgbm.LGBMClassifier(verbose=-1)

    def _check_parameters(self, estimator: Any, rows: LabelledRows) -> None:
        check_name("method", self.method, METHODS)
        check_name("action", self.action, ACTIONS)
        check_amount(self.amount, self.threshold, rows.n_rows)
        check_count("n_repeats", self.n_repeats)
        check_number("confidence", self.confidence, above=0.0, below=1.0)
        check_number("suspect_weight", self.suspect_weight, lowest=0.0, highest=1.0)
        if self.refit_on_validation not in (None, True, False):
            raise ValueError(
                f"Got refit_on_validation={self.refit_on_validation!r}; expected None, "
                "True or False."
            )
        needs_weights = rows.weight is not None or self.action == "downweight"
        if needs_weights and not accepts_weights(estimator):
            raise ValueError(
                f"{type(estimator).__name__}.fit takes no sample_weight, so neither "
                "weights nor action='downweight' can be used with it."
            )
        if self.action == "relabel" and not METHODS[self.method].needs_copies:
            raise ValueError(
                f"method={self.method!r} suggests no labels, which action='relabel' "
                "needs; choose another method."
            )
        if METHODS[self.method].influence is not None:
            check_readable(estimator)
        self._scorer()

    def _scorer(self) -> tuple[str, Callable[..., float]]:
        """Give the name of the reported score and what computes it."""
        scoring = self.scoring
        if scoring is None:
            scoring = "accuracy" if hasattr(self, "classes_") else "r2"
        if callable(scoring):
            return getattr(scoring, "__name__", repr(scoring)), scoring
        return str(scoring), get_scorer(scoring)

    # the work

    def _clean(
        self, rows: LabelledRows, given: LabelledRows | None, trainer: CopyTrainer
    ) -> CleaningReport:
        """Rehearse, decide, clean, train the final model, and write it all down."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fit_seed = int(rng.integers(2**31))
        looks = given is not None and METHODS[self.method].influence == "total"
        rounds, scored = plan_rounds(
            self.validation, rows, given, rng, scores_look=looks
        )
        score_seeds = [int(one) for one in rng.integers(2**31, size=len(rounds) + 1)]
        recipe = Recipe(
            self.method,
            self.action,
            self.n_repeats,
            self.threshold,
            self.suspect_weight,
        )
        is_free = isinstance(self.amount, str) and self.threshold is None
        fewest = min(len(one.train) for one in rounds)
        shares = (
            candidate_shares(self.amount, len(scored), fewest)
            if self.threshold is None
            else [np.nan]
        )
        costs = Costs()
        rehearsal = None
        if shares and (self.guard or is_free):
            rehearsal = rehearse(
                recipe,
                trainer,
                rows,
                rounds,
                shares,
                is_free=is_free,
                score_seeds=score_seeds[:-1],
                fit_seed=fit_seed,
                scorer=self._scorer()[1],
                costs=costs,
            )
        part = rows.take(scored)
        if rehearsal is not None and len(rounds) == 1:
            scores = rehearsal.first_scores
        else:
            target = given if looks else None
            scores = recipe.score(trainer, part, score_seeds[-1], target, costs)
        chosen = int(bool(shares)) if rehearsal is None else rehearsal.chosen
        repair = recipe.repair(part, scores, [0.0, *shares][chosen])
        if not chosen:
            repair = recipe.keep_all(part)
        verdict = self._decide(rehearsal, repair)
        acted = verdict in ("helped", "unguarded")
        self._describe_rows(rows, scored, scores, repair if acted else None)
        self._train_final(
            rows, given, scored, trainer, fit_seed, repair if acted else None, costs
        )
        with costs.timed("explain"):
            touched = repair.touched if acted else repair.touched[:0]
            self._list_rows(rows, scored, touched, scores, trainer, fit_seed, costs)
        self.history_ = (
            [] if rehearsal is None else rehearsal.history(len(scored), self.confidence)
        )
        return self._report(rows, part, trainer, rehearsal, repair, verdict, costs)

    def _decide(self, rehearsal: Rehearsal | None, repair: Repair) -> str:
        """Say what is to be done with the repair, and why."""
        if not len(repair.touched):
            return "nothing to remove"
        if rehearsal is None or not self.guard:
            return "unguarded"
        seen = rehearsal.compare_guard(self.confidence, "")
        if seen.is_beyond_noise and not rehearsal.is_vetoed(self.confidence):
            return "helped"
        return "not beyond noise"

    def _describe_rows(
        self,
        rows: LabelledRows,
        scored: NDArray[np.int64],
        scores: RowScores,
        repair: Repair | None,
    ) -> None:
        """Set the attributes with one entry a train row."""
        self.kept_ = np.ones(rows.n_rows, dtype=bool)
        self.labels_ = rows.y.copy()
        self.weights_ = None if rows.weight is None else rows.weight.copy()
        self.scores_ = np.full(rows.n_rows, np.nan)
        self.scores_[scored] = scores.score
        self.suggestions_: NDArray[Any] | None = None
        if scores.suggestion is not None and rows.code is None:
            self.suggestions_ = np.full(rows.n_rows, np.nan)
            self.suggestions_[scored] = scores.suggestion
        elif scores.suggestion is not None:
            self.suggestions_ = np.full(rows.n_rows, None, dtype=object)
            known = scores.suggestion >= 0
            names = self.classes_[scores.suggestion[known]].tolist()
            self.suggestions_[scored[known]] = names
        if repair is None:
            return
        remaining = scored[repair.kept]
        self.kept_[scored] = repair.kept
        self.labels_[remaining] = repair.rows.y
        if repair.rows.weight is not None:
            if self.weights_ is None:
                self.weights_ = np.ones(rows.n_rows)
            self.weights_[remaining] = repair.rows.weight

    def _train_final(
        self,
        rows: LabelledRows,
        given: LabelledRows | None,
        scored: NDArray[np.int64],
        trainer: CopyTrainer,
        seed: int,
        repair: Repair | None,
        costs: Costs,
    ) -> None:
        """Train the final model on what remains, and on validation rows as asked."""
        final = rows.take(scored) if repair is None else repair.rows
        held_out = np.setdiff1d(np.arange(rows.n_rows), scored)
        if len(held_out) and self.refit_on_validation is not False:
            final = join_rows(final, rows.take(held_out))
        if given is not None and self.refit_on_validation:
            final = join_rows(final, given)
        with costs.timed("final"):
            self.estimator_ = trainer.fit(final, seed)
        costs.n_fits += 1

    def _list_rows(
        self,
        rows: LabelledRows,
        scored: NDArray[np.int64],
        touched: NDArray[np.int64],
        scores: RowScores,
        trainer: CopyTrainer,
        seed: int,
        costs: Costs,
    ) -> None:
        """Make the table of cleaned rows."""
        part, method, model = rows.take(scored), METHODS[self.method], None
        if len(touched) and method.influence is not None:
            model = trainer.fit(part, seed)
            costs.n_fits += 1
        self.removed_ = list_touched_rows(
            part,
            scored,
            touched,
            scores,
            row_labels=row_labels(rows.X),
            suggestions=self.suggestions_,
            method=method,
            action=self.action,
            model=model,
            library=frame_library(rows.X),
        )

    def _report(
        self,
        rows: LabelledRows,
        part: LabelledRows,
        trainer: CopyTrainer,
        rehearsal: Rehearsal | None,
        repair: Repair,
        verdict: str,
        costs: Costs,
    ) -> CleaningReport:
        """Put all figures together."""
        metric, n_suspect = self._scorer()[0], len(repair.touched)
        n_touched = n_suspect if verdict in ("helped", "unguarded") else 0
        choice = guard = bad_share = None
        if rehearsal is not None:
            choice = rehearsal.compare_choice(self.confidence, metric)
            guard = rehearsal.compare_guard(self.confidence, metric)
            if rehearsal.noise is not None:
                bad_share = float(rehearsal.noise[rehearsal.chosen])
        task = "regression"
        if rows.code is not None:
            task = "binary" if len(self.classes_) == 2 else "multiclass"
        seed = self.random_state
        return CleaningReport(
            headline=write_headline(
                verdict, self.action, n_suspect, rows.n_rows, choice, guard
            ),
            acted=n_touched > 0,
            action=self.action,
            method=self.method,
            task=task,
            n_train=rows.n_rows,
            n_scored=part.n_rows,
            n_removed=n_touched,
            share=n_touched / part.n_rows,
            chosen_share=n_suspect / part.n_rows,
            estimated_bad_share=bad_share,
            choice=choice,
            guard=guard,
            verdict=verdict,
            seconds=costs.seconds,
            n_fits=costs.n_fits,
            settings=list_settings(self.get_params(deep=False), trainer.estimator),
            versions=list_versions(trainer.estimator),
            random_state=int(seed) if isinstance(seed, numbers.Integral) else None,
            notes=tuple(self._notes(rows, part, rehearsal)),
        )

    def _notes(
        self, rows: LabelledRows, part: LabelledRows, rehearsal: Rehearsal | None
    ) -> Iterator[str]:
        if rehearsal is None:
            yield "Nothing was judged: the amount was given, and guard=False."
        else:
            n_judges = rehearsal.picked.proper.shape[1]
            if n_judges < _FEW_GUARD_ROWS:
                yield (
                    f"Only {n_judges} rows judged the cleaning, so that only a large "
                    "gain can be told from noise; with a number of folds as validation "
                    "every row judges."
                )
            if rehearsal.is_vetoed(self.confidence):
                yield "The squared error on the judging rows got worse beyond noise."
        n_held_out = rows.n_rows - part.n_rows
        if n_held_out:
            left = self.refit_on_validation is False
            yield (
                f"{n_held_out:,} of the rows were held out to choose and judge; they "
                "were not cleaned, and the final model was trained "
                f"{'without' if left else 'with'} them."
            )

    # the estimator inside

    @available_if(_estimator_has("predict"))
    def predict(self, X: Any) -> NDArray[Any]:
        """Predict with the final model."""
        return self._ask("predict", X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probabilities of the classes with the final model."""
        return self._ask("predict_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute the final model's decision function."""
        return self._ask("decision_function", X)

    @available_if(_estimator_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score the final model, by its own score."""
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(self.estimator_.score(X, y, **weights))

    def _ask(self, name: str, X: Any) -> Any:
        check_is_fitted(self)
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, skip_check_array=True, reset=False)
        return getattr(self.estimator_, name)(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if hasattr(self.estimator, "__sklearn_tags__"):
            inner = get_tags(self.estimator)
            tags.estimator_type = inner.estimator_type
            tags.classifier_tags = inner.classifier_tags
            tags.regressor_tags = inner.regressor_tags
            tags.input_tags.sparse = inner.input_tags.sparse
            tags.input_tags.allow_nan = inner.input_tags.allow_nan
            tags.input_tags.categorical = inner.input_tags.categorical
        return tags


@contextlib.contextmanager
def _once_each() -> Iterator[None]:
    """Hold back warnings and give each once: of treeinf's own one of each kind."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        seen = set()
        for one in caught:
            is_own = issubclass(one.category, TreeinfWarning)
            key = (one.category, "" if is_own else str(one.message))
            if key not in seen:
                seen.add(key)
                warnings.warn_explicit(
                    one.message, one.category, one.filename, one.lineno
                )
