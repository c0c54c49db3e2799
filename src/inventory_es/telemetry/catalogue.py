"""The catalogue: every metric, span and log event, with its unit and its attributes."""

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALLS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # the boundaries of the semantic conventions
_LAG = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


@attrs.frozen
class Metric:
    """A metric.

    Attributes:
        name: as OpenTelemetry has it. Prometheus has underscores in the place of dots, the unit, and ``_total`` after a counter.
        kind: ``counter``, ``histogram`` or ``gauge``.
        unit: in UCUM: ``s`` for seconds, else what is counted, in braces.
        description: one sentence.
        attributes: keys of its attributes. None of them has values without bound.
        bounds: upper bounds of the buckets of a histogram.
        several: for a gauge of several worker processes: ``mostrecent`` for a fact that all of them share, ``livemax`` for one of each.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    description: str
    attributes: Sequence[str] = ()
    bounds: Sequence[float] = ()
    several: Literal["mostrecent", "livemax"] = "mostrecent"


@attrs.frozen
class Span:
    """A kind of span.

    Attributes:
        name: its name; a part in braces is a value.
        kind: as OpenTelemetry has it.
        description: one sentence.
        attributes: keys of its attributes.
    """

    name: str
    kind: Literal["INTERNAL", "CLIENT", "PRODUCER", "CONSUMER"]
    description: str
    attributes: Sequence[str]


@attrs.frozen
class Log:
    """A log event.

    Attributes:
        event: its name, the message of the log record.
        level: its level.
        description: one sentence.
        fields: its fields, besides ``timestamp``, ``level`` and ``event``.
    """

    event: str
    level: Literal["debug", "info", "warning", "error"]
    description: str
    fields: Sequence[str] = ()


ERROR_TYPE = "error.type"
DB_SYSTEM, DB_OPERATION, DB_BATCH_SIZE = "db.system.name", "db.operation.name", "db.operation.batch.size"
MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_TYPE = "messaging.system", "messaging.operation.name", "messaging.operation.type"
MESSAGING_DESTINATION, MESSAGING_GROUP = "messaging.destination.name", "messaging.consumer.group.name"
MESSAGING_BATCH_SIZE, MESSAGING_ID = "messaging.batch.message_count", "messaging.message.id"
COMMAND, COMMAND_ID, OUTCOME = "inventory_es.command", "inventory_es.command.id", "inventory_es.outcome"
PRODUCT, STORE, STREAM = "inventory_es.product.id", "inventory_es.store.id", "inventory_es.stream"
QUANTITY, VERSION, POSITION = "inventory_es.quantity", "inventory_es.version", "inventory_es.position"
ATTEMPTS, BATCH_SIZE, CORRELATION = "inventory_es.attempts", "inventory_es.batch.size", "inventory_es.correlation.id"
EVENTS, PROJECTION, CONSUMER = "inventory_es.events", "inventory_es.projection", "inventory_es.consumer"
BREAKER, STATE, CACHE, RESULT = "inventory_es.breaker", "inventory_es.state", "inventory_es.cache", "inventory_es.result"
PORT, OPERATION = "inventory_es.port", "inventory_es.operation"

_METRICS = (
    Metric("inventory_es.command.duration", "histogram", "s", "Time from call to result.", (COMMAND, OUTCOME), _LATENCY),
    Metric("inventory_es.command.errors", "counter", "{command}", "Commands that were rejected or failed.", (COMMAND, ERROR_TYPE)),
    Metric("inventory_es.command.retries", "counter", "{attempt}", "Decisions after the first one of a command.", (COMMAND,)),
    Metric("inventory_es.lane.waiting", "counter", "{command}", "Commands that waited in a lane when one came, summed up."),
    Metric("db.client.operation.duration", "histogram", "s", "Time of calls to the store.", (DB_SYSTEM, DB_OPERATION, ERROR_TYPE), _CALLS),
    Metric("inventory_es.append.groups", "histogram", "{append}", "Independent appends in one commit.", (), _COUNTS),
    Metric("inventory_es.append.batch.size", "histogram", "{event}", "Events in one commit: its size.", (), _COUNTS),
    Metric("inventory_es.append.conflicts", "counter", "{append}", "Appends that met another writer."),
    Metric("inventory_es.call.retries", "counter", "{call}", "Calls that failed and were made again.", (PORT, OPERATION, ERROR_TYPE)),
    Metric("inventory_es.breaker.state", "gauge", "{breaker}", "One for the phase of a breaker.", (BREAKER, STATE), several="livemax"),
    Metric("inventory_es.cache.reads", "counter", "{read}", "Reads of cached answers.", (CACHE, RESULT)),
    Metric("inventory_es.cache.errors", "counter", "{call}", "Calls of the cache that failed.", (CACHE, OPERATION, ERROR_TYPE)),
    Metric("inventory_es.projection.duration", "histogram", "s", "Time of the steps of a projection.", (PROJECTION,), _CALLS),
    Metric("inventory_es.projection.events", "counter", "{event}", "Events that a projection took.", (PROJECTION,)),
    Metric("inventory_es.projection.errors", "counter", "{step}", "Steps that met an event that fails.", (PROJECTION,)),
    Metric("inventory_es.event.lag", "histogram", "s", "Age of the newest event when a consumer was done.", (CONSUMER,), _LAG),
    Metric("messaging.client.operation.duration", "histogram", "s", "Time of calls to the bus.", (
        MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_DESTINATION, ERROR_TYPE), _CALLS),
    Metric("messaging.client.sent.messages", "counter", "{message}", "Events given to the bus.", (
        MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_DESTINATION, ERROR_TYPE)),
    Metric("messaging.process.duration", "histogram", "s", "Time of handling a delivery.", (
        MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_GROUP, ERROR_TYPE), _CALLS),
    Metric("inventory_es.projection.lag", "gauge", "s", "Age of the oldest event that is not in the rows.", (PROJECTION,)),
    Metric("inventory_es.projection.backlog", "gauge", "{position}", "Positions that the feed is ahead.", (PROJECTION,)),
    Metric("inventory_es.projection.stopped", "gauge", "{projection}", "One where it stands at an event that fails.", (PROJECTION,)),
    Metric("inventory_es.dead_letters", "gauge", "{event}", "Dead letters, counted up to 1,000.", (CONSUMER,)),
    Metric("inventory_es.reservations.open", "gauge", "{reservation}", "Open reservations, counted up to a limit."),
    Metric("inventory_es.reservations.due", "gauge", "{reservation}", "Those of them that are due."),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {one.name: one for one in _METRICS}
"""Every metric, by name."""

_SPANS = (
    Span("{command}", "INTERNAL", "One command, from call to result.", (
        COMMAND, COMMAND_ID, PRODUCT, STORE, QUANTITY, OUTCOME, ATTEMPTS, BATCH_SIZE, VERSION, CORRELATION, ERROR_TYPE)),
    Span("append", "CLIENT", "One commit of the store, with a link to each command in it.", (
        DB_SYSTEM, DB_OPERATION, DB_BATCH_SIZE, EVENTS, ERROR_TYPE)),
    Span("project {projection}", "CONSUMER", "One step of a projection, with a link to each command.", (
        PROJECTION, POSITION, EVENTS, ERROR_TYPE)),
    Span("publish {relay}", "PRODUCER", "One call of a relay to its bus, with a link to each command.", (
        MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_TYPE, MESSAGING_DESTINATION, MESSAGING_BATCH_SIZE, ERROR_TYPE)),
    Span("process {group}", "CONSUMER", "The handling of one delivery by a consumer.", (
        MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_TYPE, MESSAGING_GROUP, MESSAGING_ID, STREAM, VERSION, ERROR_TYPE)),
)  # fmt: skip

SPANS: Mapping[str, Span] = {one.name: one for one in _SPANS}
"""Every kind of span, by name."""

_WATCHED = ("product_id", "store_id", "quantity", "command", "command_id", "outcome", "error", "seconds", "version", "attempts")
_STORE, _STREAM = ("store", "reason"), ("stream", "reason")
_LOGS = (
    Log("command_finished", "info", "A command has its outcome; of CommandLog alone.", (*_WATCHED, "correlation_id", "trace_id")),
    Log("observer_failed", "error", "An observer has raised; the command went on.", ("record",)),
    Log("sweep_failed", "warning", "A sweeper waits, or passes an inventory over.", ("reason",)),
    Log("process_stuck", "warning", "A step of a process fails again and again.", ("process_id", "failures", "error")),
    Log("snapshots_not_opened", "warning", "The service works without snapshots.", ("reason",)),
    Log("snapshot_not_read", "warning", "A load went on without a snapshot.", _STREAM),
    Log("snapshot_ignored", "warning", "A snapshot does not fit its stream.", _STREAM),
    Log("snapshot_not_taken", "warning", "A snapshot could not be stored.", _STREAM),
    Log("snapshot_not_discarded", "warning", "A damaged snapshot could not be removed.", _STREAM),
    Log("journal_recovered", "warning", "A writer had died; the journal's end was repaired.", ("journal", "kept", "quarantined", "tail")),
    Log("people_file_not_written", "warning", "A readable copy could not be written.", ("path", "reason")),
    Log("people_files_not_written", "warning", "Readable copies could not be written.", _STORE),
    Log("index_not_written", "warning", "An index could not be written.", ("segment", *_STORE)),
    Log("index_rebuilt", "warning", "A damaged index was built again.", ("store", "segment")),
    Log("store_not_tidied", "warning", "Files that nobody needs could not be removed.", ("problem", *_STORE)),
    Log("store_writer_failed", "error", "The writer met an error that it does not know, and goes on.", ("store",)),
    Log("store_turn_lapsed", "debug", "A turn ended before its append."),
    Log("store_notifications_lost", "warning", "A PostgreSQL store polls until notifications arrive again.", ("problem",)),
    Log("store_replica_left", "warning", "A PostgreSQL store reads from its primary for half a minute.", ("problem",)),
    Log("store_turn_not_given", "debug", "A writer goes on without a turn.", ("problem",)),
    Log("service_not_closed_at_exit", "warning", "A synchronous service did not close in time.", ("seconds",)),
    Log("service_thread_failed", "error", "The thread of a synchronous service has ended with an error."),
)

LOGS: Mapping[str, Log] = {one.event: one for one in _LOGS}
"""Every log event, by name."""
