"""The context of a command: ids that go from the caller's task into the metadata of the events that it causes."""

from collections.abc import Callable, Iterator
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
    """

    actor_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


_EMPTY = CommandContext()
_current: ContextVar[CommandContext] = ContextVar("inventory_es_command_context", default=_EMPTY)


@contextmanager
def command_context(
    *, actor_id: str | None = None, correlation_id: str | None = None, causation_id: str | None = None
) -> Iterator[CommandContext]:
    """Record these ids in the metadata of every event that is caused by a command sent within the block.

    Blocks nest: an id that the inner block omits comes from the outer block. The context is captured in the caller's task, when
    the command is sent.
    """
    outer = _current.get()
    context = CommandContext(
        actor_id=outer.actor_id if actor_id is None else actor_id,
        correlation_id=outer.correlation_id if correlation_id is None else correlation_id,
        causation_id=outer.causation_id if causation_id is None else causation_id,
    )
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


current_context: Callable[[], CommandContext] = _current.get
"""Return the context of the calling task."""
