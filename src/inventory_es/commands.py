"""Every command, and the reasons that it may carry."""

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall

__all__ = [
    "AddReason",
    "AddStock",
    "AdjustReason",
    "AdjustStock",
    "Command",
    "CommitReason",
    "CommitStock",
    "ConfirmReservation",
    "ExpireReservations",
    "ExtendReservation",
    "Purpose",
    "RecordCount",
    "ReleaseReason",
    "ReleaseStock",
    "Remainder",
    "ReserveStock",
    "Shortfall",
]
