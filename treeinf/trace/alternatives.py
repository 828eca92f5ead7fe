"""Weights and losses that a model may have been trained with without storing them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from treeinf.ensemble import TreeEnsemble, losses

__all__ = ["alternatives"]


def alternatives(ensemble: TreeEnsemble) -> Iterator[tuple[TreeEnsemble, str]]:
    """Yield the model with facts of its training that its file may leave out.

    Estimators turn ``class_weight`` into sample weights, which no file names, and a
    replay shows whether they were balanced.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as it was read.

    Yields
    ------
    ensemble : TreeEnsemble
        The model with other facts.
    words : str
        What they are.
    """
    facts, loss = ensemble.training, ensemble.loss
    if loss is None or not loss.n_classes:
        return
    factors: list[tuple[losses.Loss, str]] = [(loss, "")]
    if isinstance(loss, losses.Softmax) and facts.other_hessian_factor is not None:
        factor = facts.other_hessian_factor
        older = dataclasses.replace(loss, hessian_factor=factor)
        version = f"a softmax whose hessians have the factor {factor:g}"
        factors.append((older, f"{version}, as an older {ensemble.library} has it"))
    weights = [(facts, "")]
    if facts.class_weight is None:
        balanced = dataclasses.replace(facts, class_weight="balanced")
        words = "class_weight='balanced', which the model does not store"
        weights.append((balanced, words))
        if facts.positive_weight is None and loss.n_classes == 2 and facts.assumed:
            unbalanced = dataclasses.replace(facts, positive_weight="unbalanced")
            weights.append((unbalanced, "is_unbalance=True"))
    choices = itertools.product(factors, weights)
    next(choices)  # the model as it is
    for (other_loss, version), (other_facts, weight) in choices:
        words = " and ".join(filter(None, (weight, version)))
        yield (
            dataclasses.replace(ensemble, loss=other_loss, training=other_facts),
            words,
        )
