"""One computation of a key at a time: who asks meanwhile gets its result."""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Generic, TypeVar

import anyio
import attrs

from inventory_es.domain.errors import InventoryError

T = TypeVar("T")


@attrs.define(eq=False)
class _Flight(Generic[T]):
    landed: anyio.Event = attrs.field(factory=anyio.Event)
    result: tuple[T] | None = None
    problem: Exception | None = None


class SingleFlight(Generic[T]):
    """Runs at most one computation per key. Any number of tasks of one event loop may ask.

    The first to ask computes, in its own task; the others wait. If it fails, they fail alike, and the next to ask computes anew. If it
    is cancelled, one of those who wait computes in its place: nobody is left behind, and no task of its own runs.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def run(self, key: str, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result of this key's computation, and whether this caller made it.

        Raises:
            Exception: what ``compute`` raises.
        """
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.result is not None:
                return flight.result[0], False
            if flight.problem is not None:
                raise _own_copy(flight.problem)
        return await self._lead(key, compute), True

    def forget(self, key: str) -> None:
        """Let whoever asks from now on compute anew, also while a computation is under way."""
        self._flights.pop(key, None)

    async def _lead(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight[T]()
        try:
            result = await compute()
        except Exception as problem:
            flight.problem = problem
            raise
        else:
            flight.result = (result,)
            return result
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.landed.set()


def _own_copy(problem: Exception) -> Exception:
    """An error raised in many tasks must not collect all their tracebacks."""
    if not isinstance(problem, InventoryError):
        return problem
    own = copy(problem)
    own.__cause__ = problem
    return own
