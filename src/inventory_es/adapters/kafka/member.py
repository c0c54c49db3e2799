"""A group of a bus on Kafka in this process: one member of the consumer group, its partitions, and the state that it commits.

A commit of the group has the low-water mark as its offset, and what is settled and was delivered above it as its metadata. The servers
refuse a commit of a generation that has ended. After a revocation the thread of the member waits until the deliveries of the shard have
answers. It commits these, and gives the shard up then.

The driver holds a lock on a consumer while it polls, and while it calls back. So the thread of the member makes every call of the consumer,
in the order in which they came. It looks for messages without waiting in the driver.
"""

import threading
import time
import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import attrs
import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from inventory_es.adapters.kafka.letters import Record
from inventory_es.adapters.kafka.place import KafkaPlace
from inventory_es.adapters.kafka.transactions import Transactions
from inventory_es.ports.toolkit.blocking_calls import check_wanted
from inventory_es.ports.toolkit.broker import Claim, Entry, OwnershipLostError
from inventory_es.ports.toolkit.cloudevents import headers_to_json

T = TypeVar("T")

_MOST_ENTRIES = 500
_AT_ONCE = 100
_MOST_BYTES = 1 << 18
_SHORT, _LONG = 0.001, 0.02
_JOINS = 0.5
_STATE = KafkaError._STATE  # noqa: SLF001  # public, by its documentation
_MOVING = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID, _STATE})


@attrs.define(eq=False)
class Held:
    """A claim that this process holds, and the state of its group, which is committed as a whole."""

    claim: Claim
    low: int
    settled: frozenset[int]
    deliveries: Mapping[int, int]
    is_lost: bool = False

    def metadata(self) -> str:
        """Return the state above the low-water mark as a text of at most 4 KB, if at most 100 entries have no answer."""
        bits = sum(1 << (place - self.low - 1) for place in self.settled)
        counts = [(place - self.low if place > 0 else place, count) for place, count in self.deliveries.items()]
        form = msgspec.msgpack.encode((bits.to_bytes((bits.bit_length() + 7) // 8), counts))
        return b64encode(zlib.compress(form)).decode()

    def after(self, places: Collection[int], low: int) -> "Held":
        """Return the state after these places were settled."""
        low = max(low, self.low)
        settled = frozenset(place for place in {*self.settled, *places} if place > low)
        deliveries = {place: count for place, count in self.deliveries.items() if place not in places and not 0 < place <= low}
        return Held(self.claim, low, settled, deliveries)


def claim_of(group: str, shard: int, committed: TopicPartition) -> Claim:
    """Return the claim of a shard from what its group has committed."""
    low = max(committed.offset, 0)
    settled, deliveries = frozenset[int](), dict[int, int]()
    if committed.metadata:
        of = msgspec.msgpack.decode(zlib.decompress(b64decode(committed.metadata)), type=tuple[bytes, list[tuple[int, int]]])
        bits = int.from_bytes(of[0])
        settled = frozenset(low + 1 + bit for bit in range(bits.bit_length()) if bits >> bit & 1)
        deliveries = {place + low if place > 0 else place: count for place, count in of[1]}
    return Claim(group, shard, f"{shard}-{time.monotonic_ns()}", low, settled, deliveries)


def _data_of(message: Message) -> bytes:
    """Return the entry of a message. A CloudEvent of any maker is in binary mode if it names its version in a header."""
    given: Any = message.headers() or ()  # pairs; the driver's types allow what it takes too
    headers = {name: (value or b"").decode(errors="replace") for name, value in given}
    body = message.value() or b""
    return headers_to_json(headers, body, prefix="ce_") if "ce_specversion" in headers else body


@attrs.define(eq=False)
class _Buffer:
    """Entries of a partition that were fetched, in order, and are not in the bus's queue for certain."""

    entries: deque[Entry] = attrs.field(factory=deque[Entry])
    size: int = 0
    is_paused: bool = False

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= _MOST_ENTRIES or self.size >= _MOST_BYTES

    def drop_through(self, place: int) -> None:
        while self.entries and self.entries[0].place <= place:
            self.size -= len(self.entries.popleft().data)


class Member:
    """A member of a consumer group, with a thread that fetches entries and follows the assignment.

    Args:
        place: of the cluster.
        group: of the bus.
        transactions: of the process.
        lease: the seconds after which the servers assign the partitions of a process that died to others. A revocation waits as long
            for answers.
    """

    def __init__(self, place: KafkaPlace, group: str, transactions: Transactions, *, lease: float) -> None:
        self.group = group
        self.problem: KafkaError | None = None
        self.assigned: set[int] = set()  # and not claimed yet
        self.held: dict[int, Held] = {}
        self.ending: set[int] = set()
        self._place = place
        self._lease = lease
        self._buffers: dict[int, _Buffer] = {}
        self._read: set[int] = set()  # since they were assigned
        self._lock = threading.Lock()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._has_calls = threading.Event()
        self._is_over = threading.Event()
        self._transactions = transactions
        self._joins_until = time.monotonic() + _JOINS
        milliseconds = round(lease * 1_000)
        self._consumer = Consumer(
            place.settings(
                **{
                    "group.id": place.group_prefix() + quote(group, safe=""),
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": milliseconds,
                    "heartbeat.interval.ms": max(1, min(500, milliseconds // 10)),
                    "max.poll.interval.ms": max(300_000, 3 * milliseconds),
                    "queued.max.messages.kbytes": 1_024,
                    "fetch.error.backoff.ms": 50,
                }
            )
        )
        self._thread = threading.Thread(target=self._run, name=f"group {group!r} of {place}", daemon=True)
        self._thread.start()

    def claims(self, shards: Collection[int]) -> list[Claim]:
        """Return claims of these shards, as far as they are assigned. What was claimed before, without the bus's knowledge, ends."""
        while not self.assigned and not self.held and time.monotonic() < self._joins_until:
            check_wanted()
            self._is_over.wait(0.01)
        if self.problem is not None:
            raise KafkaException(self.problem)
        if not {*self.assigned, *self.held}.difference(self.ending).intersection(shards):
            return []
        return self._call(partial(self._claims, shards))

    def of(self, claim: Claim) -> Held | None:
        """Return what is held of a claim; ``None`` if it is lost."""
        held = self.held.get(claim.shard)
        return held if held is not None and held.claim is claim and not held.is_lost else None

    def read(self, claim: Claim, after: int, limit: int) -> list[Entry]:
        """Return the entries behind a place that have arrived."""
        with self._lock:
            buffer = self._buffers.get(claim.shard)
            if buffer is None or claim.shard in self.ending:
                return []
            buffer.drop_through(after)
            return [buffer.entries[index] for index in range(min(limit, len(buffer.entries)))]

    def commit(self, claim: Claim, change: Callable[[Held], Held], records: Sequence[Record] = ()) -> None:
        """Commit another state of a claim, and write records for letters in the same step.

        Raises:
            OwnershipLostError: the claim is lost.
            KafkaException: the cluster is away or refuses.
            TimeoutError: the group was between two generations for too long.
        """
        patience = self._place.timeout + self._lease
        give_up = time.monotonic() + patience
        while not self._call(partial(self._commit, claim, change, records)):
            if time.monotonic() > give_up:
                msg = f"the group was assigned anew for more than {patience:g} s"
                raise TimeoutError(msg)
            self._is_over.wait(_LONG)

    def release(self, claims: Collection[Claim]) -> None:
        """Give up claims. The shard goes to another process once the member has been told to, or has left."""
        for claim in claims:
            if (held := self.of(claim)) is not None:
                held.is_lost = True
                self.held.pop(claim.shard, None)
                if claim.shard not in self.ending:  # an interrupted call may never tell that the group has no consumer
                    self.assigned.add(claim.shard)
        self._has_calls.set()

    def close(self) -> None:
        """Leave the group."""
        self._is_over.set()
        self._has_calls.set()
        self._thread.join(2 * self._place.timeout + 1)

    def _call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread of the member."""
        future: Future[T] = Future()
        self._calls.append((function, future))
        self._has_calls.set()
        return future.result(3 * self._place.timeout)

    def _claims(self, shards: Collection[int]) -> list[Claim]:
        free = sorted({*self.assigned, *self.held}.difference(self.ending).intersection(shards))
        wanted = [TopicPartition(self._place.log, shard) for shard in free]
        made: list[Claim] = []
        for committed in self._consumer.committed(wanted, timeout=self._place.timeout) if wanted else ():
            if committed.error is not None:
                raise KafkaException(committed.error)
            partition = TopicPartition(self._place.log, committed.partition)
            is_known = committed.offset <= 0 or (
                self._consumer.get_watermark_offsets(partition, timeout=self._place.timeout)[1] >= committed.offset
            )  # else the log was made again, and its places are those of other entries
            made.append(claim_of(self.group, committed.partition, committed if is_known else partition))
        for claim in made:
            if claim.shard in self._read:
                with self._lock:
                    self._buffers[claim.shard] = _Buffer()
                self._consumer.resume([TopicPartition(self._place.log, claim.shard)])
                self._consumer.seek(TopicPartition(self._place.log, claim.shard, claim.low))
            self._read.add(claim.shard)
            self.assigned.discard(claim.shard)
            if (former := self.held.get(claim.shard)) is not None:
                former.is_lost = True
            self.held[claim.shard] = Held(claim, claim.low, claim.settled, claim.deliveries)
        return made

    def _commit(self, claim: Claim, change: Callable[[Held], Held], records: Sequence[Record]) -> bool:
        """Commit; return False if the group is between two generations."""
        held = self.of(claim)
        if held is None:
            raise OwnershipLostError
        new = change(held)
        try:
            self._transactions.end()
            if records:
                self._transactions.run(self._of(new), self._generation(), records)
            else:
                for done in self._consumer.commit(offsets=self._of(new), asynchronous=False) or ():
                    if done.error is not None:
                        raise KafkaException(done.error)  # noqa: TRY301  # as if the call had raised it
        except KafkaException as problem:
            if problem.args[0].code() in _MOVING:
                return False
            raise
        held.low, held.settled, held.deliveries = new.low, new.settled, new.deliveries
        return True

    def _of(self, state: Held) -> list[TopicPartition]:
        return [TopicPartition(self._place.log, state.claim.shard, state.low, metadata=state.metadata())]

    def _generation(self) -> object:
        """Return the generation of the group, for the servers to compare."""
        return self._consumer.consumer_group_metadata()

    def _run(self) -> None:
        self._consumer.subscribe([self._place.log], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        pause = _SHORT
        while not self._is_over.is_set():
            messages = self._consumer.consume(_AT_ONCE, 0)
            self._keep(messages)
            has_worked = self._serve() or bool(messages)
            pause = _SHORT if has_worked else min(2 * pause, _LONG)
            if not messages:
                self._has_calls.wait(pause)
        self._consumer.close()
        self._serve()

    def _serve(self) -> bool:
        """Make the calls that wait; return False if there was none."""
        self._has_calls.clear()
        has_worked = bool(self._calls)
        while self._calls:
            function, future = self._calls.popleft()
            try:
                future.set_result(function())
            except Exception as problem:  # noqa: BLE001  # the caller's, in its own thread
                future.set_exception(problem)
        return has_worked

    def _keep(self, messages: Sequence[Message]) -> None:
        """Keep entries for the bus, and let the driver fetch no more of a shard than there is room for."""
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() > 0 and not error.retriable():
                    self.problem = error
                continue
            shard, offset, data = message.partition(), message.offset(), _data_of(message)
            with self._lock:
                if shard is not None and offset is not None and (buffer := self._buffers.get(shard)) is not None:
                    buffer.entries.append(Entry(offset + 1, data))
                    buffer.size += len(data)
        for shard, buffer in self._buffers.items():
            if buffer.is_full != buffer.is_paused:
                buffer.is_paused = buffer.is_full
                (self._consumer.pause if buffer.is_full else self._consumer.resume)([TopicPartition(self._place.log, shard)])

    def _assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.problem = None
        for one in partitions:
            with self._lock:
                self._buffers[one.partition] = _Buffer()
            self.assigned.add(one.partition)

    def _revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Give shards up once what is handled has an answer, or after the lease."""
        shards = {one.partition for one in partitions}
        self.assigned -= shards
        self.ending |= shards
        give_up = time.monotonic() + self._lease
        while not self._is_over.is_set() and shards.intersection(self.held) and time.monotonic() < give_up:
            self._has_calls.wait(_LONG)
            self._serve()
        self._forget(shards)

    def _lose(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._forget({one.partition for one in partitions})

    def _forget(self, shards: Collection[int]) -> None:
        for shard in shards:
            if (held := self.held.pop(shard, None)) is not None:
                held.is_lost = True
            with self._lock:
                self._buffers.pop(shard, None)
            self._read.discard(shard)
            self.assigned.discard(shard)
            self.ending.discard(shard)
