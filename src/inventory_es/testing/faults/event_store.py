"""An event store that fails as real ones do: every fault is one that the port allows."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NoReturn, TypeVar, cast

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventFeed, EventStore, StoreCapabilities, TurnTaking, VersionGlance
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.ports.toolkit.forwarding import forward
from inventory_es.testing.faults.faults import Faults

T = TypeVar("T")

_APPENDS = ("append", "append_group")


def faulty_event_store(store: EventStore, faults: Faults) -> EventStore:
    """Return a store whose calls fail as ``faults`` says, with the optional protocols that ``store`` implements.

    - ``fail_before`` of an append is ``StoreUnavailableError``; nothing is written.
    - ``fail_after`` of an append is ``AppendOutcomeUnknownError``; the events are written.
    - ``drop`` of an append is ``AppendOutcomeUnknownError``; nothing is written.
    - ``late`` of an append is ``AppendOutcomeUnknownError``; the events are written later, if they still fit.
    - ``duplicate`` of an append sends it twice, so the answer is a replay.
    - A read that fails or gets lost is ``StoreUnavailableError``.
    - A lost ``wait_for_position`` returns False too early.
    - A ``glance_version`` that is hit returns ``None``, and a ``turn`` that is hit keeps nobody waiting.

    Closing never fails.
    """

    def around(operation: str, call: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        is_append = operation in _APPENDS
        unknown, lost = (_unknown("the answer got lost"), _unknown("the request got lost")) if is_append else (_away(), _away())
        return faults.run(operation, call, unavailable=_away(), unknown=unknown, lost=lambda: _throw(lost), may_be_late=is_append)

    def capabilities(_self: object) -> StoreCapabilities:
        own, late = store.capabilities, faults.settles_within
        settles_within = None if own.settles_within is None or late is None else max(own.settles_within, late)
        # A duplicate may have been written the first time, so it can't be withdrawn.
        return attrs.evolve(own, withdraws=False, settles_within=settles_within)

    own: dict[str, Any] = {"capabilities": property(capabilities)}
    if isinstance(store, EventFeed):
        feed: EventFeed = store

        async def wait_for_position(_self: object, position: int, /, *, timeout: float) -> bool:
            def wait() -> Awaitable[bool]:
                return feed.wait_for_position(position, timeout=timeout)

            return await faults.run("wait_for_position", wait, unavailable=_away(), unknown=_away(), lost=lambda: False)

        own["wait_for_position"] = wait_for_position
    if isinstance(store, VersionGlance):
        glances: VersionGlance = store

        def glance_version(_self: object, stream: StreamId, /) -> int | None:
            version = glances.glance_version(stream)
            return None if version is None or faults.next("glance_version") is not None else version

        own["glance_version"] = glance_version
    if isinstance(store, TurnTaking):
        turns: TurnTaking = store

        def turn(_self: object, *streams: StreamId) -> AbstractAsyncContextManager[None]:
            return turns.turn(*streams) if faults.next("turn") is None else nullcontext()

        own["turn"] = turn
    return cast("EventStore", forward(store, around, name="FaultyEventStore", own=own))


def _throw(error: Exception) -> NoReturn:
    raise error


def _away() -> StoreUnavailableError:
    return StoreUnavailableError(store="FaultyEventStore", reason="an injected fault")


def _unknown(reason: str) -> AppendOutcomeUnknownError:
    return AppendOutcomeUnknownError(store="FaultyEventStore", reason=f"an injected fault: {reason}")
