"""CatBoost's losses, leaf rules, and what a replay of its training approximates."""

from __future__ import annotations

from collections.abc import Callable

from treeinf.adapters.catboost.files import FIELDS
from treeinf.adapters.catboost.parameters import CatBoostParameters
from treeinf.ensemble import LeafRule, losses

__all__ = ["approximations", "find_loss", "leaf_rule"]

_EXACT = "Exact"


def find_loss(parameters: CatBoostParameters, n_outputs: int) -> losses.Loss | None:
    """Find the loss; return None if its gradients are unknown to treeinf."""
    name, options = parameters.split_loss()

    def option(key: str, default: float) -> float:
        return FIELDS.number(options.get(key, default), f"the loss's {key}")

    if n_outputs > 1:
        several = {"MultiClass": losses.Softmax, "MultiClassOneVsAll": losses.OneVsAll}
        return several[name](n_outputs) if name in several else None
    makers: dict[str, Callable[[], losses.Loss]] = {
        "RMSE": losses.SquaredError,
        "Logloss": losses.Logistic,
        "CrossEntropy": losses.CrossEntropy,
        "Poisson": losses.Poisson,
        "MAE": losses.AbsoluteError,
        "MAPE": losses.AbsolutePercentageError,
        "Huber": lambda: losses.HuberExact(option("delta", 1.0)),
        "Tweedie": lambda: losses.Tweedie(option("variance_power", 1.5)),
        "Quantile": lambda: losses.Quantile(option("alpha", 0.5)),
    }
    return makers[name]() if name in makers else None


def leaf_rule(
    parameters: CatBoostParameters, loss: losses.Loss | None, n_outputs: int
) -> LeafRule:
    """Return how CatBoost turned gradients into leaf values."""
    method = parameters.get("leaf_estimation_method")
    n_steps = parameters.number("leaf_estimation_iterations")
    if not 1.0 <= n_steps <= 10_000.0:
        FIELDS.fail("leaf_estimation_iterations is out of range")
    if method is None or loss is None:
        return LeafRule("unknown")
    if method == _EXACT:
        return LeafRule("quantile")
    kind = "unknown"
    if method == "Newton":
        is_softmax = type(loss) is losses.Softmax
        kind = "full newton" if is_softmax else "newton"
    elif method == "Gradient" or (method == "Simple" and n_outputs == 1):
        kind = "gradient"
    steps = int(n_steps)
    backtracking = parameters.get("leaf_estimation_backtracking")
    return LeafRule(
        kind,
        n_steps=steps,
        backtracks=steps > 1 and backtracking != "No",
        fits_single_leaf=True,
    )


def approximations(
    parameters: CatBoostParameters, rule: LeafRule, scale: float
) -> list[str]:
    """List the settings under which a replay of the training is not exact."""
    notes = []
    if parameters.number("model_shrink_rate") != 0.0:
        notes.append(
            f"model_shrink_rate={parameters.number('model_shrink_rate'):g}: the "
            "earlier trees were scaled down before each iteration; the replay uses "
            "their final values."
        )
    if parameters.get("langevin") or parameters.get("posterior_sampling"):
        notes.append(
            "langevin: noise was added to gradients and leaf values; the replay "
            "adds none."
        )
    if parameters.is_monotone:
        notes.append(
            "monotone_constraints: some leaf values were moved into the order that "
            "the constraints set; the replay leaves the constraints out."
        )
    if parameters.get("task_type") == "GPU":
        notes.append(
            "task_type=GPU: sums were kept in single precision; the replay keeps "
            "them in double precision."
        )
    if rule.backtracks:
        notes.append(
            f"leaf_estimation_iterations={rule.n_steps} with "
            "leaf_estimation_backtracking: steps that change the loss by less than "
            "rounding errors may have been dropped; the number of steps whose sum "
            "is nearest to the leaf values is taken."
        )
    if scale != 1.0:
        notes.append(
            f"scale={scale:g}: the model's raw scores were scaled after training."
        )
    return notes
