"""A batch of events decodes like each event alone, up to the first that can't be decoded."""

from itertools import cycle, islice
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventDecodeError
from inventory_es.testing.domain.strategies import events

CODEC = JsonEventCodec()
AT = SystemClock().now()


def stored(event: Event, version: int) -> RecordedEvent:
    encoded = CODEC.encode(event)
    stream = InventoryId(event.product_id, event.store_id).stream
    return RecordedEvent(stream, version, version, UUID(int=version), encoded.event_type, encoded.schema_version, AT, encoded.data, b"{}")


@given(drawn=st.lists(events(), max_size=12), number=st.sampled_from([0, 1, 5, 199, 200, 201, 450]))
def test_any_events_in_any_order(drawn: list[Event], number: int) -> None:
    some = list(islice(cycle(drawn), number))
    assert list(CODEC.decode_many([stored(event, version) for version, event in enumerate(some, 1)])) == some


@given(drawn=st.lists(events(), min_size=1, max_size=12), at=st.integers(0, 300))
def test_what_comes_before_one_that_is_none_comes_out(drawn: list[Event], at: int) -> None:
    some = list(islice(cycle(drawn), at))
    page = [stored(event, version) for version, event in enumerate([*some, drawn[0], drawn[0]], 1)]
    page[at] = attrs.evolve(page[at], data=page[at].data.replace(b'"on_hand":', b'"on_hand":""'))
    came: list[Event] = []
    with pytest.raises(EventDecodeError) as alone:
        CODEC.decode(page[at])
    with pytest.raises(EventDecodeError) as together:
        came.extend(CODEC.decode_many(page))
    assert str(together.value) == str(alone.value)
    came.clear()
    decoded = CODEC.decode_many(page)
    for event in some:
        assert next(decoded) == event
