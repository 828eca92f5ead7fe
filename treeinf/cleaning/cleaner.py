"""Estimator that cleans its train rows and keeps the result only if it helps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from treeinf.cleaning.actions import ACTIONS, Cleaning, clean_rows, keep_all
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.base import RowMetaEstimator, check_name, check_number
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.flagged_rows import RowTable, find_influential_rows
from treeinf.cleaning.report.history import list_amounts
from treeinf.cleaning.report.report import CleaningReport, write_report
from treeinf.cleaning.report.suspects import describe_suspects
from treeinf.cleaning.rows import join_rows, replace_labels
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.noise_rate import estimate_noise_rate
from treeinf.cleaning.scores.relabelling import RELABEL_RULES
from treeinf.cleaning.scores.scoring import (
    check_readable,
    is_readable,
    score_rows,
)
from treeinf.cleaning.trial.candidates import random_amounts
from treeinf.cleaning.trial.choice import decide
from treeinf.cleaning.trial.cleanings import try_cleanings
from treeinf.cleaning.trial.run import run
from treeinf.cleaning.trial.splits import RowSet, plan_splits
from treeinf.errors import UnsupportedModelError
from treeinf.frames import take_rows
from treeinf.training.learner import Learner, accepts_weights
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_count

__all__ = ["InfluenceCleaner"]


class InfluenceCleaner(RowMetaEstimator):
    """Find train rows that harm an estimator, clean them, and retrain if it helps.

    Rows are scored by copies of the estimator, trained on random halves of the rows.
    How many of the highest-scoring rows to clean is chosen by retraining, and the
    choice is evaluated on rows that neither the scores nor the choice have seen. Unless
    the gain there is beyond noise, all rows are kept.

    Parameters
    ----------
    estimator : estimator, optional
        Classifier or regressor to clean for, alone or at the end of a pipeline.
        Methods that use influence need one that `treeinf.read_model` reads;
        "stacking", "loss" and "random" take any. By default LGBMClassifier or
        LGBMRegressor, depending on the targets.
    method : str, default="stacking"
        One of "stacking", "boostin", "boostin_self", "boostin_total", "loss",
        "out_of_bag_sum", "out_of_bag_step", "random". How rows are scored; see Notes.
    action : {"drop", "relabel", "downweight"}, default="drop"
        What to do with flagged rows. "relabel" replaces their label (or target) with
        the prediction of copies trained without them where, by influence, that helps,
        and drops the others; see `relabel_by`.
    amount : "auto", float, int or Amount, default="auto"
        Share of the rows, in (0, 1), number of rows, or, as ``Amount.threshold(x)``,
        all rows whose score is at least x. "auto" tries shares from 1 % to 40 % and
        takes the smallest that is within one standard error of the best and does not
        worsen the primary score.
    validation : int, float, splitter or (X_val, y_val), default=5
        Rows to choose the amount by (selection set), and to evaluate the choice on
        (guard set).

        - a number of folds, or a scikit-learn splitter: each split holds out a fold and
        the next, which are selection and guard set of one another; in the end all rows
        are scored and cleaned;
        - a share in (0, 1) of the rows, held out and never cleaned; its halves are
        selection and guard set of one another;
        - validation rows of your own, used like the share; best with trusted labels.
        Where `fit` is passed groups, as ``(X_val, y_val, groups_val)``: rows of one
        group are in one half, and groups of train rows are refused.
    guard : bool, default=True
        Keep all rows unless the gain is beyond noise and the primary score does not get
        worse: AUC (two classes) or accuracy (more) beyond noise, R2 at all. False
        always cleans.
    baselines : bool, default=True
        Also evaluate two alternatives: as many rows removed at random and, if
        validation rows are passed, appending them without cleaning. They do not affect
        decisions.
    confidence : float, default=0.9
        Confidence level of all intervals, in (0, 1); the guard's must lie above 0.
    scoring : str, callable or None, default=None
        Score reported beside the losses: a scikit-learn scorer. By default accuracy or
        R2. It does not affect decisions.
    n_repeats : int, default=5
        Random splits into halves for the scores; two copies are trained for each.
    flagged_weight : float, default=0.1
        Factor for the weights of flagged rows with action "downweight", in [0, 1].
    relabel_by : {"influence", "influence_or_leave", "suggestion"}, default="influence"
        Which flagged rows action "relabel" gives the suggested label. "influence":
        those for which that label lowers the loss, and by more than the row's removal,
        estimated by influence on rows that the copies have not seen (or on the
        validation rows passed); other flagged rows are dropped. "influence_or_leave"
        keeps these unchanged: often better if all wrong labels belong to one class,
        much worse if targets are far off. "suggestion" needs no influence and works for
        any estimator; it keeps flagged rows whose own label is predicted.
    refit_on_validation : bool, optional
        Train the final model on the validation rows too; by default only if they are
        held out of X.
    join_equal_rows : bool, default=True
        Treat rows as one group that are equal, or so near that a model remembers one
        from the other, unless columns are so coarse that rows are equal by chance; see
        `treeinf.cleaning.twins`. False joins the rows of `groups` only.
    random_state : int, RandomState or None, default=None
        Seed; the result does not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Copies trained in parallel; None or -1 for one per core. Each has one thread
        unless `estimator` sets another number.
    verbose : bool, default=False
        Show a progress bar with the time left.

    Attributes
    ----------
    estimator_ : estimator
        The final model, trained on the rows kept.
    kept_ : ndarray of bool, shape (n_train,)
        Rows kept; all of them where none is dropped.
    removed_ : frame
        The rows cleaned, the highest score first: ``row`` (the caller's label),
        ``position``, ``rank``, ``score``, ``percentile``, ``action``, ``label``,
        ``suggestion`` (label or value that copies without the row predict),
        ``opponent_1`` to ``opponent_3`` and ``helper_1`` to ``helper_3`` (train rows
        that raise and lower its loss most, where influence is available) and
        ``reason``. After relabelling by influence also ``relabel_gain`` and
        ``drop_gain``: decrease of the mean loss of other rows with the suggested label,
        and without the row. A frame of pandas, or of the library of X; a dictionary of
        lists if no frame library is installed.
    suspects_ : frame
        The rows that look wrong most, as in `removed_`: the rows cleaned; or if all are
        kept, those that the chosen amount flags (the smallest tried if none was
        chosen), with ``action`` "kept" and without opponents and helpers.
        `report_.suspects` has the share of wrong labels to expect among them.
    scores_ : ndarray of float64, shape (n_train,)
        Score of each row, higher for more harmful; NaN for rows held out.
    suggestions_ : ndarray, shape (n_train,), or None
        Label or value that copies without the row predict; None or NaN where there is
        none. None for methods without copies.
    labels_ : ndarray, shape (n_train,)
        Labels after the cleaning; equal to `y` unless action is "relabel".
    weights_ : ndarray of float64, shape (n_train,), or None
        Weights after the cleaning; None for 1.
    history_ : list of dict
        One for each amount tried, the uncleaned model first: ``share``, ``n_removed``
        (at that share), the selection ``loss`` with its ``gain``, ``gain_low`` and
        ``gain_high``, the gain of as many rows removed at random (``random_gain``,
        ``random_gain_low`` and ``random_gain_high``; None where not tried), the
        ``guard_loss`` with its ``guard_gain``, the ``score`` reported, the
        ``primary`` score, ``n_rows`` and ``chosen``.
    report_ : CleaningReport
        Actions taken, and the evidence for them.
    groups_ : ndarray of int64, shape (n_train,), or None
        Group of each row: those passed, merged with those joined; None if each row
        stands for itself.
    contradictions_ : frame
        Rows that are equal in all columns and differ in their label or target: ``row``
        (the caller's label), ``position``, ``set`` (number of the equal rows) and
        ``label``.
    classes_ : ndarray, shape (n_classes,)
        Labels; only for classifiers.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str
        Names of the columns, where X has them.

    Notes
    -----
    Weights are used for scores, training and evaluation: under
    scikit-learn's metadata routing the cleaner is a consumer of `sample_weight`, so
    request them with ``set_fit_request(sample_weight=True)`` on the cleaner, not on the
    estimator.

    Scores: "boostin" is a row's out-of-bag error (1 minus the probability of its label,
    or the absolute residual) times the root of its BoostIn influence on its own loss in
    copies that have seen it, each leaf's term multiplied by the leaf's rows;
    "boostin_self" is BoostIn self influence alone;
    "boostin_total" is the harm a row does to the loss of rows its copies have not seen,
    or of validation rows given; "stacking" is the chance that a label is wrong (or the
    size of the residual) by the copies, an extra-trees forest and a kernel ridge that
    have not seen it, pooled, see `treeinf.cleaning.scores.stacking`; "loss" is the
    out-of-bag loss; "out_of_bag_sum" and "out_of_bag_step" are the loss, and the mean
    push against the label, by the trees inside each copy that did not see the row
    (`OutOfBagLoss`), for estimators that sample rows; "random" is a baseline. In the
    project's label-noise benchmark "stacking" finds most wrong labels, for any
    estimator.

    Selection and guard loss remain valid on rows as noisy as the train rows; see
    `treeinf.cleaning.trial.losses`.

    The default trains up to 140 models: in each of 5 splits 10 copies on 30 % of the
    rows and 11 on up to 60 %, and up to 4 for `baselines`; in the end 10 on half of
    them. With the other base models and the evaluation that takes 75 to 340 times as
    long as one training on 1,000 rows, and 510 on 16,000 (LightGBM with 50 trees, one
    thread; `benchmarks/cleaning_guard.py`); "boostin" takes about half. A share in
    place of folds costs about a quarter. Relabelling by influence explains each copy
    once more.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023).
    """

    _label = "cleaning"

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: str = "stacking",
        action: str = "drop",
        amount: Any = "auto",
        validation: Any = 5,
        guard: bool = True,
        baselines: bool = True,
        confidence: float = 0.9,
        scoring: Any = None,
        n_repeats: int = 5,
        flagged_weight: float = 0.1,
        relabel_by: str = "influence",
        refit_on_validation: bool | None = None,
        join_equal_rows: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.action = action
        self.amount = amount
        self.validation = validation
        self.guard = guard
        self.baselines = baselines
        self.confidence = confidence
        self.scoring = scoring
        self.n_repeats = n_repeats
        self.flagged_weight = flagged_weight
        self.relabel_by = relabel_by
        self.refit_on_validation = refit_on_validation
        self.join_equal_rows = join_equal_rows
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def clean(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        **fit_params: Any,
    ) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Fit, and return the rows that remain.

        Parameters
        ----------
        X, y, sample_weight, groups, **fit_params
            See `fit`.

        Returns
        -------
        X_kept, y_kept : same types as given
            Rows kept, and their labels after the cleaning.
        kept : ndarray of bool, shape (n_train,)
            Mask of the rows kept.

        Notes
        -----
        For action "downweight", see `weights_`.
        """
        self.fit(X, y, sample_weight, groups, **fit_params)
        if self.action == "relabel" and self.report_.acted:
            y = replace_labels(y, self.labels_)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    def _check_parameters(self, estimator: Any, n_rows: int, is_weighted: bool) -> None:
        check_name("method", self.method, METHODS)
        check_name("action", self.action, ACTIONS)
        Amount.read(self.amount).check(n_rows)
        check_count("n_repeats", self.n_repeats)
        check_number("confidence", self.confidence, above=0.0, below=1.0)
        check_number("flagged_weight", self.flagged_weight, lowest=0.0, highest=1.0)
        check_name("relabel_by", self.relabel_by, RELABEL_RULES)
        if self.refit_on_validation not in (None, True, False):
            raise ValueError(
                f"Got refit_on_validation={self.refit_on_validation!r}; expected None, "
                "True or False."
            )
        needs_weights = is_weighted or self.action == "downweight"
        if needs_weights and not accepts_weights(estimator):
            raise ValueError(
                f"{type(estimator).__name__}.fit takes no sample_weight, so neither "
                "weights nor action='downweight' can be used with it."
            )
        if self.action == "relabel" and not METHODS[self.method].needs_copies:
            raise ValueError(
                f"method={self.method!r} suggests no labels, but action='relabel' "
                "needs them; choose another method."
            )
        if METHODS[self.method].measures:
            check_readable(estimator)
        elif self._needs_gains:
            try:
                check_readable(estimator)
            except UnsupportedModelError as error:
                raise UnsupportedModelError(
                    f"{error} relabel_by={self.relabel_by!r} needs influence; "
                    "relabel_by='suggestion' does not."
                ) from None

    @property
    def _needs_gains(self) -> bool:
        """Whether to estimate by influence what the suggested labels would change."""
        return self.action == "relabel" and self.relabel_by != "suggestion"

    def _fit_rows(
        self, rows: LabelledRows, trusted: LabelledRows | None, learner: Learner
    ) -> CleaningReport:
        """Split, score, try the amounts, decide, act, and train the final model."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fit_seed = int(rng.integers(2**31))
        amount, method = Amount.read(self.amount), METHODS[self.method]
        uses_trusted = trusted is not None and (
            method.uses_queries or self._needs_gains
        )
        splits, scored = plan_splits(
            self.validation, rows, trusted, rng, scores_use_trusted=uses_trusted
        )
        *split_seeds, last_seed = rng.integers(2**31, size=len(splits) + 1).tolist()
        n_fewest = min(split.train.rows.n_rows for split in splits)
        shares = amount.candidates(scored.rows.n_rows, n_fewest)
        is_guarded = self.guard or (self.baselines and trusted is not None)
        n_tried = len(splits) if shares and (is_guarded or amount.is_auto) else 0
        self._announce(learner, n_tried, len(shares))
        costs = Costs()
        score = functools.partial(
            score_rows,
            method,
            learner,
            n_repeats=self.n_repeats,
            costs=costs,
            clean=trusted,
            with_gains=self._needs_gains,
        )
        clean = functools.partial(
            clean_rows,
            action=self.action,
            threshold=amount.value if amount.kind == "threshold" else None,
            factor=self.flagged_weight,
            relabel_by=self.relabel_by,
        )
        trial, split_scores = None, []
        if n_tried:
            split_scores = [
                score(
                    split.train.rows,
                    seed=split_seed,
                    queries=split.sets[0].rows if split.one_way else None,
                )
                for split, split_seed in zip(splits, split_seeds, strict=True)
            ]
            trial = try_cleanings(
                splits,
                split_scores,
                shares,
                clean=clean,
                run=functools.partial(
                    run,
                    learner=learner,
                    seed=fit_seed,
                    scorer=self._scorer()[1],
                    costs=costs,
                ),
                seeds=split_seeds,
                costs=costs,
                is_free=amount.is_auto,
                controls=self.baselines,
                append=trusted is not None,
            )
        if len(split_scores) == 1:
            scores = split_scores[0]
        else:
            queries = trusted if uses_trusted else None
            scores = score(scored.rows, seed=last_seed, queries=queries)
        cleaning = flagged = nothing = keep_all(scored.rows.n_rows)
        chosen = int(bool(shares)) if trial is None else trial.chosen
        if shares:
            # without a choice, the smallest amount is listed and nothing is done
            flagged = clean(scored.rows, scores, shares[max(chosen, 1) - 1])
        if chosen:
            cleaning = flagged
        verdict = decide(
            None if trial is None else trial.outcome.chosen,
            len(cleaning.changed),
            guard=self.guard,
            confidence=self.confidence,
        )
        done = cleaning if verdict in ("helped", "unguarded") else nothing

        def fit(train: LabelledRows) -> Any:
            costs.n_fits += 1
            return learner.fit(train, fit_seed)

        final = self._act(rows, trusted, scored, done)
        with costs.timed("final"):
            self.estimator_ = fit(final)
        with costs.timed("explain"):
            has_copies = method.measures or method.base_models
            influential: dict[str, NDArray[np.int64]] = {}
            if len(done.changed) and has_copies and is_readable(learner.estimator):
                influential = find_influential_rows(
                    fit(scored.rows), scored, done.changed
                )
            self._table = RowTable.read(rows, scored, scores, learner.classes)
            self._list_rows(scored.positions, done, flagged, influential)
        with costs.timed("noise rate"):
            noise = estimate_noise_rate(
                scored.rows, scores, trusted, confidence=self.confidence, seed=seed
            )
        self.history_ = list_amounts(trial, scored.rows.n_rows, self.confidence)
        return write_report(
            self.get_params(deep=False),
            learner.estimator,
            task=self._task,
            metric=self._scorer()[0],
            n_train=rows.n_rows,
            n_scored=scored.rows.n_rows,
            trial=trial,
            cleaning=cleaning,
            verdict=verdict,
            noise=noise,
            suspects=describe_suspects(
                (done if len(done.changed) else flagged).changed,
                noise,
                scores.prediction,
                scored.rows.code,
            ),
            costs=costs,
        )

    def _announce(self, learner: Learner, n_tried: int, n_shares: int) -> None:
        """Add the copies to be trained, as far as known, to the progress bar."""
        n_copies = 2 * self.n_repeats if METHODS[self.method].needs_copies else 0
        n_random = len(random_amounts(n_shares)) if self.baselines else 0
        n_models = n_tried * (n_copies + 1 + n_shares + n_random)
        if learner.progress is not None:
            learner.progress.expect(n_models + (n_copies if n_tried != 1 else 0))

    def _act(
        self,
        rows: LabelledRows,
        trusted: LabelledRows | None,
        scored: RowSet,
        done: Cleaning,
    ) -> LabelledRows:
        """Set attributes of the cleaned rows; return the final model's train rows."""
        cleaned = done.apply(scored.rows)
        remaining = scored.positions[done.kept]
        self.kept_ = np.ones(rows.n_rows, dtype=bool)
        self.kept_[scored.positions] = done.kept
        self.labels_ = rows.y.copy()
        self.labels_[remaining] = cleaned.y
        self.weights_ = None if rows.weight is None else rows.weight.copy()
        if cleaned.weight is not None:
            if self.weights_ is None:
                self.weights_ = np.ones(rows.n_rows)
            self.weights_[remaining] = cleaned.weight
        held_out = np.setdiff1d(np.arange(rows.n_rows), scored.positions)
        if len(held_out) and self.refit_on_validation is not False:
            cleaned = join_rows(cleaned, rows.take(held_out))
        if trusted is not None and self.refit_on_validation:
            cleaned = join_rows(cleaned, trusted)
        return cleaned

    def _list_rows(
        self,
        positions: NDArray[np.int64],
        done: Cleaning,
        flagged: Cleaning,
        influential: dict[str, NDArray[np.int64]],
    ) -> None:
        """Set scores, suggestions, and the tables of cleaned and of flagged rows."""
        self.scores_, self.suggestions_ = self._table.score, self._table.suggestions
        self._changed = positions[done.changed]
        reason = METHODS[self.method].reason
        self.removed_ = self.suspects_ = self._table.list_changed(
            self._changed,
            np.where(done.kept[done.changed], self.action, "drop"),
            reason,
            influential,
        )
        if not len(done.changed):
            rows = positions[flagged.changed]
            self.suspects_ = self._table.list_changed(
                rows, np.full(len(rows), "kept"), reason, {}
            )

    def score_frame(self) -> Any:
        """Return the table of all scores, one line a row, in the order of the rows.

        Returns
        -------
        frame
            ``row`` (the caller's label), ``position``, ``score``, ``rank``,
            ``percentile``, ``label``, ``suggestion`` and ``is_changed``, after
            relabelling by influence also ``relabel_gain`` and ``drop_gain`` as in
            `removed_`; NaN scores for rows held out. Of the library of X, or a
            dictionary of lists if no frame library is installed.
        """
        check_is_fitted(self)
        return self._table.list_scores(self._changed)
