"""Reservations as the aggregate knows them: open ones, and how the closed ones ended."""

from datetime import datetime

import attrs

from inventory_es.domain.reasons import Outcome, Purpose


@attrs.frozen
class OpenReservation:
    """A promise that still holds units: original = remaining + committed + released, remaining ≥ 1.

    Attributes:
        reservation_id: chosen by the caller.
        original: units promised at first.
        remaining: units still promised, 1 or more.
        committed: units that have left.
        purpose: what for.
        owner_id: for whom, opaque.
        reserved_at: since when.
        expires_at: valid before this instant, due from it on; ``None``: firm.
        version: of its StockReservedEvent in the stream.
    """

    reservation_id: str
    original: int
    remaining: int
    committed: int
    purpose: Purpose
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    version: int

    @property
    def released(self) -> int:
        """Units given back so far."""
        return self.original - self.remaining - self.committed

    @property
    def is_firm(self) -> bool:
        """Whether it never expires."""
        return self.expires_at is None

    def is_due(self, at: datetime) -> bool:
        """Whether it is due for expiry at ``at``: valid on [reserved_at, expires_at)."""
        return self.expires_at is not None and self.expires_at <= at


@attrs.frozen
class ClosedReservation:
    """How a reservation ended.

    Attributes:
        outcome: of the event that brought its remaining units to 0.
        committed: units that have left.
        released: units given back, by whatever reason.
        expires_at: its last ``expires_at``; ``None`` if it was firm.
    """

    outcome: Outcome
    committed: int
    released: int
    expires_at: datetime | None
