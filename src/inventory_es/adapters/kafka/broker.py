"""The broker of the event bus on Kafka: a partition of a topic is a shard, and a consumer group shares the shards among processes."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

import anyio
import attrs
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from inventory_es.adapters.kafka.letters import Letters, Record, encode
from inventory_es.adapters.kafka.member import Held, Member
from inventory_es.adapters.kafka.place import KafkaPlace, translated
from inventory_es.adapters.kafka.transactions import Transactions
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.broker import Broker, Claim, Entry, OwnershipLostError
from inventory_es.ports.toolkit.cloudevents import json_to_headers

T = TypeVar("T")

_MAX_CALLS = 8
_FRESH = 0.5


class KafkaBroker(Broker):
    """The logs of a bus on a cluster. Its owner closes it.

    Args:
        place: of the cluster.
        name: for errors.
        admin: a client of the cluster.
        shards: their number.
        lease: the seconds after which the shards of a process that died are free.
    """

    def __init__(self, place: KafkaPlace, name: str, admin: AdminClient, *, shards: int, lease: float) -> None:
        self._place = place
        self._name = name
        self._admin = admin
        self._shards = shards
        self._lease = lease
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=name)
        self._members: dict[str, Member] = {}
        self._producer: Producer | None = None
        self._producing = threading.Lock()
        self._joining = threading.Lock()
        self._letters = Letters(place, name)
        self._transactions = Transactions(place)
        self._seen_at = time.monotonic()

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        return self._name

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._shards

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries, acknowledged by all replicas that are in sync. An append without an answer may still happen."""
        await self._run(partial(self._produce, self._place.log, [(shard, data) for shard in sorted(batches) for data in batches[shard]]))

    async def join(self, group: str, /) -> None:
        """Join the consumer group, which takes a while in which others may go on."""
        await self._run(partial(self._join, group))

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Own the shards that the consumer group has assigned to this process."""
        return await self._run(partial(self._claim, group, tuple(shards)))

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims."""
        for claim in claims:
            if (member := self._members.get(claim.group)) is not None:
                member.release([claim])

    def ending(self, group: str, /) -> Collection[Claim]:
        """Return the claims of the shards that are revoked."""
        member = self._members.get(group)
        if member is None or not member.ending:
            return ()
        return frozenset(held.claim for shard, held in tuple(member.held.items()) if shard in member.ending)

    async def leave(self, group: str, /) -> None:
        """Leave the consumer group."""
        await self._run(partial(self._leave, group))

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Return what has arrived of shards, without a round trip but the one for letters now and then, which is a sign of life too."""
        return await self._run(partial(self._read, tuple(wanted)))

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry."""
        await self._commit(claim, lambda held: attrs.evolve(held, deliveries={**held.deliveries, place: deliveries}))

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        """Settle entries."""
        again = [Record("done", claim.group, claim.shard, place) for place in places if place < 0]
        await self._commit(claim, lambda held: held.after(places, low), again)
        self._letters.forget(places)

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        """Settle an entry, and keep it as a dead letter, in one transaction."""
        await self._run(partial(self._bury, claim, Record("dead", claim.group, claim.shard, place, event_id, letter), low))

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest dead letters of a group."""
        return [record.letter for _, record in (await self._run(partial(self._dead, group)))[:limit]]

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Let dead letters be read again."""
        return await self._run(partial(self._revive, group, frozenset(event_ids)))

    async def trim(self) -> int:
        """Remove the entries that every group has settled; return their number."""
        return await self._run(self._trim)

    async def aclose(self) -> None:
        """Leave every group, and end every connection. Idempotent."""
        await self._calls.close(self._close)

    def _produce(self, topic: str, messages: Sequence[tuple[int, bytes]]) -> list[int]:
        """Produce messages, and return their offsets. After a failure, a new producer is made: this one could produce them later."""
        offsets: list[int] = []
        problems: list[KafkaError] = []

        def note(problem: KafkaError | None, message: Message) -> None:
            if problem is not None:
                problems.append(problem)
            elif (offset := message.offset()) is not None:
                offsets.append(offset)

        with self._producing:
            producer, self._producer = self._producer or Producer(self._place.settings(**_PRODUCER)), None
            for partition, data in messages:
                headers, body = json_to_headers(data, prefix="ce_") if data.startswith(b"{") else ({}, data)
                key, pairs = headers.get("ce_subject"), cast("dict[str, str | bytes | None]", headers)
                produce = partial(producer.produce, topic, body, key, partition, on_delivery=note, headers=pairs)
                try:
                    produce()
                except BufferError:
                    producer.flush(self._place.timeout)
                    produce()
            missing = producer.flush(self._place.timeout)
            if missing:
                producer.purge()
                producer.flush(0)
            if told := [problem for problem in problems if problem.code() > 0 or not missing]:
                raise KafkaException(told[0])
            if missing or len(offsets) < len(messages):
                msg = f"no answer in {self._place.timeout:g} s"
                raise TimeoutError(msg)
            self._producer = producer
        self._seen_at = time.monotonic()
        return offsets

    def _look(self) -> None:
        self._admin.list_topics(self._place.log, timeout=self._place.timeout)
        self._seen_at = time.monotonic()

    def _join(self, group: str) -> Member:
        with self._joining:
            member = self._members.get(group)
            if member is None:
                self._look()
                member = Member(self._place, group, self._transactions, lease=self._lease)
                self._members[group] = member
            return member

    def _claim(self, group: str, shards: Sequence[int]) -> list[Claim]:
        claims = self._join(group).claims(shards)
        if claims:
            self._letters.catch_up()
        elif time.monotonic() - self._seen_at > _FRESH:
            self._look()
        return claims

    def _leave(self, group: str) -> None:
        if (member := self._members.pop(group, None)) is not None:
            member.close()

    def _read(self, wanted: Sequence[tuple[Claim, int, int]]) -> list[list[Entry] | None]:
        if time.monotonic() - self._seen_at > _FRESH:
            self._letters.catch_up()
            self._seen_at = time.monotonic()
        found: list[list[Entry] | None] = []
        for claim, after, limit in wanted:
            member = self._members.get(claim.group)
            if member is None or member.of(claim) is None:
                found.append(None)
            else:
                found.append([*member.read(claim, after, limit), *self._letters.waiting(claim.group, claim.shard)])
        return found

    def _bury(self, claim: Claim, record: Record, low: int) -> None:
        """Write the letter and the state in one step, unless an earlier call without an answer has written it."""
        self._transactions.end()
        self._letters.catch_up()
        was_buried = self._letters.was_buried(claim.group, claim.shard, record.place)
        self._member(claim).commit(claim, lambda held: held.after([record.place], low), () if was_buried else [record])
        self._letters.forget([record.place])

    def _dead(self, group: str) -> list[tuple[int, Record]]:
        self._letters.catch_up()
        return self._letters.dead(group)

    def _revive(self, group: str, event_ids: Collection[str]) -> int:
        wanted = [(offset, of) for offset, of in self._dead(group) if of.event_id in event_ids]
        if not wanted:
            return 0
        wishes = [Record("again", group, of.shard, offset, of.event_id) for offset, of in wanted]
        offsets = self._produce(self._place.letters, [(0, encode(wish)) for wish in wishes])
        self._letters.catch_up()
        return self._letters.came_again(offsets)

    def _trim(self) -> int:
        timeout, prefix = self._place.timeout, self._place.group_prefix()
        listed = self._admin.list_consumer_groups(request_timeout=timeout).result(timeout).valid or ()
        log = [TopicPartition(self._place.log, shard) for shard in range(self._shards)]
        lows: dict[int, list[int]] = {shard: [] for shard in range(self._shards)}
        for group_id in [one.group_id for one in listed if one.group_id.startswith(prefix)]:
            asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group_id, log)], request_timeout=timeout)
            for of in asked[group_id].result(timeout).topic_partitions:
                lows[of.partition].append(max(of.offset, 0))
        wanted = [TopicPartition(self._place.log, shard, low) for shard, of in lows.items() if (low := min(of, default=0))]
        starts = {one.partition: self._letters.start_of(one) for one in wanted}
        deleted = self._admin.delete_records(wanted, request_timeout=timeout) if wanted else {}
        return sum(future.result(timeout).low_watermark - starts[of.partition] for of, future in deleted.items())

    def _member(self, claim: Claim) -> Member:
        member = self._members.get(claim.group)
        if member is None:
            raise OwnershipLostError
        return member

    async def _commit(self, claim: Claim, change: Callable[[Held], Held], records: Sequence[Record] = ()) -> None:
        await self._run(lambda: self._member(claim).commit(claim, change, records))

    def _close(self) -> None:
        for group in tuple(self._members):
            self._leave(group)
        with suppress(KafkaException):
            self._letters.close()

    async def _run(self, function: Callable[[], T]) -> T:
        await self._calls.settle()  # a call that a cancelled caller left behind must not land after this one
        return await self._calls.run(translated, self._name, function)


_PRODUCER: Mapping[str, object] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    "message.timeout.ms": 0,  # the call itself has a deadline, after which none of its messages is produced
    "message.max.bytes": 2 << 20,
}
