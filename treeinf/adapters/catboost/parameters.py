"""What a CatBoost model remembers of its training: losses, leaf rules, weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from treeinf.adapters.catboost.files import CatBoostFile, fail, parse_info
from treeinf.ensemble import LeafRule, losses
from treeinf.errors import ModelFormatError

__all__ = ["CatBoostParameters"]

_PLACES = {
    "boost_from_average": "boosting_options",
    "boosting_type": "boosting_options",
    "diffusion_temperature": "boosting_options",
    "langevin": "boosting_options",
    "learning_rate": "boosting_options",
    "model_shrink_mode": "boosting_options",
    "model_shrink_rate": "boosting_options",
    "posterior_sampling": "boosting_options",
    "class_names": "data_processing_options",
    "class_weights": "data_processing_options",
    "target_border": "data_processing_options",
    "l2_leaf_reg": "tree_learner_options",
    "leaf_estimation_backtracking": "tree_learner_options",
    "leaf_estimation_iterations": "tree_learner_options",
    "leaf_estimation_method": "tree_learner_options",
    "monotone_constraints": "tree_learner_options",
}
"""The section of a file's parameters that each is in; the others are in none."""

_ALIASES = {"eta": "learning_rate", "reg_lambda": "l2_leaf_reg"}

_EXACT = "Exact"


class CatBoostParameters:
    """Training parameters from a file and from the caller.

    CatBoost writes all of them into its files, with the defaults it settled on.

    Parameters
    ----------
    file : CatBoostFile
        The file.
    from_caller : dict or None
        What the caller knows better.
    """

    def __init__(
        self, file: CatBoostFile, from_caller: Mapping[str, Any] | None
    ) -> None:
        self._file = parse_info(file.info, "params")
        self._given = {
            _ALIASES.get(name, name): value
            for name, value in (from_caller or {}).items()
            if value is not None
        }
        self.is_known = bool(self._file or self._given)
        """Whether anything at all is known of the parameters."""
        self.n_outputs = len(file.bias)

    def get(self, name: str, default: Any = None) -> Any:
        """Give a parameter as it is written, or the default."""
        if name in self._given:
            return self._given[name]
        place: Any = self._file
        if name in _PLACES:
            place = self._file.get(_PLACES[name], {})
        if not isinstance(place, dict):
            fail(f"the parameters' section {_PLACES[name]} is not a JSON object")
        found = place.get(name)
        return default if found is None else found

    def number(self, name: str, default: float) -> float:
        """Give a parameter as a finite number."""
        value = self.get(name, default)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ModelFormatError(
                f"The model says {name}={str(value)[:40]!r}; expected a finite number."
            )
        return number

    @property
    def loss_name(self) -> str:
        """CatBoost's own word for the loss."""
        return self._describe_loss()[0]

    def _describe_loss(self) -> tuple[str, dict[str, str]]:
        """Split the loss into its name and its options."""
        found = self.get("loss_function", "unknown")
        if isinstance(found, dict):
            options = found.get("params")
            name = str(found.get("type", "unknown"))
            return name, options if isinstance(options, dict) else {}
        name, _, written = str(found).partition(":")
        pairs = (part.partition("=") for part in written.split(";") if part)
        return name, {key: value for key, _, value in pairs}

    def loss(self) -> losses.Loss | None:
        """Find the loss; None for those whose gradients are not known here."""
        name, options = self._describe_loss()
        n_outputs = self.n_outputs

        def option(key: str, default: float) -> float:
            try:
                value = float(options.get(key, default))
            except (TypeError, ValueError, OverflowError):
                value = math.nan
            if not math.isfinite(value):
                fail(f"the loss's {key} is not a finite number")
            return value

        if name == "MultiClass" and n_outputs > 1:
            return losses.Softmax(n_outputs)
        if name == "MultiClassOneVsAll" and n_outputs > 1:
            return losses.OneVsAll(n_outputs)
        if n_outputs > 1:
            return None
        simple: dict[str, losses.Loss] = {
            "RMSE": losses.SquaredError(),
            "Logloss": losses.Logistic(),
            "CrossEntropy": losses.CrossEntropy(),
            "Poisson": losses.Poisson(),
            "MAE": losses.AbsoluteError(),
            "MAPE": losses.AbsolutePercentageError(),
        }
        if name == "Huber":
            return losses.HuberExact(option("delta", 1.0))
        if name == "Tweedie":
            return losses.Tweedie(option("variance_power", 1.5))
        if name == "Quantile":
            return losses.Quantile(option("alpha", 0.5))
        return simple.get(name)

    def leaf_rule(self, loss: losses.Loss | None) -> LeafRule:
        """Find how gradients became leaf values."""
        method = self.get("leaf_estimation_method")
        n_steps = self.number("leaf_estimation_iterations", 1.0)
        if not 1.0 <= n_steps <= 10_000.0:
            fail("leaf_estimation_iterations is out of range")
        if not self.is_known or method is None or loss is None:
            return LeafRule("unknown")
        if method == _EXACT:
            return LeafRule("quantile")
        kind = "unknown"
        if method == "Newton":
            is_softmax = type(loss) is losses.Softmax
            kind = "full newton" if is_softmax else "newton"
        elif method == "Gradient" or (method == "Simple" and self.n_outputs == 1):
            kind = "gradient"
        steps = int(n_steps)
        backtracking = self.get("leaf_estimation_backtracking", "No")
        return LeafRule(
            kind,
            n_steps=steps,
            backtracks=steps > 1 and backtracking != "No",
            fits_single_leaf=True,
        )

    def approximations(self, rule: LeafRule, scale: float) -> list[str]:
        """Name the settings under which a replay of the training is not exact."""
        notes = []
        if self.number("model_shrink_rate", 0.0) != 0.0:
            notes.append(
                f"model_shrink_rate={self.number('model_shrink_rate', 0.0):g}: the "
                "trees so far were scaled down before each iteration; the replay takes "
                "them as they are in the end."
            )
        if self.get("langevin", False) or self.get("posterior_sampling", False):
            notes.append(
                "langevin: noise was added to gradients and leaf values; the replay "
                "adds none."
            )
        if self._is_monotone():
            notes.append(
                "monotone_constraints: some leaf values were moved into the order that "
                "the constraints set; the replay leaves the constraints out."
            )
        if self.get("task_type") == "GPU":
            notes.append(
                "task_type=GPU: sums were kept in single precision; the replay keeps "
                "them in double precision."
            )
        if rule.backtracks:
            notes.append(
                f"leaf_estimation_iterations={rule.n_steps} with "
                "leaf_estimation_backtracking: whether a step lowers the loss by less "
                "than rounding does cannot be told; of the sums of steps, the one "
                "nearest to the leaf values is taken."
            )
        if scale != 1.0:
            notes.append(
                f"scale={scale:g}: the model's raw scores were scaled after training."
            )
        return notes

    def _is_monotone(self) -> bool:
        found = self.get("monotone_constraints", {})
        values = found.values() if isinstance(found, dict) else [found]
        return any(str(value) not in ("0", "", "[]", "()") for value in values)
