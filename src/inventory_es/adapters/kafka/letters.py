"""The dead letters of a bus on Kafka: a log of one partition, folded from its beginning.

A record is a letter, the wish to have one again, or the end of one that came again. The place of a letter that comes again is the offset
of that wish, below 0. Letters and ends are written in one transaction with the offsets of the group, so that a former owner writes none.
Of two wishes for one letter, the log's first one counts.
"""

import threading
import time
from collections.abc import Callable, Collection

import attrs
import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from inventory_es.adapters.kafka.place import KafkaPlace
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.toolkit.broker import Entry


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A record of the log, in MessagePack.

    Attributes:
        kind: ``dead``, ``again`` or ``done``.
        group: of the letter.
        shard: of the event.
        place: of the event, for ``dead``, and of the letter that came again for ``done``; the letter's offset for ``again``.
        event_id: of the event.
        letter: the stored form of the dead letter.
    """

    kind: str
    group: str
    shard: int
    place: int
    event_id: str = ""
    letter: bytes = b""


encode: Callable[[Record], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


@attrs.define(eq=False)
class _Folded:
    dead: dict[int, Record] = attrs.field(factory=dict[int, Record])
    again: dict[int, Record] = attrs.field(factory=dict[int, Record])
    buried: set[tuple[str, int, int]] = attrs.field(factory=set[tuple[str, int, int]])
    first: set[int] = attrs.field(factory=set[int])

    def add(self, offset: int, record: Record) -> None:
        if record.kind == "dead":
            self.again.pop(record.place, None)
            self.dead[offset] = record
            self.buried.add((record.group, record.shard, record.place))
        elif record.kind == "done":
            self.again.pop(record.place, None)
        elif (letter := self.dead.pop(record.place, None)) is not None:
            self.again[-offset - 1] = letter
            self.first.add(offset)


class Letters:
    """The letters of a bus, as far as this process has read them.

    Args:
        place: of the cluster.
        name: for errors.
    """

    def __init__(self, place: KafkaPlace, name: str) -> None:
        self._place = place
        self._name = name
        self._folded = _Folded()
        self._end = 0
        self._lock = threading.Lock()
        settings = {
            "group.id": f"{place.prefix}.letters",  # which the driver demands, and nobody joins
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.error.backoff.ms": 50,
        }
        self._consumer = Consumer(place.settings(**settings))

    def catch_up(self) -> None:
        """Read every letter that was written before this call.

        Raises:
            KafkaException: the cluster is away.
            TimeoutError: the letters did not arrive in time.
        """
        _, end = self._consumer.get_watermark_offsets(TopicPartition(self._place.letters, 0), timeout=self._place.timeout)
        give_up = time.monotonic() + self._place.timeout
        with self._lock:
            if self._end >= end:
                return
            self._consumer.assign([TopicPartition(self._place.letters, 0, self._end)])
            try:
                while self._end < end:
                    self._take()
                    if time.monotonic() > give_up and self._end < end:
                        msg = f"the dead letters did not arrive in {self._place.timeout:g} s"
                        raise TimeoutError(msg)
            finally:
                self._consumer.unassign()

    def waiting(self, group: str, shard: int) -> list[Entry]:
        """Return the letters of a shard that come again, oldest first."""
        found = [(place, of) for place, of in tuple(self._folded.again.items()) if (of.group, of.shard) == (group, shard)]
        return [Entry(place, of.letter) for place, of in sorted(found, key=lambda one: -one[0])]

    def forget(self, places: Collection[int]) -> None:
        """Let letters that came again wait no more, before the log's word for that has arrived."""
        for place in places:
            self._folded.again.pop(place, None)

    def was_buried(self, group: str, shard: int, place: int) -> bool:
        """Return True if an entry became a dead letter."""
        return (group, shard, place) in self._folded.buried

    def dead(self, group: str) -> list[tuple[int, Record]]:
        """Return the dead letters of a group with their offsets, oldest first."""
        return sorted((offset, of) for offset, of in tuple(self._folded.dead.items()) if of.group == group)

    def came_again(self, offsets: Collection[int]) -> int:
        """Return the number of these wishes that were the first ones for their letters."""
        return len(self._folded.first.intersection(offsets))

    def start_of(self, partition: TopicPartition) -> int:
        """Return the offset of the first entry that a partition keeps."""
        return self._consumer.get_watermark_offsets(partition, timeout=self._place.timeout)[0]

    def close(self) -> None:
        """End the reading."""
        self._consumer.close()

    def _take(self) -> None:
        message = self._consumer.poll(0.05)
        if message is None:
            return
        offset = message.offset()
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF and offset is not None:  # noqa: SLF001  # public, by its documentation
                self._end = max(self._end, offset)
            elif error.code() > 0 and not error.retriable():
                raise KafkaException(error)
        elif offset is not None:
            try:
                self._folded.add(offset, _decode(message.value() or b""))
            except msgspec.MsgspecError as problem:
                raise CorruptStoreError(store=self._name, place=f"dead letter {offset}", problem="it is no letter") from problem
            self._end = offset + 1
