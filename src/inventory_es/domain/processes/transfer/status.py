"""The states of a transfer."""

from enum import StrEnum


class TransferStatus(StrEnum):
    """Where a transfer stands.

    NEW: nothing was drafted. DRAFT: its lines are being reserved at the source. RESERVED: every line is held there for good.
    DISPATCHED: the goods have left the source and belong to the transfer. CLOSED: every unit that left was received, returned or
    lost. CANCELLED: taken back before it left; nothing is held. REJECTED: a line was short; nothing is held.
    """

    NEW = "NEW"
    DRAFT = "DRAFT"
    RESERVED = "RESERVED"
    DISPATCHED = "DISPATCHED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class TransferStep(StrEnum):
    """What a transfer has to do to the inventories before it can go on."""

    RESERVE = "RESERVE"
    DISPATCH = "DISPATCH"
    BOOK = "BOOK"
    RELEASE = "RELEASE"


class Movement(StrEnum):
    """How units end their way: at the destination, back at the source, or nowhere."""

    RECEIPT = "RECEIPT"
    RETURN = "RETURN"
    LOSS = "LOSS"
