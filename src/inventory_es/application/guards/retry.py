"""The retry guard: it makes a call again after a failure that may pass."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from inventory_es.application.guards.guard import FAILURES, GuardedPort
from inventory_es.application.observers import CallRetried, Observers
from inventory_es.ports.errors import AppendOutcomeUnknownError, UnavailableError
from inventory_es.ports.toolkit.waiting import pause

T = TypeVar("T")


class Retry:
    """A guard that makes a call again, with the same arguments, while its backend is away.

    It repeats calls that failed with an ``UnavailableError``. It also repeats calls that failed with ``AppendOutcomeUnknownError``, since
    an append is idempotent by the ids of its events. Every other error, and one that is not retryable, such as a full disk's, goes to the
    caller at once. So does an error whose ``retry_after`` is longer than the planned wait.

    After the last attempt the caller gets the last error, with one exception. Once the outcome of an attempt is unknown, only an answer of
    the store makes it known. A later "nothing was written" then stays ``AppendOutcomeUnknownError``.

    Args:
        waits: seconds before each attempt, the first included: as many attempts as there are numbers.
        chance: a number from 0 up to, not including, 1. It cuts each wait by up to a half, so that callers that failed together don't
            come back together; ``None`` for no jitter.
        observers: objects with ``call_retried(record)``.
        sleep: waits for seconds.

    Raises:
        ValueError: no waits, or one below 0.
    """

    def __init__(
        self,
        *,
        waits: Sequence[float] = (0.0, 1.0, 2.0),
        chance: Callable[[], float] | None = None,
        observers: Sequence[object] = (),
        sleep: Callable[[float], Awaitable[object]] = pause,
    ) -> None:
        if not waits or not all(wait >= 0 for wait in waits):
            msg = "waits has one number of seconds, 0 or more, for each attempt"
            raise ValueError(msg)
        self._waits = tuple(waits)
        self._chance = chance
        self._observers = Observers(observers)
        self._sleep = sleep

    async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:
        """Make one call, with several attempts. See :meth:`Guard.run`."""
        attempts = len(self._waits) if is_repeatable else 1
        unknown: AppendOutcomeUnknownError | None = None
        attempt, wait = 1, self._wait_before(1)
        while True:
            if wait:
                await self._sleep(wait)
            try:
                return await call()
            except FAILURES as problem:
                if isinstance(problem, AppendOutcomeUnknownError):
                    unknown = problem
                wait = self._wait_before(attempt + 1) if attempt < attempts else float("-inf")
                if not problem.retryable or wait < _earliest(problem):
                    if unknown is None or unknown is problem:
                        raise
                    raise unknown from problem
                record = CallRetried(port=port.name, operation=operation, attempt=attempt, error=problem.code, wait=wait)
                self._observers.call_retried(record)
                attempt += 1
            except BaseException as interrupted:
                if unknown is not None:  # an earlier attempt was perhaps written
                    raise interrupted from unknown
                raise

    def _wait_before(self, attempt: int) -> float:
        wait = self._waits[attempt - 1]
        return wait if self._chance is None else wait * (0.5 + 0.5 * self._chance())


def _earliest(problem: UnavailableError | AppendOutcomeUnknownError) -> float:
    """Return the seconds after which the call may succeed."""
    return (problem.retry_after or 0.0) if isinstance(problem, UnavailableError) else 0.0
