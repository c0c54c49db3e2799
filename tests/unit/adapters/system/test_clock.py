"""The clock of this machine."""

from datetime import UTC, datetime

from inventory_es.adapters.system import SystemClock


def test_the_time_is_aware_in_utc_and_now() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)
