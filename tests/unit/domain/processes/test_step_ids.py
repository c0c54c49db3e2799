"""Which process a reference names: the one whose step wrote it, and none for a text of the host's own."""

import pytest
from hypothesis import given

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.processes.step_ids import MAX_PROCESS_ID, process_id, process_of
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing.domain import identifiers


@given(text=identifiers())
def test_the_reference_of_a_step_names_its_process(text: str) -> None:
    reference = StreamId("order", text).text
    try:
        known = process_id("order_id", text)
    except InvalidIdentifierError:
        known = None
    assert process_of("order", reference) == known
    assert process_of("transfer", reference) is None


@pytest.mark.parametrize(
    "text",
    [None, "", "order", "order-", "orders-a", "ORDER-a", "order-a-b", "order-%zz", "order-" + "x" * (MAX_PROCESS_ID + 1)],
)
def test_a_text_of_the_hosts_own_names_none(text: str | None) -> None:
    assert process_of("order", text) is None
