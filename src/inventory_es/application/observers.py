"""Records of what the engine does, for the observers of a host."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from inspect import iscoroutinefunction
from typing import Any, Literal, NamedTuple

import attrs

from inventory_es.application.context import CommandContext
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.records import NewEvent, RecordedEvent

_log = logging.getLogger("inventory_es")
_METHODS = (
    "command_finished",
    "append_finished",
    "call_retried",
    "breaker_changed",
    "cache_failed",
    "projection_advanced",
    "command_started",
    "cache_read",
    "publish_finished",
)


class CommandStarted(NamedTuple):
    """A command is about to be executed. An observer may return the context that it gets in the place of ``context``.

    Attributes:
        command: the command.
        context: what its events record, so far.
    """

    command: Command
    context: CommandContext


class CommandFinished(NamedTuple):
    """A command has its outcome. A tuple, because every command makes one.

    Attributes:
        command: the command's class name.
        command_id: its id.
        stream: of the inventory.
        outcome: ``accepted``, ``replayed``, ``no_op``, ``rejected``, or ``failed`` (a conflict or a fault).
        error: the error's ``code`` where it was rejected or failed; ``commands_rejected`` for each command of a refused ``execute_all``.
        seconds: from call to result.
        attempts: number of times it was decided; 0 where it was answered, or failed, before.
        batch_size: number of commands decided together with it, itself included.
        version: of the stream after it; 0 where it failed.
        quantity: the units that it names; ``None`` where it names none.
        waiting: number of commands that waited in its lane when it came.
        context: what its events record.
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
    quantity: int | None
    waiting: int
    context: CommandContext


@attrs.frozen(kw_only=True)
class AppendFinished:
    """A call to the store has ended.

    Attributes:
        store: the adapter's class name.
        groups: number of independent appends in it.
        events: number of events.
        seconds: duration of the call.
        error: the error's ``code`` where the call failed as a whole.
        conflicts: number of its appends that met another writer.
        new_events: the events of the call.
    """

    store: str
    groups: int
    events: int
    seconds: float
    error: str | None
    conflicts: int
    new_events: Sequence[NewEvent]


@attrs.frozen(kw_only=True)
class CallRetried:
    """A call to a port failed and is made again.

    Attributes:
        port: the adapter's class name.
        operation: the method.
        attempt: number of the failed attempt, from 1.
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
        failures: number of failures in a row.
        error: the ``code`` of the failure that opened it; ``None`` otherwise.
    """

    breaker: str
    before: Literal["closed", "open", "half_open"]
    after: Literal["closed", "open", "half_open"]
    failures: int
    error: str | None


@attrs.frozen(kw_only=True)
class CacheRead:
    """A query has looked for its answer in the cache.

    Attributes:
        cache: the adapter's class name.
        result: ``hit``, or ``miss`` where the answer was absent, or older than what is known.
    """

    cache: str
    result: Literal["hit", "miss"]


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
        position: every event up to it is in the rows now.
        events: number of wanted events in the batch.
        changes: number of changes of rows in the commit.
        seconds: from the end of reading the batch to the end of the commit.
        error: place and reason of a failure; ``None`` while there is none.
        recorded: the wanted events.
        lag: seconds from the time of the last of them to the commit; 0 where there is none.
    """

    projection: str
    position: int
    events: int
    changes: int
    seconds: float
    error: str | None
    recorded: Sequence[RecordedEvent]
    lag: float


@attrs.frozen(kw_only=True)
class PublishFinished:
    """A relay's call to the bus has ended.

    Attributes:
        relay: its name.
        bus: the adapter's class name.
        recorded: the events.
        seconds: duration of the call.
        lag: seconds from the time of the last event to the end of the call.
        error: the error's ``code``, or its class where it has none; ``None`` where the bus took the events.
    """

    relay: str
    bus: str
    recorded: Sequence[RecordedEvent]
    seconds: float
    lag: float
    error: str | None


class Observers:
    """The observers of a host. Each record goes to those with a method of its name; an observer's failure is logged, and never raised.

    Attributes:
        of_commands: True if any observer takes :class:`CommandStarted` or :class:`CommandFinished`.
        of_starts: True if any observer takes :class:`CommandStarted`.
        of_appends: True if any observer takes :class:`AppendFinished`.
        of_cache_reads: True if any observer takes :class:`CacheRead`.
        command_finished: notifies every observer of commands.
        append_finished: notifies every observer of appends.
        call_retried: notifies every observer of repeated calls.
        breaker_changed: notifies every observer of circuit breakers.
        cache_read: notifies every observer of reads of caches.
        cache_failed: notifies every observer of caches.
        projection_advanced: notifies every observer of projections.
        publish_finished: notifies every observer of relays.

    Args:
        observers: objects with any of ``command_started(record)``, ``command_finished(record)``, ``append_finished(record)``,
            ``call_retried(record)``, ``breaker_changed(record)``, ``cache_read(record)``, ``cache_failed(record)``,
            ``projection_advanced(record)``, ``publish_finished(record)``; called synchronously.

    Raises:
        TypeError: an observer has none of these methods, or one that would have to be awaited.
    """

    def __init__(self, observers: Sequence[object] = ()) -> None:
        for one in observers:
            _check(one)
        methods = {name: [getattr(one, name) for one in observers if callable(getattr(one, name, None))] for name in _METHODS}
        self._starts: Sequence[Callable[[CommandStarted], object]] = methods["command_started"]
        self.of_starts: bool = bool(self._starts)
        self.of_commands: bool = self.of_starts or bool(methods["command_finished"])
        self.of_appends: bool = bool(methods["append_finished"])
        self.of_cache_reads: bool = bool(methods["cache_read"])
        self.command_finished: Callable[[CommandFinished], None] = _notifier(methods["command_finished"])
        self.append_finished: Callable[[AppendFinished], None] = _notifier(methods["append_finished"])
        self.call_retried: Callable[[CallRetried], None] = _notifier(methods["call_retried"])
        self.breaker_changed: Callable[[BreakerChanged], None] = _notifier(methods["breaker_changed"])
        self.cache_read: Callable[[CacheRead], None] = _notifier(methods["cache_read"])
        self.cache_failed: Callable[[CacheFailed], None] = _notifier(methods["cache_failed"])
        self.projection_advanced: Callable[[ProjectionAdvanced], None] = _notifier(methods["projection_advanced"])
        self.publish_finished: Callable[[PublishFinished], None] = _notifier(methods["publish_finished"])

    def command_started(self, command: Command, context: CommandContext) -> CommandContext:
        """Notify every observer of commands that begin, and return the context of the command."""
        for method in self._starts:
            record = tuple.__new__(CommandStarted, (command, context))  # every command makes one: a call less than its constructor
            try:
                answer = method(record)
                if answer is not None:
                    _refuse_coroutine(method, answer)
                    context = answer if isinstance(answer, CommandContext) else context
            except Exception:  # noqa: BLE001  # an observer must not change the outcome of what it observes
                _log.exception("observer_failed", extra={"record": "CommandStarted"})
        return context


def _notifier(methods: Sequence[Callable[[Any], object]]) -> Callable[[Any], None]:
    """Return a function that calls all methods with a record. Failures are logged."""

    def notify(record: object) -> None:
        for method in methods:
            try:
                answer = method(record)
                if answer is not None:
                    _refuse_coroutine(method, answer)
            except Exception:  # noqa: BLE001  # an observer must not change the outcome of what it observes
                _log.exception("observer_failed", extra={"record": type(record).__name__})

    return notify


def _refuse_coroutine(method: Callable[[Any], object], answer: object) -> None:
    if isinstance(answer, Coroutine):
        raise HostFunctionError.about(role="observer", function=method, answer=answer, expected="it is called without await")


def lag_of(events: Sequence[RecordedEvent], clock: Clock) -> float:
    """Return the seconds since the time of the last of these events; 0 where there is none, or where another clock is ahead."""
    return max(0.0, (clock.now() - events[-1].recorded_at).total_seconds()) if events else 0.0


def _check(observer: object) -> None:
    """Refuse an observer that would never be notified, or whose methods would never run."""
    methods = [name for name in _METHODS if callable(getattr(observer, name, None))]
    if not methods:
        msg = f"an observer has any of the methods {', '.join(_METHODS)}; a {type(observer).__name__} has none"
        raise TypeError(msg)
    for name in methods:
        if iscoroutinefunction(getattr(observer, name)):
            msg = f"{type(observer).__name__}.{name} must be no coroutine function: observers are called without await"
            raise TypeError(msg)
