"""ES-58: the place of a store is taken away while it is open."""

from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore
from inventory_es.testing.promise import promise

_REFUSES = "A store whose place was taken away refuses to write, with StoreClosedError: nobody who opens the place would find it."


class PlaceCases:
    """What an open store does after its data was moved away, with the hook ``take_away``."""

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_moved_away(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b")
            await _take_away(bench)
            for _ in range(2):
                await _is_refused(store, "x@2 c", "what is written now is lost to everybody who opens the place")
                await _is_refused(store, "y@0 p", "a new stream is lost likewise")
        if store.capabilities.durability != "none":
            async with bench.open() as store:
                await bench.holds(store, "x", "", meaning="the place is empty: what was there was moved away")
                await store.append("x@0 d", meaning="the place can be used again")

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_replaced(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, durable=True)
            await store.append("x@0 a b")
            await _take_away(bench)
            async with bench.open() as other:
                await other.append("y@0 p", meaning="whoever opens the place gets a new store")
                await _is_refused(store, "x@2 c", "the place has another store now, which does not get what this one writes")
                await _is_refused(store, "y@0 q", "the place has another store now, whose streams this one does not know")
                await other.append("y@1 r", meaning="the other store is untouched")
        async with bench.open() as other:
            await bench.holds(other, "y", "p r", meaning="the store that was replaced wrote into its successor")
            await bench.holds(other, "x", "", meaning="the store that was replaced wrote into its successor")
            await bench.feed_holds(other, "p r", meaning="the store that was replaced wrote into its successor")


async def _take_away(bench: StoreBench) -> None:
    if not await bench.contract.take_away(bench.run.site):
        bench.run.not_declared("take_away: the hook that moves what is stored to another place")


async def _is_refused(store: TestedStore, write: str, meaning: str) -> None:
    await store.refused(StoreClosedError, write, meaning=meaning)
    if store.has_group_commit:
        outcomes: object
        try:
            outcomes = await store.append_group([write])
        except StoreClosedError:
            return
        expect(that=False, expected="StoreClosedError", got=outcomes, meaning=meaning)
