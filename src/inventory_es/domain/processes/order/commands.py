"""Commands to an order: what a host asks of it. Frozen, checked when made. Each may be sent again, for ever."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import attrs

from inventory_es.domain import command_fields as check
from inventory_es.domain.identifiers import identifier
from inventory_es.domain.processes.lines import OrderItem, OrderLine, order_lines
from inventory_es.domain.processes.step_ids import part_id, process_id


def _order_id(value: str | UUID) -> str:
    return process_id("order_id", value)


def _payment_id(value: str | UUID) -> str:
    return identifier("payment_id", value)


def _shipment_id(value: str | UUID) -> str:
    return part_id("shipment_id", value)


def _all_or_grouped(items: Iterable[OrderItem | tuple[str, str, int]] | None) -> tuple[OrderLine, ...] | None:
    return None if items is None else order_lines(items)


@attrs.frozen(kw_only=True)
class PlaceOrder:
    """Hold every line, or none.

    Args:
        order_id: 1 to 64 characters, used once, for ever.
        lines: the items; those of one inventory become one line.
        ttl: how long each line is held for a payment.
        owner_id: for whom, an opaque id.
    """

    order_id: str = attrs.field(converter=_order_id)
    lines: tuple[OrderLine, ...] = attrs.field(converter=order_lines)
    ttl: timedelta = attrs.field(converter=check.ttl)
    owner_id: str | None = attrs.field(default=None, converter=check.owner_id)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return "place"


@attrs.frozen(kw_only=True)
class AuthorisePayment:
    """The money is there: make every line firm."""

    order_id: str = attrs.field(converter=_order_id)
    payment_id: str = attrs.field(converter=_payment_id)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return f"pay:{self.payment_id}"


@attrs.frozen(kw_only=True)
class ShipOrder:
    """Goods leave.

    Args:
        order_id: of a firm order.
        shipment_id: 1 to 40 characters, used once in the order.
        lines: what leaves; ``None`` for everything that has not left yet.
    """

    order_id: str = attrs.field(converter=_order_id)
    shipment_id: str = attrs.field(converter=_shipment_id)
    lines: tuple[OrderLine, ...] | None = attrs.field(default=None, converter=_all_or_grouped)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return f"ship:{self.shipment_id}"


@attrs.frozen(kw_only=True)
class CancelOrder:
    """Give everything back. An order that holds nothing any more stays as it ended."""

    order_id: str = attrs.field(converter=_order_id)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return "cancel"


@attrs.frozen(kw_only=True)
class LapseOrder:
    """Nobody paid: give back what is held, if its time is over. Before that, or once it is paid, a no-op."""

    order_id: str = attrs.field(converter=_order_id)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return "lapse"


@attrs.frozen(kw_only=True)
class ResolveOrder:
    """A person has dealt with an order that needed attention, or a refund: what it still holds is given back, and it ends."""

    order_id: str = attrs.field(converter=_order_id)

    @property
    def command_id(self) -> str:
        """Names the command within the order."""
        return "resolve"


OrderCommand = PlaceOrder | AuthorisePayment | ShipOrder | CancelOrder | LapseOrder | ResolveOrder
"""Any command to an order."""
