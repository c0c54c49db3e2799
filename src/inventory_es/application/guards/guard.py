"""A guard: it stands between a caller and a port, and makes a call, makes it again, or refuses to make it."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs

from inventory_es.ports.errors import AppendOutcomeUnknownError, UnavailableError

T = TypeVar("T")

FAILURES = (UnavailableError, AppendOutcomeUnknownError)
"""Errors that say that a backend fails. A rejection, a conflict, misuse and corruption say nothing of the kind."""


@attrs.frozen
class GuardedPort:
    """A port, as its guards see it.

    Attributes:
        name: of the adapter.
        refusal: makes the port's own error for a call that is not made, from the reason and the seconds until it may be made.
    """

    name: str
    refusal: Callable[[str, float], UnavailableError]


class Guard(Protocol):
    """A guard of ports. Any number of tasks of one event loop, or of threads, may call at once."""

    async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:
        """Make one call.

        Args:
            call: makes it; making it again is the same call with the same arguments.
            port: the port.
            operation: the name of the method.
            is_repeatable: True if the call may be made again after a failure.
        """
        ...
