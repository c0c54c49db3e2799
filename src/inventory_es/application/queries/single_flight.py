"""One computation of a key at a time: who asks meanwhile gets its result."""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Generic, TypeVar

import anyio

from inventory_es.domain.errors import InventoryError

T = TypeVar("T")


class _Flight(Generic[T]):
    __slots__ = ("landed", "problem", "result")

    def __init__(self) -> None:
        self.landed: anyio.Event | None = None  # made by the first who waits: most flights have one passenger
        self.result: tuple[T] | None = None
        self.problem: Exception | None = None


class SingleFlight(Generic[T]):
    """Runs at most one computation per key. Any number of tasks of one event loop may ask.

    The first to ask computes, in its own task; the others wait. If it fails, they fail alike, and the next to ask computes anew. If it
    is cancelled, one of those who wait computes in its place: nobody is left behind, and no task of its own runs.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def run(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        """The result of this key's computation.

        Raises:
            Exception: what ``compute`` raises.
        """
        while (flight := self._flights.get(key)) is not None:
            if flight.landed is None:
                flight.landed = anyio.Event()
            await flight.landed.wait()
            if flight.result is not None:
                return flight.result[0]
            if flight.problem is not None:
                raise _own_copy(flight.problem)
        return await self._lead(key, compute)

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
            if flight.landed is not None:
                flight.landed.set()


def _own_copy(problem: Exception) -> Exception:
    """An error raised in many tasks must not collect all their tracebacks."""
    if not isinstance(problem, InventoryError):
        return problem
    own = copy(problem)
    own.__cause__ = problem
    return own
