"""Why stock moved: closed lists, stored by name."""

from enum import StrEnum


class AddReason(StrEnum):
    """Why units came in."""

    OPENING = "OPENING"
    RECEIVED = "RECEIVED"
    RETURNED = "RETURNED"
    TRANSFER_IN = "TRANSFER_IN"
    TRANSFER_RETURN = "TRANSFER_RETURN"
    FOUND = "FOUND"


class Purpose(StrEnum):
    """What a reservation is for."""

    ORDER = "ORDER"
    TRANSFER = "TRANSFER"
    QUARANTINE = "QUARANTINE"
    INTERNAL = "INTERNAL"


class ReleaseReason(StrEnum):
    """Why reserved units became free again. EXPIRED, REMAINDER and SHORTFALL are the aggregate's own: callers can't give them."""

    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REMAINDER = "REMAINDER"
    SHORTFALL = "SHORTFALL"
    COMPENSATION = "COMPENSATION"


class CommitReason(StrEnum):
    """Why reserved units left."""

    SOLD = "SOLD"
    TRANSFER_OUT = "TRANSFER_OUT"
    CONSUMED = "CONSUMED"
    SCRAPPED = "SCRAPPED"


class AdjustReason(StrEnum):
    """Why the count on the shelf differs from the books. COUNT is that of a recorded count: callers can't give it to an adjustment."""

    COUNT = "COUNT"
    DAMAGE = "DAMAGE"
    LOSS = "LOSS"
    THEFT = "THEFT"
    FOUND = "FOUND"
    SPOILED = "SPOILED"
    CORRECTION = "CORRECTION"


class Remainder(StrEnum):
    """What happens to the rest of a reservation after a partial commit."""

    KEEP = "KEEP"
    RELEASE = "RELEASE"


class Shortfall(StrEnum):
    """What happens when an adjustment leaves fewer units than are promised: refuse it, or bump reservations."""

    REJECT = "REJECT"
    BUMP = "BUMP"


class Outcome(StrEnum):
    """How a reservation ended: by the event that brought its remaining units to 0."""

    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
