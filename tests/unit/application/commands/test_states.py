"""What the fold hands to the codec: many events in one go, where it takes them; one after the other, where a host's own codec does not."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from inventory_es import HandlerSettings, StreamId, open_inventory
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason
from inventory_es.ports import BatchCodec, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.event_run import run_of

STREAM = StreamId("inventory", "tea", "berlin")


class Sealed(JsonEventCodec):
    """A host's codec, which looks at metadata too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def decode(self, recorded: RecordedEvent, /) -> Any:
        self.seen.append(recorded.metadata)
        return super().decode(recorded)


class Plain:
    """A host's codec without the optional method."""

    def __init__(self) -> None:
        self.sealed = Sealed()
        self.encode = self.sealed.encode
        self.encode_metadata = self.sealed.encode_metadata
        self.decode = self.sealed.decode
        self.decode_metadata = self.sealed.decode_metadata

    @property
    def seen(self) -> list[bytes]:
        return self.sealed.seen


@pytest.mark.parametrize("kind", [Sealed, Plain])
@pytest.mark.parametrize("url", ["memory:", "file:{}/stock", "sqlite:{}/stock.db"])
def test_a_codec_of_the_host_s_own_gets_whole_events(url: str, kind: type[Any], tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        codec = kind()
        assert isinstance(codec, BatchCodec) == (kind is Sealed)
        settings = HandlerSettings(warm_inventories=0)
        async with open_inventory(url.format(tmp_path), codec=codec, settings=settings) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.reserve("tea", "berlin", 1, ttl=None)
            level = await inventory.stock("tea", "berlin")
            stored = (await inventory.store.read_stream(STREAM, limit=2)).events
        assert (level.on_hand, level.reserved) == (3, 1)
        assert codec.seen[-2:] == [event.metadata for event in stored]

    anyio.run(body, backend=backend)


INSTANTS = [datetime.min.replace(tzinfo=UTC), datetime(2026, 1, 5, 9, 0, 0, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]


@pytest.mark.parametrize("url", ["memory:", "file:{}/stock", "sqlite:{}/stock.db"])
def test_what_a_store_has_read_says_and_decodes_to_what_its_events_do(url: str, tmp_path: Path, backend: str) -> None:
    codec, other = JsonEventCodec(), StreamId("inventory", "salt", "berlin")

    def new(stream: StreamId) -> StreamWrite:
        made = [StockAddedEvent(stream.parts[0], stream.parts[1], 1, AddReason.RECEIVED, on_hand, 0) for on_hand in (1, 2, 3)]
        encoded = [(codec.encode(event), at) for event, at in zip(made, INSTANTS, strict=True)]
        return StreamWrite(stream, 0, [NewEvent(uuid4(), one.event_type, 1, at, one.data) for one, at in encoded])

    async def body() -> None:
        async with open_inventory(url.format(tmp_path)) as inventory:
            store: Any = inventory.store
            await store.append([new(STREAM), new(other)])
            pages = [
                (await store.read_stream(STREAM, limit=9)).events,
                (await store.read_stream(STREAM, after=3, limit=9)).events,
                (await store.read_stream_backwards(STREAM, limit=2)).events,
                (await store.read_all(after=0, limit=9)).events,
            ]
        assert [len(page) for page in pages] == [3, 0, 2, 6]
        for events in pages:
            run = run_of(events)
            assert run.kinds() == [(event.event_type, event.schema_version) for event in events]
            assert run.streams() == [event.stream for event in events]
            assert run.versions() == [event.version for event in events]
            assert run.instants() == [event.recorded_at for event in events]
            assert run.payloads() == [event.data for event in events]
            assert {type(payload) for payload in run.payloads()} <= {bytes}
            assert list(codec.decode_many(events)) == list(map(codec.decode, events))
        assert run_of(pages[0]).instants() == INSTANTS

    anyio.run(body, backend=backend)
