"""P27: every event, of drawn histories and with any valid fields, is read back as it was written."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.domain.events import Event, Recorded, StockAddedEvent
from inventory_es.domain.reasons import AddReason
from inventory_es.ports.codec import EncodedEvent
from inventory_es.ports.records import RecordedEvent
from inventory_es.testing.domain.codec_check import check_codec
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.strategies import events, histories

CODEC = JsonEventCodec()
EVENT = StockAddedEvent("p", "s", 1, AddReason.FOUND, 1, 0)


@settings(max_examples=300)
@given(st.lists(events(), max_size=5))
def test_any_event_is_read_back(drawn: list[Event]) -> None:
    assert check_codec(CODEC, drawn) == len(drawn)


@settings(max_examples=60)
@given(histories(max_steps=30))
def test_any_history_is_read_back(history: tuple[Recorded, ...]) -> None:
    assert check_codec(CODEC, [recorded.event for recorded in history]) == len(history)


class Forgetful(JsonEventCodec):
    """A codec that reads one unit too few."""

    def decode(self, recorded: RecordedEvent, /) -> Any:
        event = super().decode(recorded)
        return attrs.evolve(event, quantity=event.quantity + 1)


class Restless(JsonEventCodec):
    """A codec that writes something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def encode(self, event: object, /) -> EncodedEvent:
        self.written += 1
        return super().encode(event)._replace(schema_version=self.written)

    def decode(self, recorded: RecordedEvent, /) -> Any:
        return super().decode(attrs.evolve(recorded, schema_version=1))


class Unknown(JsonEventCodec):
    """A codec that writes an unknown type."""

    def encode(self, event: object, /) -> EncodedEvent:
        return super().encode(event)._replace(event_type="NobodysEvent")


@pytest.mark.parametrize(
    "codec, problem",
    [(Forgetful(), "read back as StockAddedEvent"), (Restless(), "is written as"), (Unknown(), "not read back: EventDecodeError")],
    ids=["forgetful", "restless", "unknown"],
)
def test_a_wrong_codec_is_found(codec: JsonEventCodec, problem: str) -> None:
    with pytest.raises(PropertyError, match=problem) as found:
        check_codec(codec, [EVENT])
    assert found.value.broken == {"P27"}
