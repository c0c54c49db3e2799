"""The states of an order."""

from enum import StrEnum


class OrderStatus(StrEnum):
    """Where an order stands.

    NEW: nothing was placed. PENDING: its lines are being reserved. HELD: every line is held, until a time. FIRM: it is paid, and
    every line is held for good. DONE: everything has left. REJECTED: a line was short; nothing is held. CANCELLED: taken back;
    nothing is held. EXPIRED: nobody paid in time; nothing is held, and a late payment reserves again. NEEDS_REFUND: money came, the
    goods can't be had; nothing is held. NEEDS_ATTENTION: a person must look: the goods of a line have left, or can't leave.
    """

    NEW = "NEW"
    PENDING = "PENDING"
    HELD = "HELD"
    FIRM = "FIRM"
    DONE = "DONE"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    NEEDS_REFUND = "NEEDS_REFUND"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"

    @property
    def holds_nothing(self) -> bool:
        """Whether an order that stands here, with no step under way, holds no unit."""
        return self not in {OrderStatus.PENDING, OrderStatus.HELD, OrderStatus.FIRM, OrderStatus.NEEDS_ATTENTION}


class OrderStep(StrEnum):
    """What an order has to do to its inventories before it can go on."""

    RESERVE = "RESERVE"
    CONFIRM = "CONFIRM"
    SHIP = "SHIP"
    RELEASE = "RELEASE"
