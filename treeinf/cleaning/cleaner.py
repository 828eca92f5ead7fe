"""Estimator that cleans its train rows and keeps the result only if it helps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from treeinf.cleaning.actions import (
    ACTIONS,
    Cleaning,
    Treatment,
    keep_all,
    list_treatments,
)
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.base import RowMetaEstimator, check_name, check_number
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.flagged_rows import RowTable, find_influential_rows
from treeinf.cleaning.report.history import list_amounts
from treeinf.cleaning.report.report import CleaningReport, write_report
from treeinf.cleaning.report.suspects import describe_suspects
from treeinf.cleaning.rows import join_rows, replace_labels
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.noise_rate import NoiseRate
from treeinf.cleaning.scores.relabelling import RELABEL_RULES
from treeinf.cleaning.scores.scoring import (
    RowScorer,
    RowScores,
    check_readable,
    is_readable,
)
from treeinf.cleaning.trial.choice import ACCEPTED, decide
from treeinf.cleaning.trial.cleanings import count_looks, try_cleanings
from treeinf.cleaning.trial.run import run
from treeinf.cleaning.trial.splits import (
    RowSet,
    Split,
    list_score_folds,
    plan_splits,
)
from treeinf.errors import UnsupportedModelError
from treeinf.frames import take_rows
from treeinf.training.learner import Learner, accepts_weights
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_count

__all__ = ["InfluenceCleaner"]


class InfluenceCleaner(RowMetaEstimator):
    """Find train rows that harm an estimator, clean them, and retrain if it helps.

    Rows are scored by models that have not seen them: copies of the estimator, a forest
    and a kernel ridge. What to do with those that look wrong is chosen by retraining,
    and evaluated on rows that took no part in scores and choice. Unless there is a gain
    beyond noise, or wrong labels are certain, all rows are kept.

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
    action : {"auto", "drop", "relabel", "downweight", "weight"}, default="auto"
        What to do with flagged rows. "weight" multiplies the weight of every row by the
        probability that its label is right; "relabel" replaces the label (or target) of
        flagged rows with the prediction of copies trained without them where, by
        influence, that helps, and drops the others; see `relabel_by`. "auto" tries
        "weight" and "drop", and takes what the trial shows to be better; with an amount
        of your own it is "drop".
    amount : "auto", float, int or Amount, default="auto"
        Share of the rows, in (0, 1), number of rows, or, as ``Amount.threshold(x)`` and
        ``Amount.doubt(p)``, all rows whose score is at least x, and that are wrong with
        probability of at least p. "auto" tries the rows that are wrong with probability
        of at least .8 and .5 (methods without probabilities: 2, 5, 10, 20 and 30 % of
        the rows) and takes the fewest whose gain is within one standard error of the
        best and that do not worsen the primary score.
    validation : int, float, splitter or (X_val, y_val), default=5
        Rows to choose the amount by (selection set), and to evaluate the choice on
        (guard set).

        - a number of folds, or a scikit-learn splitter: folds are held out one after
        the other, until the gain is beyond three standard errors, at most 5 of them, 3
        from 5,000 rows on, 2 from 50,000 and 1 from 200,000; the halves of a fold are
        selection and guard set of one another; in the end all rows are scored and
        cleaned;
        - a share in (0, 1) of the rows, held out and never cleaned; its halves are
        selection and guard set of one another;
        - validation rows of your own, used like the share; best with trusted labels.
        Where `fit` is passed groups, as ``(X_val, y_val, groups_val)``: rows of one
        group are in one half, and groups of train rows are refused.
    guard : bool, default=True
        Keep all rows unless the loss or the primary score - AUC (two classes), accuracy
        (more) or R2 - gets better beyond noise and neither gets worse beyond noise, R2
        not at all. Where the interval of the noise rate begins above 2 %, it is enough
        that neither gets worse. False always cleans.
    baselines : bool, default=True
        Also evaluate two alternatives to the choice: as many rows removed at random
        and, if validation rows are passed, appending them without cleaning. They do not
        affect decisions.
    confidence : float, default=0.9
        Confidence level of all intervals, in (0, 1); the guard's must lie above 0.
    scoring : str, callable or None, default=None
        Score reported beside the losses: a scikit-learn scorer. By default accuracy or
        R2. It does not affect decisions.
    n_repeats : int, default=1
        Copies for each set of folds; further ones are trained on a random four fifths
        of its rows. More make scores steadier, and cost as much again.
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
    held_out_ : ndarray of bool, shape (n_train,)
        Rows that were held out to choose and evaluate, and so were not cleaned.
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
        Score of each row, higher for more harmful; NaN for rows held out, and where
        time matters for the first ones, which no earlier rows can score.
    suggestions_ : ndarray, shape (n_train,), or None
        Label or value that copies without the row predict; None or NaN where there is
        none. None for methods without copies.
    labels_ : ndarray, shape (n_train,)
        Labels after the cleaning; equal to `y` unless action is "relabel".
    weights_ : ndarray of float64, shape (n_train,), or None
        Weights after the cleaning; None for 1.
    history_ : list of dict
        One for each treatment tried, the uncleaned model first: ``action``, ``amount``,
        the ``share`` of the rows it changes, ``n_removed`` (at that share), the
        selection ``loss`` with its ``gain``, ``gain_low`` and
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

    Scores: "stacking" is the chance that a label is wrong (or the size of the residual)
    by the copies, an extra-trees forest and a kernel ridge that have not seen it,
    pooled, see `treeinf.cleaning.scores.stacking`; "loss" is the copies' out-of-bag
    loss; "boostin" multiplies the out-of-bag error by the root of the row's BoostIn
    influence on its own loss, "boostin_self" is that influence, and "boostin_total" the
    harm to the loss of rows that the copies have not seen; "out_of_bag_sum" and
    "out_of_bag_step" use the trees inside each copy that did not see the row
    (`OutOfBagLoss`); "random" is a baseline. See `treeinf.cleaning.scores.methods`. In
    the project's label-noise benchmark "stacking" finds most wrong labels.

    Selection and guard loss remain valid on rows as noisy as the train rows; see
    `treeinf.cleaning.trial.losses`.

    Copies are trained on pairs of the folds (all 10, or the 5 of neighbours from 5,000
    rows on) and serve every split in which they have seen no held-out row, and the
    final scores; see `treeinf.cleaning.scores.cross_fitting`. So the default trains at
    most 40 models: 10 copies on 40 % of the rows, 4 candidates on 80 % for each fold
    held out, a random removal beside them, and the final model.
    `benchmarks/cleaning_cost.py` measures it. Relabelling by influence explains each
    copy once more.

    A trial that ends early does so at the boundary of Haybittle and Peto, and reports
    the intervals of three standard errors that it decided by.

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
        action: str = "auto",
        amount: Any = "auto",
        validation: Any = 5,
        guard: bool = True,
        baselines: bool = True,
        confidence: float = 0.9,
        scoring: Any = None,
        n_repeats: int = 1,
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
        time: Any = None,
        **fit_params: Any,
    ) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Fit, and return the rows that remain.

        Parameters
        ----------
        X, y, sample_weight, groups, time, **fit_params
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
        self.fit(X, y, sample_weight, groups, time, **fit_params)
        if self.action == "relabel" and self.report_.acted:
            y = replace_labels(y, self.labels_)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    def _check_parameters(self, estimator: Any, n_rows: int, is_weighted: bool) -> None:
        check_name("method", self.method, METHODS)
        check_name("action", self.action, ("auto", *ACTIONS))
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
        needs_weights = is_weighted or self.action in ("downweight", "weight")
        if needs_weights and not accepts_weights(estimator):
            raise ValueError(
                f"{type(estimator).__name__}.fit takes no sample_weight, so neither "
                "weights nor action='downweight' or 'weight' can be used with it; "
                "action='drop' can."
            )
        has_doubt = bool(METHODS[self.method].base_models)
        if not has_doubt and (
            self.action == "weight" or Amount.read(self.amount).kind == "doubt"
        ):
            raise ValueError(
                f"method={self.method!r} gives no probability that a label is wrong, "
                "which action='weight' and Amount.doubt need; use method='stacking'."
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

    def _check_time(self) -> None:
        if METHODS[self.method].measures:
            allowed = [name for name, kind in METHODS.items() if not kind.measures]
            raise ValueError(
                f"method={self.method!r} measures rows in models that have seen later "
                f"ones, so it cannot be used with time; expected one of {allowed}."
            )
        if self._needs_gains:
            raise ValueError(
                f"relabel_by={self.relabel_by!r} estimates gains on earlier and later "
                "rows, so it cannot be used with time; pass relabel_by='suggestion'."
            )

    def _describe_time(self) -> list[str]:
        note = "Scores, choice and evaluation of a row use earlier rows alone"
        if not self._n_unscored:
            return [f"{note}."]
        return [
            f"{note}; {self._n_unscored:,} rows have none before them to be scored by, "
            "and were kept."
        ]

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
        # the user's rows may be later than those to score
        uses_trusted = (
            trusted is not None
            and rows.time is None
            and (method.uses_queries or self._needs_gains)
        )
        splits, scored = plan_splits(
            self.validation, rows, trusted, rng, scores_use_trusted=uses_trusted
        )
        n_looks = count_looks(len(splits), rows.n_rows)
        *split_seeds, last_seed = rng.integers(2**31, size=n_looks + 1).tolist()
        n_fewest = min(len(split.train.positions) for split in splits)
        has_doubt = bool(method.base_models)
        treatments = list_treatments(
            self.action,
            amount.candidates(len(scored.positions), n_fewest, has_doubt=has_doubt),
            can_weight=amount.is_auto
            and has_doubt
            and accepts_weights(learner.estimator),
            factor=self.flagged_weight,
            relabel_by=self.relabel_by,
        )
        is_guarded = self.guard or (self.baselines and trusted is not None)
        is_tried = bool(treatments) and (is_guarded or amount.is_auto)
        costs = Costs()
        scorer = RowScorer(
            method,
            learner,
            rows,
            plan_copies(
                rows,
                splits if is_tried else [],
                scored,
                rng,
                n_looks=n_looks,
                folds=list_score_folds(self.validation, rows, scored),
                n_repeats=self.n_repeats,
            ),
            seed=last_seed,
            costs=costs,
            clean=trusted,
            with_gains=self._needs_gains,
        )
        self._announce(learner, scorer, splits[: n_looks * is_tried], len(treatments))

        def score(split: Split) -> RowScores:
            queries = split.sets[0].rows if split.one_way else None
            return scorer.score(split.train.positions, queries)

        def estimate_noise(of: LabelledRows, scores: RowScores) -> NoiseRate | None:
            with costs.timed("noise rate"):
                return scores.estimate_noise(
                    of, trusted, confidence=self.confidence, seed=seed
                )

        trial = None
        if is_tried:
            trial = try_cleanings(
                splits[:n_looks],
                score,
                estimate_noise,
                treatments,
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
                confidence=self.confidence,
            )
        scores = scorer.score(
            scored.positions,
            trusted if uses_trusted else None,
            only_trained=rows.time is None,
        )
        if learner.progress is not None:
            # what a trial that ends early has not trained
            n_left = 0 if trial is None else n_looks - trial.n_looks
            n_unused = scorer.n_copies - scorer.n_trained
            learner.progress.expect(-n_unused - n_left * (1 + len(treatments)))
        self._n_unscored = scores.n_unscored
        cleaning = flagged = nothing = keep_all(scored.rows.n_rows)
        treatment = Treatment("drop", amount)
        chosen = int(bool(treatments)) if trial is None else trial.chosen
        if treatments:
            # without a choice, the mildest treatment is listed and nothing is done
            treatment = treatments[max(chosen, 1) - 1]
            flagged = treatment.apply(scored.rows, scores)
        if chosen:
            cleaning = flagged
        verdict = decide(
            None if trial is None else trial.outcome.chosen,
            len(cleaning.changed),
            guard=self.guard,
            confidence=self.confidence if trial is None else trial.confidence,
            least_noise=0.0 if trial is None else trial.least_noise,
        )
        done = cleaning if verdict in ACCEPTED else nothing

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
                influential = find_influential_rows(fit, scored, done.changed, seed)
            self._table = RowTable.read(rows, scored, scores, learner.classes)
            self._list_rows(
                scored.positions, treatment.action, done, flagged, influential
            )
        noise = estimate_noise(scored.rows, scores)
        self.history_ = list_amounts(trial, scored.rows.n_rows)
        return write_report(
            self.get_params(deep=False),
            learner.estimator,
            task=self._task,
            metric=self._scorer()[0],
            n_train=rows.n_rows,
            n_scored=scored.rows.n_rows - scores.n_unscored,
            n_unscored=scores.n_unscored,
            trial=trial,
            action=treatment.action,
            cleaning=cleaning,
            verdict=verdict,
            noise=noise,
            suspects=describe_suspects(
                (done if len(done.changed) else flagged).changed,
                noise,
                scores,
                scored.rows.code,
            ),
            costs=costs,
        )

    def _announce(
        self,
        learner: Learner,
        scorer: RowScorer,
        splits: Sequence[Split],
        n_treatments: int,
    ) -> None:
        """Add the copies to be trained, as far as known, to the progress bar."""
        if learner.progress is not None:
            learner.progress.expect(scorer.n_copies + len(splits) * (1 + n_treatments))

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
        self.held_out_ = np.zeros(rows.n_rows, dtype=bool)
        self.held_out_[held_out] = True
        if len(held_out) and self.refit_on_validation is not False:
            cleaned = join_rows(cleaned, rows.take(held_out))
        if trusted is not None and self.refit_on_validation:
            cleaned = join_rows(cleaned, trusted)
        return cleaned

    def _list_rows(
        self,
        positions: NDArray[np.int64],
        action: str,
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
            np.where(done.kept[done.changed], action, "drop"),
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
