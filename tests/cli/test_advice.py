"""Messages of the package name options on the command line."""

import pytest

from treeinf.cli.advice import as_options


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Got amount=1.5; expected", "Got --amount 1.5; expected"),
        ("Got method='guess'; expected", "Got --method guess; expected"),
        ("Got n_jobs=0; expected None, -1 or", "Got --n-jobs 0; expected -1 or"),
        ("action='relabel' needs it.", "--action relabel needs it."),
        ("fixed, and guard=False.", "fixed, and --no-guard."),
        ("refit_on_validation=True adds them.", "--refit-on-validation adds them."),
        ("relabel_by='suggestion' does not.", "--relabel-by suggestion does not."),
        (
            "pass read_model(..., parameters={'subsample': 0.8, 'seed': 7}) with",
            "pass --parameter subsample=0.8 --parameter seed=7 with",
        ),
        (
            "pass read_model(..., parameters={'objective': 'binary:logistic'}) or",
            "pass --parameter objective=binary:logistic or",
        ),
        (
            "pass read_model(path, parameters={...}) with its seed, or "
            "search_seed=True.",
            "pass --parameter NAME=VALUE with its seed, or --search-seed.",
        ),
        ("Other. Pass on_mismatch='warn' to continue nevertheless.", "Other."),
        (
            "No parameter: a=1, learning_rate=0.1.",
            "No parameter: a=1, learning_rate=0.1.",
        ),
    ],
)
def test_parameters_become_options(message, shown):
    assert as_options(message) == shown
