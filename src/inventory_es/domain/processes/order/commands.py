"""Commands to an order: frozen, checked when created, and idempotent."""

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import attrs

from inventory_es.domain.commands import check_owner_id, check_ttl
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
    """Place an order: hold every line, or none.

    Args:
        order_id: 1 to 64 characters; never used again.
        lines: the items. Items of one inventory become one line.
        ttl: the time for which each line is held until the payment.
        owner_id: an opaque id of the customer.
    """

    order_id: str = attrs.field(converter=_order_id)
    lines: tuple[OrderLine, ...] = attrs.field(converter=order_lines)
    ttl: timedelta = attrs.field(converter=check_ttl)
    owner_id: str | None = attrs.field(default=None, converter=check_owner_id)
    command_id: ClassVar[str] = "place"
    """The command's name within the order."""


@attrs.frozen(kw_only=True)
class AuthorisePayment:
    """Record that the payment is authorised, and make every line firm."""

    order_id: str = attrs.field(converter=_order_id)
    payment_id: str = attrs.field(converter=_payment_id)

    @property
    def command_id(self) -> str:
        """The command's name within the order."""
        return f"pay:{self.payment_id}"


@attrs.frozen(kw_only=True)
class ShipOrder:
    """Ship goods of a firm order.

    Args:
        order_id: the id of a firm order.
        shipment_id: 1 to 40 characters; used once in the order.
        lines: the goods; ``None`` for everything that has not left yet.
    """

    order_id: str = attrs.field(converter=_order_id)
    shipment_id: str = attrs.field(converter=_shipment_id)
    lines: tuple[OrderLine, ...] | None = attrs.field(default=None, converter=_all_or_grouped)

    @property
    def command_id(self) -> str:
        """The command's name within the order."""
        return f"ship:{self.shipment_id}"


@attrs.frozen(kw_only=True)
class CancelOrder:
    """Cancel the order and release everything. A no-op if the order has ended with nothing held."""

    order_id: str = attrs.field(converter=_order_id)
    command_id: ClassVar[str] = "cancel"
    """The command's name within the order."""


@attrs.frozen(kw_only=True)
class LapseOrder:
    """Release everything if the order's time is over and nobody paid. Otherwise a no-op."""

    order_id: str = attrs.field(converter=_order_id)
    command_id: ClassVar[str] = "lapse"
    """The command's name within the order."""


@attrs.frozen(kw_only=True)
class ResolveOrder:
    """End an order that needed attention or a refund, once a person has dealt with it. Everything that it still holds is released."""

    order_id: str = attrs.field(converter=_order_id)
    command_id: ClassVar[str] = "resolve"
    """The command's name within the order."""


OrderCommand = PlaceOrder | AuthorisePayment | ShipOrder | CancelOrder | LapseOrder | ResolveOrder
"""Any command to an order."""
