"""What the integration tests have in common."""

import pytest

from tests.integration.made_up_orders import SAMPLES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not SAMPLES:
        terminalreporter.write_line("replay: tested on made-up orders alone, since there are no real ones in ../shared/data/online_retail")
