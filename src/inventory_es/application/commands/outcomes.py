"""From events to what the caller is told."""

from datetime import datetime

from inventory_es.application.results import CommandResult, Reservation
from inventory_es.domain.commands import Command, ReserveStock
from inventory_es.domain.events import Event, StockReservedEvent

Outcome = CommandResult | Reservation


def accepted(command: Command, last: Event, *, at: datetime, version: int, position: int, replayed: bool = False) -> Outcome:
    """The outcome of a command whose last event is ``last``, which made ``version``."""
    if type(command) is ReserveStock and type(last) is StockReservedEvent:
        return Reservation(
            product_id=last.product_id,
            store_id=last.store_id,
            reservation_id=last.reservation_id,
            quantity=last.quantity,
            purpose=last.purpose,
            owner_id=last.owner_id,
            reserved_at=at,
            expires_at=last.expires_at,
            version=version,
            position=position,
            replayed=replayed,
            remaining=last.quantity,
        )
    return CommandResult(
        inventory_id=command.inventory_id,
        command_id=command.command_id,
        changed=True,
        version=version,
        position=position,
        at=at,
        on_hand=last.on_hand,
        reserved=last.reserved,
        replayed=replayed,
    )
