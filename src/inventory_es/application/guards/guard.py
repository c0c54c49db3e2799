"""What may stand between a caller and a port: it makes a call, makes it again, or refuses to make it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs

from inventory_es.ports.errors import AppendOutcomeUnknownError, UnavailableError

T = TypeVar("T")

FAILURES = (UnavailableError, AppendOutcomeUnknownError)
"""What says that a backend fails. A rejection, a conflict, misuse and corruption say nothing of the kind."""


@attrs.frozen
class GuardedPort:
    """What a guard knows of the port behind it.

    Attributes:
        name: of the adapter.
        refusal: the port's own error for a call that is not made: why, and in how many seconds it may be.
    """

    name: str
    refusal: Callable[[str, float], UnavailableError]


class Guard(Protocol):
    """Makes the calls of a port, each in its own way. Any number of tasks of one event loop may call at once."""

    async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:
        """Make one call.

        Args:
            call: makes it; making it again is the same call with the same arguments.
            port: whose.
            operation: the name of the method.
            is_repeatable: whether it may be made again after a failure.
        """
        ...


@attrs.frozen
class GuardChain:
    """Guards of one port, the outermost first.

    Attributes:
        port: whose.
        guards: who guards it.
    """

    port: GuardedPort
    guards: Sequence[Guard]

    async def run(self, operation: str, call: Callable[[], Awaitable[T]], *, is_repeatable: bool = True) -> T:
        """Make one call through all of them."""
        for guard in reversed(self.guards):
            call = partial(guard.run, call, self.port, operation, is_repeatable=is_repeatable)
        return await call()
