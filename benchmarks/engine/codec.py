"""Candidates for the libraries under the codec. They take turns, and each must first give the same results as the others.

Figures are microseconds per call. The rows of our codec are the public calls with every check. ``decode`` reads from a recorded event.
"""

import importlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import msgspec

from benchmarks.measure import Measures
from benchmarks.sizes import Sizes
from inventory_es.adapters.serialization import JsonEventCodec, default_converter
from inventory_es.domain.events import StockAddedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import EventMetadata, RecordedEvent

# no dependency of ours, measured only if installed
orjson: Any = importlib.import_module("orjson") if importlib.util.find_spec("orjson") else None

Candidates = dict[str, Callable[[], object]]

ROUNDS = 9
AT = datetime(2026, 1, 5, 9, 15, 0, 123_456, tzinfo=UTC)
STREAM = StreamId("inventory", "85123A", "berlin")
RESERVED = StockReservedEvent("85123A", "berlin", 3, "R1", Purpose.ORDER, "cust-4711", AT, 100, 3)
ADDED = StockAddedEvent("85123A", "berlin", 3, AddReason.RECEIVED, 100, 3)
METADATA = EventMetadata(command_id="0198b1c2-7a3e-7c11-9f5e-3a1d2b4c5d6e", fingerprint="1:5d41402abc4b2a76b9719d911017c592")
FULL = attrs.evolve(METADATA, correlation_id="cart-5", actor_id="u-17", reference="urn:order:1001", extra={"tenant": "acme"})


def codec(_folder: Path, sizes: Sizes) -> Measures:
    """Measure every candidate, by its operation."""
    candidates = _of_our_codec() | _of_engines()
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            started = time.perf_counter()
            for _ in range(sizes["codec"]):
                call()
            figures[name].append((time.perf_counter() - started) / sizes["codec"] * 1e6)
    return {f"codec {name}": {"median_us": statistics.median(times), "best_us": min(times)} for name, times in figures.items()}


def _of_our_codec() -> Candidates:
    codec = JsonEventCodec()
    reserved, added, full = _stored(codec, RESERVED, METADATA), _stored(codec, ADDED, METADATA), _stored(codec, ADDED, FULL)
    on_the_second = attrs.evolve(RESERVED, expires_at=AT.replace(microsecond=0))
    for event, record in ((RESERVED, reserved), (ADDED, added)):
        _check(codec.decode(record) == event)
    return {
        "decode: the codec, StockReservedEvent": lambda: codec.decode(reserved),
        "decode: the codec, StockAddedEvent": lambda: codec.decode(added),
        "encode: the codec, StockReservedEvent": lambda: codec.encode(RESERVED),
        "encode: the codec, StockReservedEvent, whole second": lambda: codec.encode(on_the_second),
        "encode: the codec, StockAddedEvent": lambda: codec.encode(ADDED),
        "encode: the codec, metadata, 2 fields": lambda: codec.encode_metadata(METADATA),
        "encode: the codec, metadata, 5 fields and an extra": lambda: codec.encode_metadata(FULL),
        "decode: the codec, metadata, 2 fields": lambda: codec.decode_metadata(reserved),
        "decode: the codec, metadata, 5 fields and an extra": lambda: codec.decode_metadata(full),
    }


def _of_engines() -> Candidates:
    codec = JsonEventCodec()
    fast = default_converter().copy(detailed_validation=False)
    data = codec.encode(RESERVED).data
    read = msgspec.json.Decoder(StockReservedEvent).decode
    structure, unstructure = fast.get_structure_hook(StockReservedEvent), fast.get_unstructure_hook(StockReservedEvent)
    write = msgspec.json.Encoder().encode
    candidates: Candidates = {
        "decode: msgspec to the class, its own checks only": lambda: read(data),
        "decode: json, cattrs": lambda: structure(json.loads(data), StockReservedEvent),
        "decode: msgspec, cattrs": lambda: structure(msgspec.json.decode(data), StockReservedEvent),
        "encode: cattrs, json": lambda: json.dumps(unstructure(RESERVED), separators=(",", ":")).encode(),
        "encode: cattrs, msgspec": lambda: write(unstructure(RESERVED)),
    }
    if orjson is not None:
        candidates["decode: orjson, cattrs"] = lambda: structure(orjson.loads(data), StockReservedEvent)
        candidates["encode: cattrs, orjson"] = lambda: orjson.dumps(unstructure(RESERVED))
    for name, call in candidates.items():
        _check(call() == (RESERVED if name.startswith("decode") else data))
    return candidates


def _stored(codec: JsonEventCodec, event: object, metadata: EventMetadata) -> RecordedEvent:
    event_type, version, data = codec.encode(event)
    return RecordedEvent(STREAM, 2, 17, UUID(int=17), event_type, version, AT, data, codec.encode_metadata(metadata))


def _check(holds: bool) -> None:  # noqa: FBT001  # an assertion that stays with -O
    if not holds:
        msg = "a candidate does not do the same as the others: its figure would mean nothing"
        raise RuntimeError(msg)
