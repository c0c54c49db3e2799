"""What a codec of unknown habits writes is looked at before it reaches a store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.decision import CommandRequest, Decider
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.states import InventoryState
from inventory_es.application.context import CommandContext
from inventory_es.domain.commands import AddStock
from inventory_es.domain.inventory import Inventory
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


def drafted(codec: Any) -> Sequence[NewEvent]:
    command = AddStock(inventory_id=SHELF, command_id="c1", quantity=1, reference="order:1")
    request = CommandRequest(command, named=True, expected_version=None, context=CommandContext(actor_id="A1"))
    nothing: Any = None
    decider = Decider(
        codec=codec,
        capabilities=MemoryEventStore().capabilities,
        policies=(),
        settings=HandlerSettings(),
        clock=nothing,
        ids=nothing,
        reader=nothing,
        committer=nothing,
    )
    decision = decider.decide(InventoryState(Inventory(SHELF), 0), request, now=AT, at=AT)
    if decision.refusal is not None:
        raise decision.refusal
    return decision.new_events


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
