"""ES-16 … ES-21: the same append again is answered, never stored twice."""

from inventory_es.ports import AppendResult
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore, show_error, show_result
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.promise import promise

_MANY = 1_200


class IdentityCases:
    """Idempotent appends."""

    @promise("ES-16", "The same append again, with the same ids, gives the original result with replayed=True, and no duplicate.")
    async def test_es_16_the_same_append_again(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            first = await store.append("x@1 b c")
            again = await store.append("x@1 b c", meaning="a caller that missed the answer asks again; it must get that answer")
            _is_replay(again, first)
            await bench.holds(store, "x", "a b c", meaning="the append that was sent again is stored twice")
            await bench.feed_holds(store, "a b c", meaning="the append that was sent again is in the feed twice")
            await store.append("x@3 d", meaning="the stream goes on where it was")

    @promise("ES-17", "The same append again is recognised also after later appends.", seeds=1)
    async def test_es_17_the_same_append_after_later_ones(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            first = await store.append("x@0 a b")
            second = await store.append("x@2 c")
            await store.append("x@3 d e")
            later = await _append_many(store)
            _is_replay(await store.append("x@0 a b", meaning="the events stand at the versions that the append expects"), first)
            _is_replay(await store.append("x@2 c", meaning="the events stand at the versions that the append expects"), second)
            await bench.holds(store, "x", f"a b c d e {later}", meaning="an append that was sent again late is stored twice")
            bench.need(store, unique_event_ids=True)
            for version in (1, 5, 9_999):
                again = await store.append(f"x@{version} c", meaning="ids are known for ever, and checked before the expected version")
                _is_replay(again, second)
            await bench.holds(store, "x", f"a b c d e {later}", meaning="an append that was sent again late is stored twice")

    @promise("ES-18", "The same ids with another payload are EventIdCollisionError, nothing written.")
    async def test_es_18_the_same_id_with_another_payload(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b")
            error = await store.refused(EventIdCollisionError, "x@0 a' b", meaning="an event is not what is stored under its id")
            expect(
                that=error.event_id == bench.labels.event("a").event_id,
                expected="the id of a",
                got=error.event_id,
                meaning="the error names the event that collides",
            )
            await store.refused(EventIdCollisionError, "x@0 a b'", meaning="an event is not what is stored under its id")
            await bench.holds(store, "x", "a b", meaning="a collision changed what is stored")
            bench.need(store, unique_event_ids=True)
            await store.refused(EventIdCollisionError, "x@2 b'", meaning="the id of a stored event was used for another")
            await bench.holds(store, "x", "a b", meaning="a collision was written")

    @promise("ES-19", "Ids that are stored half, in another order or with a gap are EventIdCollisionError, nothing written.")
    async def test_es_19_half_an_append_again(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b c d")
            unique = store.capabilities.unique_event_ids
            for write in ("x@2 c d e", "x@0 b a", "x@0 a c", "x@0 a e", "x@1 b c d e", "x@4 d e", "x@4 e a"):
                outcome = await _outcome(store, write, collision_only=unique)
                if outcome is None:
                    break
                await bench.holds(store, "x", "a b c d", meaning=f"the append {write} has ids that are stored already, and was written")
            bench.need(store, unique_event_ids=True)
            await store.append("x@4 e", meaning="an id of a refused append may be used")

    @promise("ES-20", "One id twice in an append is ValueError, nothing written.")
    async def test_es_20_one_id_twice(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            await store.refused(ValueError, "x@1 b b", meaning="one id twice in an append was taken")
            await store.refused(ValueError, "x@1 b c b'", meaning="one id twice in an append was taken")
            await bench.holds(store, "x", "a", meaning="a refused append was written")

    @promise("ES-21", "The same append again is recognised also after the store was opened again.")
    async def test_es_21_the_same_append_after_reopening(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, durable=True)
            first = await store.append("x@0 a b")
            second = await store.append("x@2 c")
        async with bench.reopened() as store:
            _is_replay(await store.append("x@0 a b", meaning="what was stored before reopening is known"), first)
            _is_replay(await store.append("x@2 c", meaning="what was stored before reopening is known"), second)
            await store.refused(EventIdCollisionError, "x@2 c'", meaning="ids that were stored before reopening are taken")
            await bench.holds(store, "x", "a b c", meaning="an append that was sent again after reopening is stored twice")


async def _append_many(store: TestedStore) -> str:
    """More events than any window of ids that is meant to be small; their labels."""
    labels = [f"m{number}" for number in range(_MANY)]
    batch = min(400, store.capabilities.max_append_events)
    for start in range(0, _MANY, batch):
        await store.append(f"x@{5 + start} {' '.join(labels[start : start + batch])}")
    return " ".join(labels)


def _is_replay(again: AppendResult, first: AppendResult) -> None:
    if not again.replayed:
        raise MismatchError(expected="replayed=True", got=show_result(again), meaning="the caller can't tell an old answer from a new one")
    if (again.versions, again.position) != (first.versions, first.position):
        raise MismatchError(
            expected=f"{show_result(first)} at position {first.position}",
            got=f"{show_result(again)} at position {again.position}",
            meaning="the append that was sent again gets another answer than the first time",
        )


async def _outcome(store: TestedStore, write: str, *, collision_only: bool) -> Exception | None:
    """The refusal, or ``None`` where a store without ids for ever took the append."""
    meaning = "some of its ids are stored already, yet not as this append"
    try:
        result = await store.append(write)
    except EventIdCollisionError as error:
        return error
    except ConcurrencyError as error:
        if collision_only:
            raise MismatchError(expected="EventIdCollisionError", got=show_error(error), meaning=meaning) from error
        return error
    if collision_only or result.replayed:
        raise MismatchError(expected="EventIdCollisionError", got=show_result(result), meaning=meaning)
    return None
