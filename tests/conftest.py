"""What every test may ask for."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

BACKENDS = ("asyncio", "trio")
_OBSERVED: list[Any] = []
"""What the cases of the contracts found in this run, in whichever process."""

# Repeatable: the same examples in every run, so that a red run is red again. The health check on speed is off, since it measures the
# machine. `--hypothesis-profile=search` looks for new examples, many more of them.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], phases=tuple(Phase)
)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the deep run: what is dealt out over the event loops and the schedules otherwise is tried on each of them."""
    parser.addoption("--deep", action="store_true", help="run the contracts of servers and threads on every event loop and schedule")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The event loop to hand to ``anyio.run``: each test that asks for it runs on both."""
    name: str = request.param
    return name


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a case of a contract found."""
    _OBSERVED.extend(found for name, found in report.user_properties if name == "observed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if the page of promises shows anything else than the cases of this run found."""
    if not _OBSERVED or hasattr(session.config, "workerinput"):
        return
    from tests.contract import promises  # it imports every adapter, and most runs need none

    wrong = promises.differences(promises.PAGE.read_text(encoding="utf-8"), promises.found_by(_OBSERVED))
    if wrong:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        told = ["", "The page of promises differs from this run. Run python -m tests.contract.promises, and look at what changed:", *wrong]
        session.config.get_terminal_writer().line("\n".join(told), red=True)
