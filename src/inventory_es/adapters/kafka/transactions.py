"""Transactions of a bus on Kafka: letters, and the offsets of a group, in one step."""

import os
import threading
import time
from collections.abc import Sequence
from platform import node

from confluent_kafka import KafkaException, Producer, TopicPartition

from inventory_es.adapters.kafka.letters import Record, encode
from inventory_es.adapters.kafka.place import KafkaPlace


class Transactions:
    """The transactional producer of a process, for all groups of a bus. For any thread, one at a time."""

    def __init__(self, place: KafkaPlace) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._id = f"{place.prefix}.{node()}.{os.getpid()}.{time.monotonic_ns()}"
        self._producer: Producer | None = None
        self._is_in_doubt = False

    def end(self) -> None:
        """End a transaction that had no answer, if there is one. Nothing of it happens later."""
        if self._is_in_doubt:
            with self._lock:
                self._ready()

    def run(self, offsets: Sequence[TopicPartition], generation: object, records: Sequence[Record]) -> None:
        """Commit offsets of a group's generation, and write records for letters.

        Raises:
            KafkaException: the servers refuse, or are away. It has no effect, or its effect is unknown until :meth:`end`.
        """
        with self._lock:
            producer = self._ready()
            self._producer, self._is_in_doubt = None, True  # until there is an answer
            try:
                producer.begin_transaction()
                for record in records:
                    producer.produce(self._place.letters, encode(record), partition=0)
                producer.send_offsets_to_transaction(list(offsets), generation, self._place.timeout)
                producer.commit_transaction(self._place.timeout)
            except KafkaException as problem:
                if problem.args[0].txn_requires_abort():
                    producer.abort_transaction(self._place.timeout)
                    self._producer, self._is_in_doubt = producer, False
                raise
            self._producer, self._is_in_doubt = producer, False

    def _ready(self) -> Producer:
        """Return the producer. A new one has the same id, so that the servers end what the former one has begun."""
        if self._producer is None:
            milliseconds = max(1_000, round(self._place.timeout * 1_000))
            settings = {"transactional.id": self._id, "transaction.timeout.ms": milliseconds, "linger.ms": 0}
            producer = Producer(self._place.settings(**settings))
            producer.init_transactions(self._place.timeout)
            self._producer, self._is_in_doubt = producer, False
        return self._producer
