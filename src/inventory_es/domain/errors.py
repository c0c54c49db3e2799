"""The error tree.

    InventoryError
    ├── RejectionError            not accepted: correct the request, nothing was changed           (domain.rejections)
    │   ├── InvalidInputError     the caller's input breaks a rule, whatever the stock
    │   ├── NotFoundError         the named reservation or process is not known
    │   └── RefusedError          the business said no
    ├── ConflictError             someone else won: read again and decide again                    (ports.errors)
    └── FaultError                broken or misused: configuration, storage, corrupt data          (here and ports.errors)

Every error carries its facts as typed attributes. The message is derived from them, says what to do, and holds no payload.
"""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Self
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId


class InventoryError(Exception):
    """Base of everything that this package raises on purpose.

    Attributes:
        code: a stable, lower-case name of the condition, for logs, metrics and API responses.
        retryable: whether the same call, sent again unchanged, may succeed.
    """

    code: ClassVar[str] = "inventory_error"
    retryable: bool = False

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return self.code

    def facts(self) -> dict[str, Any]:
        """The typed attributes by name, as Python values."""
        kind = type(self)
        return {field.name: getattr(self, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: ``code``, ``message``, ``retryable`` and the facts as plain values."""
        condition = {"code": self.code, "message": self.message, "retryable": self.retryable}
        return condition | {name: _plain(value) for name, value in self.facts().items()} | condition

    def __str__(self) -> str:
        return self.message

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.facts() == other.facts()

    def __hash__(self) -> int:
        return hash((type(self), *self.facts().items()))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type[Any], dict[str, Any]]]:
        return _rebuild, (type(self), self.facts())


class RejectionError(InventoryError):
    """The business said no. Nothing was appended; another request may succeed."""

    code = "rejected"


class InvalidInputError(RejectionError, ValueError):
    """The caller's input breaks a rule: a quantity, an identifier or a time to live. The same input is never accepted."""

    code = "invalid_input"


class NotFoundError(RejectionError):
    """A reservation or process that the caller names is not known."""

    code = "not_found"


class RefusedError(RejectionError):
    """The input is sound, and the business says no as things stand."""

    code = "refused"


class ConflictError(InventoryError):
    """Another writer moved the stream first. Nothing was appended."""

    code = "conflict"
    retryable = True


class FaultError(InventoryError):
    """Something is broken or misused: storage, configuration, corrupt data."""

    code = "fault"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class CorruptStreamError(FaultError):
    """A stream's events contradict each other: a gap, time running backwards, or a balance that does not fold.

    Raised while folding. Nothing was appended; the stream needs a person (``inventory-es verify``).
    """

    stream: StreamId
    version: int
    problem: str

    code = "corrupt_stream"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"stream {self.stream} does not fold at version {self.version}: {self.problem}; check the store with 'inventory-es verify'"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ClockSkewError(FaultError):
    """This machine's clock stands too far behind the last event of the stream. Nothing was appended."""

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


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ClockJumpError(FaultError):
    """This machine's clock was set while the inventory was open, by more than is allowed. Nothing was appended.

    Attributes:
        jump: by how much, ahead above zero, back below.
        max_clock_jump: the most that is allowed, either way.
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


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class HostFunctionError(FaultError):
    """A function of the host's gave something that its role does not know. Nothing was appended.

    Attributes:
        role: of the function, such as ``policy``.
        function: its name.
        returned: the type of what it gave.
        expected: what it is to do.
    """

    role: str
    function: str
    returned: str
    expected: str

    code = "host_function"

    @classmethod
    def about(cls, *, role: str, function: object, answer: object, expected: str) -> Self:
        """The error about ``answer``, which ``function`` gave. A coroutine is closed, since nobody will await it."""
        if isinstance(answer, Coroutine):
            answer.close()
        return cls(role=role, function=name_of_function(function), returned=type(answer).__name__, expected=expected)

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.role} {self.function} returned a {self.returned}: {self.expected}"


def name_of_function(function: object) -> str:
    """The name under which a host finds a function of its own."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _rebuild(kind: type[Any], facts: dict[str, Any]) -> Any:
    return kind(**facts)


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
