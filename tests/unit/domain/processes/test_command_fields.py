"""Every identifier of every command to a process is checked, and named."""

from datetime import timedelta
from typing import Any

import attrs
import pytest

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.processes.lines import OrderItem, TransferItem
from inventory_es.domain.processes.order.commands import OrderCommand
from inventory_es.domain.processes.transfer.commands import TransferCommand

COMMANDS: tuple[type[Any], ...] = (*OrderCommand.__args__, *TransferCommand.__args__)
FIELDS: dict[str, Any] = {
    "order_id": "o-1",
    "transfer_id": "t-1",
    "payment_id": "p-1",
    "shipment_id": "s-1",
    "receipt_id": "r-1",
    "return_id": "b-1",
    "loss_id": "l-1",
    "owner_id": "ann",
    "source_store_id": "berlin",
    "destination_store_id": "hamburg",
    "ttl": timedelta(minutes=5),
}
ITEMS: dict[str, Any] = {
    "order_id": (OrderItem("tea", "berlin", 1),),
    "transfer_id": (TransferItem("tea", 1),),
}


def fields_of(command: type[Any]) -> dict[str, Any]:
    """Good values of every field that is not optional, and of the identifiers."""
    names = [field.name for field in attrs.fields(command)]
    return {name: FIELDS[name] for name in names if name in FIELDS} | ({"lines": ITEMS[names[0]]} if "lines" in names else {})


@pytest.mark.parametrize("bad", ["", "x" * 129, "line\nbreak", 7])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_identifier_is_checked_and_named(command: type[Any], bad: Any) -> None:
    good = fields_of(command)
    assert command(**good).command_id
    names = [name for name in good if name.endswith("_id")]
    assert names
    for name in names:
        with pytest.raises(InvalidIdentifierError, match=f"^{name} "):
            command(**good | {name: bad})
