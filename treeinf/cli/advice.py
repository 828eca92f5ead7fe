"""Advice of the package, put into the words of the command line."""

from __future__ import annotations

import re

__all__ = ["as_options"]

_NAMES = (
    "action|amount|flagged_weight|keep|method|n_jobs|relabel_by|strategy|task|"
    "tolerance|validation"
)
_REPLACEMENTS = [
    (r" Pass on_mismatch='warn' to continue nevertheless\.", ""),
    (r"the estimator, the booster or --parameter", "--parameter"),
    (r"Pass exclude_self=True to leave out [^,.]*, or explain", "Explain"),
    (r", a scikit-learn splitter, or rows \(X_val, y_val\)", ", or a table of rows"),
    (r"from X\b", "from the train rows"),
    (r"expected None, -1", "expected -1"),
    (r"\b(baselines|guard)=False\b", r"--no-\1"),
    (r"\brefit_on_validation=True\b", "--refit-on-validation"),
    (r"\brefit_on_validation=False\b", "--no-refit-on-validation"),
    (r"\brandom_state=", "--seed "),
    (r"\bsearch_seed=True\b", "--search-seed"),
    (rf"\b({_NAMES})='?([^\s;,']+?)'?(?=[;,.:]?(?:\s|$))", r"--\1 \2"),
]


def as_options(text: str) -> str:
    """Return a message with options in place of the parameters that it names."""
    call = r"read_model\((?:\.\.\.|path), parameters={(.*?)}\)"
    text = re.sub(call, _as_parameter, text)
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"--[a-z]+_[a-z_]+", lambda name: name[0].replace("_", "-"), text)


def _as_parameter(call: re.Match[str]) -> str:
    """Turn parameters of `read_model` into options of the command line."""
    pairs = re.findall(r"'(\w+)': ([^,]+)", call[1])
    options = [f"--parameter {name}={value.strip(chr(39))}" for name, value in pairs]
    return " ".join(options) or "--parameter NAME=VALUE"
