"""Idempotency: a command that was accepted is found by its first own event, however late it is sent again.

A store may carry out an append with an unknown outcome after its events were looked for in vain. It can't any more once one of the
append's streams was read beyond the expected version. It can't either once the time has passed within which the store settles.
Until then no command of the append is refused.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from datetime import datetime
from math import inf
from typing import cast
from uuid import UUID

import attrs

from inventory_es.application.commands.decision import CommandOutcome, CommandRequest, accepted
from inventory_es.application.commands.states import InventoryState, StreamReader
from inventory_es.application.results import HoldState, Reservation
from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.commands import (
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import CommandIdReusedError, RejectionError, ReservationIdTakenError
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import Remainder, Shortfall
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.errors import AppendOutcomeUnknownError
from inventory_es.ports.records import RecordedEvent, StreamWrite

_FOLLOWERS = 100
_ABOUT_RESERVATION = (ReserveStock, ExtendReservation, ConfirmReservation, ReleaseStock, CommitStock)


class Idempotency:
    """Finds commands that were accepted before in their streams.

    Args:
        reader: reads the streams.
        codec: decodes the events that are found.
    """

    def __init__(self, reader: StreamReader, codec: EventCodec) -> None:
        self._reader = reader
        self._codec = codec

    async def find(
        self, state: InventoryState, requests: Iterable[CommandRequest], *, now: datetime
    ) -> dict[CommandRequest, CommandOutcome | RejectionError]:
        """Return the first outcomes of those requests that were accepted before, or the reasons why their ids can't be used again.

        Requests that are not in the answer have no stored events as of now. A reservation may have ended since. So each outcome about
        one has its state at ``now``, and ``state`` is read up to the stream's end for that.
        """
        stream = state.inventory.inventory_id.stream
        ids = EventIds(stream)
        wanted: dict[UUID, list[CommandRequest]] = {}
        for request in requests:
            wanted.setdefault(ids.first_own(request.command), []).append(request)
        if not wanted:
            return {}
        found = await self._reader.find(stream, list(wanted))
        for waiting in wanted.values():
            for request in waiting:
                request.look_up = False
        outcomes = {
            request: await self._first_outcome(request, recorded, ids)
            for event_id, recorded in found.items()
            for request in wanted[event_id]
        }
        told = [
            (request, outcome)
            for request, outcome in outcomes.items()
            if isinstance(request.command, _ABOUT_RESERVATION) and not isinstance(outcome, RejectionError)
        ]
        if told and not self._reader.is_surely_current(state):
            await self._reader.refresh(state)
        for request, outcome in told:
            outcomes[request] = _standing(outcome, request, state.inventory, now)
        return outcomes

    async def _first_outcome(self, request: CommandRequest, first: RecordedEvent, ids: EventIds) -> CommandOutcome | RejectionError:
        command = request.command
        if self._codec.decode_metadata(first).fingerprint != fingerprint(command):
            return _used_for_something_else(command)
        last = first
        if _may_have_more(command):
            async with aclosing(self._reader.events(first.stream, after=first.version, page=_FOLLOWERS)) as followers:
                number = 1
                async for recorded in followers:
                    if recorded.event_id != ids.own(command.command_id, number):
                        break
                    last, number = recorded, number + 1
        return accepted(
            command,
            self._reader.event(last),
            at=last.recorded_at,
            version=last.version,
            position=last.position,
            replayed=request.named,
        )


@attrs.frozen(eq=False)
class UnsettledAppend:
    """An append that may still take effect.

    Attributes:
        versions: what it expects of its streams.
        until: the time at which it is settled; infinite where the store declares none.
        problem: why its outcome is unknown.
    """

    versions: Mapping[StreamId, int]
    until: float
    problem: AppendOutcomeUnknownError


class UnsettledAppends:
    """The unsettled appends of one handle on a store, by stream and command.

    Memory is bounded by the commands whose outcome is unknown. A command is forgotten when its stream moves on, or when it is asked for
    after its time has passed.

    Args:
        settles_within: seconds, as the store declares.
        monotonic: seconds that never go back.

    Attributes:
        appends: by stream and command id.
    """

    def __init__(self, settles_within: float | None, monotonic: Callable[[], float]) -> None:
        self._settles_within = settles_within
        self._monotonic = monotonic
        self.appends: dict[StreamId, dict[str, UnsettledAppend]] = {}
        self._lock = threading.RLock()

    def now(self) -> float:
        """Return the time by which appends are settled."""
        return self._monotonic()

    def add(
        self, writes: Sequence[StreamWrite], commands: Iterable[tuple[StreamId, str]], problem: AppendOutcomeUnknownError
    ) -> AppendOutcomeUnknownError:
        """Keep an append whose call has just ended.

        Args:
            writes: what may still be written.
            commands: stream and id of each command that it carries.
            problem: why its outcome is unknown.

        Returns:
            ``problem``, with the seconds after which its absence is final.
        """
        within = self._settles_within
        if within:
            cause, problem = problem, copy(problem)
            problem.retry_after, problem.__cause__ = within, cause
        if within != 0:
            append = UnsettledAppend(
                versions={write.stream: write.expected_version for write in writes},
                until=inf if within is None else self._monotonic() + within,
                problem=problem,
            )
            with self._lock:
                for stream, command_id in commands:
                    self.appends.setdefault(stream, {})[command_id] = append
        return problem

    def seen(self, stream: StreamId, version: int) -> None:
        """Forget the appends that expected an earlier version of a stream than it was read at: they take effect no more."""
        with self._lock:
            for append in {*self.appends.get(stream, {}).values()}:
                if append.versions.get(stream, version) < version:
                    self._forget(append)

    def find(self, stream: StreamId, command_id: str, *, now: float | None = None) -> UnsettledAppend | None:
        """Return the append of a command that may still take effect.

        Args:
            stream: of the command.
            command_id: its id.
            now: the time at which a look-up of the command begins, or began; the present by default.
        """
        with self._lock:
            append = self.appends.get(stream, {}).get(command_id)
            if append is None or append.until > (self._monotonic() if now is None else now):
                return append
            self._forget(append)
        return None

    def _forget(self, append: UnsettledAppend) -> None:
        for stream in append.versions:
            commands = self.appends.get(stream, {})
            for command_id in [name for name, kept in commands.items() if kept is append]:
                del commands[command_id]
            if not commands:
                self.appends.pop(stream, None)


def _standing(outcome: CommandOutcome, request: CommandRequest, inventory: Inventory, now: datetime) -> CommandOutcome:
    """Return ``outcome`` with the present state of its reservation."""
    command = cast(ReserveStock, request.command)  # or another that names a reservation
    at = request.happened_at or now
    if inventory.last_time is not None and at < inventory.last_time:
        at = inventory.last_time
    hold, closed = inventory.reservation(command.reservation_id), inventory.closed(command.reservation_id)
    state: HoldState = "CLOSED"
    remaining = 0
    if hold is not None and not hold.is_due(at):
        state, remaining = "OPEN", hold.remaining
    elif hold is not None:
        state = "EXPIRED"
    elif closed is not None:
        state = closed.outcome.value
    if isinstance(outcome, Reservation):
        return attrs.evolve(outcome, state=state, remaining=remaining)
    return attrs.evolve(outcome, state=state)


def _may_have_more(command: Command) -> bool:
    match command:
        case CommitStock():
            return command.remainder is Remainder.RELEASE
        case AdjustStock() | RecordCount():
            return command.shortfall is Shortfall.BUMP
        case _:
            return isinstance(command, ExpireReservations)


def _used_for_something_else(command: Command) -> RejectionError:
    if isinstance(command, ReserveStock):
        return ReservationIdTakenError(inventory=command.inventory_id.stream, reservation_id=command.reservation_id)
    return CommandIdReusedError(inventory=command.inventory_id.stream, command_id=command.command_id)
