"""Reasons of movements: closed lists, stored by name."""

from enum import StrEnum


class AddReason(StrEnum):
    """Reasons for units that come in."""

    OPENING = "OPENING"
    RECEIVED = "RECEIVED"
    RETURNED = "RETURNED"
    TRANSFER_IN = "TRANSFER_IN"
    TRANSFER_RETURN = "TRANSFER_RETURN"
    FOUND = "FOUND"


class Purpose(StrEnum):
    """Purposes of a reservation."""

    ORDER = "ORDER"
    TRANSFER = "TRANSFER"
    QUARANTINE = "QUARANTINE"
    INTERNAL = "INTERNAL"


class ReleaseReason(StrEnum):
    """Reasons for releasing reserved units. EXPIRED, REMAINDER and SHORTFALL are set by the aggregate: callers can't give them."""

    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REMAINDER = "REMAINDER"
    SHORTFALL = "SHORTFALL"
    COMPENSATION = "COMPENSATION"


class CommitReason(StrEnum):
    """Reasons for reserved units that leave."""

    SOLD = "SOLD"
    TRANSFER_OUT = "TRANSFER_OUT"
    CONSUMED = "CONSUMED"
    SCRAPPED = "SCRAPPED"


class AdjustReason(StrEnum):
    """Reasons for a difference between shelf and books. COUNT marks a recorded count: callers can't give it to an adjustment."""

    COUNT = "COUNT"
    DAMAGE = "DAMAGE"
    LOSS = "LOSS"
    THEFT = "THEFT"
    FOUND = "FOUND"
    SPOILED = "SPOILED"
    CORRECTION = "CORRECTION"


class Remainder(StrEnum):
    """Rules for the rest of a reservation after a partial commit: keep it reserved, or release it."""

    KEEP = "KEEP"
    RELEASE = "RELEASE"


class Shortfall(StrEnum):
    """Rules for an adjustment that leaves fewer units than are reserved: reject it, or bump reservations."""

    REJECT = "REJECT"
    BUMP = "BUMP"


class Ending(StrEnum):
    """Endings of a reservation, by the event that brought its remaining units to 0."""

    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
