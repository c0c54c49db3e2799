"""What the cases of the contracts found goes into their reports, so that it can be compared with the page of promises."""

from collections.abc import Generator
from functools import partial
from unittest import SkipTest

import pytest

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.runner import run_case
from inventory_es.testing.promise import BrokenPromiseError, promise_of
from tests.contract.promises import observation
from tests.contract.share import ShareOfRuns


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell a case that it is to have all its runs."""
    contract = getattr(item, "instance", None)
    if isinstance(contract, ShareOfRuns):
        contract.is_deep = item.config.getoption("deep")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what a case found. The plugin for ``SkipTest`` replaces the error, so it is looked at before."""
    contract, error = getattr(item, "instance", None), None if call.excinfo is None else call.excinfo.value
    report = yield
    promise = promise_of(getattr(contract, item.name, None))
    if (
        call.when == "call"
        and promise is not None
        and isinstance(contract, Contract)
        and isinstance(error, BrokenPromiseError | SkipTest | None)
    ):
        found = run_case(promise, partial(_end, error))
        report.user_properties.append(("observed", observation(contract, promise, found.verdict, found.detail)))
    return report


def _end(error: BaseException | None) -> None:
    if error is not None:
        raise error
