"""What waits in a lane: a command to be decided, or a question about the state."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from inventory_es.application.commands.batching import Ticket
from inventory_es.application.commands.warm_states import WarmState
from inventory_es.application.context import CommandContext
from inventory_es.domain.commands import Command
from inventory_es.ports.errors import AppendOutcomeUnknownError


@attrs.define(eq=False)
class CommandRequest(Ticket):
    """One command on its way to an outcome.

    Attributes:
        command: what is asked.
        named: whether the caller chose its id, so that it may have been sent before.
        expected_version: the version that the host insists on; ``None``: the handler's own business.
        context: captured in the caller's task.
        happened_at: the time that the caller gives; ``None``: the clock's.
        look_up: whether to look for its stored events before deciding (again).
        unknown: why nobody knows whether an append that carried it was stored; ``None``: none did so.
        observed_on_hand: for a count of an older version: units on hand then.
        attempts: how often it was decided.
        batch_size: how many requests were served together with it.
        outcome: the result, or the exception to raise; ``None`` while there is none.
    """

    command: Command
    named: bool = attrs.field(kw_only=True)
    expected_version: int | None = attrs.field(kw_only=True)
    context: CommandContext = attrs.field(kw_only=True)
    happened_at: datetime | None = attrs.field(default=None, kw_only=True)
    look_up: bool = attrs.field(default=False, init=False)
    unknown: AppendOutcomeUnknownError | None = attrs.field(default=None, init=False)
    observed_on_hand: int | None = attrs.field(default=None, init=False)
    attempts: int = attrs.field(default=0, init=False)
    batch_size: int = attrs.field(default=1, init=False)
    outcome: Any = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class ReadRequest(Ticket):
    """A question, answered from a state that was current in the store after it was asked.

    Attributes:
        read: makes the answer from the inventory, its position and the time.
        answer: what it would be told on the state as it is folded, not yet known to be current: the answer in a tuple, or the
            exception to raise.
        outcome: ``answer``, once it is known to be current; ``None`` while it is not.
    """

    read: Callable[[WarmState, datetime], Any]
    answer: Any = attrs.field(default=None, init=False)
    outcome: Any = attrs.field(default=None, init=False)


Request = CommandRequest | ReadRequest
