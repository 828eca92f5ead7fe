"""Estimator that selects a smaller training set with almost the same loss."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.base import RowMetaEstimator, check_name, check_number
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report.history import list_subset_lines
from treeinf.cleaning.report.selection import SelectionReport, write_selection_report
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.scoring import RowScorer, check_readable
from treeinf.cleaning.trial.candidates import list_subsets
from treeinf.cleaning.trial.choice import choose_subset
from treeinf.cleaning.trial.judging import evaluate_trial
from treeinf.cleaning.trial.losses import RowLosses
from treeinf.cleaning.trial.run import run
from treeinf.cleaning.trial.splits import (
    RowSet,
    Split,
    check_validation,
    plan_splits,
)
from treeinf.cleaning.trial.subsets import (
    STRATEGIES,
    Ranking,
    find_leaf_clusters,
    select_subset,
)
from treeinf.frames import take_rows
from treeinf.training.learner import Learner, accepts_weights
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_count

__all__ = ["InfluenceSelector"]


class InfluenceSelector(RowMetaEstimator):
    """Select a subset of the train rows that trains an almost equally good model.

    Rows are ranked by their total influence on validation rows, measured by copies of
    the estimator on random halves of the rows. Models are trained on subsets of several
    sizes: the most helpful rows, the most helpful of each cluster in the model's leaf
    space, and random ones. The chosen subset is evaluated on rows that neither ranked
    nor chose.

    Parameters
    ----------
    estimator : estimator, optional
        Classifier or regressor that `treeinf.read_model` reads, alone or at the end of
        a pipeline. By default LGBMClassifier or LGBMRegressor, depending on the
        targets.
    keep : "auto", float or int, default="auto"
        Share of the rows, in (0, 1), or number of rows to keep. "auto" takes the
        smallest of `shares` within `tolerance`, or all rows if none is.
    strategy : {"auto", "influence", "diverse", "random"}, default="auto"
        How rows are selected: the most helpful; the most helpful of each cluster, the
        same share of each; at random. "auto" takes the best of the three.
    shares : sequence of float, default=(0.1, 0.3, 0.5, 0.7, 0.85)
        Shares that are tried, for "auto" and for the comparison.
    validation : float, int, splitter or (X_val, y_val), default=0.3
        Rows to rank by, choose by and evaluate on: a share to hold out, a number of
        folds, a scikit-learn splitter, or validation rows of your own. One half of them
        ranks and chooses, the other evaluates, and vice versa; of folds, each ranks and
        chooses, and the one before evaluates.
    tolerance : float, default=0.02
        Accepted increase of the mean loss, relative to that of all rows; the interval
        of the increase must not exceed it.
    confidence : float, default=0.9
        Confidence level of all intervals, in (0, 1).
    scoring : str, callable or None, default=None
        Score reported beside the losses; by default accuracy or R2.
    n_repeats : int, default=1
        Copies for each set of folds, see `InfluenceCleaner`.
    n_random : int, default=3
        Random subsets of each size; their losses are averaged.
    n_clusters : int, default=20
        Maximum number of clusters in leaf space.
    refit_on_validation : bool, default=False
        Train the final model on the validation rows too.
    join_equal_rows : bool, default=True
        Treat rows as one group that are equal, or so near that a model remembers one
        from the other, unless columns are so coarse that rows are equal by chance; see
        `treeinf.cleaning.twins`. False joins the rows of `groups` only.
    random_state : int, RandomState or None, default=None
        Seed; the result does not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Copies trained in parallel; None or -1 for one per core.
    verbose : bool, default=False
        Show a progress bar with the time left.

    Attributes
    ----------
    estimator_ : estimator
        The final model, trained on the rows kept.
    kept_ : ndarray of bool, shape (n_train,)
        Rows kept; False for rows held out.
    influence_ : ndarray of float64, shape (n_train,)
        Total influence on validation rows, positive for helpful; NaN for rows held out.
    clusters_ : ndarray of int64, shape (n_train,)
        Cluster in leaf space; -1 for rows held out.
    history_ : list of dict
        One for each subset tried, all rows first: ``strategy``, ``share``, ``n_kept``,
        ``loss`` and ``primary`` score with their gains over all rows and the ends of
        their intervals (``gain_low``, ``primary_gain_low`` and so on), the ``score``
        reported and ``n_rows``.
    report_ : SelectionReport
        The subset kept, compared with all rows and with random ones.
    groups_ : ndarray of int64, shape (n_train,), or None
        Group of each row: those passed, merged with those joined; None if each row
        stands for itself.
    contradictions_ : frame
        Rows that are equal in all columns and differ in their label or target: ``row``
        (the caller's label), ``position``, ``set`` (number of the equal rows) and
        ``label``.
    classes_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    The default takes about 25 times as long as one training on all rows: for each of
    two halves of the validation rows it trains 6 copies on half of the rows and 25 on
    10 to 85 %, and in the end 6 more.

    The most helpful rows alone are often a poor subset: influence is additive over rows
    and ignores redundancy between similar ones. If labels are right, a random subset of
    the same size does better than either ranking; if a share of them is wrong, the most
    helpful of each cluster do, often better than all rows. Therefore all three are
    tried, and a random subset may be kept.

    The two highest-ranked rows of each class are always kept. The ranking favours rows
    like the validation rows: the subset may serve other rows worse, which guard rows
    from the same distribution cannot reveal.
    """

    _label = "selecting"

    def __init__(
        self,
        estimator: Any = None,
        *,
        keep: Any = "auto",
        strategy: str = "auto",
        shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.85),
        validation: Any = 0.3,
        tolerance: float = 0.02,
        confidence: float = 0.9,
        scoring: Any = None,
        n_repeats: int = 1,
        n_random: int = 3,
        n_clusters: int = 20,
        refit_on_validation: bool = False,
        join_equal_rows: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.keep = keep
        self.strategy = strategy
        self.shares = shares
        self.validation = validation
        self.tolerance = tolerance
        self.confidence = confidence
        self.scoring = scoring
        self.n_repeats = n_repeats
        self.n_random = n_random
        self.n_clusters = n_clusters
        self.refit_on_validation = refit_on_validation
        self.join_equal_rows = join_equal_rows
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def select(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        time: Any = None,
        **fit_params: Any,
    ) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Fit, and return the rows kept; see `fit`.

        Returns
        -------
        X_kept, y_kept : same types as given
            The rows kept, and their labels.
        kept : ndarray of bool, shape (n_train,)
            Mask of the rows kept.
        """
        self.fit(X, y, sample_weight, groups, time, **fit_params)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    def _check_parameters(self, estimator: Any, n_rows: int, is_weighted: bool) -> None:
        keep = Amount.read(self.keep, "keep")
        if keep.kind == "threshold":
            raise ValueError(
                f"Got keep={self.keep!r}; expected 'auto', a share in (0, 1) or a "
                "number of rows."
            )
        keep.check(n_rows, "keep")
        check_name("strategy", self.strategy, ("auto", *STRATEGIES))
        if isinstance(self.shares, str) or not len(self.shares):
            raise ValueError(f"Got shares={self.shares!r}; expected some in (0, 1).")
        for share in self.shares:
            check_number("shares", share, above=0.0, below=1.0)
        check_number("tolerance", self.tolerance, lowest=0.0)
        check_number("confidence", self.confidence, above=0.0, below=1.0)
        for name in ("n_repeats", "n_random", "n_clusters"):
            check_count(name, getattr(self, name))
        if is_weighted and not accepts_weights(estimator):
            raise ValueError(
                f"{type(estimator).__name__}.fit takes no sample_weight, so weights "
                "cannot be used with it."
            )
        check_readable(estimator)

    def _check_time(self) -> None:
        if check_validation(self.validation) not in ("share", "rows"):
            raise ValueError(
                f"Got validation={self.validation!r} with time; rows are selected by "
                "their influence on later ones, so pass a share of the rows, or later "
                "rows (X_val, y_val)."
            )

    def _describe_time(self) -> list[str]:
        return [
            "Rows were selected by their influence on later ones, and evaluated on yet "
            "later ones."
        ]

    def _fit_rows(
        self, rows: LabelledRows, trusted: LabelledRows | None, learner: Learner
    ) -> SelectionReport:
        """Split, rank, try the subsets, choose, and train the final model."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fit_seed = int(rng.integers(2**31))
        splits, scored = plan_splits(
            self.validation, rows, trusted, rng, scores_use_trusted=True
        )
        if len(splits) == 1 and rows.time is None:
            # of rows held out, too, each half is the guard set once
            splits.append(Split(splits[0].train, splits[0].sets[::-1]))
        splits = [Split(split.train, split.sets, one_way=True) for split in splits]
        *seeds, last_seed = rng.integers(2**31, size=len(splits) + 1).tolist()
        n_scored, keep = scored.rows.n_rows, Amount.read(self.keep)
        amounts = [] if keep.is_auto else keep.candidates(n_scored, n_scored)
        fixed = [float(amount.value or 0.0) for amount in amounts]
        shares = sorted({*(float(share) for share in self.shares), *fixed})
        costs = Costs()
        scorer = RowScorer(
            METHODS["boostin_total"],
            learner,
            rows,
            plan_copies(rows, splits, scored, rng, n_repeats=self.n_repeats),
            seed=last_seed,
            costs=costs,
        )
        self._announce(learner, scorer, len(splits), len(shares))
        fit = functools.partial(self._fit_all, learner, fit_seed, costs)
        rank = functools.partial(self._rank, scorer, costs)
        candidates = []
        for split, split_seed in zip(splits, seeds, strict=True):
            model = fit(split.train.rows)
            ranking = rank(split.train, split.sets[0].rows, model, split_seed)
            candidates.append(
                list_subsets(
                    ranking,
                    shares,
                    self.n_random,
                    np.random.default_rng(split_seed),
                    model,
                )
            )
        with costs.timed("retrain"):
            predictions = run(
                candidates,
                splits,
                learner,
                seed=fit_seed,
                scorer=self._scorer()[1],
                costs=costs,
                stage="subsets",
            )
        keys = [(candidate.name, candidate.share) for candidate in candidates[0]]
        subsets = list(dict.fromkeys(keys))

        def choose(losses: RowLosses) -> list[int]:
            choice = choose_subset(
                subsets,
                losses,
                strategies=(
                    tuple(STRATEGIES) if self.strategy == "auto" else (self.strategy,)
                ),
                shares=fixed or shares,
                is_free=keep.is_auto,
                tolerance=self.tolerance,
                confidence=self.confidence,
            )
            random = subsets.index(("random", subsets[choice][1])) if choice else 0
            return [0, choice, random]

        outcome = evaluate_trial(
            [(selection, guard) for selection, guard in predictions],
            choose,
            groups=np.array([subsets.index(key) for key in keys]),
            halves=True,
        )
        strategy, share = subsets[choose(outcome.candidates.losses)[1]]
        held_out = np.setdiff1d(np.arange(rows.n_rows), scored.positions)
        unseen = trusted
        if trusted is None and len(held_out):
            unseen = rows.take(held_out)
        ranking = rank(scored, unseen, fit(scored.rows), last_seed)
        kept = np.arange(n_scored)
        if strategy != "all":
            n_kept = max(1, round(share * n_scored))
            kept = select_subset(
                strategy, ranking, n_kept, np.random.default_rng(last_seed)
            )
        self.kept_ = np.zeros(rows.n_rows, dtype=bool)
        self.kept_[scored.positions[kept]] = True
        self.influence_ = np.full(rows.n_rows, np.nan)
        self.influence_[scored.positions] = ranking.influence
        self.clusters_ = np.full(rows.n_rows, -1, dtype=np.int64)
        self.clusters_[scored.positions] = ranking.cluster
        self.history_ = list_subset_lines(
            outcome.candidates, subsets, n_scored, self.confidence
        )
        final = scored.rows.take(kept)
        if self.refit_on_validation and unseen is not None:
            final = join_rows(final, unseen)
        with costs.timed("final"):
            self.estimator_ = learner.fit(final, fit_seed)
        costs.n_fits += 1
        return write_selection_report(
            self.get_params(deep=False),
            learner.estimator,
            strategy=strategy,
            task=self._task,
            n_train=rows.n_rows,
            n_scored=n_scored,
            n_kept=len(kept),
            chosen=outcome.chosen,
            costs=costs,
        )

    def _announce(
        self, learner: Learner, scorer: RowScorer, n_splits: int, n_shares: int
    ) -> None:
        """Add the copies to be trained to the progress bar."""
        n_models = n_shares * (len(STRATEGIES) - 1 + self.n_random) + 1
        if learner.progress is not None:
            learner.progress.expect(n_splits * n_models + scorer.n_copies + 1)

    def _fit_all(
        self, learner: Learner, seed: int, costs: Costs, rows: LabelledRows
    ) -> Any:
        """Train on all rows of a split."""
        with costs.timed("retrain"):
            model = next(learner.run([learner.fit_task(rows, seed)], "all rows"))
        costs.n_fits += 1
        return model

    def _rank(
        self,
        scorer: RowScorer,
        costs: Costs,
        scored: RowSet,
        unseen: LabelledRows | None,
        model: Any,
        seed: int,
    ) -> Ranking:
        """Measure the rows' influence on unseen ones, and cluster them by leaves."""
        scores = scorer.score(scored.positions, unseen)
        with costs.timed("clusters"):
            cluster = find_leaf_clusters(model, scored.rows, self.n_clusters, seed)
        return Ranking(-scores.score, cluster, scored.rows.code)
