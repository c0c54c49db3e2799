"""Metrics from records, without a metrics library."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from inventory_es.errors import StoreUnavailableError
from inventory_es.ports import Delivery
from inventory_es.telemetry.catalogue import Metric
from inventory_es.telemetry.metrics import Metrics, error_of, system_of
from inventory_es.testing import ManualClock
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id


class Instruments:
    """Instruments that note every value."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def bind(self, metric: Metric, values: Sequence[str], /) -> Callable[[float], object]:
        return lambda value: self.values.update({(metric.name, *values): value})


class Received:
    """A delivery."""

    event = recorded(stream_id("a"), 1, 1, EventLabels().event("e"))
    attempt = 1

    async def ack(self) -> None:
        raise AssertionError

    async def nack(self, reason: str, /) -> None:
        raise AssertionError


class WithCodeError(Exception):
    code = "order-4711"


def test_only_errors_of_this_package_give_their_code() -> None:
    """A code of another error may have any value, and a label must not."""
    assert error_of(WithCodeError()) == "WithCodeError"
    assert error_of(StoreUnavailableError(store="shop", reason="it is away")) == "store_unavailable"
    assert error_of(None) == ""


@pytest.mark.parametrize(
    "adapter, name",
    [
        ("PostgresqlEventStore", "postgresql"),
        ("SqliteEventStore", "sqlite"),
        ("RedisEventBus", "redis"),
        ("FileEventBus", "inventory_es.file"),
        ("ShopStore", "ShopStore"),
    ],
)
def test_a_system_has_the_name_of_the_conventions(adapter: str, name: str) -> None:
    assert system_of(adapter) == name


def test_a_handling_is_measured_by_a_stopwatch_and_a_lag_is_never_negative() -> None:
    delivery: Delivery = Received()
    instruments, clock = Instruments(), ManualClock(delivery.event.recorded_at - timedelta(hours=1))  # behind the clock of the writer
    with Metrics(instruments, clock=clock).delivery(delivery, group="mailer", bus="redis"):
        clock.advance(timedelta(hours=2))
    assert 0 < instruments.values["messaging.process.duration", "redis", "process", "mailer", ""] < 600
    assert instruments.values["inventory_es.event.lag", "mailer"] == 3600
    with Metrics(instruments, clock=ManualClock(delivery.event.recorded_at - timedelta(hours=1))).delivery(
        delivery, group="m", bus="redis"
    ):
        pass
    assert instruments.values["inventory_es.event.lag", "m"] == 0
