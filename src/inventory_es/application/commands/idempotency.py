"""Whether a command was accepted before: by its first own event, for ever."""

from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from typing import cast
from uuid import UUID

import attrs

from inventory_es.application.commands.outcomes import Outcome, accepted
from inventory_es.application.commands.requests import CommandRequest
from inventory_es.application.commands.states import StreamReader
from inventory_es.application.commands.warm_states import WarmState
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
from inventory_es.ports import RecordedEvent
from inventory_es.ports.codec import EventCodec

_FOLLOWERS = 100
_ABOUT_RESERVATION = (ReserveStock, ExtendReservation, ConfirmReservation, ReleaseStock, CommitStock)


class ReplayCheck:
    """Looks commands up in their stream.

    Args:
        reader: reads the streams.
        codec: decodes what is found.
    """

    def __init__(self, reader: StreamReader, codec: EventCodec) -> None:
        self._reader = reader
        self._codec = codec

    async def look_up(
        self, state: WarmState, requests: Iterable[CommandRequest], *, now: datetime
    ) -> dict[CommandRequest, Outcome | RejectionError]:
        """The first outcomes of those requests that were accepted before, or why their ids can't be used again.

        Requests that are not in the answer have no stored events as of now. What was accepted may have ended since, so each outcome
        about a reservation says how that stands at ``now``. ``state`` is read up to the stream's end for it.
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

    async def _first_outcome(self, request: CommandRequest, first: RecordedEvent, ids: EventIds) -> Outcome | RejectionError:
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


def _standing(outcome: Outcome, request: CommandRequest, inventory: Inventory, now: datetime) -> Outcome:
    """``outcome`` with how its reservation stands."""
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
