"""A correct store of the tests' own that gives turns, in steps that can be broken one at a time.

The store is built differently from the file store on purpose: all of it happens in the event loop. Writers look for a turn before they
write. A writer that has waited for a turn long enough ends it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from weakref import WeakKeyDictionary

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError
from tests.contract.stores.plain_store import PlainStore, Shelf


@attrs.define(eq=False)
class Turn:
    """A turn: its owner, and whether it is over."""

    owner: PlainStore
    over: anyio.Event = attrs.field(factory=anyio.Event)


class TurnStore(PlainStore):
    """A store whose instances let one another go first."""

    capabilities = attrs.evolve(PlainStore.capabilities, withdraws=True)
    polite: float = 0.1
    current: ClassVar[WeakKeyDictionary[Shelf, Turn]] = WeakKeyDictionary()

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.tasks = anyio.Lock()

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        try:
            while (turn := self.turn_of_another()) is not None:
                await self.let_go_first(turn)
        except BaseException as cancelled:
            raise cancelled from WithdrawnError()
        with anyio.CancelScope(shield=True):
            return await super().append(writes)
        raise AssertionError

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with self.tasks, self.given():
            yield

    @asynccontextmanager
    async def given(self) -> AsyncIterator[None]:
        self.check_open()
        while (before := self.current.get(self.shelf)) is not None:
            await self.let_go_first(before)
        turn = self.current[self.shelf] = Turn(self)
        try:
            await self.wait_for_what_is_in_flight()
            yield
        finally:
            self.end(turn)

    def turn_of_another(self) -> Turn | None:
        turn = self.current.get(self.shelf)
        return None if turn is None or turn.owner is self else turn

    async def let_go_first(self, turn: Turn) -> None:
        with anyio.move_on_after(self.polite):
            await turn.over.wait()
        self.end(turn)

    async def wait_for_what_is_in_flight(self) -> None:
        async with self.shelf.lock:
            pass

    def end(self, turn: Turn) -> None:
        turn.over.set()
        if self.current.get(self.shelf) is turn:
            del self.current[self.shelf]


class StreamTurnStore(PlainStore):
    """A store whose turns are over streams, and hold off nobody but each other."""

    capabilities = attrs.evolve(PlainStore.capabilities, turns_by_stream=True)
    polite: float = 0.1
    current: ClassVar[WeakKeyDictionary[Shelf, dict[StreamId, Turn]]] = WeakKeyDictionary()

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.tasks = anyio.Lock()

    @asynccontextmanager
    async def turn(self, *streams: StreamId) -> AsyncIterator[None]:
        async with self.tasks, self.given(self.in_order(streams)):
            yield

    @asynccontextmanager
    async def given(self, streams: Sequence[StreamId]) -> AsyncIterator[None]:
        self.check_open()
        held = self.current.setdefault(self.shelf, {})
        turn = Turn(self)
        try:
            for stream in streams:
                while (before := held.get(stream)) is not None:
                    with anyio.move_on_after(self.polite):
                        await before.over.wait()
                    self.end(before)
                held[stream] = turn
                await checkpoint()
            yield
        finally:
            self.end(turn)

    def in_order(self, streams: Sequence[StreamId]) -> Sequence[StreamId]:
        return sorted(streams)

    def end(self, turn: Turn) -> None:
        turn.over.set()
        held = self.current[self.shelf]
        for stream in [stream for stream, holder in held.items() if holder is turn]:
            del held[stream]


class LoneTurnStore(TurnStore):
    """A store with the only instance of its data, which is gone with it: turns are for its tasks."""

    capabilities = attrs.evolve(TurnStore.capabilities, durability="none", multi_process=False)
