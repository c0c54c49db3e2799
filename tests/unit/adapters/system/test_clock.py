"""The clock of this machine."""

import time
from datetime import UTC, datetime

import pytest

from inventory_es.adapters.system import SystemClock


def test_the_time_is_aware_in_utc_and_now() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_a_clock_that_is_set_tells_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall = SystemClock(), time.time
    assert abs(clock.jump()) < 60
    monkeypatch.setattr("time.time", lambda: wall() + 86_400)
    assert abs(clock.jump() - 86_400) < 60
    assert abs(SystemClock().jump()) < 60
