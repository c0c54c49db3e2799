"""SN-8 … SN-10: every answer of a program was saved before; discarding; the fields of a snapshot."""

from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot
from inventory_es.testing.contracts.core.hostile_bytes import HOSTILE_BYTES
from inventory_es.testing.contracts.snapshot_store.harness import OTHER, SCHEMA, STREAM, SnapshotHarness, TestedSnapshots, show, snapshot
from inventory_es.testing.promise import MismatchError, promise

_STEPS = 50
_STREAMS = (STREAM, StreamId("inventory", "espresso", "berlin2"), StreamId("inventory", "Espresso", "berlin"))
_SCHEMAS = (SCHEMA, SCHEMA + 1, 30)
_ALIKE = (
    StreamId("inventory", "a"), StreamId("inventory", "a", "b"), StreamId("inventory", "a", "b", "c"), StreamId("inventory", "ab"),
    StreamId("inventory", "a-b"), StreamId("inventory", "A", "b"), StreamId("inventory", "a", "bc"), StreamId("inventory_a", "b"),
    StreamId("inventory", "a%"), StreamId("inventory", "_", "b"), StreamId("inventory", "*"), StreamId("inventory", "a", "b "),
)  # fmt: skip
_LARGE_SCHEMAS = (1, 2, 11, 12, 2**8 + 1, 2**8 + 2, 2**15 + 1, 2**16 + 1, 2**16 + 2, 2**31 - 1)
_COUNTS = (2, 25, 26, 100, 101, 150, 999, 1_000, 1_001)
_MANY = 250
_LARGE = bytes(range(256)) * (40 << 10)

_Saved = dict[tuple[StreamId, int], dict[int, list[Snapshot]]]


class ProgramCases:
    """Cases that compare a snapshot store with the snapshots that it was given."""

    @promise(
        "SN-8",
        "In any program of saves, discards and clears, what is given was saved for that stream and schema, at or below the version.",
        seeds=8,
    )
    async def test_sn_8_any_program(self, harness: SnapshotHarness) -> None:
        chance = harness.run.schedule.chance
        saved: _Saved = {}
        async with harness.open() as store:
            for step in range(_STEPS):
                await _step(store, saved, step, chance)
                everything = [(stream, schema_version) for stream in _STREAMS for schema_version in _SCHEMAS]
                for stream, schema_version in everything if step == _STEPS - 1 else chance.sample(everything, 2):
                    await _is_right(store, saved.get((stream, schema_version), {}), stream, schema_version, chance)

    @promise("SN-16", "Schema versions are separate, however large: each gives what was saved for it, or nothing.", seeds=0)
    async def test_sn_16_schema_versions(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for first in range(2):
                for number, schema_version in enumerate(_LARGE_SCHEMAS):
                    await store.save(snapshot(number + 1 + first, f"of {schema_version}, {first}", schema_version=schema_version))
                for number, schema_version in enumerate(_LARGE_SCHEMAS):
                    own = snapshot(number + 1 + first, f"of {schema_version}, {first}", schema_version=schema_version)
                    meaning = f"schema version {schema_version} gives the state of another one"
                    await store.gives(own, None, schema_version=schema_version, meaning=meaning)
        async with harness.open() as store:
            await store.discard(STREAM)
            for schema_version in _LARGE_SCHEMAS:
                meaning = f"a snapshot of schema version {schema_version} is given after it was discarded by another instance"
                await store.gives(None, schema_version=schema_version, meaning=meaning)

    @promise(
        "SN-9",
        "To discard forgets every snapshot of the streams that are named, of every schema and version, however many, and of no other.",
        seeds=0,
    )
    async def test_sn_9_discarding_many(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for version in range(1, 151):
                await store.save(snapshot(version))
            schemas = [*range(1, 121), 2**15, 2**16 + 1, 2**31 - 1]
            for schema_version in schemas:
                await store.save(snapshot(schema_version % 7 + 1, schema_version=schema_version))
            kept = snapshot(9, "kept", stream=OTHER)
            await store.save(kept)
            await store.discard(STREAM)
            for schema_version in schemas:
                meaning = (
                    f"discarded with {len(schemas)} schema versions, and the snapshot of schema version {schema_version} is still given"
                )
                await store.gives(None, schema_version=schema_version, meaning=meaning)
            for version in (1, 75, 149, 150):
                await store.gives(None, at_most=version, meaning="a snapshot of an older version was not discarded")
            await store.gives(kept, stream=OTHER, meaning="a stream that was not named was discarded")

    @promise("SN-9", "Any number of streams is discarded at once, the same one twice too; the others stay.", seeds=0)
    async def test_sn_9_many_streams(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            kept = snapshot(9, "kept", stream=OTHER)
            await store.save(kept)
            for count in _COUNTS:
                streams = [StreamId("inventory", f"p{number}") for number in range(count)]
                there = [streams[place] for place in sorted({0, 1, count // 2, count - 2, count - 1})]
                for stream in there:
                    await store.save(snapshot(3, stream=stream))
                await store.discard(*streams)
                for stream in there:
                    await store.gives(
                        None, stream=stream, meaning=f"of {count} streams that were discarded at once, {stream} is still given"
                    )
                await store.gives(kept, stream=OTHER, meaning="a stream that was not named was discarded")
            await store.save(snapshot(3))
            await store.discard(STREAM, STREAM, StreamId("inventory", "missing"), STREAM)
            await store.gives(None, meaning="a stream that was named twice is still given")

    @promise("SN-9", "However many snapshots there are, clear forgets them all.", seeds=0)
    async def test_sn_9_clearing_many(self, harness: SnapshotHarness) -> None:
        streams = [StreamId("inventory", f"p{number}") for number in range(_MANY)]
        async with harness.open() as store:
            for stream in streams:
                await store.save(snapshot(3, stream=stream))
            await store.clear()
            for stream in streams:
                await store.gives(None, stream=stream, meaning=f"of {_MANY} snapshots that were saved, one survived clear")

    @promise("SN-9", "Discarding one stream leaves those whose names begin alike, match it as a pattern, or differ in case.", seeds=0)
    async def test_sn_9_streams_that_are_alike(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for gone in _ALIKE:
                for number, stream in enumerate(_ALIKE, 1):
                    await store.save(snapshot(number, str(stream), stream=stream))
                await store.discard(gone)
                for number, stream in enumerate(_ALIKE, 1):
                    kept = None if stream == gone else snapshot(number, str(stream), stream=stream)
                    await store.gives(kept, stream=stream, meaning=f"{gone} was discarded, and {stream} is not what it was")
                await store.clear()

    @promise(
        "SN-10",
        "Every field of a snapshot comes back as it was saved, type by type: versions of 64 bits, any id, 10 MiB or nothing.",
        seeds=0,
    )
    async def test_sn_10_every_field(self, harness: SnapshotHarness) -> None:
        base: dict[str, Any] = {"stream": STREAM, "schema_version": SCHEMA, "version": 1, "event_id": UUID(int=7), "data": b"state"}
        changed: list[Mapping[str, Any]] = [
            *({"version": version} for version in (9, 10, 2**31 - 1, 2**31, 2**32 + 1, 2**53, 2**53 + 1, 2**63 - 1)),
            *({"schema_version": version} for version in (1, 9, 10, 2**15, 2**31 - 1)),
            *({"event_id": UUID(int=number)} for number in (0, 1, 2**64 + 1, 2**127, 2**128 - 1)),
            *({"data": data} for data in HOSTILE_BYTES),
            *({"stream": stream} for stream in _ALIKE),
        ]
        async with harness.open() as store:
            for change in changed:
                one = Snapshot(**{**base, **change})
                await store.discard(one.stream)
                await store.save(one)
                found = await store.gives(
                    one, stream=one.stream, schema_version=one.schema_version, meaning=f"{list(change)} is another one"
                )
                _has_types(found)
                for at_most in (one.version, one.version - 1):
                    expected = one if at_most == one.version else None
                    meaning = f"version {one.version} is {'' if expected else 'not '}at or below {at_most}"
                    await store.gives(expected, stream=one.stream, schema_version=one.schema_version, at_most=at_most, meaning=meaning)
            large = snapshot(2, _LARGE)
            await store.discard(STREAM)
            await store.save(large)
            await store.gives(large, None, meaning="a state of 10 MiB is given as another one; whole or not at all")


async def _step(store: TestedSnapshots, saved: _Saved, step: int, chance: Random) -> None:
    match chance.randrange(12):
        case 0 | 1:
            gone = chance.sample(_STREAMS, chance.randint(1, 2))
            await store.discard(*gone)
            for key in [key for key in saved if key[0] in gone]:
                del saved[key]
        case 2 if chance.random() < 0.3:
            await store.clear()
            saved.clear()
        case _:
            stream, schema_version = chance.choice(_STREAMS), chance.choice(_SCHEMAS)
            one = snapshot(chance.randint(7, 13), f"step {step}", stream=stream, schema_version=schema_version)
            if chance.random() < 0.3:
                one = attrs.evolve(one, event_id=UUID(int=step))  # of another log
            await store.save(one)
            saved.setdefault((stream, schema_version), {}).setdefault(one.version, []).append(one)


async def _is_right(
    store: TestedSnapshots, of_it: Mapping[int, list[Snapshot]], stream: StreamId, schema_version: int, chance: Random
) -> None:
    newest = max(of_it, default=0)
    may_be_forgotten = schema_version != SCHEMA or not of_it
    nothing: list[Snapshot | None] = [None] if may_be_forgotten else []
    meaning = "the newest one that was saved is given, of this stream and schema version"
    await store.gives(*of_it.get(newest, []), *nothing, stream=stream, schema_version=schema_version, meaning=meaning)
    at_most = chance.choice((6, 9, 10, 11, 20))
    allowed: list[Snapshot | None] = [one for version, several in of_it.items() if version <= at_most for one in several]
    if newest <= at_most:
        allowed = [*of_it.get(newest, []), *nothing]
    else:
        allowed.append(None)
    meaning = "what is given was saved for this stream and schema version, and is at or below the version"
    await store.gives(*allowed, stream=stream, schema_version=schema_version, at_most=at_most, meaning=meaning)


def _has_types(found: Snapshot | None) -> None:
    for name, kind in (("stream", StreamId), ("schema_version", int), ("version", int), ("event_id", UUID), ("data", bytes)):
        if found is not None and type(getattr(found, name)) is not kind:
            got = f"{name} is a {type(getattr(found, name)).__name__}"
            raise MismatchError(expected=f"{name} is a {kind.__name__}", got=got, meaning=f"a field has another type: {show(found)}")
