"""The error tree.

An indented error is a kind of the error above it::

    InventoryError
        RejectionError: not accepted; correct the request, nothing was changed
            InvalidInputError: the input breaks a rule, whatever the stock
            NotFoundError: the named reservation or process is not known
            RefusedError: the present state does not allow the request
        ConflictError: another writer was first; read again and decide again (ports.errors)
        FaultError: broken or misused: configuration, storage, corrupt data (here and in ports.errors)

Every error has its facts as typed attributes. The message is derived from them, says what to do, and has no payload.
"""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Self, dataclass_transform
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId


@dataclass_transform(kw_only_default=True)
class InventoryError(Exception):
    """Base of all errors that this package raises on purpose.

    The annotated attributes of an error are its facts, given by keyword when it is raised.

    Attributes:
        code: a stable, lower-case name of the condition, for logs, metrics and API responses.
        retryable: True if the same call, sent again unchanged, may succeed.
        sentence: the message, with names of attributes in braces.
    """

    code: ClassVar[str] = "inventory_error"
    retryable: ClassVar[bool] = False
    sentence: ClassVar[str] = "{code}"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("inventory_es."):  # a host's own error is made as the host wants it
            attrs.define(cls, slots=False, eq=False, str=False, kw_only=True)

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return self.sentence.format_map(_Named(self))

    def facts(self) -> dict[str, Any]:
        """Return the typed attributes by name, as Python values."""
        kind = type(self)
        return {field.name: getattr(self, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form: ``code``, ``message``, ``retryable`` and the facts as plain values."""
        condition = {"code": self.code, "message": self.message, "retryable": self.retryable}
        return condition | {name: _plain(value) for name, value in self.facts().items()} | condition

    def __str__(self) -> str:
        return self.message

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.facts() == other.facts()

    def __hash__(self) -> int:
        return hash((type(self), *self.facts().items()))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return partial(type(self), **self.facts()), ()


class RejectionError(InventoryError):
    """The request was not accepted. Nothing was appended; another request may succeed."""

    code = "rejected"


class InvalidInputError(RejectionError, ValueError):
    """The caller's input breaks a rule: a quantity, an identifier or a time to live. The same input is never accepted."""

    code = "invalid_input"


class NotFoundError(RejectionError):
    """A reservation or process that the caller names is not known."""

    code = "not_found"


class RefusedError(RejectionError):
    """The input is valid, but the present state does not allow the request."""

    code = "refused"


class ConflictError(InventoryError):
    """Another writer moved the stream first. Nothing was appended."""

    code = "conflict"
    retryable = True


class FaultError(InventoryError):
    """Something is broken or misused: storage, configuration, corrupt data."""

    code = "fault"


class InvalidQuantityError(InvalidInputError):
    """A quantity is no whole number, or out of range."""

    name: str
    problem: str

    code = "invalid_quantity"
    sentence = "{name} {problem}"


class QuantityOverflowError(InvalidInputError):
    """A quantity is above the largest exact one."""

    name: str
    limit: int

    code = "quantity_overflow"
    sentence = "{name} would be above {limit}: use a larger smallest unit"


class InvalidIdentifierError(InvalidInputError):
    """An identifier breaks the rules: 1 to 128 characters, no control characters, no lone surrogates."""

    name: str
    problem: str

    code = "invalid_identifier"
    sentence = "{name} {problem}"


class InvalidTtlError(InvalidInputError):
    """A time to live is not above zero, or ends beyond the calendar."""

    problem: str

    code = "invalid_ttl"
    sentence = "ttl {problem}"


class InsufficientStockError(RefusedError):
    """Fewer units are available than were requested.

    Attributes:
        requested: the units requested.
        available: the units available at that instant, including those of reservations due for expiry.
        keep_available: the units that had to stay available.
    """

    inventory: StreamId
    requested: int
    available: int
    keep_available: int = 0

    code = "insufficient_stock"

    @property
    def shortfall(self) -> int:
        """The missing units: requested + keep_available − available."""
        return self.requested + self.keep_available - self.available

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form, with ``shortfall``."""
        return {**super().to_dict(), "shortfall": self.shortfall}

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        kept = f" with {self.keep_available} to stay" if self.keep_available else ""
        return f"{self.inventory} has {self.available} available, {self.requested} were asked for{kept}: {self.shortfall} short"


class ReservationNotFoundError(NotFoundError):
    """No reservation of this id is open, or among the most recent closed ones."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_not_found"
    sentence = "{inventory} knows no reservation {reservation_id!r}: check the id"


class ReservationIdTakenError(RefusedError):
    """The reservation id was used before, with another payload. An id is never used again."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_id_taken"
    sentence = "reservation id {reservation_id!r} was used before in {inventory} for something else: choose a new id"


class ReservationExpiredError(RefusedError):
    """The reservation has expired.

    Attributes:
        expired_at: the instant from which it was due.
    """

    inventory: StreamId
    reservation_id: str
    expired_at: datetime

    code = "reservation_expired"
    sentence = "reservation {reservation_id!r} of {inventory} expired at {expired_at}: reserve again under a new id"


class ReservationAlreadyReleasedError(RefusedError):
    """The reservation was released in full."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_already_released"
    sentence = "reservation {reservation_id!r} of {inventory} was released: reserve again under a new id"


class ReservationAlreadyCommittedError(RefusedError):
    """The reservation was committed: its goods have left."""

    inventory: StreamId
    reservation_id: str

    code = "reservation_already_committed"
    sentence = (
        "reservation {reservation_id!r} of {inventory} was committed, its goods have left; goods that come back are added as RETURNED"
    )


class QuantityExceedsReservationError(RefusedError):
    """More units were requested than the reservation still holds."""

    inventory: StreamId
    reservation_id: str
    requested: int
    remaining: int

    code = "quantity_exceeds_reservation"
    sentence = "reservation {reservation_id!r} of {inventory} still holds {remaining}, not {requested}: ask for less"


class WouldBreakReservationsError(RefusedError):
    """The adjustment would leave fewer units than are reserved.

    Attributes:
        shortfall: the reserved units that would be missing.
    """

    inventory: StreamId
    shortfall: int

    code = "would_break_reservations"
    sentence = (
        "{inventory} has promised {shortfall} more units than would be left: release reservations first, or adjust with shortfall BUMP"
    )


class NegativeStockError(RefusedError):
    """The adjustment takes away more units than are on hand."""

    inventory: StreamId
    on_hand: int
    delta: int

    code = "negative_stock"
    sentence = "{inventory} has {on_hand} on hand, an adjustment of {delta} would go below 0: count again"


class CommandExpiredError(RefusedError):
    """The command arrived at or after its ``not_after``."""

    inventory: StreamId
    command_id: str
    not_after: datetime

    code = "command_expired"
    sentence = "command {command_id!r} for {inventory} was not wanted after {not_after}: nothing was held, send a new one"


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
    sentence = "{inventory} was counted at version {last_count_version}, after the observed version {observed_version}: count again"


class CommandIdReusedError(RefusedError):
    """The command id was used before, with another payload. An id names one command only."""

    inventory: StreamId
    command_id: str

    code = "command_id_reused"
    sentence = "command id {command_id!r} was used before in {inventory} for something else: choose a new id"


class PolicyRejectedError(RefusedError):
    """A policy of the host refused the command.

    Args:
        reason: the host's stable name of the condition, such as ``one_per_customer``; it becomes ``code``.
        details: plain values that explain the refusal, without personal data.
    """

    reason: str
    details: dict[str, Any]

    def __init__(self, reason: str, /, **details: Any) -> None:
        super().__init__()
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
        """Return the details that the policy gave."""
        return dict(self.details)

    def __hash__(self) -> int:
        return hash((type(self), self.reason))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicyRejectedError) and (self.reason, self.details) == (other.reason, other.details)

    def __reduce__(self) -> Any:
        return partial(PolicyRejectedError, self.reason, **self.details), ()


class CommandsRejectedError(RefusedError):
    """Some commands of an all-or-nothing set were refused, so none was accepted.

    The error is a refusal of the whole set; ``rejections`` has the error of each refused command.

    Attributes:
        rejections: one per refused command.
        indexes: the places of the refused commands in the order given, from 0.
    """

    rejections: tuple[RejectionError, ...]
    indexes: tuple[int, ...]

    code = "commands_rejected"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"nothing was accepted, {len(self.rejections)} of the commands were refused: {'; '.join(map(str, self.rejections))}"


class ProcessNotFoundError(NotFoundError):
    """There is no process of this id."""

    process: StreamId

    code = "process_not_found"
    sentence = "{process} was never begun: check the id"


class ProcessStateError(RefusedError):
    """The present status of the process does not allow the command.

    Attributes:
        status: the name of the status.
        command: the name of the command.
    """

    process: StreamId
    status: str
    command: str

    code = "process_state"
    sentence = "{process} is {status}, which leaves no room for {command}: read its state, and decide again"


class ProcessIdReusedError(RefusedError):
    """The id of a process, shipment or receipt was used before for something else. An id is never used again."""

    process: StreamId
    reused_id: str

    code = "process_id_reused"
    sentence = "id {reused_id!r} was used before in {process} for something else: choose a new id"


class QuantityExceedsProcessError(RefusedError):
    """More units were requested than the process still has to move.

    Attributes:
        inventory: the inventory of the line.
        requested: the units requested.
        remaining: the units left; 0 also for an inventory that the process does not have.
    """

    process: StreamId
    inventory: StreamId
    requested: int
    remaining: int

    code = "quantity_exceeds_process"
    sentence = "{process} has {remaining} of {inventory} left, not {requested}: ask for less"


class CorruptStreamError(FaultError):
    """A stream's events contradict each other: a gap, time running backwards, or a balance that does not fold.

    The fold raises it. Nothing was appended, and a person must look at the stream (``inventory-es verify``).
    """

    stream: StreamId
    version: int
    problem: str

    code = "corrupt_stream"
    sentence = "stream {stream} does not fold at version {version}: {problem}; check the store with 'inventory-es verify'"


class ClockSkewError(FaultError):
    """This machine's clock is too far behind the last event of the stream. Nothing was appended."""

    stream: StreamId
    now: datetime
    last_time: datetime
    max_clock_skew: timedelta

    code = "clock_skew"
    retryable = True

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        behind = (self.last_time - self.now).total_seconds()
        return (
            f"the last event of {self.stream} is {behind:g} s ahead of this machine's clock (allowed: "
            f"{self.max_clock_skew.total_seconds():g} s): set the clock right if it is behind, and send the command again; if the event "
            "was recorded by a clock that stood ahead, copy the store with its times set back"
        )


class ClockJumpError(FaultError):
    """This machine's clock was set while the inventory was open, by more than is allowed. Nothing was appended.

    Attributes:
        jump: the time by which it was set, ahead above zero, back below.
        max_clock_jump: the longest jump that is allowed, either way.
    """

    jump: timedelta
    max_clock_jump: timedelta

    code = "clock_jump"
    retryable = True

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        seconds, longest = self.jump.total_seconds(), self.max_clock_jump.total_seconds()
        return (
            f"this machine's clock was set {'ahead' if seconds > 0 else 'back'} by {abs(seconds):.0f} s while the inventory was open "
            f"(allowed: {longest:g} s), and nothing was written: set it right and send the command again, or, if it is right now, "
            "open the inventory again"
        )


class HostFunctionError(FaultError):
    """A function of the host returned a value that its role does not allow. Nothing was appended.

    Attributes:
        role: the role of the function, such as ``policy``.
        function: the name of the function.
        returned: the type of the value.
        expected: the rule for the function.
    """

    role: str
    function: str
    returned: str
    expected: str

    code = "host_function"

    @classmethod
    def about(cls, *, role: str, function: object, answer: object, expected: str) -> Self:
        """Return the error about the answer of a host's function. A coroutine is closed, since nobody will await it."""
        if isinstance(answer, Coroutine):
            answer.close()
        return cls(role=role, function=name_of_function(function), returned=type(answer).__name__, expected=expected)

    sentence = "{role} {function} returned a {returned}: {expected}"


def name_of_function(function: object) -> str:
    """Return the qualified name of a host's function."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


class _Named(dict[str, Any]):
    """The attributes of an error by name, for its sentence."""

    def __init__(self, error: InventoryError) -> None:
        super().__init__()
        self._error = error

    def __missing__(self, name: str) -> Any:
        value = getattr(self._error, name)
        return value.isoformat() if isinstance(value, datetime) else value


def _plain(value: object) -> Any:
    match value:
        case InventoryError():
            return value.to_dict()
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case None | bool() | int() | float() | str():
            return value
        case UUID() | StreamId():
            return str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case tuple() | list() | frozenset() | set():
            return [_plain(item) for item in value]
        case _ if attrs.has(kind := type(value)):
            return {f.name.lstrip("_"): _plain(getattr(value, f.name)) for f in attrs.fields(kind)}
        case _:
            return repr(value)
