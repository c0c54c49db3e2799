"""What a codec of unknown habits writes is looked at before it reaches a store."""

from datetime import UTC, datetime
from typing import Any

import pytest

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.drafting import Drafting
from inventory_es.application.commands.requests import CommandRequest
from inventory_es.application.context import CommandContext
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import AddStock
from inventory_es.domain.events import StockAddedEvent
from inventory_es.ports import NewEvent
from inventory_es.ports.codec import EncodedEvent, EventCodec, KnownGoodCodec
from inventory_es.testing.domain.scenarios import SHELF

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


class Careless:
    """A host's codec that writes two lines."""

    def encode(self, event: object, /) -> EncodedEvent:
        return EncodedEvent(type(event).__name__, 1, b'{\n"units":1}')

    def __getattr__(self, name: str) -> Any:
        if name == "writes_known_good":
            raise AttributeError(name)
        return getattr(JsonEventCodec(), name)


def drafted(codec: Any) -> list[NewEvent]:
    command = AddStock(inventory_id=SHELF, command_id="c1", quantity=1, reference="order:1")
    request = CommandRequest(command, named=True, expected_version=None, context=CommandContext(actor_id="A1"))
    event = StockAddedEvent(SHELF.product_id, SHELF.store_id, 1, command.reason, 1, 0)
    return Drafting(codec).draft(request, (event,), at=AT, ids=EventIds(SHELF.stream))


def test_what_a_host_s_codec_writes_is_checked() -> None:
    with pytest.raises(
        ValueError, match="data of a new event must be UTF-8 bytes of one JSON object, from brace to brace, without line breaks"
    ):
        drafted(Careless())


def test_what_is_known_good_is_the_same_as_what_was_checked() -> None:
    codec: EventCodec = JsonEventCodec()
    assert isinstance(codec, KnownGoodCodec)
    (event,) = drafted(codec)
    assert event == NewEvent(event.event_id, "StockAddedEvent", 1, AT, event.data, event.metadata)
