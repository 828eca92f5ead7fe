"""Find the bag of each tree by trying outputs of XGBoost's generator until one fits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from treeinf.adapters.row_sampling import StagedTrees
from treeinf.adapters.xgboost.leaf_sums import LeafSums, bound_share
from treeinf.adapters.xgboost.row_draws import Draws, Twister, UniformDraws
from treeinf.ensemble import losses
from treeinf.kernels.cpu import random_draws as kernels

__all__ = ["SEED_FACTOR", "BagSearch", "Origin"]

SEED_FACTOR = 127
"""``seed_per_iteration`` seeds with this factor times `seed` plus the iteration."""

_UNSEEDED = 5489
"""Seed of a generator that nobody seeded: a pickled booster's, in another process."""
_WINDOW = 64
"""Outputs, at least, that the next bag may begin with."""
_FIRST_OUTPUTS = 4
"""Outputs of other seeds that the first bag drawn from them may begin with."""
_SEEDS = (2**7, 2**11, 2**16)
"""Numbers of seeds that are tried one after the other."""
_MOST_SCREENED = 2048
"""Bags of other seeds that are compared with a tree, after its small leaves."""
_SEEDS_OF_ONE = 2**10
"""Of so many seeds, one may be compared where more than those are searched."""
_ALL_SEEDS = 2**31
_SEEDS_AT_ONCE = 2**20
_MOST_SEARCHES = 2
"""Searches among the small seeds."""
_MOST_MISSED = 8
"""Trees without a bag after which the search ends, if no tree has one."""
_MOST_CHOICES = 4
"""Ways of drawing that are tried after the first tree."""
_MOST_FITS = 256
_OTHERS = 3
"""Bags of other outputs that a tree must refuse to tell anything."""
_SOME_ORIGINS = 1024
_BITS, _BITS_AMONG = 10.0, 4.0
"""Bits that covers must tell beyond the number of bags tried, without values."""
_LOOK_AHEAD = 4
"""Trees in which the bags of the right seed of many must follow."""
_TELLING_LEAVES = 8
_FEW_ROWS = 64
_MOST_CELLS = 2**22


@dataclasses.dataclass(frozen=True)
class Origin:
    """A seed that bags were drawn from.

    Parameters
    ----------
    seed : int
        As it is passed to XGBoost.
    first_iteration : int, default=0
        Iteration with which the training began that drew from it.
    is_per_iteration : bool, default=False
        Whether the generator was seeded anew in each iteration.
    """

    seed: int
    first_iteration: int = 0
    is_per_iteration: bool = False

    def twister(self, iteration: int) -> Twister:
        """Return the generator as it was seeded before an iteration."""
        if not self.is_per_iteration:
            return Twister(self.seed)
        return Twister(SEED_FACTOR * self.seed + iteration - self.first_iteration)


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """A place in a generator's outputs where a bag may begin."""

    twister: Twister
    position: int
    draws: Draws
    origin: Origin

    @property
    def outputs(self) -> NDArray[np.uint64]:
        return self.twister.take(self.position, self.draws.outputs_per_bag)

    @property
    def next_position(self) -> int:
        return self.position + self.draws.outputs_per_bag


class BagSearch:
    """The walk through the trees of a model.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    choices : sequence of Draws
        Ways in which bags may have been drawn, the likeliest first.
    origin : Origin
        Seed to begin with.
    schedule : (int, int) or None
        Output that the first bag begins with, and outputs between two bags; None where
        they vary.
    shares_bags : bool
        Whether parallel trees may have one bag, as the method approx draws them.
    is_wide : bool
        Try all seeds below 2**31 where no small one fits.
    earlier : sequence of (int, int, int), default=()
        Rows, iterations and trees of earlier parts of the training, on other rows.

    Attributes
    ----------
    bags : list of ndarray or None
        Bag of each tree: float32 of shape (n_rows,), or uint8 of packed bits. None
        where none was fitting.
    origins : list of Origin
        Seeds that bags were drawn from.
    shares : list of float
        `subsample` of each stretch of trees.
    draws : Draws
        How the last bags were drawn.
    """

    _derivatives: tuple[NDArray[np.float64], NDArray[np.float64]]

    def __init__(
        self,
        trees: StagedTrees,
        choices: Sequence[Draws],
        origin: Origin,
        *,
        schedule: tuple[int, int] | None,
        shares_bags: bool,
        is_wide: bool,
        earlier: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        self._trees, self._ensemble = trees, trees.ensemble
        self._compares_values = getattr(trees, "compares_values", True)
        self._needs_hessians = not any(draws.needs_gradients for draws in choices)
        self._choices = list(choices)
        self._schedule = schedule
        self._earlier_trees = sum(n_trees for _, _, n_trees in earlier)
        self._earlier_iterations = sum(n_iterations for _, n_iterations, _ in earlier)
        self._earlier_bags = sum(n_rows * n_trees for n_rows, _, n_trees in earlier)
        self._shares_bags, self._is_wide = shares_bags, is_wide
        self._n_searches = self._n_missed = 0
        self._is_proven = False
        self._origin = origin
        self._twister, self._position = origin.twister(0), 0
        self._staged: tuple[int, int] | None = None
        self._kept_tree = -1
        self._kept_sums: dict[int | None, LeafSums | None] = {}
        self.bags: list[NDArray[Any] | None] = []
        self.origins: list[Origin] = []
        self.shares: list[float] = []
        self.draws = self._choices[0]

    def run(self) -> None:
        """Find the bags."""
        iteration = self._ensemble.iteration.tolist()
        for tree in range(self._ensemble.n_trees):
            is_new = tree == 0 or iteration[tree] > iteration[tree - 1]
            if is_new and self._origin.is_per_iteration:
                self._twister = self._origin.twister(iteration[tree])
                self._position = 0
            bag = self._shared_bag(tree)
            if bag is None:
                bag = self._next_bag(tree)
            if bag is None and is_new and (self._compares_values or tree == 0):
                bag = self._bag_of_other_origin(tree, iteration[tree])
            self._n_missed = 0 if bag is not None else self._n_missed + 1
            self.bags.append(bag)
            if not self._is_proven:
                self._choices = self._choices[:_MOST_CHOICES]
                if self._n_missed >= _MOST_MISSED:
                    break
        if not self._is_proven:
            self.bags = []
        self.bags += [None] * (self._ensemble.n_trees - len(self.bags))

    # The next outputs.

    def _shared_bag(self, tree: int) -> NDArray[Any] | None:
        """Return the bag of the tree before, if both are parallel and share it."""
        ensemble = self._ensemble
        if not self._shares_bags or tree == 0 or self.bags[-1] is None:
            return None
        for numbers in (ensemble.iteration, ensemble.output):
            if numbers[tree] != numbers[tree - 1]:
                return None
        is_shared = self._trees.fits(tree, self._unpack(self.bags[-1]))
        return self.bags[-1] if is_shared else None

    def _next_bag(self, tree: int) -> NDArray[Any] | None:
        """Return the bag drawn after that of the tree before."""
        self._stage(tree)
        for draws in self._choices:
            here = _Candidate(self._twister, self._position, draws, self._origin)
            expected = self._expected(here, tree)
            if expected is not None:
                fit = self._fit(expected, tree)
                if fit is not None:
                    self._is_proven = self._is_proven or self._tells(fit, tree)
                    return self._accept(fit)
            window = self._window(tree)
            fitting = self._fits(self._screened(here, tree, window), tree)
            if len(fitting) == 1 and self._excludes_chance(tree, window):
                self._is_proven = True
                return self._accept(fitting[0])
        return None

    def _expected(self, here: _Candidate, tree: int) -> _Candidate | None:
        """Return where the next bag begins if nothing else is drawn."""
        if self._schedule is None or self._n_missed:
            return None
        first, gap = self._schedule
        if self._position > 0:
            return dataclasses.replace(here, position=self._position + gap)
        if self._ensemble.iteration[tree] == self._origin.first_iteration:
            return dataclasses.replace(here, position=first)
        return here

    def _window(self, tree: int) -> int:
        """Return how many outputs the next bag may begin with.

        From 3.3 on each choice of columns takes one, at most for each node; dropping
        trees takes two for each.
        """
        n_leaves = np.diff(self._ensemble.leaf_offset)
        size = _WINDOW + 4 * int(n_leaves[max(tree - 1, 0)]) + 2 * tree
        if tree == 0 and self._earlier_trees:
            size *= 1 + self._earlier_trees
            if self.draws.outputs_per_bag > 1:
                size += 2 * self._earlier_bags
        return size * (1 + min(self._n_missed, _MOST_MISSED))

    def _excludes_chance(self, tree: int, n_candidates: int) -> bool:
        """Return whether hardly any of so many wrong bags would fit a tree."""
        if self._compares_values:
            return True
        sums = self._sums(tree, None)
        # after a tree whose bag is right, that of the next is among them
        is_among = self._is_proven and self._n_missed == 0
        safety = _BITS_AMONG if is_among else _BITS
        return sums is not None and sums.bits >= np.log2(n_candidates) + safety

    def _tells(self, fit: _Candidate, tree: int) -> bool:
        """Return whether a tree refuses the bags of other outputs."""
        others = (
            dataclasses.replace(fit, position=fit.next_position + k)
            for k in range(_OTHERS)
        )
        return not any(self._fit(other, tree) for other in others)

    # Other seeds.

    def _bag_of_other_origin(self, tree: int, iteration: int) -> NDArray[Any] | None:
        """Return the bag of a tree whose training began with another seed."""
        self._stage(tree)
        choices = [*self._choices, *self._other_shares(tree)]
        for draws in choices:
            candidates = itertools.chain.from_iterable(
                self._screened(
                    _Candidate(origin.twister(iteration), 0, draws, origin),
                    *(tree, _FIRST_OUTPUTS if origin.is_per_iteration else _WINDOW),
                )
                for origin in self._known_origins(iteration)
            )
            fitting = self._fits(candidates, tree)
            if len(fitting) > 1:
                fitting = self._told_apart(fitting, tree)
                self._stage(tree)
            if len(fitting) == 1 and self._excludes_chance(tree, _SOME_ORIGINS):
                self._is_proven = True
                return self._accept(fitting[0])
        n_leaves = np.diff(self._ensemble.leaf_offset)[: tree + 1]
        is_hopeful = self._is_proven or n_leaves[:-1].max(initial=0) < _TELLING_LEAVES
        if self._n_searches >= _MOST_SEARCHES or not is_hopeful:
            return None
        self._n_searches += 1
        for draws in (*choices[:_MOST_CHOICES], *choices[_MOST_CHOICES:][-1:]):
            bag = self._bag_of_other_seed(draws, tree, iteration)
            if bag is not None:
                return bag
        return None

    def _bag_of_other_seed(
        self, draws: Draws, tree: int, iteration: int
    ) -> NDArray[Any] | None:
        """Return the bag of a tree that was drawn from a seed of many."""
        is_vague = False
        for tried, seeds in self._seed_ranges(draws):
            if is_vague and tried is draws:
                continue
            most = max(_MOST_SCREENED, len(seeds) // _SEEDS_OF_ONE)
            screened = self._screened_seeds(tried, tree, iteration, seeds)
            some = itertools.islice(screened, most)
            fitting = self._told_apart(self._fits(some, tree), tree)
            self._stage(tree)
            n_bags = _FIRST_OUTPUTS * seeds.stop
            if len(fitting) == 1 and self._excludes_chance(tree, n_bags):
                self._is_proven = True
                return self._accept(fitting[0])
            if next(screened, None) is not None:
                is_vague = True  # the tree tells too little
        return None

    def _other_shares(self, tree: int) -> list[Draws]:
        """Return draws of any `subsample` that a tree's covers allow.

        Earlier trees of a continued training may have had another than it stores.
        """
        draws = self._choices[0]
        if not isinstance(draws, UniformDraws) or not (
            self._is_proven or draws.is_known
        ):
            return []
        share = bound_share(self._trees, tree, self._derivatives[1][:, 0])
        return [] if share is None else [UniformDraws.between(draws.n_rows, *share)]

    def _known_origins(self, iteration: int) -> Iterator[Origin]:
        """Yield origins of known seeds that a training from here on may have."""
        seeds = dict.fromkeys([self._origin.seed, *(o.seed for o in self.origins)])
        firsts = dict.fromkeys((0, iteration, -self._earlier_iterations))
        for seed in (*seeds, _UNSEEDED):
            yield Origin(seed, iteration)
        for seed in seeds:
            for first in firsts:
                yield Origin(seed, first, is_per_iteration=True)

    def _seed_ranges(self, draws: Draws) -> list[tuple[Draws, range]]:
        """List the seeds to try, and the draws from them.

        Among all seeds, a share that is known up to a range is taken to be round.
        """
        stops = [min(stop, draws.most_seeds) for stop in (0, *_SEEDS)]
        ranges = [(draws, range(a, b)) for a, b in itertools.pairwise(stops) if a < b]
        if self._is_wide and isinstance(draws, UniformDraws):
            exact = [draws] if draws.is_known else draws.of_round_shares()
            ranges += [(each, range(stops[-1], _ALL_SEEDS)) for each in exact]
        return ranges

    def _screened_seeds(
        self, draws: Draws, tree: int, iteration: int, seeds: range
    ) -> Iterator[_Candidate]:
        """Yield candidates of many seeds."""
        starts = range(seeds.start, seeds.stop, _SEEDS_AT_ONCE)
        with tqdm(
            desc=f"XGBoost seeds, subsample {draws.subsample:g}",
            unit="seed",
            unit_scale=True,
            total=len(seeds),
            leave=False,
            disable=None if len(starts) > 1 else True,
        ) as progress:
            for begin in starts:
                end = min(begin + _SEEDS_AT_ONCE, seeds.stop)
                pairs = self._screened_range(draws, tree, range(begin, end))
                for twister, position in pairs:
                    seed, origin = twister.seed, Origin(twister.seed, iteration)
                    yield _Candidate(twister, position, draws, origin)
                    if seed % SEED_FACTOR == 0:
                        origin = Origin(seed // SEED_FACTOR, iteration, True)
                        yield _Candidate(twister, position, draws, origin)
                progress.update(end - begin)

    def _screened_range(
        self, draws: Draws, tree: int, seeds: range
    ) -> Iterator[tuple[Twister, int]]:
        """Yield twisters and positions that may give the bag of a tree."""
        sums = self._sums(tree, _FEW_ROWS)
        if draws.outputs_per_bag > 1 or sums is None:
            for seed in seeds:
                begin = _Candidate(Twister(seed), 0, draws, self._origin)
                for candidate in self._screened(begin, tree, 2):
                    yield candidate.twister, candidate.position
            return
        outputs = np.empty((_FIRST_OUTPUTS, len(seeds)), np.uint32)
        kernels.seed_twisters(seeds.start, outputs)
        starts = outputs.ravel().astype(np.uint64)
        is_uniform = isinstance(draws, UniformDraws)
        step = max(1, _MOST_CELLS // max(len(sums.row), 1))
        for first in range(0, len(starts), len(starts) if is_uniform else step):
            batch = starts[first:] if is_uniform else starts[first : first + step]
            passed = np.flatnonzero(draws.screen(batch, sums))
            every = self._sums(tree, None)
            if is_uniform and every is not None:
                passed = passed[draws.screen(batch[passed], every)]
            for number in (first + passed).tolist():
                position, which = divmod(number, len(seeds))
                yield Twister(seeds[which], outputs[:, which]), position

    def _told_apart(self, candidates: list[_Candidate], tree: int) -> list[_Candidate]:
        """Return those of many candidates after which bags of the next trees follow.

        Among many, some fit one tree by chance; where no tree follows, this one must
        have leaves enough.
        """
        last = min(tree + 1 + _LOOK_AHEAD, self._ensemble.n_trees)
        n_leaves = np.diff(self._ensemble.leaf_offset)[tree]
        if tree + 1 == last:
            return candidates if n_leaves >= _TELLING_LEAVES else []
        ends = [(candidate, candidate) for candidate in candidates]
        for later in range(tree + 1, last):
            if not ends or (len(ends) == 1 and later > tree + 1):
                break
            self._stage(later)
            followed = []
            for candidate, end in ends:
                window = self._screened(
                    self._following(end, later), later, self._window(later)
                )
                following = self._fits(window, later)
                if self._shares_bags and self._fit(end, later) is not None:
                    following.append(end)
                followed += [(candidate, following[0])] if following else []
            ends = followed
        return [candidate for candidate, _ in ends]

    def _following(self, end: _Candidate, tree: int) -> _Candidate:
        """Return where the bag of the tree after that of a candidate may begin."""
        iteration = self._ensemble.iteration
        if end.origin.is_per_iteration and iteration[tree] > iteration[tree - 1]:
            twister = end.origin.twister(int(iteration[tree]))
            return dataclasses.replace(end, twister=twister, position=0)
        return dataclasses.replace(end, position=end.next_position)

    # What all of them share.

    def _stage(self, tree: int) -> None:
        """Read the derivatives of a tree."""
        ensemble = self._ensemble
        iteration, width = int(ensemble.iteration[tree]), ensemble.leaf_width
        output = int(ensemble.output[tree]) if width == 1 else 0
        if self._staged == (iteration, output):
            return
        self._staged = iteration, output
        if type(ensemble.loss) is losses.SquaredError and self._needs_hessians:
            # known without scores, which are others where trees were dropped
            weight = self._trees.weight
            weight = weight if weight.size else np.ones(self._trees.n_rows)
            self._derivatives = (weight[:, np.newaxis],) * 2
        else:
            columns = slice(output, output + 1) if width == 1 else slice(None)
            gradient, hessian = self._trees.derivatives(iteration)
            self._derivatives = gradient[columns].T, hessian[columns].T
        for draws in self._choices:
            draws.stage(*self._derivatives)

    def _sums(self, tree: int, most_rows: int | None) -> LeafSums | None:
        """Return the covers of small leaves, or of all."""
        if self._kept_tree != tree:
            self._kept_tree, self._kept_sums = tree, {}
        if most_rows not in self._kept_sums:
            hessian = self._derivatives[1][:, 0]
            sums = LeafSums.of_tree(self._trees, tree, hessian, most_rows)
            self._kept_sums[most_rows] = sums
        return self._kept_sums[most_rows]

    def _screened(
        self, begin: _Candidate, tree: int, count: int
    ) -> Iterator[_Candidate]:
        """Yield places of a generator from one on that may give the bag of a tree."""
        sums = self._sums(tree, _FEW_ROWS)
        if sums is None:
            for offset in range(count):
                yield dataclasses.replace(begin, position=begin.position + offset)
            return
        draws = begin.draws
        step = max(1, min(count, _MOST_CELLS // max(len(sums.row), 1)))
        for first in range(begin.position, begin.position + count, step):
            n = min(step, begin.position + count - first)
            outputs = begin.twister.take(first, n + draws.outputs_per_bag - 1)
            for number in np.flatnonzero(draws.screen(outputs, sums)).tolist():
                yield dataclasses.replace(begin, position=first + number)

    def _fits(self, candidates: Iterable[_Candidate], tree: int) -> list[_Candidate]:
        """Return the candidates whose bags fit a tree, each bag and way on once."""
        fitting: list[_Candidate] = []
        seen: set[tuple[bytes, bool]] = set()
        for candidate in candidates:
            fit = self._fit(candidate, tree)
            if fit is None:
                continue
            drawn = fit.draws.draw(fit.outputs).tobytes()
            bag = drawn, fit.origin.is_per_iteration
            if bag not in seen:
                seen.add(bag)
                fitting.append(fit)
            if len(fitting) >= _MOST_FITS:
                break
        return fitting

    def _fit(self, candidate: _Candidate, tree: int) -> _Candidate | None:
        """Return a candidate if its bag fits a tree, with its limits narrowed."""
        draws = candidate.draws
        if isinstance(draws, UniformDraws) and not draws.is_known:
            sums = self._sums(tree, None)
            narrowed = None if sums is None else draws.narrowed(candidate.outputs, sums)
            if narrowed is None:
                return None
            draws = narrowed
            candidate = dataclasses.replace(candidate, draws=draws)
        if not self._trees.fits(tree, draws.draw(candidate.outputs)):
            return None
        if not self._compares_values:
            sums = self._sums(tree, None)
            if sums is None or not draws.screen(candidate.outputs, sums)[0]:
                return None
        return candidate

    def _accept(self, fit: _Candidate) -> NDArray[Any]:
        """Go on after the bag of a tree, and return it."""
        if fit.origin not in self.origins:
            self.origins.append(fit.origin)
            self.shares.append(0.0)
        self.shares[-1] = float(fit.draws.subsample)
        self.draws = fit.draws
        self._choices = [fit.draws]
        self._twister, self._position = fit.twister, fit.next_position
        self._origin = fit.origin
        bag = fit.draws.draw(fit.outputs)
        return np.packbits(bag, bitorder="little") if bag.dtype == np.bool_ else bag

    def _unpack(self, bag: NDArray[Any]) -> NDArray[Any]:
        if bag.dtype != np.uint8:
            return bag
        n_rows = self._trees.n_rows
        return np.unpackbits(bag, bitorder="little", count=n_rows).view(np.bool_)
