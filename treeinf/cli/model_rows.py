"""Convert the rows of a table to the columns, categories and labels of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.number_columns import list_names
from treeinf.cli.tables.training_data import TrainingData, safe_name, with_safe_names
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.label_hash import look_up_hashes

__all__ = ["as_model_reads", "find_needs", "find_texts", "task_of"]


def task_of(ensemble: TreeEnsemble) -> str:
    """Return what a model was trained for: "classification" or "regression"."""
    is_classifier = ensemble.loss is not None and ensemble.loss.n_classes > 0
    return "classification" if is_classifier else "regression"


def find_texts(ensemble: TreeEnsemble | None) -> Callable[[str], bool]:
    """Return which columns to read as text, for categories such as "01234"."""
    if ensemble is None:
        return lambda name: False
    rules = ensemble.input_rules
    pairs = zip(rules.feature_names or (), rules.categories or (), strict=False)
    texts = {
        name
        for name, labels in pairs
        if labels is not None
        and (rules.labels_are_hashes or any(isinstance(k, str) for k in labels))
    }
    return lambda name: name in texts or safe_name(name) in texts


def find_needs(ensemble: TreeEnsemble | None) -> Callable[[str], bool] | None:
    """Return whether a model uses a column of a name; None without a model."""
    if ensemble is None:
        return None
    names = {str(name) for name in ensemble.input_rules.feature_names or ()}
    return lambda name: not names or name in names or safe_name(name) in names


def as_model_reads(data: TrainingData, ensemble: TreeEnsemble) -> TrainingData:
    """Select the model's columns in its order, with its categories and its labels.

    Parameters
    ----------
    data : TrainingData
        Rows as a table holds them.
    ensemble : TreeEnsemble
        The model.

    Returns
    -------
    TrainingData
        With `model_y`. If the table lacks columns of the model, its own are kept, and
        the model refuses them later.

    Raises
    ------
    CommandError
        If labels or categories are not the model's.
    """
    data = _with_columns(data, ensemble)
    data = _with_targets(data, ensemble)
    if len(data.X.columns) != ensemble.n_features:
        return data
    rules = ensemble.input_rules
    all_labels = rules.categories or (None,) * rules.n_features
    is_set = np.unique(ensemble.feature[ensemble.is_categorical])
    X = data.X.copy()
    for number, (name, labels) in enumerate(zip(X.columns, all_labels, strict=True)):
        if labels is not None and rules.labels_are_hashes:
            X[name] = _as_labels(X[name], labels)
        elif labels is not None:
            X[name] = _as_categories(X[name], labels)
        elif number in is_set and X[name].dtype == "category":
            # codes without labels: pandas numbers the sorted ones
            X[name] = X[name].cat.codes.astype(np.float64).where(X[name].notna())
    return dataclasses.replace(data, X=X)


def _with_columns(data: TrainingData, ensemble: TreeEnsemble) -> TrainingData:
    names = [str(name) for name in ensemble.input_rules.feature_names or ()]
    columns = list(data.X.columns)
    if names == columns or not names:
        return data
    # names as models store them lead to those of the file, where that is certain
    safe = list(with_safe_names(data).X.columns)
    by_name = dict(zip(safe, columns, strict=True)) | {name: name for name in columns}
    if not set(names) <= set(by_name):
        return data
    names_in_file = [by_name[name] for name in names]
    order = [columns.index(name) for name in names_in_file]
    dropped = [data.columns[i] for i in range(len(columns)) if i not in order]
    notes = data.notes
    if dropped:
        listed = ", ".join(map(repr, dropped[:8]))
        notes = (*notes, f"Columns that the model does not use: {listed}.")
    return dataclasses.replace(
        data,
        X=data.X[names_in_file].set_axis(names, axis=1),
        columns=tuple(data.columns[i] for i in order),
        notes=notes,
    )


def _as_categories(column: Any, labels: Sequence[Any]) -> Any:
    """Convert a column to a categorical one with the model's labels."""
    import pandas as pd

    code_of = {_spell(label): code for code, label in enumerate(labels)}
    values, number = np.unique(column.dropna().astype(object), return_inverse=True)
    code = np.array([code_of.get(_spell(value), -1) for value in values], dtype=int)
    if len(values) and (code < 0).all():
        raise CommandError(
            f"Column {column.name!r} holds {list_names(values.tolist())}, none of the "
            f"model's categories {list_names(labels)}."
        )
    all_codes = np.full(len(column), -1)
    all_codes[column.notna().to_numpy()] = code[number]
    categorical = pd.Categorical.from_codes(all_codes, categories=list(labels))
    return pd.Series(categorical, index=column.index, name=column.name)


def _as_labels(column: Any, hashes: Sequence[int]) -> Any:
    """Convert a column to text, by the reading that more of the model's hashes know.

    A model that was trained on booleans or integers has the hashes of their digits.
    """
    labels = column.astype(object)
    labels = labels.where(column.isna(), labels.map(_spell_text, na_action="ignore"))
    as_numbers = labels.map(_spell_number, na_action="ignore")
    n_known = [
        (look_up_hashes(texts.dropna().to_numpy(object), hashes) >= 0.0).sum()
        for texts in (labels, as_numbers)
    ]
    return as_numbers if n_known[1] > n_known[0] else labels


def _spell_text(label: Any) -> str:
    return label if isinstance(label, str) else _spell(label)


def _spell_number(text: str) -> str:
    try:
        return str(int(text))
    except ValueError:
        return _spell(text)


def _spell(label: Any) -> str:
    """Spell a label so that 1, 1.0, True and "1" are one, and "01" another."""
    if isinstance(label, str):
        return {"true": "1", "false": "0"}.get(label.lower(), label)
    number = float(label)
    return str(int(number)) if number.is_integer() else repr(number)


def _with_targets(data: TrainingData, ensemble: TreeEnsemble) -> TrainingData:
    """Convert labels to those that the model knows, which files number from 0."""
    if not data.classes:
        return dataclasses.replace(data, model_y=data.y)
    assert ensemble.loss is not None
    n_classes = ensemble.loss.n_classes
    classes = (
        range(n_classes) if ensemble.classes is None else ensemble.classes.tolist()
    )
    code_of = {_spell(label): code for code, label in enumerate(classes)}
    codes = [code_of.get(_spell(label), -1) for label in data.classes]
    notes = data.notes
    if min(codes) < 0:
        if ensemble.classes is not None or len(codes) != n_classes:
            raise CommandError(
                f"The target {data.target!r} has the {len(codes)} labels "
                f"{list_names(data.classes)}; the model's {n_classes} classes are "
                f"{list_names(list(classes))}."
            )
        codes = list(range(n_classes))
        pairs = [f"{label!r} is {code}" for code, label in enumerate(data.classes[:10])]
        more = ", ..." if len(data.classes) > 10 else ""
        note = (
            "A model file stores classes as numbers; labels are numbered in sorted "
            f"order, as LGBMClassifier does: {', '.join(pairs)}{more}."
        )
        notes = (*notes, note)
    number = np.searchsorted(np.array(data.classes), data.y)
    targets: NDArray[Any] = np.array(list(classes))[np.array(codes)[number]]
    return dataclasses.replace(data, model_y=targets, notes=notes)
