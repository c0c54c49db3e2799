"""An event store that fails as real ones do, and never otherwise: every fault is one that the port allows."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import NoReturn, Protocol, TypeVar, cast
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    EventFeed,
    EventStore,
    FeedPage,
    GroupCommit,
    RecordedEvent,
    StoreCapabilities,
    StreamCatalogue,
    StreamPage,
    StreamsPage,
    StreamWrite,
    TurnTaking,
    VersionGlance,
)
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.testing.faults.faults import Faults

T = TypeVar("T")

_ANSWER_LOST = "the answer got lost"
_REQUEST_LOST = "the request got lost"


def faulty_event_store(store: EventStore, faults: Faults) -> EventStore:
    """Wrap a store so that its calls fail as ``faults`` says. It implements the optional protocols that the store implements.

    Appends: ``fail_before`` is ``StoreUnavailableError``, nothing written; ``fail_after`` is ``AppendOutcomeUnknownError``, written;
    ``drop`` is ``AppendOutcomeUnknownError``, not written; ``late`` is the same, and written later if it still fits; ``duplicate``
    sends it twice, so the answer is a replay. Reads that fail or get lost are ``StoreUnavailableError``. A lost
    ``wait_for_position`` says False too early. A ``glance_version`` that is hit tells nothing; a ``turn`` that is hit holds nobody
    off. Closing never fails.
    """
    protocols = (
        (EventFeed, _FaultyFeed),
        (GroupCommit, _FaultyGroupCommit),
        (StreamCatalogue, _FaultyCatalogue),
        (VersionGlance, _FaultyGlance),
        (TurnTaking, _FaultyTurns),
    )
    bases = [mixin for protocol, mixin in protocols if isinstance(store, protocol)]
    kind = type("FaultyEventStore", (*bases, FaultyEventStore), {})
    return cast("EventStore", kind(store, faults))


class FaultyEventStore:
    """The write side and the streams; see :func:`faulty_event_store`.

    Attributes:
        store: what is wrapped.
        faults: which call fails how.
    """

    def __init__(self, store: EventStore, faults: Faults) -> None:
        self.store: EventStore = store
        self.__wrapped__ = store
        self.faults = faults

    @property
    def capabilities(self) -> StoreCapabilities:
        """Those of the wrapped store, but that nothing is withdrawn, and late appends are.

        What is sent twice was perhaps written the first time, so it can't be given back.
        """
        own, late = self.store.capabilities, self.faults.settles_within
        settles_within = None if own.settles_within is None or late is None else max(own.settles_within, late)
        return attrs.evolve(own, withdraws=False, settles_within=settles_within)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append, or fail."""
        return await self.faults.run(
            "append",
            partial(self.store.append, writes),
            unavailable=_away(),
            unknown=_unknown(_ANSWER_LOST),
            lost=partial(_throw, _unknown(_REQUEST_LOST)),
            may_be_late=True,
        )

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Read, or fail."""
        return await _read(self.faults, "read_stream", partial(self.store.read_stream, stream, after=after, limit=limit))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Read, or fail."""
        call = partial(self.store.read_stream_backwards, stream, before=before, limit=limit)
        return await _read(self.faults, "read_stream_backwards", call)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Find, or fail."""
        return await _read(self.faults, "find_events", partial(self.store.find_events, stream, event_ids))

    async def aclose(self) -> None:
        """Close the wrapped store."""
        await self.store.aclose()


class _OverFeed(Protocol):
    store: EventFeed
    faults: Faults


class _OverGroupCommit(Protocol):
    store: GroupCommit
    faults: Faults


class _OverCatalogue(Protocol):
    store: StreamCatalogue
    faults: Faults


class _OverGlance(Protocol):
    store: VersionGlance
    faults: Faults


class _OverTurns(Protocol):
    store: TurnTaking
    faults: Faults


class _FaultyFeed:
    async def read_all(self: _OverFeed, *, after: int, limit: int) -> FeedPage:
        return await _read(self.faults, "read_all", partial(self.store.read_all, after=after, limit=limit))

    async def head(self: _OverFeed) -> int:
        return await _read(self.faults, "head", self.store.head)

    async def wait_for_position(self: _OverFeed, position: int, /, *, timeout: float) -> bool:
        return await self.faults.run(
            "wait_for_position",
            partial(self.store.wait_for_position, position, timeout=timeout),
            unavailable=_away(),
            unknown=_away(),
            lost=lambda: False,
        )


class _FaultyGroupCommit:
    async def append_group(self: _OverGroupCommit, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        return await self.faults.run(
            "append_group",
            partial(self.store.append_group, groups),
            unavailable=_away(),
            unknown=_unknown(_ANSWER_LOST),
            lost=partial(_throw, _unknown(_REQUEST_LOST)),
            may_be_late=True,
        )


class _FaultyCatalogue:
    async def streams(self: _OverCatalogue, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await _read(self.faults, "streams", partial(self.store.streams, prefix, after=after, limit=limit))


class _FaultyGlance:
    def glance_version(self: _OverGlance, stream: StreamId, /) -> int | None:
        version = self.store.glance_version(stream)
        return None if version is None or self.faults.next("glance_version") is not None else version


class _FaultyTurns:
    def turn(self: _OverTurns) -> AbstractAsyncContextManager[None]:
        return self.store.turn() if self.faults.next("turn") is None else nullcontext()


async def _read(faults: Faults, operation: str, call: Callable[[], Awaitable[T]]) -> T:
    return await faults.run(operation, call, unavailable=_away(), unknown=_away(), lost=partial(_throw, _away()))


def _throw(error: Exception) -> NoReturn:
    raise error


def _away() -> StoreUnavailableError:
    return StoreUnavailableError(store="FaultyEventStore", reason="an injected fault")


def _unknown(reason: str) -> AppendOutcomeUnknownError:
    return AppendOutcomeUnknownError(store="FaultyEventStore", reason=f"an injected fault: {reason}")
