"""What the fold hands to the codec: what the store has read, where that serves; whole events, where a host's own codec may want them."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es import HandlerSettings, StreamId, open_inventory
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.ports import FieldsCodec, RecordedEvent

STREAM = StreamId("inventory", "tea", "berlin")


class Sealed(JsonEventCodec):
    """A host's codec, which looks at metadata too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def decode(self, recorded: RecordedEvent, /) -> Any:
        self.seen.append(recorded.metadata)
        return super().decode(recorded)


@pytest.mark.parametrize("url", ["memory:", "file:{}/stock", "sqlite:{}/stock.db"])
def test_a_codec_that_overrides_decode_gets_whole_events(url: str, tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        codec = Sealed()
        async with open_inventory(url.format(tmp_path), codec=codec, settings=HandlerSettings(warm_inventories=0)) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.reserve("tea", "berlin", 1, ttl=None)
            level = await inventory.stock("tea", "berlin")
            stored = (await inventory.store.read_stream(STREAM, limit=2)).events
        assert (level.on_hand, level.reserved) == (3, 1)
        assert codec.seen[-2:] == [event.metadata for event in stored]

    anyio.run(body, backend=backend)


def test_only_the_codec_s_own_decode_takes_less() -> None:
    codec, hosts = JsonEventCodec(), Sealed()
    assert isinstance(codec, FieldsCodec)
    assert codec.decodes_fields
    assert not hosts.decodes_fields


def test_what_a_store_has_read_decodes_to_what_its_events_do(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        codec: Any = JsonEventCodec()
        async with open_inventory(f"file:{tmp_path}/stock") as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.reserve("tea", "berlin", 1, ttl=None)
            run: Any = (await inventory.store.read_stream(STREAM, limit=2)).events
        for fields, event in zip(run.fields(), run, strict=True):
            assert not isinstance(fields, RecordedEvent)
            assert codec.decode(fields) == codec.decode(event)
            assert (fields.version, fields.recorded_at, fields.stream) == (event.version, event.recorded_at, event.stream)
        assert [one.version for one in run[1:].fields()] == [2]

    anyio.run(body, backend=backend)
