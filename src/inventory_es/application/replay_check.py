"""Whether a command was accepted before: by its first own event, for ever."""

from collections.abc import Iterable
from contextlib import aclosing
from uuid import UUID

from inventory_es.application.outcomes import Outcome, accepted
from inventory_es.application.requests import CommandRequest
from inventory_es.application.stream_reader import StreamReader
from inventory_es.domain.commands import AdjustStock, Command, CommitStock, ExpireReservations, RecordCount, ReserveStock
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.event_ids import EventIds
from inventory_es.domain.fingerprint import fingerprint
from inventory_es.domain.reasons import Remainder, Shortfall
from inventory_es.domain.rejections import CommandIdReusedError, ReservationIdTakenError
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.codec import EventCodec

_FOLLOWERS = 100


class ReplayCheck:
    """Looks commands up in their stream.

    Args:
        reader: reads the streams.
        codec: decodes what is found.
    """

    def __init__(self, reader: StreamReader, codec: EventCodec) -> None:
        self._reader = reader
        self._codec = codec

    async def look_up(self, stream: StreamId, requests: Iterable[CommandRequest]) -> dict[CommandRequest, Outcome | RejectionError]:
        """The first outcomes of those requests that were accepted before, or why their ids can't be used again.

        Requests that are not in the answer have no stored events as of now.
        """
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
        return {
            request: await self._first_outcome(request, recorded, ids)
            for event_id, recorded in found.items()
            for request in wanted[event_id]
        }

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
