"""The broker of the event bus on RabbitMQ: quorum queues.

The exchange ``PREFIX`` puts a copy of an event into a queue of each group, by the number of its shard. The queues of a group:

- ``PREFIX.log.SHARD.GROUP`` has the events that are not settled. Its one active consumer is the owner of the shard.
- ``PREFIX.attempts.SHARD.GROUP`` has one message: the deliveries of events in the log, by the id that the driver gives to each message.
  The server's own count is of returns, which a crash makes of every event in memory.
- ``PREFIX.dead.GROUP`` has the dead letters.

A process consumes every shard of a group on one channel. With the channel, all that it did not acknowledge goes back to its place, and
what it publishes or acknowledges later has no effect. So the channel is the fence. Nothing is ever requeued by a ``nack``.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Any, TypeVar

import anyio
import attrs
import msgspec
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from inventory_es.adapters.rabbitmq.connection import Link, RabbitError, RabbitPlace
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.broker import Broker, Claim, CountsAhead, Entry, OwnershipLostError
from inventory_es.ports.toolkit.loop_thread import LoopCalls, LoopThread

T = TypeVar("T")

_MAX_CALLS = 8
_PLAIN = re.compile(r"(?![0-9a-f]{40}$)[A-Za-z0-9_.:-]{1,128}")
_NO_LIMIT = 2_147_483_647  # a server of 4.0 removes an event that came back 20 times; one of 3.x refuses -1
_QUORUM: Mapping[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": _NO_LIMIT}
_IN_TURN: Mapping[str, Any] = {**_QUORUM, "x-single-active-consumer": True}
_LAST_ONE: Mapping[str, Any] = {**_QUORUM, "x-max-length": 1}
_CURRENT = re.compile(r"but current is .*?'(\d+)'")
_NOT_FOUND = 404
_PRECONDITION_FAILED = 406
_EVENT_ID = "inventory-event-id"
_SHARD = "inventory-shard"


class _Attempts(msgspec.Struct, frozen=True, array_like=True):
    """The deliveries of a shard's events by the ids of their messages, in MessagePack. Of two, the one with the higher number counts."""

    number: int = 0
    deliveries: dict[str, int] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Attempts).decode


@attrs.define(eq=False)
class _Held:
    """A shard that this process consumes.

    Attributes:
        claim: as the bus has it.
        deliveries: the claim's, filled in as events come.
        messages: those that are not settled, by place.
        count: the number of messages that came.
        attempts: as the server has them; ``None`` until the first event shows that this process is the active consumer.
        older: the tags of messages with older attempts, to be removed with the next write.
    """

    claim: Claim
    deliveries: dict[int, int]
    messages: dict[int, DeliveredMessage] = attrs.field(factory=dict[int, DeliveredMessage])
    count: int = 0
    attempts: _Attempts | None = None
    older: list[int] = attrs.field(factory=list[int])

    async def take(self, message: DeliveredMessage) -> None:
        """Take note of a message."""
        self.count += 1
        self.messages[self.count] = message


@attrs.define(eq=False)
class _Ownership:
    """The shards of a group that this process consumes, and the channel with which they are lost."""

    channel: AbstractChannel
    is_lost: bool = False
    held: dict[int, _Held] = attrs.field(factory=dict[int, _Held])
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def lose(self, _frame: object) -> None:
        """Take note that the server took a queue away. Its channel is closed later: here the driver waits."""
        self.is_lost = True


class RabbitBroker(Broker, CountsAhead):
    """The logs of a bus on a server. Its owner closes it.

    Args:
        place: of the server.
        name: for errors.
        shards: their number.
        window: the most unanswered events of a shard in memory.
        heartbeat: the seconds after which each side looks for a sign of life of the other one.
    """

    def __init__(self, place: RabbitPlace, name: str, *, shards: int | None, window: int, heartbeat: int) -> None:
        self._name = name
        self._prefix = place.prefix
        self._window = window
        self._wanted = shards
        self._shards = shards or 0
        self._thread = LoopThread(name)
        self._consuming = Link(place, heartbeat)
        self._publishing = Link(place, heartbeat)  # of its own: a server that is short of memory stops to read from publishers
        self._looking = Link(place, heartbeat)  # at dead letters: a wait that is given up must not lose the shards
        self._calls = LoopCalls(self._thread, anyio.CapacityLimiter(_MAX_CALLS), name=name)
        self._channel: AbstractChannel | None = None
        self._owned: dict[str, _Ownership] = {}
        self._interrupted: set[str] = set()
        self._tokens = count()

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        return self._name

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._shards

    async def open(self, default: int) -> None:
        """Make the bus, or check it.

        Args:
            default: the number of shards of a new bus, if none was given.

        Raises:
            IncompatibleStoreError: it has another number of shards, or the server is too old.
        """
        self._shards = await self._run(self._open, default)

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries, a hundred at a time. Without a group, they go nowhere. An append without an answer may still happen."""
        messages = [(self._prefix, f"{shard}", data, Basic.Properties()) for shard, batch in batches.items() for data in batch]
        await self._run(self._publish, messages)

    async def join(self, group: str, /) -> None:
        """Make a group exist, from now on."""
        await self._run(self._join, group)

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Consume shards, or stand by. No event comes from one that another process owns."""
        try:
            return await self._run(self._claim, group, tuple(shards))
        except BaseException:
            self._interrupted.add(group)
            raise

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims, with every claim of their groups."""
        await self._run(self._release, {claim.group for claim in claims if self._held(claim) is not None})

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Return what has come."""
        return await self._run(self._read, tuple(wanted))

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry."""
        await self._run(self._record, claim, place, deliveries)

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:  # noqa: ARG002  # the port's
        """Settle entries. An acknowledgement of the last moment before a server dies may be lost, and its event comes again."""
        await self._run(self._settle, claim, tuple(places), None)

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:  # noqa: ARG002  # the port's
        """Settle entries, and keep the number of deliveries of the next one."""
        await self._run(self._settle, claim, tuple(places), (place, deliveries))

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:  # noqa: ARG002  # the port's
        """Keep a dead letter, then settle the entry. Between the two it is one event in two places, with one id."""
        await self._run(self._bury, claim, place, event_id, letter)

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest dead letters of a group."""
        return await self._run(self._dead_letters, group, limit)

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Put dead letters back into their logs, behind what waits there. A failure in the middle leaves one in both places."""
        return await self._run(self._revive, group, frozenset(event_ids))

    async def aclose(self) -> None:
        """Release every claim and the connections. Idempotent."""
        await self._calls.close(partial(self._thread.end, self._close))

    def _queue(self, kind: str, group: str) -> str:
        """Return the name of a queue. A digest stands for a group whose name has other characters, or is like a digest."""
        digest = blake2b(group.encode(), digest_size=20).hexdigest()
        return f"{self._prefix}.{kind}.{group if _PLAIN.fullmatch(group) else digest}"

    async def _open(self, default: int) -> int:
        link = self._publishing
        properties = (await link.connected()).server_properties
        product, version = (str(properties.get(name, "")) for name in ("product", "version"))
        if product != "RabbitMQ" or tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (3, 10):
            problem = f"its server is {product} {version}: it needs RabbitMQ 3.10 or newer"
            raise IncompatibleStoreError(store="event bus", place=self._name, problem=problem)
        channel = await link.channel()
        try:
            await link.bounded(channel.exchange_declare(self._prefix, exchange_type="direct", durable=True))
            # The length that this empty queue may have is the number of shards: the server compares it, and says what it was.
            arguments: FieldTable = {"x-queue-type": "quorum", "x-max-length": self._wanted or default}
            await link.bounded(channel.queue_declare(f"{self._prefix}.shards", durable=True, arguments=arguments))
        except RabbitError as problem:
            found = _CURRENT.search(str(problem)) if "x-max-length" in str(problem) else None
            if found is None and problem.code == _PRECONDITION_FAILED:
                raise IncompatibleStoreError(store="event bus", place=self._name, problem=str(problem)) from problem
            if found is None:
                raise
            if self._wanted is not None:
                text = f"it has {found[1]} shards, not {self._wanted}: leave the option out, or choose another prefix"
                raise IncompatibleStoreError(store="event bus", place=self._name, problem=text) from problem
            return int(found[1])
        finally:
            await link.leave(channel)
        return self._wanted or default

    async def _publish(self, messages: Sequence[tuple[str, str, bytes, Basic.Properties]]) -> None:
        if self._channel is None or not self._publishing.has(self._channel):
            self._channel = await self._publishing.channel()
        try:
            await self._publishing.publish(self._channel, messages)
        except RabbitError:
            await self._publishing.leave(self._channel)  # nothing of it is published later
            raise

    async def _join(self, group: str) -> None:
        link = self._consuming
        channel = await link.channel()
        try:
            for shard in range(self._shards):
                log = self._queue(f"log.{shard}", group)
                await link.bounded(channel.queue_declare(log, durable=True, arguments=dict(_IN_TURN)))
                await link.bounded(channel.queue_declare(self._queue(f"attempts.{shard}", group), durable=True, arguments=dict(_LAST_ONE)))
                await link.bounded(channel.queue_bind(log, self._prefix, f"{shard}"))
            await link.bounded(channel.queue_declare(self._queue("dead", group), durable=True, arguments=dict(_IN_TURN)))
        except RabbitError as problem:
            if problem.code == _PRECONDITION_FAILED:
                raise IncompatibleStoreError(store="event bus", place=self._name, problem=str(problem)) from problem
            raise
        finally:
            await link.leave(channel)

    async def _claim(self, group: str, shards: Sequence[int]) -> list[Claim]:
        await self._release({group})
        link = self._consuming
        owned = _Ownership(await link.channel())
        token = f"{next(self._tokens)}"
        try:
            owned.channel.on_consumer_cancel_callbacks.add(owned.lose)
            await link.bounded(owned.channel.basic_qos(prefetch_count=self._window))
            for shard in shards:
                deliveries: dict[int, int] = {}
                held = owned.held[shard] = _Held(Claim(group, shard, token, 0, frozenset(), deliveries), deliveries)
                await link.bounded(owned.channel.basic_consume(self._queue(f"log.{shard}", group), held.take))
        except BaseException:
            await link.leave(owned.channel)
            raise
        self._owned[group] = owned
        return [held.claim for held in owned.held.values()]

    async def _release(self, groups: Collection[str]) -> None:
        """Give up the shards of groups, and of interrupted calls. What they have goes back to its place."""
        for group in {*groups, *self._interrupted}:
            owned = self._owned.pop(group, None)
            if owned is not None:
                await self._consuming.leave(owned.channel)
            self._interrupted.discard(group)

    async def _read(self, wanted: Sequence[tuple[Claim, int, int]]) -> list[list[Entry] | None]:
        return [await self._read_one(*each) for each in wanted]

    async def _read_one(self, claim: Claim, after: int, limit: int) -> list[Entry] | None:
        held = self._held(claim)
        if held is None:
            return None
        new = [(place, message) for place, message in held.messages.items() if place > after][:limit]
        if new and held.attempts is None:
            try:
                held.attempts = await self._fenced(held, self._consuming.bounded(self._attempts(held)))
            except OwnershipLostError:
                return None
        for place, message in new:
            if held.attempts is not None and (known := held.attempts.deliveries.get(_id_of(message))):
                held.deliveries[place] = known
        return [Entry(place, message.body) for place, message in new]

    async def _attempts(self, held: _Held) -> _Attempts:
        """Read the deliveries that former owners have kept, and keep their message until there is a newer one."""
        newest = _Attempts()
        queue = self._queue(f"attempts.{held.claim.shard}", held.claim.group)
        channel = self._owned[held.claim.group].channel
        while isinstance((message := await channel.basic_get(queue)).delivery, Basic.GetOk):
            held.older.append(_tag_of(message))
            newest = max(newest, _decode(message.body), key=lambda each: each.number)
        return newest

    async def _record(self, claim: Claim, place: int, deliveries: int) -> None:
        held = self._owner(claim)
        async with self._owned[claim.group].lock:
            before = held.attempts or _Attempts()
            kept = before.deliveries
            if len(kept) > self._window:  # some are of events that a former owner has settled
                alive = {_id_of(message) for message in held.messages.values()}
                kept = {key: count for key, count in kept.items() if key in alive}
            after = _Attempts(before.number + 1, {**kept, _id_of(held.messages[place]): deliveries})
            held.attempts = after
            await self._fenced(held, self._send(held, f"attempts.{claim.shard}", _encode(after), Basic.Properties()))
            older, held.older = held.older, []
            for tag in older:
                await self._fenced(held, self._consuming.bounded(self._owned[claim.group].channel.basic_ack(tag)))

    async def _settle(self, claim: Claim, places: Sequence[int], following: tuple[int, int] | None) -> None:
        held = self._owner(claim)
        channel = self._owned[claim.group].channel
        found = {place: held.messages[place] for place in places if place in held.messages}
        for message in found.values():
            await self._fenced(held, self._consuming.bounded(channel.basic_ack(_tag_of(message), wait=False)))
        # An acknowledgement has no answer, so a call follows on its channel that has one.
        if following is None:
            repeated = channel.basic_qos(prefetch_count=self._window)
            await self._fenced(held, self._consuming.bounded(repeated))
        else:
            await self._record(claim, *following)
        for place, message in found.items():
            held.messages.pop(place, None)
            if held.attempts is not None:  # the next write leaves it out: the acknowledgement of this moment may be lost
                held.attempts.deliveries.pop(_id_of(message), None)

    async def _bury(self, claim: Claim, place: int, event_id: str, letter: bytes) -> None:
        held = self._owner(claim)
        if (message := held.messages.get(place)) is not None:
            headers: FieldTable = {_EVENT_ID: event_id, _SHARD: claim.shard}
            properties = Basic.Properties(message_id=_id_of(message), headers=headers)
            await self._fenced(held, self._send(held, "dead", letter, properties))
            await self._settle(claim, [place], None)

    async def _send(self, held: _Held, kind: str, body: bytes, properties: Basic.Properties) -> None:
        """Publish a message to a queue of the group, on the channel with which the shard is lost."""
        queue = self._queue(kind, held.claim.group)
        await self._consuming.publish(self._owned[held.claim.group].channel, [("", queue, body, properties)])

    async def _fenced(self, held: _Held, work: Awaitable[T]) -> T:
        """Await a call on the channel of a shard. If the channel is lost, so is the shard."""
        try:
            return await work
        except RabbitError:
            if self._held(held.claim) is None:
                raise OwnershipLostError from None
            raise

    def _owner(self, claim: Claim) -> _Held:
        held = self._held(claim)
        if held is None:
            raise OwnershipLostError
        return held

    def _held(self, claim: Claim) -> _Held | None:
        owned = self._owned.get(claim.group)
        held = owned.held.get(claim.shard) if owned is not None and not owned.is_lost and self._consuming.has(owned.channel) else None
        return held if held is not None and held.claim is claim else None

    async def _dead_letters(self, group: str, limit: int) -> list[bytes]:
        return await self._with_letters(group, limit, self._bodies)

    async def _bodies(self, _channel: AbstractChannel, letters: Sequence[DeliveredMessage]) -> list[bytes]:
        return [letter.body for letter in letters]

    async def _revive(self, group: str, event_ids: frozenset[str]) -> int:
        async def back(channel: AbstractChannel, letters: Sequence[DeliveredMessage]) -> int:
            found = [letter for letter in letters if _header_of(letter, _EVENT_ID) in event_ids]
            for letter in found:
                log = self._queue(f"log.{_header_of(letter, _SHARD)}", group)
                await self._looking.publish(
                    channel, [("", log, letter.body, Basic.Properties())]
                )  # with a new id: its attempts begin again
                await self._looking.bounded(channel.basic_ack(_tag_of(letter)))
            return len({_header_of(letter, _EVENT_ID) for letter in found})

        return await self._with_letters(group, None, back)

    async def _with_letters(
        self, group: str, limit: int | None, use: Callable[[AbstractChannel, Sequence[DeliveredMessage]], Awaitable[T]]
    ) -> T:
        """Look at the oldest dead letters of a group, one process at a time. Those that are not acknowledged stay.

        A mark is put behind them: when it comes, this process is the active consumer and has seen all before it.
        """
        link = self._looking
        queue, mark = self._queue("dead", group), Basic.Properties()
        letters: dict[str, DeliveredMessage] = {}
        surplus: list[DeliveredMessage] = []
        is_enough = anyio.Event()

        async def take(message: DeliveredMessage) -> None:
            key = _id_of(message)
            if is_enough.is_set():
                return
            if _header_of(message, _EVENT_ID) is None or key in letters:  # a mark, or a letter whose event was not settled with it
                surplus.append(message)
            else:
                letters[key] = message
            if key == mark.message_id or len(letters) == limit:
                is_enough.set()

        channel = await link.channel()
        try:
            await link.bounded(channel.queue_declare(queue, passive=True))
            await link.publish(channel, [("", queue, b"", mark)])
            await link.bounded(channel.basic_consume(queue, take))
            await link.bounded(is_enough.wait())
            for message in surplus:
                await link.bounded(channel.basic_ack(_tag_of(message)))
            found = await use(channel, tuple(letters.values()))
            await link.bounded(channel.basic_qos(prefetch_count=0))
        except RabbitError as problem:
            if problem.code != _NOT_FOUND:
                raise
            return await use(channel, ())
        else:
            return found
        finally:
            await link.leave(channel)

    async def _close(self) -> None:
        for link in (self._consuming, self._publishing, self._looking):
            await link.close()

    async def _run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        await self._calls.settle()  # a call that a cancelled caller left behind must not land after this one
        outcome = await self._calls.outcome(function, *arguments)
        try:
            return outcome.result()
        except RabbitError as problem:
            raise EventBusUnavailableError(bus=self._name, reason=str(problem), remedy=problem.remedy) from problem


def _id_of(message: DeliveredMessage) -> str:
    return message.header.properties.message_id or ""


def _tag_of(message: DeliveredMessage) -> int:
    return message.delivery_tag or 0  # the type has none for a message that was never delivered


def _header_of(message: DeliveredMessage, name: str) -> Any:
    return (message.header.properties.headers or {}).get(name)
