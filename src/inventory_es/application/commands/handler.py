"""The command side: load, decide, append, and what happens when somebody else was faster."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, cast

from inventory_es.application.commands.basket import Basket
from inventory_es.application.commands.decision import CommandOutcome, CommandRequest, Decider
from inventory_es.application.commands.lane import Lanes, ReadRequest
from inventory_es.application.commands.repository import Repository
from inventory_es.application.commands.states import InventoryState
from inventory_es.application.commands.waiting import Waiting
from inventory_es.application.context import current_context
from inventory_es.application.observers import CommandFinished, Observers
from inventory_es.application.results import CommandResult, Reservation
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import InventoryError, RejectionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import UnsupportedCapabilityError
from inventory_es.ports.records import StreamWrite

T = TypeVar("T")


class CommandHandler:
    """Executes commands against an event store, optimistically, each caller with its own outcome.

    Args:
        repository: loads states, finds earlier commands, appends.
        decider: decides commands.
        observers: are told about each command.
        monotonic: seconds that never go back, for durations.
        waiting: how callers wait for each other.
    """

    def __init__(
        self, repository: Repository, decider: Decider, observers: Observers, monotonic: Callable[[], float], waiting: Waiting
    ) -> None:
        self._repository = repository
        self._decider = decider
        self._observers = observers
        self._is_watched = observers.of_commands
        self._monotonic = monotonic
        self._lanes = Lanes(repository, decider, waiting)

    async def execute(self, command: Command, *, named: bool = True, expected_version: int | None = None) -> CommandOutcome:
        """Execute one command.

        Args:
            command: what is asked.
            named: whether the caller chose the command's id; a minted one can't have been sent before.
            expected_version: refuse unless the stream has this version; no silent retry then.

        Raises:
            RejectionError: the business says no; nothing was appended.
            ConcurrencyError: ``expected_version`` does not hold, or others kept winning. Nothing was appended.
            ClockSkewError: this machine's clock stands too far behind the stream.
            ClockJumpError: it was set by too much since the inventory was opened.
            LaneFullError: too many commands wait for this inventory already; this one was not sent.
            AppendOutcomeUnknownError: perhaps appended; it carries the command, which is safe to send again.
            StoreUnavailableError: nothing was appended.
        """
        request = CommandRequest(command, named=named, expected_version=expected_version, context=current_context())
        if not self._is_watched:
            await self._lanes.submit(command.inventory_id, request)
        else:
            started, waiting = self._monotonic(), self._lanes.waiting(command.inventory_id)
            if self._observers.of_starts:
                request.context = self._observers.command_started(command, request.context)
            try:
                await self._lanes.submit(command.inventory_id, request)
            finally:
                self._observers.command_finished(self._record(request, started, waiting))
        if isinstance(request.outcome, CommandResult | Reservation):
            return request.outcome
        try:
            return cast(CommandOutcome, _unwrap(request.outcome))
        finally:
            del request  # an error that is raised names this frame, and would be freed by the garbage collector alone

    async def execute_all(
        self,
        commands: Sequence[Command],
        *,
        writes: Sequence[StreamWrite] = (),
        times: Sequence[datetime] | None = None,
        named: bool = True,
    ) -> list[CommandOutcome]:
        """Execute all commands or none, with ``writes`` to streams of the host's own, in one atomic append.

        Commands on one inventory take effect one after the other, in the order given. Commands that were accepted before
        count as done. ``times`` has the time of each, for what happened earlier; the clock's by default.

        Raises:
            CommandsRejectedError: names every command that is refused; nothing was appended.
            UnsupportedCapabilityError: several streams, and the store can't append to several at once.
            ConcurrencyError: a write of the host's own met another version, or others kept winning. Nothing was appended.
            ClockSkewError: a time far before the last event of its stream.
            ClockJumpError: the clock was set by too much since the inventory was opened, and ``times`` are not given.
            ValueError: one command id twice for one inventory; a write to a stream of an inventory; times that are not UTC, or not one
                per command.
        """
        _check_basket(commands, writes)
        happened = [None] * len(commands) if times is None else _check_times(commands, times)
        context = current_context()
        requests = [
            CommandRequest(one, named=named, expected_version=None, context=context, happened_at=at)
            for one, at in zip(commands, happened, strict=True)
        ]
        inventories = list({one.inventory_id: None for one in commands})
        if len(inventories) + len(writes) > 1 and not self._repository.store.capabilities.multi_stream:
            raise UnsupportedCapabilityError(
                store=self._repository.store_name,
                capability="multi_stream",
                way_out="execute the commands one by one under reservation ids of your own, and release what was held when one is refused",
            )
        started = self._monotonic() if self._is_watched else 0.0
        if self._is_watched:
            for request in requests:
                request.context = self._observers.command_started(request.command, request.context)
        try:
            async with self._lanes.hold(inventories):
                await Basket(self._repository, self._decider, requests, writes).execute()
        except Exception as problem:
            for request in requests:
                request.outcome = problem
            raise
        finally:
            if self._is_watched:
                for request in requests:
                    self._observers.command_finished(self._record(request, started, 0))
        return [cast(CommandOutcome, request.outcome) for request in requests]

    async def read(self, inventory_id: InventoryId, read: Callable[[InventoryState, datetime], T]) -> T:
        """Answer a question from the state as the store has it now.

        Args:
            inventory_id: of which inventory.
            read: makes the answer from the state and the time; it must not keep or change the state.
        """
        request = ReadRequest(inventory_id, read)
        await self._lanes.submit(inventory_id, request)
        try:
            return cast(tuple[T], _unwrap(request.outcome))[0]
        finally:
            del request

    def _record(self, request: CommandRequest, started: float, waiting: int) -> CommandFinished:
        outcome, error, version = _verdict(request.outcome)
        command = request.command
        values = (
            type(command).__name__,
            command.command_id,
            command.inventory_id.stream,
            outcome,
            error,
            self._monotonic() - started,
            request.attempts,
            request.batch_size,
            version,
            getattr(command, "quantity", None),
            waiting,
            request.context,
        )
        return tuple.__new__(CommandFinished, values)  # every command makes one: a call less than its constructor


def _verdict(outcome: Any) -> tuple[Literal["accepted", "replayed", "no_op", "rejected", "failed"], str | None, int]:
    if isinstance(outcome, Reservation):
        return "replayed" if outcome.replayed else "accepted", None, outcome.version
    if outcome is None:
        return "failed", "cancelled", 0
    if isinstance(outcome, BaseException):
        answer: Literal["rejected", "failed"] = "rejected" if isinstance(outcome, RejectionError) else "failed"
        return answer, outcome.code if isinstance(outcome, InventoryError) else type(outcome).__name__, 0
    return "replayed" if outcome.replayed else "accepted" if outcome.changed else "no_op", None, outcome.version


def _unwrap(outcome: Any) -> Any:
    if isinstance(outcome, BaseException):
        try:
            raise outcome
        finally:
            del outcome
    if outcome is None:
        msg = "a request was left without an outcome"
        raise RuntimeError(msg)
    return outcome


def _check_basket(commands: Sequence[Command], writes: Sequence[StreamWrite]) -> None:
    _check_kinds("commands", commands, Command, "commands")
    _check_kinds("writes", writes, StreamWrite, "StreamWrite")
    names = {(one.inventory_id, one.command_id) for one in commands}
    if len(names) < len(commands):
        msg = "a command id stands twice for one inventory: every line of a basket needs an id of its own"
        raise ValueError(msg)
    if not commands and not writes:
        msg = "a basket needs at least one command"
        raise ValueError(msg)
    for write in writes:
        if write.stream.category == "inventory":
            msg = f"{write.stream} is the stream of an inventory: change it with commands"
            raise ValueError(msg)


def _check_kinds(name: str, values: object, kind: Any, told: str) -> None:
    """Refuse what is no sequence of values of one kind."""
    wrong = [] if isinstance(values, Sequence) else [values]
    wrong += [] if wrong else [one for one in cast(Sequence[object], values) if not isinstance(one, kind)]
    if wrong:
        msg = f"{name} must be a sequence of {told}: {type(wrong[0]).__name__} is none"
        raise TypeError(msg)


def _check_times(commands: Sequence[Command], times: Sequence[datetime]) -> Sequence[datetime]:
    _check_kinds("times", times, datetime, "aware datetimes in UTC")
    if len(times) != len(commands):
        msg = f"{len(commands)} commands need as many times, not {len(times)}"
        raise ValueError(msg)
    if any(one.utcoffset() != timedelta(0) for one in times):
        msg = "the time of a command must be an aware datetime in UTC"
        raise ValueError(msg)
    return times
