"""ES-28 … ES-30: what is written comes back byte for byte, and every stream id is a stream of its own."""

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamWrite
from inventory_es.ports.errors import AppendTooLargeError
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore
from inventory_es.testing.labels import stream_id
from inventory_es.testing.promise import promise

_MEBIBYTE = 1 << 20
_MOST_BYTES_TRIED = 16 << 20

PAYLOADS = (
    '{"line separators":"one\u2028two\u2029three\u0085four"}',
    r'{"nul":"\u0000","controls":"\u0001\u001f\t\r\n"}',
    '{"astral":"𝄞🜁","escaped":"\\ud834\\udd1e","combining":"e\u0301 \u00e9","bidi":"\u202eabc"}',
    '{"empty":"","list":[],"object":{},"null":null,"true":true}',
    '{"most":9007199254740992,"least":-9007199254740992,"odd":9007199254740991,"zero":-0}',
    '{"float":1e400,"tenth":0.10,"long":0.1234567890123456789012345678901234567890}',
    '{"at":"2026-03-29T02:30:00.123456+01:00","utc":"2026-01-05T09:00:00Z"}',
    '{ "spaces" : [ 1 , 2 ] ,\t"order":1,"a":2}',
    '{"quotes":"\\"\\\\\\/\'`<!--]]>","percent":"%00%2f","sql":"\'; DROP TABLE events; --"}',
    '{"nested":' + '{"a":' * 30 + "1" + "}" * 31,
    "{}",
)

HOSTILE_PARTS = (
    "a", "A", "ä", "a\u0308", "\u00c4", "ａ", "-", "--", "%", "%2d", "%2D", "%252d", ".", "..", "...", "/", "\\", "../x", "..\\x",
    "a/b", "a", "con", "CON", "nul.txt", "com1", "*", "?", "<>:|", "a ", " a", "a.", "~", "$HOME", "a'b", 'a"b', ";", "\u202e", "\u200b",
    "\x01", "\x7f", "\n", "\u2028", "🜁", "0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E", "x" * 128,
    "x" * 127 + "y", "é" * 128, "🜁" * 128, "-" * 128, "null", "None", "0", "-1", ".lock", "journal", "index.idx", "a.jsonl",
)  # fmt: skip


class FidelityCases:
    """Bytes and names."""

    @promise("ES-28", "Payload and metadata come back byte for byte: separators, NUL escaped, astral, empty, ±2^53, zoned times.")
    async def test_es_28_payloads_come_back_byte_for_byte(self, bench: StoreBench) -> None:
        events = [
            bench.labels.with_data(f"payload{number}", text.encode(), PAYLOADS[-1 - number].encode())
            for number, text in enumerate(PAYLOADS)
        ]
        async with bench.open() as store:
            await store.append(StreamWrite(stream_id("x"), 0, events), meaning="every JSON object is a payload")
            await bench.holds(store, "x", events, meaning="a store keeps bytes: it does not read, normalise or print them again")
            if store.has_feed:
                labels = " ".join(bench.labels.label(event) for event in events)
                await bench.feed_holds(store, labels, meaning="the feed gives other bytes than the stream")
            found = await store.find("x", [event.event_id for event in events])
            expect(
                that=[event.data for event in found] == [event.data for event in events],
                expected="the bytes as written",
                got="others",
                meaning="find_events gives other bytes than the stream",
            )
            survives = store.capabilities.durability != "none"
        if survives:
            async with bench.open() as store:
                await bench.holds(store, "x", events, meaning="after reopening, the bytes are others")

    @promise("ES-29", "An event of 1 MiB comes back, or of the declared maximum; above the maximum is AppendTooLargeError.", seeds=0)
    async def test_es_29_a_large_event(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            most = store.capabilities.max_event_bytes
            fitting = min(most, _MEBIBYTE, store.capabilities.max_append_bytes)
            large = bench.labels.sized("large", fitting)
            await store.append(StreamWrite(stream_id("x"), 0, [large]), meaning=f"{fitting} bytes are within what the store declares")
            await bench.holds(store, "x", "large", meaning="a large event did not come back whole")
            if most <= _MOST_BYTES_TRIED:
                over = StreamWrite(stream_id("x"), 1, [bench.labels.event("a"), bench.labels.sized("over", most + 1)])
                error = await store.refused(AppendTooLargeError, over, meaning=f"max_event_bytes is {most}")
                expect(that=error.actual > error.limit, expected="actual above limit", got=error, meaning="the refusal says what to change")
                await bench.holds(store, "x", "large", meaning="an append with an event over the maximum was written")

    @promise(
        "ES-30",
        "Hostile stream ids round-trip and stay distinct: case, normal form, dashes, percent, dots, slashes, reserved names.",
        seeds=0,
    )
    async def test_es_30_hostile_stream_ids(self, bench: StoreBench) -> None:
        streams = list(dict.fromkeys(_hostile_streams()))
        async with bench.open() as store:
            for number, stream in enumerate(streams):
                event = bench.labels.event(f"h{number}")
                await store.append(StreamWrite(stream, 0, [event]), meaning="another stream id, another stream, which is new")
            await _all_distinct(bench, store, streams)
            survives = store.capabilities.durability != "none"
        if survives:
            async with bench.open() as store:
                await _all_distinct(bench, store, streams)


async def _all_distinct(bench: StoreBench, store: TestedStore, streams: list[StreamId]) -> None:
    for number, stream in enumerate(streams):
        await bench.holds(store, stream, f"h{number}", meaning="two stream ids are one stream, or an id did not come back as it was")


def _hostile_streams() -> list[StreamId]:
    streams = [StreamId("contract", part) for part in HOSTILE_PARTS]
    streams += [StreamId("contract", "a-b", "c"), StreamId("contract", "a", "b-c"), StreamId("contract", "a", "b", "c")]
    streams += [StreamId("contract", "a/b", "c"), StreamId("contract", "a", "b/c"), StreamId("contract_2", "a"), StreamId("c", "a")]
    streams += [StreamId("contract", *("x" * 128 for _ in range(16))), StreamId("contract", *("p" for _ in range(16)))]
    streams += [StreamId("contract", "0f8fad5b", "d9cb", "469f", "a165", "70867728950e")]
    return streams
