"""The layers hold, and import-linter is what says so."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.application.use_cases import read_user_options
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

CONFIGURATION = Path(__file__).parents[2] / "pyproject.toml"


def contract_ids() -> list[str]:
    options = read_user_options(config_filename=str(CONFIGURATION))
    return [contract["id"] for contract in options.contracts_options]


@pytest.fixture(autouse=True)
def other_loggers_go_on() -> Iterator[None]:
    """import-linter configures logging for its own process, and that turns off every logger that is there already."""
    loggers = [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    were_disabled = [one.disabled for one in loggers]
    yield
    for one, was_disabled in zip(loggers, were_disabled, strict=True):
        one.disabled = was_disabled


@pytest.mark.parametrize("contract", contract_ids())
def test_contract_is_kept(contract: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(CONFIGURATION), limit_to_contracts=(contract,), cache_dir=None)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
