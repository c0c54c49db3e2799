"""What the fold hands to the codec: many events in one go, where it takes them; one after the other, where a host's own codec does not."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es import HandlerSettings, StreamId, open_inventory
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.ports import BatchCodec, EventCodec, RecordedEvent
from inventory_es.ports.event_run import fields_of

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


def test_what_a_store_has_read_decodes_to_what_its_events_do(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        codec: EventCodec = JsonEventCodec()
        async with open_inventory(f"file:{tmp_path}/stock") as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.reserve("tea", "berlin", 1, ttl=None)
            run: Any = (await inventory.store.read_stream(STREAM, limit=2)).events
        for fields, event in zip(fields_of(run), run, strict=True):
            assert not isinstance(fields, RecordedEvent)
            assert codec.decode(fields) == codec.decode(event)  # type: ignore[arg-type]  # all that it looks at is there
            assert (fields.version, fields.recorded_at, fields.stream) == (event.version, event.recorded_at, event.stream)
        assert [one.version for one in fields_of(run[1:])] == [2]

    anyio.run(body, backend=backend)
