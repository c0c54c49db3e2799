"""Rejections: the business said no. Each appends nothing and leaves the state as it was."""

from datetime import datetime
from typing import Any

import attrs

from inventory_es.domain.errors import InvalidInputError, NotFoundError, RefusedError, RejectionError
from inventory_es.domain.stream_id import StreamId


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class InvalidQuantityError(InvalidInputError):
    """A count of units that is no whole number, or out of its range."""

    name: str
    problem: str

    code = "invalid_quantity"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.name} {self.problem}"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class QuantityOverflowError(InvalidInputError):
    """A count above the largest that is kept exactly."""

    name: str
    limit: int

    code = "quantity_overflow"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.name} would be above {self.limit}: use a larger smallest unit"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class InvalidIdentifierError(InvalidInputError):
    """An identifier that breaks the rules: 1 to 128 characters, no control characters, no lone surrogates."""

    name: str
    problem: str

    code = "invalid_identifier"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.name} {self.problem}"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class InvalidTtlError(InvalidInputError):
    """A time to live that is not above zero, or beyond the calendar."""

    problem: str

    code = "invalid_ttl"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"ttl {self.problem}"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class InsufficientStockError(RefusedError):
    """Fewer units are free than were asked for.

    Attributes:
        requested: units asked for.
        available: units that were free at that instant, what was due for expiry included.
        keep_available: units that were to stay free.
    """

    inventory: StreamId
    requested: int
    available: int
    keep_available: int = 0

    code = "insufficient_stock"

    @property
    def shortfall(self) -> int:
        """Units that lack: requested + keep_available − available."""
        return self.requested + self.keep_available - self.available

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, with ``shortfall``."""
        return {**super().to_dict(), "shortfall": self.shortfall}

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        kept = f" with {self.keep_available} to stay" if self.keep_available else ""
        return f"{self.inventory} has {self.available} available, {self.requested} were asked for{kept}: {self.shortfall} short"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ReservationNotFoundError(NotFoundError):
    """No reservation of this id is open, nor among the most recent closed ones."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_not_found"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.inventory} knows no reservation {self.reservation_id!r}: check the id"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ReservationIdTakenError(RefusedError):
    """The reservation id was used before, with another payload. An id is used once, for ever."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_id_taken"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"reservation id {self.reservation_id!r} was used before in {self.inventory} for something else: choose a new id"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ReservationExpiredError(RefusedError):
    """The reservation ended by time.

    Attributes:
        expired_at: its ``expires_at``; from that instant on it was due.
    """

    inventory: StreamId
    reservation_id: str
    expired_at: datetime

    code = "reservation_expired"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return (
            f"reservation {self.reservation_id!r} of {self.inventory} expired at {self.expired_at.isoformat()}: "
            "reserve again under a new id"
        )


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ReservationAlreadyReleasedError(RefusedError):
    """The reservation was released in full."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_already_released"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"reservation {self.reservation_id!r} of {self.inventory} was released: reserve again under a new id"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ReservationAlreadyCommittedError(RefusedError):
    """The reservation was committed: its goods have left."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_already_committed"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return (
            f"reservation {self.reservation_id!r} of {self.inventory} was committed, its goods have left; "
            "goods that come back are added as RETURNED"
        )


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class QuantityExceedsReservationError(RefusedError):
    """More units than the reservation still holds."""

    inventory: StreamId
    reservation_id: str
    requested: int
    remaining: int

    code = "quantity_exceeds_reservation"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"reservation {self.reservation_id!r} of {self.inventory} still holds {self.remaining}, not {self.requested}: ask for less"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class WouldBreakReservationsError(RefusedError):
    """The adjustment would leave fewer units than are promised.

    Attributes:
        shortfall: promised units that would lack.
    """

    inventory: StreamId
    shortfall: int

    code = "would_break_reservations"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return (
            f"{self.inventory} has promised {self.shortfall} more units than would be left: "
            "release reservations first, or adjust with shortfall BUMP"
        )


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class NegativeStockError(RefusedError):
    """The adjustment takes away more than is there."""

    inventory: StreamId
    on_hand: int
    delta: int

    code = "negative_stock"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.inventory} has {self.on_hand} on hand, an adjustment of {self.delta} would go below 0: count again"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class CommandExpiredError(RefusedError):
    """The command arrived at or after its ``not_after``."""

    inventory: StreamId
    command_id: str
    not_after: datetime

    code = "command_expired"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return (
            f"command {self.command_id!r} for {self.inventory} was not wanted after {self.not_after.isoformat()}: "
            "nothing was held, send a new one"
        )


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class CountSupersededError(RefusedError):
    """A later count of the same shelf was recorded first.

    Attributes:
        observed_version: the stream version that the counter saw.
        last_count_version: the version of the later count.
    """

    inventory: StreamId
    observed_version: int
    last_count_version: int

    code = "count_superseded"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return (
            f"{self.inventory} was counted at version {self.last_count_version}, after the observed version {self.observed_version}: "
            "count again"
        )


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class CommandIdReusedError(RefusedError):
    """The command id was used before, with another payload. An id names one command, for ever."""

    inventory: StreamId
    command_id: str

    code = "command_id_reused"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"command id {self.command_id!r} was used before in {self.inventory} for something else: choose a new id"


@attrs.define(slots=False, eq=False, str=False, init=False)
class PolicyRejectedError(RefusedError):
    """A host's own policy said no.

    Args:
        reason: the host's name of the condition, stable, such as ``one_per_customer``. It becomes ``code``.
        details: whatever explains it: plain values, no personal data.
    """

    reason: str
    details: dict[str, Any]

    def __init__(self, reason: str, /, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details
        object.__setattr__(self, "code", reason)  # the one error whose code its raiser chooses

    code = "policy_rejected"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        told = ", ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"a policy of the host refused this: {self.reason}" + (f" ({told})" if told else "")

    def facts(self) -> dict[str, Any]:
        """The details that the policy gave."""
        return dict(self.details)

    def __hash__(self) -> int:
        return hash((type(self), self.reason))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicyRejectedError) and (self.reason, self.details) == (other.reason, other.details)

    def __reduce__(self) -> Any:
        return _policy_rejected, (self.reason, self.details)


def _policy_rejected(reason: str, details: dict[str, Any]) -> PolicyRejectedError:
    return PolicyRejectedError(reason, **details)


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class CommandsRejectedError(RefusedError):
    """Some of the commands that were to be accepted together were refused, so none was.

    A refusal whatever its parts are: the set as a whole was refused. ``rejections`` has the class of each part.

    Attributes:
        rejections: why, one for every refused command.
        indexes: the places of those commands in the order given, starting at 0.
    """

    rejections: tuple[RejectionError, ...]
    indexes: tuple[int, ...]

    code = "commands_rejected"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"nothing was accepted, {len(self.rejections)} of the commands were refused: {'; '.join(map(str, self.rejections))}"
