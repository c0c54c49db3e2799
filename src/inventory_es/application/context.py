"""The context of a command: ids that go from the caller's task into the metadata of the events that it causes."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import attrs


@attrs.frozen(kw_only=True)
class CommandContext:
    """Ids that the host knows about a request.

    Attributes:
        actor_id: an opaque id of the actor, never a name or an address.
        correlation_id: the id of the whole business transaction.
        causation_id: the id of the message that caused the command.
        traceparent: the W3C trace context of the request; an extra key of the metadata.
    """

    actor_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None

    @property
    def extra(self) -> Mapping[str, str]:
        """The extra keys of the metadata of events in this context."""
        return {} if self.traceparent is None else {TRACEPARENT: self.traceparent}


TRACEPARENT = "traceparent"
"""The extra key of an event's metadata that holds the trace context."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_EMPTY = CommandContext()
_current: ContextVar[CommandContext] = ContextVar("inventory_es_command_context", default=_EMPTY)


@contextmanager
def command_context(
    *,
    actor_id: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    traceparent: str | None = None,
) -> Iterator[CommandContext]:
    """Record these ids in the metadata of every event that is caused by a command sent within the block.

    Blocks nest: an id that the inner block omits comes from the outer block. The context is captured in the caller's task, when
    the command is sent.

    A ``traceparent`` is what a request brought in its header of that name. A malformed one counts as left out, as W3C Trace Context
    demands.
    """
    outer = _current.get()
    context = CommandContext(
        actor_id=outer.actor_id if actor_id is None else actor_id,
        correlation_id=outer.correlation_id if correlation_id is None else correlation_id,
        causation_id=outer.causation_id if causation_id is None else causation_id,
        traceparent=outer.traceparent if traceparent is None or not _TRACEPARENT.fullmatch(traceparent) else traceparent,
    )
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


current_context: Callable[[], CommandContext] = _current.get
"""Return the context of the calling task."""
