"""Event ids: derived from what an event means, so that every command can be sent again.

Name-based UUIDs, version 5 (RFC 9562 §5.5): SHA-1 over a namespace and a name. The namespace is fixed and the name starts
with the stream, so the hash of that prefix is made once per stream. Frozen by test vectors: stored events depend on it.
"""

import hashlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID, SafeUUID

from inventory_es.domain.commands import Command, ExpireReservations, ReserveStock
from inventory_es.domain.events import Event, StockReleasedEvent
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.domain.stream_id import StreamId

NAMESPACE: Final = UUID("6f6f1b5c-5a0e-5d0b-9a3e-3a8f5f1f7c11")
"""Of every event id of this package."""

_VERSION_5_OF_RFC_9562: Final = 5 << 76 | 0x8000 << 48
_CLEAR: Final = ~((0xF000 << 64) | (0xC000 << 48))


class EventIds:
    """Ids of the events of one stream.

    Attributes:
        stream: whose events.
    """

    __slots__ = ("_prefix", "stream")

    def __init__(self, stream: StreamId) -> None:
        self.stream: StreamId = stream
        self._prefix = hashlib.sha1(NAMESPACE.bytes + str(stream).encode("utf-8") + b"\x00", usedforsecurity=False)

    def own(self, command_id: str, index: int) -> UUID:
        """Of a command's own event number ``index``, counted from 0 without those that close what is due."""
        return self._name(f"own\x00{index}\x00{command_id}")

    def reserve(self, reservation_id: str) -> UUID:
        """Of the event that reserves under this id."""
        return self._name("reserve\x00" + reservation_id)

    def due(self, command_id: str, reservation_id: str) -> UUID:
        """Of the event that closes a due reservation on the way of a command."""
        return self._name(f"due\x00{len(command_id)}\x00{command_id}\x00{reservation_id}")

    def first_own(self, command: Command) -> UUID:
        """Of the command's first own event: if it is stored, the command was accepted."""
        return self.reserve(command.reservation_id) if type(command) is ReserveStock else self.own(command.command_id, 0)

    def of(self, command: Command, events: Sequence[Event]) -> list[UUID]:
        """Of each event that ``command`` was decided to."""
        if len(events) == 1 and type(command) is not ExpireReservations:
            return [self.first_own(command)]
        ids: list[UUID] = []
        own = 0
        sweeping = isinstance(command, ExpireReservations)
        for event in events:
            if not sweeping and isinstance(event, StockReleasedEvent) and event.reason is ReleaseReason.EXPIRED:
                ids.append(self.due(command.command_id, event.reservation_id))
            elif isinstance(command, ReserveStock):
                ids.append(self.reserve(command.reservation_id))
            else:
                ids.append(self.own(command.command_id, own))
                own += 1
        return ids

    def _name(self, name: str) -> UUID:
        digest = self._prefix.copy()
        digest.update(name.encode("utf-8"))
        made = UUID.__new__(UUID)  # UUID(int=…) tries its other arguments first: a third of what deriving an id would cost
        _set_int(made, int.from_bytes(digest.digest()[:16]) & _CLEAR | _VERSION_5_OF_RFC_9562)
        _set_is_safe(made, _UNKNOWN)
        return made


_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_UNKNOWN: Final = SafeUUID.unknown
