"""The estimator that asks which part of its train rows is enough."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.base import RowMetaEstimator
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.parameters import check_name, check_number
from treeinf.cleaning.report.report import Comparison, list_settings, list_versions
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.scoring import check_readable
from treeinf.cleaning.trial import judging
from treeinf.cleaning.trial.candidates import STRATEGIES, pick_subset
from treeinf.cleaning.trial.selection import (
    Trial,
    Trials,
    choose_trial,
    rank_rows,
    try_subsets,
)
from treeinf.cleaning.trial.splits import Round, plan_rounds
from treeinf.files import to_plain
from treeinf.frames import take_rows
from treeinf.training.learner import Learner, accepts_weights
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_count

__all__ = ["InfluenceSelector", "SelectionReport"]


@dataclasses.dataclass(frozen=True)
class SelectionReport:
    """Which part of the rows was kept, and how it does against all and against any.

    Parameters
    ----------
    headline : str
        All of it in one sentence.
    strategy : str
        How rows were picked: "influence", "diverse", "random", or "all".
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    n_train, n_scored, n_kept : int
        Rows given, rows to pick from, rows picked.
    share : float
        `n_kept` / `n_scored`.
    against_all, against_random : Comparison
        Loss of the part that some rows chose, on rows that had no say in it; before:
        all rows, or a random part of the same size.
    primary_against_all, primary_against_random : Comparison
        The same by AUC, accuracy or R2.
    seconds : dict of str to float
        Wall time of "train" and "influence" (ranking), "clusters", "retrain" (all
        parts), "final" and "total".
    n_fits : int
        Times the estimator was trained.
    settings, versions : dict
        Parameters, and what computed the result.
    random_state : int or None
        The seed given.
    notes : tuple of str
        What the reader should know besides.
    """

    headline: str
    strategy: str
    task: str
    n_train: int
    n_scored: int
    n_kept: int
    share: float
    against_all: Comparison
    against_random: Comparison
    primary_against_all: Comparison
    primary_against_random: Comparison
    seconds: dict[str, float]
    n_fits: int
    settings: dict[str, Any]
    versions: dict[str, str]
    random_state: int | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain types that `json.dumps` takes; what is not finite becomes None."""
        plain: dict[str, Any] = to_plain(dataclasses.asdict(self))
        return plain

    def __str__(self) -> str:
        times = ", ".join(f"{name} {t:.2f} s" for name, t in self.seconds.items())
        facts = [
            ("kept", f"{self.n_kept:,} of {self.n_scored:,} rows ({self.share:.1%})"),
            ("picked by", self.strategy),
            ("against all", str(self.against_all)),
            ("against any", str(self.against_random)),
            ("time", f"{times} ({self.n_fits} fits)"),
            *(("note", note) for note in self.notes),
        ]
        lines = [self.headline, ""]
        return "\n".join(lines + [f"{name:<14}{text}" for name, text in facts])


class InfluenceSelector(RowMetaEstimator):
    """Keep the part of the train rows that is enough, by influence.

    Rows are ranked by their total influence on validation rows, measured by copies of
    the estimator on random halves of the rows. Parts of several sizes are trained on:
    the most helpful rows, the most helpful of each cluster of the model's leaf space,
    and random ones. Rows that neither ranked nor chose say what that costs.

    Parameters
    ----------
    estimator : estimator, optional
        Classifier or regressor that `treeinf.read_model` reads, alone or at the end of
        a pipeline. By default LightGBM's, as the targets ask.
    keep : "auto", float or int, default="auto"
        Share of the rows, in (0, 1), or number of rows to keep. "auto" takes the
        smallest of `shares` that is shown to be enough, and all rows where none is.
    strategy : {"auto", "influence", "diverse", "random"}, default="auto"
        How rows are picked: the most helpful; the most helpful of each cluster, the
        same share of all; any. "auto" takes the best of the three.
    shares : sequence of float, default=(0.1, 0.3, 0.5, 0.7, 0.85)
        Shares that are tried, for "auto" and for the comparison.
    validation : float, int, splitter or (X_val, y_val), default=0.3
        Rows to rank, choose and judge by: a share to be held out, a number of folds, or
        rows of your own. One half of them ranks and chooses, the other judges, and the
        other way round; a fold ranks and chooses, and the one before judges.
    tolerance : float, default=0.02
        What is enough: a mean loss at most this part above that of all rows, with the
        confidence below.
    confidence : float, default=0.9
        Of all intervals.
    scoring : str, callable or None, default=None
        Score reported beside the losses; by default accuracy or R2.
    n_repeats : int, default=3
        Times the rows are split in halves for the influence; two copies each.
    n_random : int, default=3
        Random parts of each size; their losses are averaged.
    n_clusters : int, default=20
        Most clusters in leaf space.
    refit_on_validation : bool, default=False
        Train the final model on the validation rows too.
    random_state : int, RandomState or None, default=None
        Seed; gives the same rows for any `n_jobs`.
    n_jobs : int or None, default=None
        Copies trained at a time; None for 1, -1 for one a core.
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
        One for each part tried, all rows first: ``strategy``, ``share``, ``n_kept``,
        ``loss`` and ``primary`` score with their gains over all rows and the ends of
        their intervals (``gain_low``, ``primary_gain_low`` and so on), the ``score``
        reported and ``n_rows``.
    report_ : SelectionReport
        What was kept and what it costs.
    classes_, n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    Training on all rows being 1, the default costs about 25: for each of two halves of
    the validation rows 6 copies on half of the rows and 25 on 10 to 85 %, in the end 6
    more.

    The most helpful rows alone are often a poor part: influence adds up row by row, and
    says nothing of what a row adds to others alike. Where labels are right, a random
    part of the same size does better than either ranking; where a share of them is
    wrong, the most helpful of each cluster does, often better than all rows. That is
    why all three are tried, and why a random part may be what is kept.

    The first rows of a class are always kept, so that none is lost. What helps most is
    what the validation rows look like: a part picked for them may serve other rows
    worse, which the judging rows, alike to them, cannot tell.
    """

    _doing = "selecting"

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
        n_repeats: int = 3,
        n_random: int = 3,
        n_clusters: int = 20,
        refit_on_validation: bool = False,
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
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def select(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Fit, and give the rows kept.

        Returns
        -------
        X_kept, y_kept : same types as given
            The rows kept, and their labels.
        kept : ndarray of bool, shape (n_train,)
            Which they are.
        """
        self.fit(X, y, sample_weight)
        return take_rows(X, self.kept_), take_rows(y, self.kept_), self.kept_.copy()

    def _check_parameters(self, estimator: Any, rows: LabelledRows) -> None:
        keep = Amount.read(self.keep, "keep")
        if keep.kind == "threshold":
            raise ValueError(
                f"Got keep={self.keep!r}; expected 'auto', a share in (0, 1) or a "
                "number of rows."
            )
        keep.check(rows.n_rows, "keep")
        check_name("strategy", self.strategy, ("auto", *STRATEGIES))
        if isinstance(self.shares, str) or not len(self.shares):
            raise ValueError(f"Got shares={self.shares!r}; expected some in (0, 1).")
        for share in self.shares:
            check_number("shares", share, above=0.0, below=1.0)
        check_number("tolerance", self.tolerance, lowest=0.0)
        check_number("confidence", self.confidence, above=0.0, below=1.0)
        for name in ("n_repeats", "n_random", "n_clusters"):
            check_count(name, getattr(self, name))
        if rows.weight is not None and not accepts_weights(estimator):
            raise ValueError(
                f"{type(estimator).__name__}.fit takes no sample_weight, so weights "
                "cannot be used with it."
            )
        check_readable(estimator)

    def _work(
        self, rows: LabelledRows, given: LabelledRows | None, trainer: Learner
    ) -> SelectionReport:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fit_seed = int(rng.integers(2**31))
        rounds, scored = plan_rounds(
            self.validation, rows, given, rng, scores_look=True
        )
        if len(rounds) == 1:
            # of rows held out, too, each half has its turn to judge
            one = rounds[0]
            rounds = [one, Round(one.train, one.second, one.first)]
        seeds = [int(one) for one in rng.integers(2**31, size=len(rounds) + 1)]
        keep = Amount.read(self.keep)
        wanted = [] if keep.is_auto else keep.candidates(len(scored), len(scored))
        shares = sorted({*(float(share) for share in self.shares), *wanted})
        n_trials = len(shares) * (len(STRATEGIES) - 1 + self.n_random) + 1
        n_copies = 2 * self.n_repeats
        if trainer.progress is not None:
            trainer.progress.expect(len(rounds) * (n_trials + n_copies) + n_copies + 1)

        def choose(trials: Sequence[Trial], losses: judging.RowLosses) -> int:
            return choose_trial(
                trials,
                losses,
                strategies=(
                    tuple(STRATEGIES) if self.strategy == "auto" else (self.strategy,)
                ),
                shares=wanted or shares,
                is_free=keep.is_auto,
                tolerance=self.tolerance,
                confidence=self.confidence,
            )

        costs = Costs()
        trials = try_subsets(
            trainer,
            rows,
            rounds,
            shares,
            choose=choose,
            n_repeats=self.n_repeats,
            n_random=self.n_random,
            n_clusters=self.n_clusters,
            seeds=seeds[:-1],
            fit_seed=fit_seed,
            scorer=self._scorer()[1],
            costs=costs,
        )
        chosen = trials.trials[choose(trials.trials, trials.losses)]
        part = rows.take(scored)
        held_out = np.setdiff1d(np.arange(rows.n_rows), scored)
        with costs.timed("retrain"):
            whole = next(
                iter(trainer.run([trainer.fit_task(part, fit_seed)], "all rows"))
            )
        costs.n_fits += 1
        target = given
        if target is None and len(held_out):
            target = rows.take(held_out)
        ranking = rank_rows(
            trainer,
            part,
            target,
            model=whole,
            n_repeats=self.n_repeats,
            n_clusters=self.n_clusters,
            seed=seeds[-1],
            costs=costs,
        )
        picked = np.arange(part.n_rows)
        if chosen.strategy != "all":
            picked = pick_subset(
                chosen.strategy,
                ranking,
                max(1, round(chosen.share * part.n_rows)),
                np.random.default_rng(seeds[-1]),
            )
        self.kept_ = np.zeros(rows.n_rows, dtype=bool)
        self.kept_[scored[picked]] = True
        self.influence_ = np.full(rows.n_rows, np.nan)
        self.influence_[scored] = ranking.influence
        self.clusters_ = np.full(rows.n_rows, -1, dtype=np.int64)
        self.clusters_[scored] = ranking.cluster
        self.history_ = trials.history(len(scored), self.confidence)
        final = part.take(picked)
        if self.refit_on_validation and target is not None:
            final = join_rows(final, target)
        with costs.timed("final"):
            self.estimator_ = trainer.fit(final, fit_seed)
        costs.n_fits += 1
        return self._report(rows, part, trainer, trials, chosen, len(picked), costs)

    def _report(
        self,
        rows: LabelledRows,
        part: LabelledRows,
        trainer: Learner,
        trials: Trials,
        chosen: Trial,
        n_kept: int,
        costs: Costs,
    ) -> SelectionReport:
        metric = self._scorer()[0]
        against_all, primary = trials.compare(
            trials.picked.of_models([0, 1]), self.confidence, metric
        )
        against_random, primary_random = trials.compare(
            trials.picked.of_models([2, 1]), self.confidence, metric
        )
        seed = self.random_state
        return SelectionReport(
            headline=_write_headline(
                chosen, n_kept, part.n_rows, against_all, primary, against_random
            ),
            strategy=chosen.strategy,
            task=self._task,
            n_train=rows.n_rows,
            n_scored=part.n_rows,
            n_kept=n_kept,
            share=n_kept / part.n_rows,
            against_all=against_all,
            against_random=against_random,
            primary_against_all=primary,
            primary_against_random=primary_random,
            seconds=costs.seconds,
            n_fits=costs.n_fits,
            settings=list_settings(self.get_params(deep=False), trainer.estimator),
            versions=list_versions(trainer.estimator),
            random_state=int(seed) if isinstance(seed, numbers.Integral) else None,
            notes=tuple(self._notes(rows, part, chosen, against_random)),
        )

    def _notes(
        self,
        rows: LabelledRows,
        part: LabelledRows,
        chosen: Trial,
        against_random: Comparison,
    ) -> list[str]:
        notes = []
        if part.n_rows < rows.n_rows:
            left = "with" if self.refit_on_validation else "without"
            notes.append(
                f"{rows.n_rows - part.n_rows:,} of the rows were held out to rank, "
                f"choose and judge; the final model was trained {left} them."
            )
        is_better = against_random.is_beyond_noise
        if chosen.strategy not in ("all", "random") and not is_better:
            notes.append("A random part of the same size did as well, to within noise.")
        return notes


def _write_headline(
    chosen: Trial,
    n_kept: int,
    n_scored: int,
    against_all: Comparison,
    primary: Comparison,
    against_random: Comparison,
) -> str:
    """Say in one sentence what was kept and what it costs."""
    if chosen.strategy == "all":
        return (
            f"Kept all {n_scored:,} rows: no smaller part was shown to be enough on "
            f"{against_all.n_rows:,} unseen rows."
        )
    how = {
        "influence": "the most helpful",
        "diverse": "the most helpful of each cluster",
        "random": "drawn at random",
    }
    return (
        f"Kept {n_kept:,} of {n_scored:,} rows ({n_kept / n_scored:.0%}), "
        f"{how[chosen.strategy]}: {primary.metric} {primary.score_before:.4f} with all "
        f"rows, {primary.score_after:.4f} with these, on {primary.n_rows:,} unseen "
        f"rows; {against_random.loss} {against_random.loss_after:.4f} against "
        f"{against_random.loss_before:.4f} of as many random ones."
    )
