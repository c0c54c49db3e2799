"""Guards around any port."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

import attrs

from inventory_es.application.guards.guard import Guard, GuardedPort
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusSubscription, Cache, Delivery, EventBus, EventStore, ReadModel, RecordedEvent, SnapshotStore
from inventory_es.ports.errors import (
    CacheUnavailableError,
    EventBusUnavailableError,
    ReadModelUnavailableError,
    StoreUnavailableError,
    UnavailableError,
)
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.forwarding import forward
from inventory_es.ports.toolkit.waiting import serves_threads

T = TypeVar("T")
PortT = TypeVar("PortT", EventStore, SnapshotStore, Cache, EventBus, ReadModel)

_ONCE = frozenset({"commit", "drop"})
"""Calls of a read model after whose failure the checkpoint, or its absence, says if they were done."""

_Around = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]


def guarded(port: PortT, /, *guards: Guard) -> PortT:
    """Return a port that does what ``port`` does, with guards between it and its callers.

    Each call may be made again: an append is idempotent by the ids of its events, and consumers of a bus know (stream, version). A commit
    and a drop of a read model are made once. Calls that wait on purpose (``wait_for_position``, a delivery), a glance, a turn and closing
    pass by the guards.

    Args:
        port: an event store (with the optional protocols that it has), a snapshot store, a cache, an event bus or a read model. It is
            closed by closing the result, or apart from it.
        guards: the outermost first. ``guarded(store, Retry(), breaker)`` shows every attempt to the breaker, and an open breaker refuses
            at once.

    Raises:
        TypeError: no such port.
    """
    given: object = port
    name = adapter_name(given)
    guarded_port = GuardedPort(name, _refusal(given, name))

    def around(operation: str, call: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        for guard in reversed(guards):
            call = partial(guard.run, call, guarded_port, operation, is_repeatable=operation not in _ONCE)
        return call()

    own: dict[str, Any] = {"serves_threads": serves_threads(given)}
    if isinstance(given, EventBus):
        own["subscribe"] = _joining(given, around)
    return cast("PortT", forward(given, around, name=f"Guarded{name}", own=own))


def _refusal(port: object, name: str) -> Callable[[str, float], UnavailableError]:
    """Return a function that makes the port's own error for a call that is not made."""
    match port:
        case EventStore() | SnapshotStore():
            return lambda reason, after: StoreUnavailableError(store=name, reason=reason, retry_after=after)
        case EventBus():
            return lambda reason, after: EventBusUnavailableError(bus=name, reason=reason, retry_after=after)
        case ReadModel():
            return lambda reason, after: ReadModelUnavailableError(read_model=name, reason=reason, retry_after=after)
        case Cache():
            return lambda reason, after: CacheUnavailableError(cache=name, reason=reason, retry_after=after)
        case _:
            kinds = "an event store, a snapshot store, a cache, an event bus or a read model"
            msg = f"a {name} is no port that can be guarded: give {kinds}"
            raise TypeError(msg)


def _joining(bus: EventBus, around: _Around) -> Any:
    @asynccontextmanager
    async def subscribe(
        _self: object, group: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncGenerator[BusSubscription, None]:
        async with AsyncExitStack() as stack:

            async def join() -> BusSubscription:
                return await stack.enter_async_context(bus.subscribe(group, types=types, streams=streams))

            yield _GuardedSubscription(await around("subscribe", join), around)

    return subscribe


@attrs.frozen
class _GuardedSubscription:
    _subscription: BusSubscription
    _around: _Around

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return _GuardedDeliveries(aiter(self._subscription), self._around)


@attrs.frozen
class _GuardedDeliveries:  # not a generator, which nobody would close after an early exit
    _deliveries: AsyncIterator[Delivery]
    _around: _Around

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        return _GuardedDelivery(await anext(self._deliveries), self._around)


@attrs.frozen
class _GuardedDelivery:
    _delivery: Delivery
    _around: _Around

    @property
    def event(self) -> RecordedEvent:
        return self._delivery.event

    @property
    def attempt(self) -> int:
        return self._delivery.attempt

    async def ack(self) -> None:
        await self._around("ack", self._delivery.ack)

    async def nack(self, reason: str, /) -> None:
        await self._around("nack", partial(self._delivery.nack, reason))
