"""ES-58, ES-59: data that is moved away while the store is open, and data of which a part is lost."""

from collections.abc import Awaitable

from anyio.lowlevel import checkpoint

from inventory_es.ports.errors import CorruptStoreError, StoreClosedError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error
from inventory_es.testing.promise import MismatchError, promise

_APPENDS = 8

_REFUSES = "A store whose place was taken away refuses to write, with StoreClosedError: nobody who opens the place would find it."


class PlaceCases:
    """Cases of a store whose data was moved away, with the hook ``take_away``, or is incomplete, with ``lose``."""

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_moved_away(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            await _take_away(harness)
            for _ in range(2):
                await _is_refused(store, "x@2 c", "what is written now is lost to everybody who opens the place")
                await _is_refused(store, "y@0 p", "a new stream is lost likewise")
        if store.capabilities.durability != "none":
            async with harness.open() as store:
                await harness.holds(store, "x", "", meaning="the place is empty: what was there was moved away")
                await store.append("x@0 d", meaning="the place can be used again")

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_replaced(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            await store.append("x@0 a b")
            await _take_away(harness)
            async with harness.open() as other:
                await other.append("y@0 p", meaning="whoever opens the place gets a new store")
                await _is_refused(store, "x@2 c", "the place has another store now, which does not get what this one writes")
                await _is_refused(store, "y@0 q", "the place has another store now, whose streams this one does not know")
                await other.append("y@1 r", meaning="the other store is untouched")
        async with harness.open() as other:
            await harness.holds(other, "y", "p r", meaning="the store that was replaced wrote into its successor")
            await harness.holds(other, "x", "", meaning="the store that was replaced wrote into its successor")
            await harness.feed_holds(other, "p r", meaning="the store that was replaced wrote into its successor")

    @promise("ES-59", "A part of the history that is missing is not passed over: whatever would show it is CorruptStoreError.", seeds=0)
    async def test_es_59_lost_in_the_middle(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            for number in range(_APPENDS):
                await store.append(f"x@{2 * number} a{number} b{number}")
                await store.append(f"y@{number} c{number}")
        if not await harness.contract.lose(harness.run.site, stream_id("x")):
            harness.run.not_declared("lose: the hook that removes a part of a stored stream, but not its end")
        try:
            async with harness.open() as store:
                await _is_corrupt("read_stream", store.whole("x"))
                await _is_corrupt("read_stream_backwards", store.page_backwards("x"))
                await _is_corrupt("read_stream, page by page,", _page_by_page(store))
                await _is_corrupt("read_stream_backwards, page by page,", _page_by_page_backwards(store))
                if store.has_feed:
                    await _is_corrupt("read_all", store.whole_feed())
                    await _is_corrupt("read_all, page by page,", store.whole_feed(limit=1))
        except CorruptStoreError:
            return


async def _page_by_page(store: TestedStore) -> int:
    """Read the stream x by one event at a time, and return the number of events."""
    after, is_end = 0, False
    while not is_end:
        page = await store.page("x", after=after, limit=1)
        after, is_end = after + len(page.events), page.is_end or not page.events
        await checkpoint()
    return after


async def _page_by_page_backwards(store: TestedStore) -> int:
    """Read the stream x backwards by one event at a time, and return the version at which that ended."""
    before: int | None = None
    is_end = False
    while not is_end:
        page = await store.page_backwards("x", before=before, limit=1)
        is_end = page.is_end or not page.events
        before = page.events[-1].version if page.events else before
        await checkpoint()
    return before or 0


async def _is_corrupt(name: str, read: Awaitable[object]) -> None:
    meaning = f"{name} answers from a history in which a part is missing"
    try:
        got = await read
    except CorruptStoreError:
        return
    except Exception as error:
        raise MismatchError(expected="CorruptStoreError", got=show_error(error), meaning=meaning) from error
    expect(that=False, expected="CorruptStoreError", got=got, meaning=meaning)


async def _take_away(harness: StoreHarness) -> None:
    if not await harness.contract.take_away(harness.run.site):
        harness.run.not_declared("take_away: the hook that moves what is stored to another place")


async def _is_refused(store: TestedStore, write: str, meaning: str) -> None:
    await store.refused(StoreClosedError, write, meaning=meaning)
    if store.has_group_commit:
        outcomes: object
        try:
            outcomes = await store.append_group([write])
        except StoreClosedError:
            return
        expect(that=False, expected="StoreClosedError", got=outcomes, meaning=meaning)
