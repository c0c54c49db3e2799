"""What the engine tells a host about itself: typed records, given to observers."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from inspect import iscoroutinefunction
from typing import Any, Literal

import attrs

from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.stream_id import StreamId

_log = logging.getLogger("inventory_es")
_METHODS = ("command_finished", "append_finished", "call_retried", "breaker_changed", "cache_failed", "projection_advanced")


@attrs.frozen(kw_only=True)
class CommandFinished:
    """One command has its outcome.

    Attributes:
        command: the command's class name.
        command_id: its id.
        stream: which inventory.
        outcome: ``accepted``, ``replayed``, ``no_op``, ``rejected``, or ``failed`` (a conflict or a fault).
        error: the error's ``code`` where it was rejected or failed.
        seconds: from sending to answering.
        attempts: how often it was decided; 0 where it was answered, or failed, before.
        batch_size: how many commands were decided together with it, itself included.
        version: of the stream after it; 0 where it failed.
    """

    command: str
    command_id: str
    stream: StreamId
    outcome: Literal["accepted", "replayed", "no_op", "rejected", "failed"]
    error: str | None
    seconds: float
    attempts: int
    batch_size: int
    version: int


@attrs.frozen(kw_only=True)
class AppendFinished:
    """One call to the store has ended.

    Attributes:
        groups: how many independent appends it carried.
        events: how many events.
        seconds: how long it took.
        error: the error's ``code`` where the call failed as a whole.
    """

    groups: int
    events: int
    seconds: float
    error: str | None


@attrs.frozen(kw_only=True)
class CallRetried:
    """A call to a port failed and is made again.

    Attributes:
        port: the adapter's class name.
        operation: the method.
        attempt: which attempt failed, from 1.
        error: its error's ``code``.
        wait: seconds until the next attempt.
    """

    port: str
    operation: str
    attempt: int
    error: str
    wait: float


@attrs.frozen(kw_only=True)
class BreakerChanged:
    """A circuit breaker entered another phase.

    Attributes:
        breaker: its name.
        before: the phase that it left.
        after: the phase that it is in.
        failures: in a row, up to now.
        error: the ``code`` of the failure that opened it; ``None`` otherwise.
    """

    breaker: str
    before: Literal["closed", "open", "half_open"]
    after: Literal["closed", "open", "half_open"]
    failures: int
    error: str | None


@attrs.frozen(kw_only=True)
class CacheFailed:
    """The cache of the queries failed, and the query went on without it.

    Attributes:
        cache: the adapter's class name.
        operation: ``get``, ``set`` or ``invalidate``.
        error: the error's ``code``, or its class where it has none.
    """

    cache: str
    operation: Literal["get", "set", "invalidate"]
    error: str


@attrs.frozen(kw_only=True)
class ProjectionAdvanced:
    """A projection has committed.

    Attributes:
        projection: name and version.
        position: everything up to it is in the rows now.
        events: how many wanted events the batch had.
        changes: how many changes of rows were committed.
        seconds: from having read the batch to the end of the commit.
        error: where and why it fails; ``None`` while it does not.
    """

    projection: str
    position: int
    events: int
    changes: int
    seconds: float
    error: str | None


class Observers:
    """Hands each record to the observers that have a method of its name. An observer's own failure is logged, never the caller's.

    Args:
        observers: objects with any of ``command_finished(record)``, ``append_finished(record)``, ``call_retried(record)``,
            ``breaker_changed(record)``, ``cache_failed(record)``, ``projection_advanced(record)``; called synchronously.

    Raises:
        TypeError: an observer that has none of them, or that would have to be awaited.
    """

    def __init__(self, observers: Sequence[object] = ()) -> None:
        _check(observers)
        self._command_finished = _methods(observers, "command_finished")
        self._append_finished = _methods(observers, "append_finished")
        self._call_retried = _methods(observers, "call_retried")
        self._breaker_changed = _methods(observers, "breaker_changed")
        self._cache_failed = _methods(observers, "cache_failed")
        self._projection_advanced = _methods(observers, "projection_advanced")

    @property
    def of_commands(self) -> bool:
        """Whether anybody wants :class:`CommandFinished`."""
        return bool(self._command_finished)

    @property
    def of_appends(self) -> bool:
        """Whether anybody wants :class:`AppendFinished`."""
        return bool(self._append_finished)

    def command_finished(self, record: CommandFinished) -> None:
        """Tell everybody."""
        _tell(self._command_finished, record)

    def append_finished(self, record: AppendFinished) -> None:
        """Tell everybody."""
        _tell(self._append_finished, record)

    def call_retried(self, record: CallRetried) -> None:
        """Tell everybody."""
        _tell(self._call_retried, record)

    def breaker_changed(self, record: BreakerChanged) -> None:
        """Tell everybody."""
        _tell(self._breaker_changed, record)

    def cache_failed(self, record: CacheFailed) -> None:
        """Tell everybody."""
        _tell(self._cache_failed, record)

    def projection_advanced(self, record: ProjectionAdvanced) -> None:
        """Tell everybody."""
        _tell(self._projection_advanced, record)


def _check(observers: Sequence[object]) -> None:
    """Refuse what would never be told anything, or never run."""
    for one in observers:
        methods = [name for name in _METHODS if callable(getattr(one, name, None))]
        if not methods:
            msg = f"an observer has any of the methods {', '.join(_METHODS)}; a {type(one).__name__} has none"
            raise TypeError(msg)
        for name in methods:
            if iscoroutinefunction(getattr(one, name)):
                msg = f"{type(one).__name__}.{name} must be no coroutine function: observers are called without await"
                raise TypeError(msg)


def _methods(observers: Sequence[object], name: str) -> tuple[Callable[[Any], object], ...]:
    return tuple(getattr(one, name) for one in observers if hasattr(one, name))


def _tell(told: Sequence[Callable[[Any], object]], record: object) -> None:
    for tell in told:
        try:
            answer = tell(record)
            if isinstance(answer, Coroutine):
                raise HostFunctionError.about(role="observer", function=tell, answer=answer, expected="it is called without await")  # noqa: TRY301  # logged as any
        except Exception:  # noqa: BLE001  # an observer must not change the outcome of what it observes
            _log.exception("observer_failed", extra={"record": type(record).__name__})
