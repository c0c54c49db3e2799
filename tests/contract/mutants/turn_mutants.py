"""Event stores whose turns hold off nobody, or everybody."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.errors import StoreUnavailableError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore
from tests.contract.stores.turn_store import StreamTurnStore, Turn, TurnStore


@breaks("ES-52", "A turn holds off nobody.")
class HoldsOffNobody(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.check_open()
        yield


@breaks("ES-52", "A turn holds off other turns, and no append of another instance.")
class HoldsOffTurnsAlone(TurnStore):
    def turn_of_another(self) -> Turn | None:
        return None


@breaks("ES-52", "Tasks of one instance share a turn.")
class TasksShareATurn(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        turn = self.current.get(self.shelf)
        if turn is not None and turn.owner is self:
            yield
        else:
            async with self.given():
                yield


@breaks("ES-52", "A turn begins while another instance's append is in flight.")
class BeginsTooSoon(TurnStore):
    async def wait_for_what_is_in_flight(self) -> None:
        pass


@breaks("ES-52", "A turn is over when its owner's append comes.")
class OverBeforeItsAppend(TurnStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        turn = self.current.get(self.shelf)
        if turn is not None and turn.owner is self:
            self.end(turn)
            await checkpoint()
        return await super().append(writes)


@breaks("ES-52", "An append waits for the turn that it is in, as if that were another's.")
class WaitsForItself(TurnStore):
    polite = 0.03

    def turn_of_another(self) -> Turn | None:
        return self.current.get(self.shelf)


@breaks("ES-53", "Refuses an append that comes in a turn of its own.")
class RefusesItsOwner(TurnStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        turn = self.current.get(self.shelf)
        if turn is not None and turn.owner is self:
            raise StoreUnavailableError(store="TurnStore", reason="it has a turn")
        return await super().append(writes)


@breaks("ES-53", "A turn that is not left is never over.")
class NeverLapses(TurnStore):
    polite = 60.0


@breaks("ES-53", "A turn that is left is not given back.")
class KeepsWhatIsLeft(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        await self.tasks.acquire()
        async with self.given():
            yield


@breaks("ES-53", "A turn is given back when it ends well or is cancelled, and kept where something is raised in it.")
class KeepsWhatFails(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        await self.tasks.acquire()
        try:
            async with self.given():
                yield
        except anyio.get_cancelled_exc_class():
            self.tasks.release()
            raise
        self.tasks.release()


@breaks("ES-53", "A turn whose task is cancelled is kept.")
class KeepsWhatIsCancelled(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        await self.tasks.acquire()
        try:
            async with self.given():
                yield
        except Exception:
            self.tasks.release()
            raise
        self.tasks.release()


@breaks("ES-53", "Who is cancelled while a turn begins has it for ever.")
class KeepsWhatNeverBegan(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        await self.tasks.acquire()
        await checkpoint()
        try:
            async with self.given():
                yield
        finally:
            self.tasks.release()


@breaks("ES-53", "Leaving a turn waits for those that come after it.")
class LeavesLast(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with super().turn():
            yield
        while self.tasks.locked():
            await checkpoint()


@breaks("ES-53", "A turn is given when the store is closed.")
class GivenWhenClosed(TurnStore):
    @asynccontextmanager
    async def given(self) -> AsyncIterator[None]:
        if self.closed:
            yield
        else:
            async with super().given():
                yield


@breaks("ES-53", "Closing waits for the turn that it is called in.")
class ClosesAfterTurns(TurnStore):
    async def aclose(self) -> None:
        if (turn := self.current.get(self.shelf)) is not None:
            await turn.over.wait()
        await super().aclose()


@breaks("ES-53", "Swallows what is raised in a turn.")
class SwallowsWhatIsRaised(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with super().turn():
            with suppress(Exception):
                yield


@breaks("ES-52", "A turn over a stream holds off nobody.")
class HoldsOffNobodyFromAStream(StreamTurnStore):
    def in_order(self, streams: Sequence[StreamId]) -> Sequence[StreamId]:
        return ()


@breaks("ES-53", "A turn over a stream that is not left is never over.")
class NeverLapsesOverAStream(StreamTurnStore):
    polite = 60.0


@breaks("ES-96", "A turn over a stream is a turn over all of them.")
class TakesTurnsOverAll(StreamTurnStore):
    def in_order(self, streams: Sequence[StreamId]) -> Sequence[StreamId]:
        return [StreamId("all", "streams")]


@breaks("ES-96", "A turn over a stream holds up the appends of other instances.")
class HoldsUpAppends(TurnStore):
    capabilities = attrs.evolve(TurnStore.capabilities, turns_by_stream=True)

    @asynccontextmanager
    async def turn(self, *_: StreamId) -> AsyncIterator[None]:
        async with super().turn():
            yield


@breaks("ES-97", "Takes streams in the order in which they are named.")
class TakesInTheOrderNamed(StreamTurnStore):
    def in_order(self, streams: Sequence[StreamId]) -> Sequence[StreamId]:
        return streams


@breaks("ES-60", "An append waits on for a caller who has gone, and is written then.")
class WaitsForACallerWhoHasGone(TurnStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        with anyio.CancelScope(shield=True):
            return await super().append(writes)
        raise AssertionError


@breaks("ES-60", "An append that is given back is written all the same.")
class WritesWhatIsGivenBack(TurnStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        try:
            return await super().append(writes)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await PlainStore.append(self, writes)
            raise


@breaks("ES-60", "A cancellation does not tell that nothing was written.")
class TellsNothing(TurnStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        try:
            return await super().append(writes)
        except anyio.get_cancelled_exc_class() as cancelled:
            raise cancelled from None
