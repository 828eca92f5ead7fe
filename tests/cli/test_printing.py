"""What the command line prints beside its results."""

import logging

from treeinf.cli import printing


def test_the_packages_log_goes_to_stderr(capsys):
    handler = printing._ToStderr()
    logger = logging.getLogger("treeinf.test_printing")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        logger.info("Compiling")
    finally:
        logger.removeHandler(handler)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Compiling\n")
