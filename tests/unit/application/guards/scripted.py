"""A port call that ends as a list says, and a time that a test moves."""

from collections.abc import Sequence
from typing import Any

import attrs

from inventory_es.application.guards import GuardedPort
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError

PORT = GuardedPort("Store", lambda reason, after: StoreUnavailableError(store="Store", reason=reason, retry_after=after))
AWAY = StoreUnavailableError(store="Store", reason="down")
UNKNOWN = AppendOutcomeUnknownError(store="Store", reason="the answer got lost")
CONFLICT = ConcurrencyError(stream=StreamId("x", "y"), expected=1, actual=2)


@attrs.define
class Scripted:
    """Each call ends with the next of these: an exception is raised, anything else returned."""

    outcomes: Sequence[Any]
    calls: int = 0

    async def __call__(self) -> Any:
        outcome = self.outcomes[self.calls]
        self.calls += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@attrs.define
class Time:
    """Seconds that pass when somebody sleeps, or when the test says so."""

    now: float = 100.0
    slept: list[float] = attrs.field(factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@attrs.define
class Told:
    """What observers are told."""

    records: list[Any] = attrs.field(factory=list)

    def call_retried(self, record: object) -> None:
        self.records.append(record)

    def breaker_changed(self, record: object) -> None:
        self.records.append(record)
