"""Metrics from the records of observers, for whichever library keeps them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

import anyio

from inventory_es.adapters.system import SystemClock
from inventory_es.application import observers as o
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import InventoryError
from inventory_es.ports import Clock
from inventory_es.ports.event_bus import Delivery
from inventory_es.telemetry.catalogue import METRICS, Metric

_PHASES = ("closed", "half_open", "open")
_SYSTEMS = {
    **dict.fromkeys(("FileEventStore", "FileEventBus"), "inventory_es.file"),
    **dict.fromkeys(("MemoryEventStore", "MemoryEventBus"), "inventory_es.memory"),
    "SqliteEventStore": "sqlite",
    "PostgresqlEventStore": "postgresql",
    "RedisEventBus": "redis",
}
_OF_PROJECTIONS = [f"inventory_es.{one}" for one in ("projection.lag", "projection.backlog", "projection.stopped", "dead_letters")]
_PAGE = 1_000


class Instruments(Protocol):
    """Instruments of a metrics library."""

    def bind(self, metric: Metric, values: Sequence[str], /) -> Callable[[float], object]:
        """Return the function that adds to a counter, sets a gauge, or observes with a histogram, for these values of the attributes."""


def system_of(adapter: str) -> str:
    """Return the name of a database or a messaging system, as the semantic conventions have it, of an adapter's class name."""
    return _SYSTEMS.get(adapter, adapter)


def error_of(problem: BaseException | None) -> str:
    """Return the ``error.type`` of an exception: the code of one of this package, else its class; empty where there is none."""
    if problem is None:
        return ""
    return problem.code if isinstance(problem, InventoryError) else type(problem).__name__  # other codes may have any value


class _Bound(dict[tuple[str, ...], Callable[[float], object]]):
    """The functions of instruments, by metric and the values of its attributes, each bound when it is first needed."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def __missing__(self, key: tuple[str, ...]) -> Callable[[float], object]:
        return self.setdefault(key, self._instruments.bind(METRICS[key[0]], key[1:]))


class Metrics:
    """An observer that counts and measures. One of them serves any number of inventories of a process, and shows the state of one.

    Args:
        instruments: of the metrics library.
        clock: for the lag of deliveries and due reservations.
    """

    def __init__(self, instruments: Instruments, *, clock: Clock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._bound = _Bound(instruments)
        self._shown: Sequence[str] = ()

    def command_finished(self, record: o.CommandFinished) -> None:
        """Measure a command."""
        command, _, _, outcome, error, seconds, attempts, _, _, _, waiting, _ = record  # all at once: a fourth of field by field
        self._bound["inventory_es.command.duration", command, outcome](seconds)
        if waiting:
            self._bound["inventory_es.lane.waiting",](waiting)
        if error is not None:
            self._add(1, "inventory_es.command.errors", command, error)
        if attempts > 1:
            self._add(attempts - 1, "inventory_es.command.retries", command)

    def append_finished(self, record: o.AppendFinished) -> None:
        """Measure a call to the store."""
        self._add(record.seconds, "db.client.operation.duration", system_of(record.store), "append", record.error or "")
        self._add(record.groups, "inventory_es.append.groups")
        self._add(record.events, "inventory_es.append.batch.size")
        self._add(record.conflicts, "inventory_es.append.conflicts")

    def call_retried(self, record: o.CallRetried) -> None:
        """Count a repeated call."""
        self._add(1, "inventory_es.call.retries", record.port, record.operation, record.error)

    def breaker_changed(self, record: o.BreakerChanged) -> None:
        """Show the phase of a breaker."""
        for phase in _PHASES:
            self._add(phase == record.after, "inventory_es.breaker.state", record.breaker, phase)

    def cache_read(self, record: o.CacheRead) -> None:
        """Count a hit or a miss."""
        self._add(1, "inventory_es.cache.reads", record.cache, record.result)

    def cache_failed(self, record: o.CacheFailed) -> None:
        """Count a failed call of the cache."""
        self._add(1, "inventory_es.cache.errors", record.cache, record.operation, record.error)

    def projection_advanced(self, record: o.ProjectionAdvanced) -> None:
        """Measure a step of a projection."""
        self._add(record.seconds, "inventory_es.projection.duration", record.projection)
        self._add(record.events, "inventory_es.projection.events", record.projection)
        if record.events:
            self._add(record.lag, "inventory_es.event.lag", record.projection)
        if record.error is not None:
            self._add(1, "inventory_es.projection.errors", record.projection)

    def publish_finished(self, record: o.PublishFinished) -> None:
        """Measure a relay's call to the bus."""
        values = (system_of(record.bus), "publish", record.relay, record.error or "")
        self._add(record.seconds, "messaging.client.operation.duration", *values)
        self._add(len(record.recorded), "messaging.client.sent.messages", *values)
        if record.error is None:
            self._add(record.lag, "inventory_es.event.lag", record.relay)

    @contextmanager
    def delivery(self, delivery: Delivery, *, group: str, bus: str) -> Iterator[None]:
        """Measure the handling of a delivery by the block.

        Args:
            delivery: what is handled.
            group: of the consumer.
            bus: the messaging system, such as ``inventory_es.file``.
        """
        begun, problem = perf_counter(), None
        try:
            yield
        except BaseException as raised:
            problem = raised
            raise
        finally:
            self._add(perf_counter() - begun, "messaging.process.duration", bus, "process", group, error_of(problem))
            self._add(o.lag_of((delivery.event,), self._clock), "inventory_es.event.lag", group)

    async def watch(self, inventory: InventoryService, *, every: float = 15.0, most: int = 10_000) -> None:
        """Show the state of an inventory with queries, until cancelled: lag, dead letters, reservations. Watch one inventory per process,
        because the gauges have no attribute that keeps two apart.

        A failure is raised, so that a host learns that the figures stand still.

        Args:
            inventory: an open service.
            every: seconds between two looks, above 0.
            most: the most open reservations that are counted.

        Raises:
            ReadModelUnavailableError, StoreUnavailableError, StoreClosedError: as the backends.
        """
        while True:
            self.show_projections(await inventory.followers.status())
            await self.show_reservations(inventory, most=most)
            await anyio.sleep(every)

    def show_projections(self, statuses: Sequence[ProjectionStatus]) -> None:
        """Show lag and dead letters of projections. Versions that were shown before, and are gone, have 0."""
        shown = {str(one.projection_id): (one.lag_seconds, one.lag_events, one.error is not None, one.dead_letters) for one in statuses}
        for name, values in (dict.fromkeys(self._shown, (0.0, 0, False, 0)) | shown).items():
            for metric, value in zip(_OF_PROJECTIONS, values, strict=True):
                self._add(value, metric, name)
        self._shown = tuple(shown)

    async def show_reservations(self, inventory: InventoryService, *, most: int = 10_000) -> None:
        """Count open and due reservations, from the oldest one on.

        Args:
            inventory: an open service with queries.
            most: the most that are counted.
        """
        open_count = due = 0
        now, after = self._clock.now(), None
        while open_count < most:
            page = await inventory.queries.open_reservations(after=after, limit=min(_PAGE, most - open_count))
            open_count += len(page.rows)
            due += sum(row.expires_at is not None and row.expires_at <= now for row in page.rows)
            after = page.next_after
            if after is None:
                break
        self._add(open_count, "inventory_es.reservations.open")
        self._add(due, "inventory_es.reservations.due")

    def _add(self, value: float, *key: str) -> None:
        """Add to the metric ``key[0]`` with the values ``key[1:]`` of its attributes."""
        self._bound[key](value)
