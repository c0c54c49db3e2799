"""The circuit breaker: it refuses calls to a backend that keeps failing, and tries with one call if the backend is back.

::

            failures in a row                 the pause is over: one call goes through
    closed ──────────────────► open ────────────────────────────────────────► half-open
      ▲                          ▲                                             │  │
      │                          └──────────── the trial fails ────────────────┘  │
      └─────────────────────────────────── the trial succeeds ────────────────────┘

A trial that ends without a verdict (cancelled, or misuse) frees its place: the next call is the trial. A trial that does not end within
the pause has lost its place. Calls carry the era in which they began, and a verdict counts in its own era alone. So a late result from
before the breaker opened does not open or close it.

M. Nygard, "Release It!", 2nd edition, Pragmatic Bookshelf 2018, chapter 5, names the pattern and its states.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import attrs

from inventory_es.application.guards.guard import FAILURES, GuardedPort
from inventory_es.application.observers import BreakerChanged, Observers
from inventory_es.domain.errors import ConflictError
from inventory_es.ports.toolkit.waiting import now

T = TypeVar("T")

Phase = Literal["closed", "open", "half_open"]


@attrs.frozen(kw_only=True)
class BreakerState:
    """The state of a circuit breaker.

    Attributes:
        phase: ``closed`` (calls go through), ``open`` (calls are refused), ``half_open`` (one call, the trial, goes through).
        failures: number of failures in a row.
        retry_after: seconds until a call may go through; 0 if it may now.
    """

    phase: Phase
    failures: int
    retry_after: float


class CircuitBreaker:
    """A guard that refuses calls while its backend keeps failing. All ports of one backend share one breaker.

    Failures are ``UnavailableError`` and ``AppendOutcomeUnknownError``. An answer or a conflict shows that the backend works;
    misuse, corruption and cancellation show nothing. A refused call gets the port's own unavailable error, with ``retry_after``.

    Args:
        name: of the backend, for messages and observers.
        threshold: failures in a row after which it opens, 1 or more.
        pause: seconds from opening to the trial, above 0.
        observers: objects with ``breaker_changed(record)``.
        monotonic: seconds that never go back.

    Raises:
        ValueError: ``threshold`` or ``pause`` out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: int = 5,
        pause: float = 30.0,
        observers: Sequence[object] = (),
        monotonic: Callable[[], float] = now,
    ) -> None:
        if threshold < 1 or not pause > 0:
            msg = "threshold must be 1 or more failures, pause above 0 seconds"
            raise ValueError(msg)
        self._name = name
        self._threshold = threshold
        self._pause = pause
        self._observers = Observers(observers)
        self._monotonic = monotonic
        self._phase: Phase = "closed"
        self._failures = 0
        self._era = 0
        self._refuses_until = 0.0

    @property
    def state(self) -> BreakerState:
        """The state now."""
        left = 0.0 if self._phase == "closed" else max(0.0, self._refuses_until - self._monotonic())
        return BreakerState(phase=self._phase, failures=self._failures, retry_after=left)

    async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:  # noqa: ARG002  # part of the protocol
        """Make one call, or refuse it. See :meth:`Guard.run`.

        Raises:
            UnavailableError: the port's own; the call was refused.
        """
        era = self._admit(port)
        try:
            result = await call()
        except FAILURES as problem:
            self._failed(era, problem.code)
            raise
        except ConflictError:
            self._answered(era)
            raise
        except BaseException:
            self._learned_nothing(era)
            raise
        self._answered(era)
        return result

    def _admit(self, port: GuardedPort) -> int:
        if self._phase != "closed":
            now = self._monotonic()
            if now < self._refuses_until:
                reason = f"the circuit breaker {self._name!r} is {self._phase.replace('_', '-')}"
                raise port.refusal(reason, self._refuses_until - now)
            self._enter("half_open", refuses_until=now + self._pause)
        return self._era

    def _failed(self, era: int, error: str) -> None:
        if era == self._era:
            self._failures += 1
            if self._phase == "half_open" or self._failures >= self._threshold:
                self._enter("open", refuses_until=self._monotonic() + self._pause, error=error)

    def _answered(self, era: int) -> None:
        if era == self._era:
            self._failures = 0
            if self._phase == "half_open":
                self._enter("closed")

    def _learned_nothing(self, era: int) -> None:
        if era == self._era and self._phase == "half_open":
            self._era += 1
            self._refuses_until = self._monotonic()

    def _enter(self, phase: Phase, *, refuses_until: float = 0.0, error: str | None = None) -> None:
        before, self._phase = self._phase, phase
        self._era += 1
        self._refuses_until = refuses_until
        if phase != before:
            record = BreakerChanged(breaker=self._name, before=before, after=phase, failures=self._failures, error=error)
            self._observers.breaker_changed(record)
