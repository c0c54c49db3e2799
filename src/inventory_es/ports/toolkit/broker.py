"""The port of a broker: logs of shards, exclusive ownership, and dead letters. :class:`ShardedBus` makes an event bus of it.

The form of what the logs hold is here too.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs
import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.cloudevents import from_json, to_json


class OwnershipLostError(Exception):
    """A claim is no longer held: another process may own the shard. Nothing was changed. Never reaches a host."""


@attrs.frozen(eq=False)
class Claim:
    """The exclusive ownership of a shard for a group, from :meth:`Broker.claim` until it is released or lost.

    Attributes:
        group: of the consumers.
        shard: the number of the shard.
        token: names this claim and no other one.
        low: the place up to which the group has settled everything; 0 for nothing.
        settled: places above ``low`` that are settled too.
        deliveries: the recorded deliveries of places that are not settled; a missing one has none. A broker that pushes entries adds
            those of an entry before it returns the entry.
    """

    group: str
    shard: int
    token: str
    low: int
    settled: frozenset[int]
    deliveries: Mapping[int, int]


@attrs.frozen
class Entry:
    """An entry of a shard.

    Attributes:
        place: in the shard's log, 1 or more, in the order of publication. Negative for an entry that was a dead letter.
        data: as published.
    """

    place: int
    data: bytes


class Broker(Protocol):
    """A durable log of each shard, and what each group has done with it.

    Every method may raise ``EventBusUnavailableError``, after which its effect is unknown, and it can be repeated. A method that takes a
    claim raises :class:`OwnershipLostError` without an effect once another claim of that group and shard may exist. The broker keeps a
    claim alive by itself until it is released. The claim of a process that died ends within the broker's lease.
    """

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        ...

    @property
    def shards(self) -> int:
        """The number of shards, 1 or more, constant for the broker's place."""
        ...

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries to shards, in order within each, durably before returning."""
        ...

    async def join(self, group: str, /) -> None:
        """Make a group exist, from the beginning of the kept logs, or from now on. Idempotent."""
        ...

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Own those of these shards that nobody owns, for a group. Of a shard in which it only stands by, a broker returns no entries.

        What an interrupted call claimed is given up with the next call of this method or of :meth:`release`, which every group makes.
        """
        ...

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims. A lost one is a no-op."""
        ...

    def ending(self, group: str, /) -> Collection[Claim]:
        """Return the claims of a group that another process is to own. The bus releases each once its deliveries have answers."""
        del group
        return ()

    async def leave(self, group: str, /) -> None:
        """Note that this process has no consumer of a group any more. It has released its claims."""
        del group

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Read shards. Nothing is raised for a lost claim.

        Args:
            wanted: claims, each with the place after which to read and the most entries, 1 or more.

        Returns:
            For each claim, the entries in order, then those that were dead letters and wait again. Of these, the oldest are enough, as
            many as the most entries. ``None`` for a lost claim.
        """
        ...

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry, before it is delivered."""
        ...

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        """Settle entries. Everything up to ``low`` is settled with them. Idempotent."""
        ...

    async def refuse(self, claim: Claim, place: int, /) -> bool:
        """Take back an entry whose delivery was refused, to be read again at another place. A broker that does not returns ``False``."""
        del claim, place
        return False

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        """Settle an entry as :meth:`settle`, and keep it as a dead letter, in one step. Repeated, it keeps one letter."""
        ...

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest ``limit`` dead letters of a group, oldest first."""
        ...

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Let dead letters be read again, in one step each; return their number. What is read is the letter."""
        ...

    async def aclose(self) -> None:
        """Release every claim and every resource. Idempotent."""
        ...


@runtime_checkable
class CountsAhead(Protocol):
    """An optional protocol of brokers: one call settles an entry and records the next delivery, which is expected to follow at once."""

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:
        """Settle entries as :meth:`Broker.settle`, and keep the deliveries of ``place`` as :meth:`Broker.record`, in one step."""
        ...


class _StoredEvent(msgspec.Struct, frozen=True, array_like=True):
    """The form of a dead letter: MessagePack of its fields. Also that of an event in a log before events were CloudEvents."""

    stream: str
    version: int
    position: int
    event_id: UUID
    event_type: str
    schema_version: int
    recorded_at: str
    data: bytes
    metadata: bytes
    reason: str = ""
    deliveries: int = 0
    since: str = ""

    def event(self) -> RecordedEvent:
        return RecordedEvent(
            StreamId.parse(self.stream),
            self.version,
            self.position,
            self.event_id,
            self.event_type,
            self.schema_version,
            datetime.fromisoformat(self.recorded_at),
            self.data,
            self.metadata,
        )

    def letter(self) -> DeadLetter:
        return DeadLetter(self.event(), self.reason, self.deliveries, datetime.fromisoformat(self.since))


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_StoredEvent)


def encode_letter(event: RecordedEvent, *, reason: str = "", deliveries: int = 0, since: datetime | None = None) -> bytes:
    """Return the stored form of an event, or of a dead letter."""
    time = "" if since is None else since.isoformat()
    of_event = (event.event_id, event.event_type, event.schema_version, event.recorded_at.isoformat(), event.data, event.metadata)
    return _encode(_StoredEvent(event.stream.text, event.version, event.position, *of_event, reason, deliveries, time))


def encode_entry(event: RecordedEvent, *, source: str) -> bytes:
    """Return the form of an event in a log: a CloudEvent in structured mode, for consumers of other makers too.

    An event whose data or metadata is not one JSON object has the form of a dead letter.
    """
    try:
        return to_json(event, source=source)
    except ValueError:
        return encode_letter(event)


class _Subject(msgspec.Struct):
    subject: str


_subject_of = msgspec.json.Decoder(_Subject).decode


def stream_of(data: bytes) -> str:
    """Return the stream of an entry, or of a dead letter, as text. Both are made by this module."""
    return _subject_of(data).subject if data.startswith(b"{") else _decoder.decode(data).stream


def decode_entry(data: bytes) -> RecordedEvent:
    """Return the event of an entry, or of a dead letter that waits again.

    Raises:
        msgspec.MsgspecError, ValueError: it is no event.
    """
    return from_json(data) if data.startswith(b"{") else _decoder.decode(data).event()


def decode_letter(data: bytes) -> DeadLetter:
    """Return a dead letter.

    Raises:
        msgspec.MsgspecError, ValueError: it is none.
    """
    return _decoder.decode(data).letter()
