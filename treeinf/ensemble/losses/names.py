"""Losses by name, as files store them."""

from __future__ import annotations

import dataclasses
from typing import Any

from treeinf.ensemble.losses import classification, regression
from treeinf.ensemble.losses.base import Loss
from treeinf.field_types import check_types

__all__ = ["LOSSES", "loss_from_dict"]

LOSSES: dict[str, type[Loss]] = {
    name: getattr(module, name)
    for module in (classification, regression)
    for name in module.__all__
}
"""Every loss by its name."""


def loss_from_dict(description: dict[str, Any]) -> Loss:
    """Create a loss from the output of `Loss.to_dict`.

    Parameters
    ----------
    description : dict
        Key ``"name"`` and the loss's own parameters.

    Raises
    ------
    ValueError
        If there is no such loss, or it has no such parameter.
    """
    parameters = dict(description)
    name = parameters.pop("name", None)
    if name not in LOSSES:
        raise ValueError(f"Got loss {name!r}; expected one of {sorted(LOSSES)}.")
    init = {field.name for field in dataclasses.fields(LOSSES[name]) if field.init}
    try:
        loss = LOSSES[name](
            **{key: parameters[key] for key in parameters if key in init}
        )
    except TypeError as error:
        raise ValueError(f"Got parameters {parameters!r} for loss {name}.") from error
    check_types(loss)
    return loss
