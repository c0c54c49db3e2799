"""What stands under the codec, by measurement: the candidates in one run, taking turns.

    python benchmarks/codec.py [--rounds 15] [--calls 20000] [--json]

Every candidate turns the same stored event into the same object, and back into the same bytes; that is checked before anything is
measured. A figure is the median over the rounds, in microseconds per call; in brackets the best round. The rows of our codec are
the public calls with every check; `decode` reads from a recorded event.
"""

import argparse
import importlib
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import msgspec

from inventory_es.adapters.serialization import JsonEventCodec, default_converter
from inventory_es.domain.events import StockAddedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.metadata import EventMetadata
from inventory_es.ports.records import RecordedEvent

# No dependency of ours: measured where it is installed.
orjson: Any = importlib.import_module("orjson") if importlib.util.find_spec("orjson") else None

Candidates = dict[str, Callable[[], object]]

AT = datetime(2026, 1, 5, 9, 15, 0, 123_456, tzinfo=UTC)
STREAM = StreamId("inventory", "85123A", "berlin")
RESERVED = StockReservedEvent("85123A", "berlin", 3, "R1", Purpose.ORDER, "cust-4711", AT, 100, 3)
ADDED = StockAddedEvent("85123A", "berlin", 3, AddReason.RECEIVED, 100, 3)
METADATA = EventMetadata(command_id="0198b1c2-7a3e-7c11-9f5e-3a1d2b4c5d6e", fingerprint="1:5d41402abc4b2a76b9719d911017c592")
FULL = attrs.evolve(METADATA, correlation_id="cart-5", actor_id="u-17", reference="urn:order:1001", extra={"tenant": "acme"})


def stored(codec: JsonEventCodec, event: object, metadata: EventMetadata) -> RecordedEvent:
    event_type, version, data = codec.encode(event)
    return RecordedEvent(STREAM, 2, 17, UUID(int=17), event_type, version, AT, data, codec.encode_metadata(metadata))


def of_our_codec() -> Candidates:
    codec = JsonEventCodec()
    reserved, added, full = stored(codec, RESERVED, METADATA), stored(codec, ADDED, METADATA), stored(codec, ADDED, FULL)
    on_the_second = attrs.evolve(RESERVED, expires_at=AT.replace(microsecond=0))
    for event, record in ((RESERVED, reserved), (ADDED, added)):
        check(codec.decode(record) == event)
    return {
        "codec   decode StockReservedEvent": lambda: codec.decode(reserved),
        "codec   decode StockAddedEvent": lambda: codec.decode(added),
        "codec   encode StockReservedEvent": lambda: codec.encode(RESERVED),
        "codec   encode StockReservedEvent, whole second": lambda: codec.encode(on_the_second),
        "codec   encode StockAddedEvent": lambda: codec.encode(ADDED),
        "codec   encode metadata, 2 fields": lambda: codec.encode_metadata(METADATA),
        "codec   encode metadata, 5 fields and an extra": lambda: codec.encode_metadata(FULL),
        "codec   decode metadata, 2 fields": lambda: codec.decode_metadata(reserved),
        "codec   decode metadata, 5 fields and an extra": lambda: codec.decode_metadata(full),
    }


def of_engines() -> Candidates:
    codec = JsonEventCodec()
    fast = default_converter().copy(detailed_validation=False)
    data = codec.encode(RESERVED).data
    read = msgspec.json.Decoder(StockReservedEvent).decode
    structure, unstructure = fast.get_structure_hook(StockReservedEvent), fast.get_unstructure_hook(StockReservedEvent)
    write = msgspec.json.Encoder().encode
    candidates: Candidates = {
        "decode  msgspec to the class, its own checks only": lambda: read(data),
        "decode  json, cattrs": lambda: structure(json.loads(data), StockReservedEvent),
        "decode  msgspec, cattrs": lambda: structure(msgspec.json.decode(data), StockReservedEvent),
        "encode  cattrs, json": lambda: json.dumps(unstructure(RESERVED), separators=(",", ":")).encode(),
        "encode  cattrs, msgspec": lambda: write(unstructure(RESERVED)),
    }
    if orjson is not None:
        candidates["decode  orjson, cattrs"] = lambda: structure(orjson.loads(data), StockReservedEvent)
        candidates["encode  cattrs, orjson"] = lambda: orjson.dumps(unstructure(RESERVED))
    for name, call in candidates.items():
        check(call() == (RESERVED if name.startswith("decode") else data))
    return candidates


def check(holds: bool) -> None:  # noqa: FBT001  # an assertion that stays with -O
    if not holds:
        sys.exit("a candidate does not do the same as the others: its figure would mean nothing")


def measure(candidates: Candidates, *, rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds per call of each candidate, one figure a round, the candidates taking turns."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            started = time.perf_counter()
            for _ in range(calls):
                call()
            figures[name].append((time.perf_counter() - started) / calls * 1e6)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="medians as one JSON object")
    options = parser.parse_args()
    figures = measure(of_our_codec() | of_engines(), rounds=options.rounds, calls=options.calls)
    if options.json:
        print(json.dumps({name: round(statistics.median(times), 3) for name, times in figures.items()}, indent=2))
        return
    print("µs per call      median   (best)")
    for name, times in figures.items():
        print(f"{name:<50} {statistics.median(times):6.2f}   ({min(times):.2f})")


if __name__ == "__main__":
    main()
