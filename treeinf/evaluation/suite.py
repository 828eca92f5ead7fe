"""Define suites: data sets x libraries x methods x measures x seeds."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone

from treeinf.datasets import Dataset, available, load
from treeinf.evaluation.measures.registry import MEASURES, options_of
from treeinf.evaluation.methods import new_method
from treeinf.evaluation.models import LIBRARIES, new_estimator
from treeinf.explainers.base import Explainer
from treeinf.explainers.baselines.row_score import RowScore
from treeinf.frames import to_pandas
from treeinf.training.cloning import clone_estimator
from treeinf.training.row_groups import read_groups
from treeinf.validation import open_rows

__all__ = ["Cell", "Suite", "read_suite"]

_TOGETHER = "all"
# cells of a data set are consecutive
_load = functools.lru_cache(maxsize=2)(load)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Unit of work of a suite, stored as one file.

    Parameters
    ----------
    data, library, measure, method : str
        Names. The method is "all" where a measure compares all methods with a costly
        reference.
    seed : int
        Seed of the split, the draws and the methods.
    identity : str
        Hash of all that the result depends on.
    """

    data: str
    library: str
    measure: str
    method: str
    seed: int
    identity: str

    @property
    def file_name(self) -> str:
        """Name of its file."""
        fields = (self.data, self.library, self.measure, self.method, str(self.seed))
        readable = "-".join(re.sub(r"\W+", "_", field)[:32] for field in fields)
        return f"{readable}-{self.identity}.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """The evaluation to run: data sets, estimators, methods, measures and seeds.

    Parameters
    ----------
    data : dict of str to Dataset or pair, or sequence of str
        Tables by name: data sets, or ``(X, y)``; or names that `treeinf.datasets.load`
        knows.
    models : dict of str to estimator or dict, or sequence of str
        Estimators by name, which learn all the data; or names of libraries, with the
        parameters that are not those of `LIBRARIES`.
    methods : dict of str to explainer or dict, or sequence of str
        Explainers by name, or names of their classes; a dict of parameters names the
        class as "kind", if it is not the key. "Random" is added where it is missing.
    measures : dict of str to dict, or sequence of str
        Names of `MEASURES` and their options.
    seeds : sequence of int, default=(0,)
        Each draws the rows anew.
    n_train, n_test : int or None, default=None
        Rows drawn from each split; None for all.
    splits : dict of str to str, default={}
        How data sets are split that are not split as published, or at random:
        "random", "grouped" or "time"; see `Dataset.split`.
    groups : dict of str to str or True, default={}
        Data sets whose rows belong together: the column of their groups, which is then
        no feature, or True for the groups that the set comes with. They are split by
        groups unless `splits` says otherwise, and measures remove, corrupt and hold out
        whole groups where they can.
    name : str, default="suite"
        Its name.

    Raises
    ------
    ValueError, TypeError
        If a name or an option is unknown; before anything runs.
    """

    data: Any
    models: Any
    methods: Any
    measures: Any
    seeds: Sequence[int] = (0,)
    n_train: int | None = None
    n_test: int | None = None
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str | bool] = dataclasses.field(default_factory=dict)
    name: str = "suite"

    def __post_init__(self) -> None:
        """Convert all fields to dicts, and validate them."""
        for field in ("data", "models", "methods", "measures"):
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
                raise TypeError(
                    f"Got {field}={value!r:.200}; expected a dict or a list of names."
                )
            if not isinstance(value, Mapping):
                value = {name: None if field == "data" else {} for name in value}
            if not value:
                raise ValueError(f"{field} is empty; expected at least one.")
            object.__setattr__(self, field, dict(value))
        if "Random" not in self.methods:
            self.methods["Random"] = {}
        if not self.seeds:
            raise ValueError("seeds is empty; expected at least one.")
        for seed in self.seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise ValueError(f"Got the seed {seed!r}; expected integers from 0.")
        self._check_names("data set", self.data, available(), takes=None)
        self._check_names("library", self.models, LIBRARIES, takes=dict)
        self._check_names("measure", self.measures, MEASURES, takes=dict)
        for what, names in (("a split", self.splits), ("groups", self.groups)):
            for name in names:
                if name not in self.data:
                    raise ValueError(f"Got {what} for {name!r}, which is not in data.")
        for name in self.methods:
            self.method(name, 0)
        for name, options in self.measures.items():
            accepted = inspect.signature(MEASURES[name].run).parameters
            wrong = sorted(set(options) - set(accepted) | set(options) & _NOT_OPTIONS)
            if wrong:
                taken = [n for n in accepted if n not in _NOT_OPTIONS]
                raise ValueError(
                    f"The measure {name!r} has no option {wrong[0]!r}; it has "
                    f"{', '.join(taken)}."
                )

    def _check_names(
        self, what: str, names: Mapping[str, Any], accepted: Any, takes: Any
    ) -> None:
        for name, value in names.items():
            is_named = value is None if takes is None else isinstance(value, takes)
            if is_named and name not in accepted:
                raise ValueError(
                    f"Got the {what} {name!r}; expected one of {', '.join(accepted)}."
                )

    def method(self, name: str, seed: int) -> Any:
        """Create a method's explainer, with one thread."""
        method = self.methods[name]
        if isinstance(method, Explainer | RowScore):
            copy = clone(method)
            accepted = copy.get_params()
            fixed = {"random_state": seed, "n_jobs": 1}
            return copy.set_params(**{k: v for k, v in fixed.items() if k in accepted})
        parameters = {"kind": name, **method}
        return new_method(**{"random_state": seed, "n_jobs": 1, **parameters})

    def dataset(self, name: str) -> Dataset:
        """Load a data set, with its column of groups apart.

        Raises
        ------
        ValueError
            If it has no such column, or no groups.
        """
        source = self.data[name]
        if source is None:
            loaded = _load(name)
        elif isinstance(source, Dataset):
            loaded = source
        else:
            loaded = _as_dataset(name, *source)
        column = self.groups.get(name)
        return loaded if column is None else _set_groups(loaded, column)

    def split(self, name: str) -> str:
        """Return how a data set is split."""
        return self.splits.get(name, "grouped" if name in self.groups else "published")

    def estimator(self, name: str, task: str) -> Any:
        """Create the unfitted estimator for a task."""
        model = self.models[name]
        if isinstance(model, Mapping):
            return new_estimator(name, task, model)
        return clone_estimator(model)

    def cells(self) -> list[Cell]:
        """List the cells: seed by seed, so that an early stop leaves whole seeds."""
        hashes = {name: self._hash_data(name) for name in self.data}
        cells = []
        for seed, data, library, measure in itertools.product(
            self.seeds, self.data, self.models, self.measures
        ):
            for method in self._methods_of(measure):
                facts = (
                    hashes[data],
                    self._facts_of_model(library),
                    [
                        (name, _describe(self.method(name, seed)))
                        for name in self.in_cell(measure, method)
                    ],
                    options_of(measure, self.measures[measure]),
                    (self.n_train, self.n_test, self.split(data)),
                    *([self.groups[data]] if data in self.groups else []),
                )
                digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
                cells.append(Cell(data, library, measure, method, seed, digest))
        return cells

    def in_cell(self, measure: str, method: str) -> list[str]:
        """Name the methods of a cell."""
        if method != _TOGETHER:
            return [method]
        return [name for name in self.methods if self._can_take(measure, name)]

    def _methods_of(self, measure: str) -> list[str]:
        if MEASURES[measure].shares_work:
            return [_TOGETHER]
        return [name for name in self.methods if self._can_take(measure, name)]

    def _can_take(self, measure: str, method: str) -> bool:
        is_score = isinstance(self.method(method, 0), RowScore)
        return MEASURES[measure].scores_rows or not is_score

    def _facts_of_model(self, name: str) -> str:
        model = self.models[name]
        if isinstance(model, Mapping):
            return repr((LIBRARIES[name], sorted(model.items())))
        return _describe(model)

    def _hash_data(self, name: str) -> str:
        source = self.data[name]
        if source is None:
            return name
        arrays = (source.X, source.y) if isinstance(source, Dataset) else source
        return str(joblib.hash(arrays))


_NOT_OPTIONS = {
    "X_test",
    "X_train",
    "estimator",
    "explainers",
    "groups",
    "n_jobs",
    "random_state",
    "sample_weight",
    "verbose",
    "with_random",
    "y_test",
    "y_train",
}
"""Arguments of the measures that the suite fills in."""


def read_suite(path: str | Path) -> Suite:
    """Read a suite from a TOML file.

    Parameters
    ----------
    path : path-like
        With ``seeds``, ``n_train``, ``n_test``, ``data``, ``libraries`` and ``methods``
        (lists of names), tables ``[splits]`` of kinds and ``[groups]`` of columns by
        data set, and tables
        ``[models.LIBRARY]`` of parameters, ``[methods_with.NAME]`` of methods with
        their parameters, and ``[measures.NAME]`` of options.

    Returns
    -------
    Suite

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError, TypeError
        If it is not valid TOML, or contains unknown names.
    """
    path = Path(path)
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    lists = ("data", "libraries", "methods", "seeds")
    tables = ("models", "methods_with", "measures")
    accepted = (*lists, *tables, "n_train", "n_test", "splits", "groups")
    unknown = sorted(set(text) - set(accepted))
    if unknown:
        raise ValueError(
            f"{path} has {unknown[0]!r}; expected some of {', '.join(accepted)}."
        )
    for name in ("data", "libraries", "methods", "measures"):
        if name not in text:
            raise ValueError(f"{path} has no {name!r}.")
    for name in lists:
        if not isinstance(text.get(name, []), list):
            raise ValueError(f"{path}: {name} is {text[name]!r}; expected a list.")
    for name in tables:
        for key, value in text.get(name, {}).items():
            if not isinstance(value, dict):
                raise ValueError(
                    f"{path}: {name}.{key} is {value!r}; expected a table."
                )
    models = text.get("models", {})
    strange = sorted(set(models) - set(text["libraries"]))
    if strange:
        raise ValueError(
            f"{path} has parameters for {strange[0]!r}, which is not among libraries."
        )
    return Suite(
        data=text["data"],
        models={name: models.get(name, {}) for name in text["libraries"]},
        methods={
            **{name: {} for name in text["methods"]},
            **text.get("methods_with", {}),
        },
        measures=text["measures"],
        seeds=text.get("seeds", [0]),
        n_train=text.get("n_train"),
        n_test=text.get("n_test"),
        splits=text.get("splits", {}),
        groups=text.get("groups", {}),
        name=path.stem,
    )


def _describe(estimator: Any) -> str:
    """Describe an estimator or explainer with all its parameters."""
    parameters = sorted(estimator.get_params().items())
    return f"{type(estimator).__name__} {parameters!r}"


def _set_groups(dataset: Dataset, column: str | bool) -> Dataset:
    """Take the groups of a data set from a column, which is then no feature."""
    if column is True:
        if dataset.groups is None:
            raise ValueError(f"{dataset.name} comes without groups; name a column.")
        return dataset
    columns = list(getattr(dataset.X, "columns", dataset.feature_names))
    if column not in columns or not hasattr(dataset.X, "columns"):
        raise ValueError(
            f"{dataset.name} has no column {column!r} to group rows by; it has "
            f"{', '.join(map(str, columns[:20]))}{', ...' if columns[20:] else ''}."
        )
    values = dataset.X[column]
    read_groups(values, dataset.n_rows, f"the column {column!r} of {dataset.name}")
    return dataclasses.replace(
        dataset, X=dataset.X.drop(columns=column), groups=values.to_numpy()
    )


def _as_dataset(name: str, X: Any, y: Any) -> Dataset:
    """Create a data set from the caller's table."""
    import numpy as np
    import pandas as pd
    from sklearn.utils.multiclass import type_of_target

    frame = pd.DataFrame(to_pandas(open_rows(X, y=y)))
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    target = np.asarray(y)
    kind = type_of_target(target)
    if kind.startswith("continuous"):
        return Dataset(name, "regression", frame, target.astype(np.float64))
    classes, codes = np.unique(target, return_inverse=True)
    task = "binary" if len(classes) == 2 else "multiclass"
    return Dataset(name, task, frame, codes, classes=tuple(map(str, classes)))
