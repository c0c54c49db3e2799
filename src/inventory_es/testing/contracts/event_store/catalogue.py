"""ES-51: the list of the streams of a store."""

from collections.abc import Sequence
from typing import cast

from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamCatalogue, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.contracts.core.event_labels import CATEGORY
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.hostile_values import STREAMS
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import ALL, TestedStore
from inventory_es.testing.promise import MismatchError, promise

_VERSIONS = {
    StreamId(CATEGORY, "x"): 2,
    StreamId(CATEGORY, "x", "1"): 1,
    StreamId(CATEGORY, "x1"): 3,
    StreamId(CATEGORY, "X"): 1,
    StreamId(CATEGORY, "é"): 1,
    StreamId(CATEGORY, "%_"): 1,
    StreamId(CATEGORY, "\U0001f600"): 2,
    StreamId("other", "x"): 1,
}
_Listed = list[tuple[str, int]]


class CatalogueCases:
    """Cases of a StreamCatalogue, which a store declares by having its method."""

    @promise("ES-51", "The catalogue lists every stream once, by its text, with its version, by any page size and from any place.")
    async def test_es_51_every_stream_once(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not isinstance(store.raw, StreamCatalogue):
                harness.run.not_declared("StreamCatalogue")
            expect(
                that=callable(store.raw.streams),
                expected="streams, a method",
                got=f"a {type(store.raw.streams).__name__}",
                meaning="what has an attribute of this name counts as a StreamCatalogue: call it otherwise, or let it list the streams",
            )
            await _lists(store, [], prefix="", size=ALL)
            await _refuses_nonsense(store)
            written: _Listed = []
            for stream, version in _VERSIONS.items():
                events = harness.labels.events(" ".join(f"{stream.text}{number}" for number in range(version)))
                await store.append(StreamWrite(stream, 0, events))
                written.append((stream.text, version))
            await store.refused(ConcurrencyError, "none@3 no", meaning="a stream that is not there has version 0")
            await _is_whole(harness, store, sorted(written))
            await _refuses_nonsense(store)
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await _is_whole(harness, store, sorted(written))

    @promise(
        "ES-51", "The catalogue lists each legal stream id by its text, behind any prefix and any place, however they are cut.", seeds=0
    )
    async def test_es_51_every_stream_id(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        async with harness.open() as store:
            if not isinstance(store.raw, StreamCatalogue):
                harness.run.not_declared("StreamCatalogue")
            comparison = Comparison(harness, store, model)
            for number, stream in enumerate(STREAMS):
                await comparison.append([StreamWrite(stream, 0, [harness.labels.event(f"h{number}")])])
                await comparison.append([StreamWrite(stream, 5, [harness.labels.event(f"r{number}")])])
            await _cut_everywhere(comparison)
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await _cut_everywhere(Comparison(harness, store, model))


async def _cut_everywhere(comparison: Comparison) -> None:
    texts = [stream.text for stream in STREAMS]
    prefixes = {text[:length] for text in texts for length in (1, 9, 10, len(text) - 1, len(text))}
    for prefix in sorted({*prefixes, "%", "_", "*", "contract_", "contract_2", "CONTRACT", "contract-\uffff", "\U0010ffff", "contract--"}):
        await comparison.catalogue(prefix)
    for place, stream in enumerate(STREAMS):
        await comparison.catalogue(("", "contract", "contract-a", stream.text)[place % 4], after=stream, limit=100)
    for limit in (1, 7, len(STREAMS) - 1, len(STREAMS)):
        await comparison.catalogue("", limit=limit)


async def _is_whole(harness: StoreHarness, store: TestedStore, written: _Listed) -> None:
    await harness.contract.settle()
    for size in (1, 2, 3, ALL):
        for prefix in ("", CATEGORY, f"{CATEGORY}-", f"{CATEGORY}-x", f"{CATEGORY}-x-", f"{CATEGORY}-%_", "other-x", "none"):
            await _lists(store, [one for one in written if one[0].startswith(prefix)], prefix=prefix, size=size)
    for after in (*_VERSIONS, StreamId(CATEGORY, "none"), StreamId("z", "z")):
        rest = [one for one in written if one[0] > after.text]
        await _lists(store, rest, prefix="", size=2, after=after)


async def _lists(store: TestedStore, expected: _Listed, *, prefix: str, size: int, after: StreamId | None = None) -> None:
    found: _Listed = []
    note = f"streams {prefix!r} after {after} limit {size}"
    last, is_end = after, False
    while not is_end:
        page = await store.call(
            note, cast("StreamCatalogue", store.raw).streams(prefix, after=last, limit=size), lambda page: str(len(page.heads))
        )
        if len(page.heads) > size or not (page.heads or page.is_end):
            raise MismatchError(
                expected=f"1 to {size} streams, or is_end",
                got=f"{len(page.heads)} streams",
                meaning="whoever pages through is flooded, or never ends",
            )
        found += [(head.stream.text, head.version) for head in page.heads]
        if not page.is_end and last is not None and page.heads[-1].stream.text <= last.text:
            break  # the loop below would never end
        await checkpoint()
        last, is_end = (page.heads[-1].stream if page.heads else last), page.is_end
    expect(
        that=found == expected,
        expected=_shown(expected),
        got=_shown(found),
        meaning=f"{note}: a stream is missing, twice, foreign or out of order",
    )


async def _refuses_nonsense(store: TestedStore) -> None:
    for limit in (0, -1):
        try:
            await cast("StreamCatalogue", store.raw).streams(limit=limit)
        except ValueError:
            continue
        raise MismatchError(expected="ValueError", got="a page", meaning=f"limit {limit} is a mistake of the caller, not a question")


def _shown(listed: Sequence[tuple[str, int]]) -> str:
    return " ".join(f"{name}:{version}" for name, version in listed) or "nothing"
