"""The estimator that cleans its train rows, and proves that it helped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from treeinf.cleaning.actions import ACTIONS, Repair
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.base import RowMetaEstimator
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.parameters import check_name, check_number
from treeinf.cleaning.report.flagged_rows import list_scores, list_touched_rows
from treeinf.cleaning.report.report import CleaningReport
from treeinf.cleaning.report.summary import write_report
from treeinf.cleaning.rows import join_rows, replace_labels
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.relabelling import RELABEL_RULES
from treeinf.cleaning.scores.scoring import RowScores, check_readable, is_readable
from treeinf.cleaning.trial.run import Recipe, Rehearsal, random_places, rehearse
from treeinf.cleaning.trial.splits import plan_rounds
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.influence import frame_library
from treeinf.frames import row_labels, take_rows
from treeinf.training.learner import Learner, accepts_weights
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_count

__all__ = ["InfluenceCleaner"]


class InfluenceCleaner(RowMetaEstimator):
    """Find train rows that harm an estimator, clean them, and retrain if it helps.

    Rows are scored by the estimator's own copies, trained on random halves of the
    rows. How many suspects to clean is chosen by retraining; what was chosen is judged
    on rows that neither the scores nor the choice have seen. If the gain there is not
    beyond noise, all rows are kept, and the report says so.

    Parameters
    ----------
    estimator : estimator, optional
        Classifier or regressor to clean for, alone or at the end of a pipeline.
        Methods that use influence need one that `treeinf.read_model` reads;
        "stacking", "loss" and "random" take any. By default LightGBM's, as the targets
        ask.
    method : {"stacking", "boostin", "boostin_self", "boostin_total", "loss", \
"random"}, \
default="stacking"
        How rows are scored; see Notes.
    action : {"drop", "relabel", "downweight"}, default="drop"
        What is done with suspects. "relabel" gives them the label (the value) that
        copies trained without them predict, where influence says that this helps, and
        drops the others; see `relabel_by`.
    amount : "auto", float, int or Amount, default="auto"
        Share of the rows, in (0, 1), number of rows, or, as ``Amount.threshold(x)``,
        all rows whose score is at least x. "auto" tries shares from 1 % to 40 % and
        takes the smallest that does as well as the best, to within its standard error,
        and does not make the primary score worse.
    validation : int, float, splitter or (X_val, y_val), default=5
        Rows to choose and judge by.

        - a number of folds, or a scikit-learn splitter: the cleaning is rehearsed
          without each fold and the next, and what one of the two chooses the other
          judges; in the end all rows are scored and cleaned;
        - a share in (0, 1): so many rows are held out and never cleaned; what one half
          of them chooses the other judges;
        - rows of your own, used in the same way. Trusted labels are worth most here.
    guard : bool, default=True
        Keep all rows unless the gain is beyond noise, and the primary score is no
        worse: AUC (two classes) and accuracy (more) not beyond noise, R2 not at all.
        False cleans in any case.
    baselines : bool, default=True
        Train and judge what a cleaning must be better than: as many rows removed at
        random and, where validation rows are given, these appended to the train rows
        and nothing else done. They take no part in decisions.
    confidence : float, default=0.9
        Of all intervals; the guard's must lie above 0.
    scoring : str, callable or None, default=None
        Score reported beside the losses: a scikit-learn scorer. By default accuracy or
        R2. It takes no part in decisions.
    n_repeats : int, default=5
        Times the rows are split in halves for the scores; two copies each.
    suspect_weight : float, default=0.1
        What action "downweight" multiplies the weights of suspects by.
    relabel_by : {"influence", "influence_or_leave", "suggestion"}, default="influence"
        Which suspects action "relabel" gives the suggested label: "influence" those
        where, by the influence of copies that have seen the row on rows that they have
        not (or on validation rows given), that label lowers the loss, and more than the
        row's removal; other suspects are dropped. "influence_or_leave" leaves these as
        they are: often better where wrong labels are all of one class, much worse where
        targets lie far off. "suggestion" asks no influence, so it takes any estimator:
        suspects for which the copies predict their own label are left.
    refit_on_validation : bool, optional
        Train the final model on the validation rows too. By default on those held out
        of X, and not on those given.
    random_state : int, RandomState or None, default=None
        Seed; gives the same rows for any `n_jobs`.
    n_jobs : int or None, default=None
        Copies trained at a time; None for 1, -1 for one a core. A copy has one thread
        unless `estimator` says otherwise.
    verbose : bool, default=False
        Show a progress bar with the time left.

    Attributes
    ----------
    estimator_ : estimator
        The final model, trained on the rows kept.
    kept_ : ndarray of bool, shape (n_train,)
        Rows kept; all of them where none is dropped.
    removed_ : frame
        The rows cleaned, most suspicious first: ``row`` (the caller's label),
        ``position``, ``rank``, ``score``, ``percentile``, ``action``, ``label``,
        ``suggestion`` (label or value that copies without the row predict),
        ``opponent_1`` to ``opponent_3`` and ``helper_1`` to ``helper_3`` (train rows
        that speak most against and for it, where influence can tell) and ``reason``.
        After relabelling by influence also ``relabel_gain`` and ``drop_gain``: by how
        much the mean loss of other rows falls with the suggested label, and without the
        row. Of pandas, or of the library of X; a dictionary of lists where no frame
        library is installed.
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
        ``gain_high``, the gain of as many rows removed at random (``random_gain``,
        ``random_gain_low`` and ``random_gain_high``; None where not tried), the
        ``guard_loss`` that judges with its ``guard_gain``, the ``score`` reported, the
        ``primary`` score, ``n_rows`` and ``chosen``.
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
    Weights are the cleaner's own to use, for scores, training and judging: under
    scikit-learn's metadata routing it is a consumer of `sample_weight`, so ask for them
    with ``set_fit_request(sample_weight=True)`` on the cleaner, not on the estimator.

    Scores: "boostin" is a row's out-of-bag error (1 minus the probability of its label,
    or the absolute residual) times the root of its BoostIn influence on its own loss in
    copies that have seen it, each leaf's term multiplied by the leaf's rows;
    "boostin_self" is BoostIn self influence alone;
    "boostin_total" is the harm a row does to the loss of rows its copies have not seen,
    or of validation rows given; "stacking" is the chance that a label is wrong (or the
    size of the residual) by the copies, an extra-trees forest and a kernel ridge that
    have not seen it, pooled, see `treeinf.cleaning.scores.stacking`; "loss" is the
    out-of-bag loss; "random" is a baseline. In the project's label-noise benchmark
    "stacking" finds most wrong labels, for any estimator.

    Amounts are chosen by, and the guard judges by, losses that hold up on rows that are
    as noisy as the train rows; see `treeinf.cleaning.trial.judging`.

    The default trains up to 140 models: in each of 5 rounds 10 copies on 30 % of the
    rows and 11 on up to 60 %, and up to 4 for `baselines`; in the end 10 on half of
    them. With the other views and judging that takes 75 to 340 times as long as one
    training on 1,000 rows, and 510 on 16,000 (LightGBM with 50 trees, one thread;
    `benchmarks/cleaning_guard.py`); "boostin" takes about half. A share in place of
    folds costs about a quarter. Relabelling by influence asks each copy once more.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023).
    """

    _doing = "cleaning"

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
        suspect_weight: float = 0.1,
        relabel_by: str = "influence",
        refit_on_validation: bool | None = None,
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
        self.suspect_weight = suspect_weight
        self.relabel_by = relabel_by
        self.refit_on_validation = refit_on_validation
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

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

        Notes
        -----
        What action "downweight" does is in `weights_`.
        """
        self.fit(X, y, sample_weight)
        if self.action == "relabel" and self.report_.acted:
            y = replace_labels(y, self.labels_)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    # checks, before long work

    def _check_parameters(self, estimator: Any, rows: LabelledRows) -> None:
        check_name("method", self.method, METHODS)
        check_name("action", self.action, ACTIONS)
        Amount.read(self.amount).check(rows.n_rows)
        check_count("n_repeats", self.n_repeats)
        check_number("confidence", self.confidence, above=0.0, below=1.0)
        check_number("suspect_weight", self.suspect_weight, lowest=0.0, highest=1.0)
        check_name("relabel_by", self.relabel_by, RELABEL_RULES)
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
        if METHODS[self.method].measures:
            check_readable(estimator)
        elif self.action == "relabel" and self.relabel_by != "suggestion":
            try:
                check_readable(estimator)
            except UnsupportedModelError as error:
                raise UnsupportedModelError(
                    f"{error} relabel_by={self.relabel_by!r} asks for influence; "
                    "relabel_by='suggestion' does not."
                ) from None

    # the work

    def _work(
        self, rows: LabelledRows, given: LabelledRows | None, trainer: Learner
    ) -> CleaningReport:
        """Rehearse, decide, clean, train the final model, and write it all down."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fit_seed = int(rng.integers(2**31))
        amount = Amount.read(self.amount)
        recipe = Recipe(
            self.method,
            self.action,
            self.n_repeats,
            amount,
            self.suspect_weight,
            self.relabel_by,
        )
        looks = given is not None and recipe.looks_at_others
        rounds, scored = plan_rounds(
            self.validation, rows, given, rng, scores_look=looks
        )
        score_seeds = [int(one) for one in rng.integers(2**31, size=len(rounds) + 1)]
        fewest = min(len(one.train) for one in rounds)
        shares = amount.candidates(len(scored), fewest)
        costs = Costs()
        rehearsal = None
        is_judged = self.guard or (self.baselines and given is not None)
        is_rehearsed = bool(shares) and (is_judged or amount.is_auto)
        self._announce(trainer, recipe, len(rounds), len(shares), is_rehearsed)
        if is_rehearsed:
            rehearsal = rehearse(
                recipe,
                trainer,
                rows,
                rounds,
                shares,
                is_free=amount.is_auto,
                score_seeds=score_seeds[:-1],
                fit_seed=fit_seed,
                scorer=self._scorer()[1],
                costs=costs,
                baselines=self.baselines,
                clean=given,
            )
        part = rows.take(scored)
        if rehearsal is not None and len(rounds) == 1:
            scores = rehearsal.first_scores
        else:
            target = given if looks else None
            scores = recipe.score(trainer, part, score_seeds[-1], target, given, costs)
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
            self._list_rows(
                rows, scored, touched, repair, scores, trainer, fit_seed, costs
            )
        self.history_ = (
            [] if rehearsal is None else rehearsal.history(len(scored), self.confidence)
        )
        return write_report(
            self,
            trainer,
            rows=rows,
            part=part,
            rehearsal=rehearsal,
            scores=scores,
            given=given,
            repair=repair,
            verdict=verdict,
            costs=costs,
            seed=seed,
        )

    def _announce(
        self,
        trainer: Learner,
        recipe: Recipe,
        n_rounds: int,
        n_shares: int,
        is_rehearsed: bool,
    ) -> None:
        """Tell the progress bar how many copies are to be trained, as far as known."""
        n_models = 0
        if is_rehearsed:
            n_random = len(random_places(n_shares)) if self.baselines else 0
            n_models = n_rounds * (recipe.n_copies + 1 + n_shares + n_random)
        if not is_rehearsed or n_rounds > 1:
            n_models += recipe.n_copies
        if trainer.progress is not None:
            trainer.progress.expect(n_models)

    def _decide(self, rehearsal: Rehearsal | None, repair: Repair) -> str:
        """Say what is to be done with the repair, and why."""
        if not len(repair.touched):
            return "nothing to remove"
        if rehearsal is None or not self.guard:
            return "unguarded"
        if not rehearsal.compare_guard(self.confidence, "").is_beyond_noise:
            return "not beyond noise"
        primary = rehearsal.compare_primary(self.confidence)
        # of skewed targets, a cleaning that only drops the far tail moves predictions
        # to the median: the capped error falls, and R2 is all that speaks against it
        if (primary.gain_high if rehearsal.n_classes else primary.gain) < 0.0:
            return "vetoed"
        return "helped"

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
        self._gains: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if scores.gains is not None:
            self._gains = np.full(rows.n_rows, np.nan), np.full(rows.n_rows, np.nan)
            self._gains[0][scored] = scores.gains.relabel
            self._gains[1][scored] = scores.gains.drop
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
        trainer: Learner,
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
        repair: Repair,
        scores: RowScores,
        trainer: Learner,
        seed: int,
        costs: Costs,
    ) -> None:
        """Make the table of cleaned rows."""
        part, method, model = rows.take(scored), METHODS[self.method], None
        can_speak = method.measures or method.views
        if len(touched) and can_speak and is_readable(trainer.estimator):
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
            actions=np.where(repair.kept[touched], self.action, "drop"),
            model=model,
            library=frame_library(rows.X),
        )
        self._given_labels = rows.y
        self._row_labels, self._library = row_labels(rows.X), frame_library(rows.X)

    def score_frame(self) -> Any:
        """Give the table of all scores, one line a row, in the order of the rows.

        Returns
        -------
        frame
            ``row`` (the caller's label), ``position``, ``score``, ``rank``,
            ``percentile``, ``label``, ``suggestion`` and ``is_touched``, after
            relabelling by influence also ``relabel_gain`` and ``drop_gain`` as in
            `removed_`; NaN scores for rows held out. Of the library of X, or a
            dictionary of lists where no frame library is installed.
        """
        check_is_fitted(self)
        return list_scores(
            self.scores_,
            self._given_labels,
            row_labels=self._row_labels,
            suggestions=self.suggestions_,
            gains=self._gains,
            touched=np.asarray(self.removed_["position"], dtype=np.int64),
            library=self._library,
        )
