"""What waits in a lane: a command to be decided, or a question about the state."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from inventory_es.application.combiner import Ticket
from inventory_es.application.context import CommandContext
from inventory_es.application.warm_states import WarmState
from inventory_es.domain.commands import Command
from inventory_es.ports.errors import AppendOutcomeUnknownError


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

    __slots__ = (
        "attempts",
        "batch_size",
        "command",
        "context",
        "expected_version",
        "happened_at",
        "look_up",
        "named",
        "observed_on_hand",
        "outcome",
        "unknown",
    )

    def __init__(
        self,
        command: Command,
        *,
        named: bool,
        expected_version: int | None,
        context: CommandContext,
        happened_at: datetime | None = None,
    ) -> None:
        super().__init__()
        self.command: Command = command
        self.named: bool = named
        self.expected_version: int | None = expected_version
        self.context: CommandContext = context
        self.happened_at: datetime | None = happened_at
        self.look_up: bool = False
        self.unknown: AppendOutcomeUnknownError | None = None
        self.observed_on_hand: int | None = None
        self.attempts: int = 0
        self.batch_size: int = 1
        self.outcome: Any = None


class ReadRequest(Ticket):
    """A question, answered from a state that was current in the store after it was asked.

    Attributes:
        read: makes the answer from the inventory, its position and the time.
        answer: what it would be told on the state as it is folded, not yet known to be current: the answer in a tuple, or the
            exception to raise.
        outcome: ``answer``, once it is known to be current; ``None`` while it is not.
    """

    __slots__ = ("answer", "outcome", "read")

    def __init__(self, read: Callable[[WarmState, datetime], Any]) -> None:
        super().__init__()
        self.read: Callable[[WarmState, datetime], Any] = read
        self.answer: Any = None
        self.outcome: Any = None


Request = CommandRequest | ReadRequest
