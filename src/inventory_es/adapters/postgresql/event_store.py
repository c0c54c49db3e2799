"""The PostgreSQL event store: a synchronous core, and the event loop's handle on it."""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from functools import partial
from time import monotonic, sleep  # noqa: TID251  # in a thread, until the server's clock has passed a time
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import anyio
import anyio.from_thread
import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from inventory_es.adapters.postgresql import rows
from inventory_es.adapters.postgresql.append_batch import AppendBatch, Instant, batches, blobs, earlier_of, integers, longs, uuids
from inventory_es.adapters.postgresql.connections import (
    MOST_LOCKS,
    Connections,
    Gate,
    Greeting,
    Lend,
    Link,
    PageAsked,
    Reads,
    Turn,
    Turns,
)
from inventory_es.adapters.postgresql.failures import TOO_LATE, store_failures
from inventory_es.adapters.postgresql.feed import HeadWatch, Notifications, Replica
from inventory_es.adapters.postgresql.place import Place, lent_place, parse_place
from inventory_es.adapters.postgresql.schema import find_mark, make_tables
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    AppendTooLargeError,
    CorruptStoreError,
    StoreClosedError,
    StoreUnavailableError,
    UnavailableError,
)
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StoreCapabilities, StreamCatalogue, TurnTaking
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore
from inventory_es.ports.toolkit.append_rules import check_append, check_page, check_stream
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.event_rows import FeedRows, StreamRows, parse_stream
from inventory_es.ports.toolkit.page_rules import check_stream_page, check_stream_page_backwards

T = TypeVar("T")

_logger = logging.getLogger("inventory_es")

_AFTER_ANY_TEXT = "\U0010ffff" * (MAX_PART_LENGTH + 1)
"""A text that sorts after every continuation of a prefix: a part may consist of the last code point alone."""
_APPEND: LiteralString = (
    "SELECT done.*, (SELECT array_agg(pg_try_advisory_xact_lock_shared('{schema}.streams'::regclass::oid::integer, key) ORDER BY n) "
    "FROM unnest(%s) WITH ORDINALITY turn (key, n)) "
    "FROM {schema}.append_v1(%s, 0::smallint, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) done"
)
"""Appends, and asks whether others have turns over streams, or wait for them. That is asked after the append, and waits for nobody."""
_SETTLE: LiteralString = "SELECT {schema}.settle_v1(0::smallint)"
_STRENGTH = ("none", "process", "os", "power", "machine")
_GIVE_UP = 0.8
"""The share of the timeout after which the server refuses an append, so that it is over when its caller stops waiting."""
_MAX_READS = 2
"""Connections for reading. With those for writing and for turns, a process takes four of the server's hundred."""
_SETTLES_AGAIN = 0.05
"""Seconds between two looks at the server's clock."""
_TAKE_TURN: LiteralString = (
    "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '1s'; "
    "SELECT pg_advisory_xact_lock('{schema}.streams'::regclass::oid::integer, key) FROM unnest({keys}::integer[]) key"
)


class PostgresqlStore:
    """The synchronous core: connections to one schema. Any number of threads may read; one at a time commits.

    Args:
        place: the schema in its database. A missing store is made there if the role may.
        lend: lends connections of the host.

    Raises:
        IncompatibleStoreError, StoreUnavailableError: the server, its database or the tables can't be used.
    """

    def __init__(self, place: Place, *, lend: Lend | None = None) -> None:
        self.place: Place = place
        self._failures = store_failures(place)
        self.name: str = self._failures.name
        self._schema = sql.Identifier(place.schema)
        self._store_id: UUID | None = None
        self._statements: dict[LiteralString, sql.Composed] = {}
        self._gate = Gate(place, self._failures, self._check, lend=lend)
        self._writers, self._readers, self._turns = (Connections(self._gate, most) for most in (1, _MAX_READS, 1))
        self._turn: list[tuple[ExitStack, Link, set[StreamId]]] = []
        self._timeline = b""
        self._clock: tuple[int, float] | None = None
        self._unsettled: tuple[float, int] | None = None
        with self._writers.lend(self._deadline()):
            pass
        self.notifications: Notifications | None
        self.notifications, self._replica = self._make_helpers()
        self.capabilities: StoreCapabilities = StoreCapabilities(
            durability=self._gate.greeting.durability,
            feed="total",
            multi_process=True,
            multi_stream=True,
            group_commit=True,
            unique_event_ids=True,
            settles_within=place.timeout,
            turns_by_stream=True,
            survives_fork=True,
            max_append_events=10_000,
            max_append_bytes=32 << 20,
        )

    def commit(self, groups: Sequence[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        """Run appends in order, in as few transactions as possible, each with its own outcome."""
        outcomes: dict[int, AppendResult | Exception] = {}
        for number, writes in enumerate(groups):
            try:
                check_append(writes, self.capabilities, store=self.name)
            except (ValueError, AppendTooLargeError) as refusal:
                outcomes[number] = refusal
        sendable = [(number, writes) for number, writes in enumerate(groups) if number not in outcomes]
        for batch in batches(sendable):
            try:
                found = self._send([writes for _, writes in batch])
            except Exception as problem:  # an outcome of each of these appends, and not of those before
                if len(batch) == len(groups):
                    raise
                found = [problem] * len(batch)
            outcomes |= {number: outcome for (number, _), outcome in zip(batch, found, strict=True)}
            self._end_turn_of(batch)
        return [outcomes[number] for number in range(len(groups))]

    def read_streams(self, asked: Sequence[PageAsked]) -> list[StreamPage | Exception]:
        """Return a page of each stream after a version, or the error of that page. One statement reads them all."""
        try:
            found = self._pages(rows.FORWARD, asked)
        except InventoryError as problem:
            return [problem] * len(asked)
        return [self._forward(one, page) for one, page in zip(asked, found, strict=True)]

    def read_stream(self, stream: StreamId, *, after: int, limit: int) -> StreamPage:
        """Return one page; see :meth:`read_streams`."""
        (page,) = self.read_streams([(stream, after, limit)])
        if isinstance(page, Exception):
            raise page
        return page

    def read_stream_backwards(self, stream: StreamId, *, before: int | None, limit: int) -> StreamPage:
        """See ``EventStore``."""
        check_stream(stream)
        check_page(limit=limit, before=before)
        (found,) = self._pages(rows.BACKWARD, [(stream, before or rows.LARGEST, limit)])
        events, version = self._events(stream, found)
        last = version if before is None else min(version, before - 1)
        page = StreamPage(events, version, is_end=last - len(events) <= 0)
        check_stream_page_backwards(page, stream, before=before, limit=limit, store=self.name)
        return page

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """See ``EventStore``."""
        check_stream(stream)
        self._settle()
        try:
            return self._read(partial(self._find_confirmed, wanted=[(stream, event_ids)]))
        except AppendOutcomeUnknownError as problem:  # nothing was to be appended: the events may be told once a replica has them
            raise self._failures.unavailable(problem.reason, None) from problem

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See ``EventFeed``. Where a replica has events after the position, the page is from there, confirmed by the primary."""
        check_page(limit=limit, after=after)
        asked = min(after, rows.LARGEST), min(limit, rows.PAGE_EVENTS)
        found, head = ([], 0) if self._replica is None else self._replica.page(*asked, self._select)
        if not found:
            found = self._select(rows.FEED, asked)
            head = found[-1][9] if found else after
        if not found:
            return FeedPage((), after, is_end=True)
        next_after = after + len(found)
        if [row[1] for row in found] != list(range(after + 1, next_after + 1)):
            missing = next(number for number, row in enumerate(found, after + 1) if row[1] != number)
            raise self._failures.corrupt(f"the event at position {missing} of its feed is missing")
        return FeedPage(FeedRows(rows.ServerEvent.named, found), next_after, is_end=next_after >= head)

    def head(self) -> int:
        """See ``EventFeed``."""
        ((position,),) = self._select(rows.HEAD, ())
        return int(position)

    def streams(self, prefix: str, *, after: StreamId | None, limit: int) -> StreamsPage:
        """See ``StreamCatalogue``."""
        check_page(limit=limit)
        last = "" if after is None else after.text
        most = min(limit, rows.PAGE_EVENTS)
        found = self._select(rows.STREAMS, (max(prefix, last), last, prefix, prefix + _AFTER_ANY_TEXT, most + 1))
        empty = next((name for name, version in found if version is None), None)
        if empty is not None:
            raise self._failures.corrupt(f"stream {empty.decode()} has no events")
        return StreamsPage([StreamHead(parse_stream(name), version) for name, version in found[:most]], is_end=len(found) <= most)

    def load_snapshot(self, stream: StreamId, *, schema_version: int, at_most: int | None) -> Snapshot | None:
        """See ``SnapshotStore``."""
        bound = rows.LARGEST if at_most is None else min(at_most, rows.LARGEST)
        found = self._select(rows.LOAD_SNAPSHOT, (rows.name_key(stream), schema_version, bound))
        return rows.snapshot_of(stream, schema_version, found[0] if found else None)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``SnapshotStore``."""
        key = rows.name_key(snapshot.stream)
        self._change(rows.SAVE_SNAPSHOT, (key, snapshot.schema_version, snapshot.version, snapshot.event_id, snapshot.data))

    def discard_snapshots(self, streams: Sequence[StreamId]) -> None:
        """See ``SnapshotStore``."""
        self._change(rows.DISCARD_SNAPSHOTS, (blobs([rows.name_key(stream) for stream in streams]),))

    def clear_snapshots(self) -> None:
        """See ``SnapshotStore``."""
        self._change(rows.CLEAR_SNAPSHOTS, ())

    def take_turn(self, streams: Collection[StreamId]) -> None:
        """Begin a transaction that has the locks of these streams. The server ends it after a second without a word.

        Locks are taken in the order of their keys, so no two turns wait for each other in a ring.
        """
        self.give_turn_back()
        keys = sorted({rows.turn_key(stream) for stream in streams})[:MOST_LOCKS]
        with ExitStack() as entered, self._failures.translated():
            link = entered.enter_context(self._turns.lend(self._deadline()))
            link.execute(sql.SQL(_TAKE_TURN).format(schema=self._schema, keys=sql.Literal(keys)))
            self._turn.append((entered.pop_all(), link, set(streams)))

    @property
    def has_turn(self) -> bool:
        """True until the turn is given back."""
        return bool(self._turn)

    def give_turn_back(self) -> None:
        """End that transaction. Idempotent, also for two threads at once."""
        with suppress(IndexError):
            lent, link, _ = self._turn.pop()
            link.give_up = self._deadline()
            with lent, suppress(psycopg.Error):  # the turn was over before
                link.execute("COMMIT")

    def close(self) -> None:
        """Close every connection. Idempotent."""
        if self.notifications is not None:
            self.notifications.close()
        if self._replica is not None:
            self._replica.close()
        self.give_turn_back()
        self._turns.close()
        self._writers.close()
        self._readers.close()

    def _send(self, groups: Sequence[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        """Append in one transaction, and tell replays and collisions from conflicts after it."""
        batch = AppendBatch(groups)
        with self._writers.lend(self._deadline()) as link:
            own = {stream for _, _, left in self._turn for stream in left}
            streams = [write.stream for group in groups for write in group if write.stream not in own][:MOST_LOCKS]
            base, actual, written, free = self._append(link, batch, streams)
            contested = [stream for stream, is_free in zip(streams, free or (), strict=True) if not is_free]
            outcomes: list[AppendResult | Exception | None] = list(batch.outcomes(base, actual, written, contested))
            lost = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, AppendResult)]
            for number, earlier in zip(lost, self._earlier(link, [groups[number] for number in lost]), strict=True):
                outcomes[number] = earlier or outcomes[number]
        gone = self._failures.unavailable("an event that was there is gone", None)
        return [outcome or gone for outcome in outcomes]

    def _end_turn_of(self, batch: Sequence[tuple[int, Sequence[StreamWrite]]]) -> None:
        """Give a turn back as soon as each of its streams had an append, before anybody here is woken: others wait for it."""
        for _, _, left in self._turn:
            left -= {write.stream for _, group in batch for write in group}
            if not left:
                self.give_turn_back()

    def _append(self, link: Link, batch: AppendBatch, streams: Sequence[StreamId]) -> Any:
        seen = self._gate.greeting
        clock, clock_at = self._clock or (seen.clock, seen.clock_at)
        give_up_after = _GIVE_UP * self.place.timeout
        give_up_at = clock + int(1e6 * (monotonic() - clock_at + give_up_after))
        turns = integers([rows.turn_key(stream) for stream in streams])
        arguments = (turns, self._store_id, Instant.at(give_up_at), *batch.arguments())
        link.warnings.clear()
        is_sent = False
        try:
            with self._failures.translated(is_sent=lambda: is_sent):
                is_sent = True
                ((base, actual, written, clock, durability, free),) = link.execute(self._statement(_APPEND), arguments, binary=True)
        except BaseException as problem:
            self._clock = None
            if isinstance(problem, StoreUnavailableError) and TOO_LATE in problem.reason:
                link.close()  # perhaps the server's clock was set: a new connection reads it
            elif not isinstance(problem, InventoryError) or isinstance(problem, AppendOutcomeUnknownError):
                self._unsettled = monotonic() + give_up_after, give_up_at
            raise
        self._clock = clock, monotonic()
        if any(code.startswith("01") or code == "57P01" for code in link.warnings):
            raise self._failures.unknown("the server committed without waiting for its replica")
        if _STRENGTH.index(durability.decode()) < _STRENGTH.index(self.capabilities.durability):
            link.close()  # a new connection tells what the server gives now
            raise self._failures.unknown(f"the server's settings have changed: a commit survives the loss of {durability.decode()} alone")
        return base, actual, written, free

    def _earlier(self, link: Link, groups: Sequence[Sequence[StreamWrite]]) -> Sequence[AppendResult | Exception | None]:
        """Return what was stored of each append before; ``None`` for nothing. A failure is an outcome of these appends alone."""
        if not groups:
            return ()
        try:
            with self._failures.translated():
                found = self._find_confirmed(
                    link, [(write.stream, [one.event_id for one in write.events]) for group in groups for write in group]
                )
        except InventoryError as problem:
            return [problem] * len(groups)
        by_stream: dict[StreamId, list[RecordedEvent]] = defaultdict(list)
        for event in found:
            by_stream[event.stream].append(event)
        return [earlier_of(group, by_stream) for group in groups]

    def _find_confirmed(self, link: Link, wanted: Sequence[tuple[StreamId, Sequence[UUID]]]) -> Sequence[RecordedEvent]:
        """Return the events with these ids, by stream and version, once a replica has them if the store promises one."""
        pairs = {(rows.name_key(stream), event_id) for stream, ids in wanted for event_id in ids}
        found = self._rows(link, rows.FIND, (blobs([key for key, _ in pairs]), uuids([event_id for _, event_id in pairs])))
        if found and self.capabilities.durability == "machine":
            self._confirm(link)
        return [rows.ServerEvent.named(row) for row in found]

    def _confirm(self, link: Link) -> None:
        """Wait until the replica has everything that this connection has seen: an earlier commit may not have waited for it."""
        link.warnings.clear()
        with self._failures.translated(is_sent=lambda: True):
            link.execute("SELECT pg_logical_emit_message(true, 'inventory_es', '')")
        if link.warnings:
            raise self._failures.unknown("the server does not wait for its replica")

    def _pages(self, query: LiteralString, asked: Sequence[PageAsked]) -> list[list[Any]]:
        self._settle()
        bounds = longs([min(bound, rows.LARGEST) for _, bound, _ in asked])
        limits = integers([min(limit, rows.PAGE_EVENTS) for *_, limit in asked])
        pages: list[list[Any]] = [[] for _ in asked]
        keys = blobs([rows.name_key(stream) for stream, *_ in asked])
        for row in self._select(query, (keys, bounds, limits, rows.PAGE_BYTES // len(asked))):
            pages[row[9] - 1].append(row)
        return pages

    def _events(self, stream: StreamId, found: list[Any]) -> tuple[StreamRows, int]:
        version = found[0][8] if found else 0
        if version is None:
            raise self._failures.corrupt(f"stream {stream} has no events")
        return StreamRows(partial(rows.ServerEvent, stream), found if version and found[0][0] else []), version

    def _forward(self, asked: PageAsked, found: list[Any]) -> StreamPage | Exception:
        stream, after, limit = asked
        try:
            events, version = self._events(stream, found)
            page = StreamPage(events, version, is_end=after + len(events) >= version)
            check_stream_page(page, stream, after=after, limit=limit, store=self.name)
        except CorruptStoreError as problem:
            return problem
        return page

    def _settle(self) -> None:
        """Wait until an append with an unknown outcome has taken effect or never will: until the lock is free after its time."""
        unsettled = self._unsettled
        if unsettled is None or monotonic() < unsettled[0]:
            return
        deadline = self._deadline()
        with self._failures.translated(), self._readers.lend(deadline) as link:
            while True:
                ((clock,),) = self._rows(link, _SETTLE, ())
                if clock > unsettled[1]:
                    break
                if monotonic() > deadline:
                    raise self._failures.unavailable("its clock went back", None)
                sleep(_SETTLES_AGAIN)
        if self._unsettled is unsettled:  # none came meanwhile
            self._unsettled = None

    def _select(self, query: LiteralString, parameters: tuple[Any, ...]) -> list[Any]:
        return self._read(lambda link: self._rows(link, query, parameters))

    def _rows(self, link: Link, query: LiteralString, parameters: tuple[Any, ...]) -> list[Any]:
        return link.execute(self._statement(query), parameters, binary=True).fetchall()

    def _read(self, function: Callable[[Link], T]) -> T:
        with self._failures.translated(), self._readers.lend(self._deadline()) as link:
            return function(link)

    def _change(self, query: LiteralString, parameters: tuple[Any, ...]) -> None:
        with self._failures.translated(), self._writers.lend(self._deadline()) as link:
            link.execute(self._statement(query), parameters)

    def _statement(self, query: LiteralString) -> sql.Composed:
        known = self._statements.get(query)
        if known is None:
            known = self._statements[query] = sql.SQL(query).format(schema=self._schema)
        return known

    def _deadline(self) -> float:
        return monotonic() + self.place.timeout

    def _check(self, link: Link, greeting: Greeting) -> None:
        """Refuse a new connection to another store, or to a server that gives less than it gave before."""
        least = self.place.durability if self._store_id is None else self.capabilities.durability
        if least is not None and _STRENGTH.index(greeting.durability) < _STRENGTH.index(least):
            less = f"the server's commits survive the loss of {greeting.durability}, not {least}: see synchronous_commit"
            raise self._failures.incompatible(f"{less}, synchronous_standby_names and fsync")
        found = find_mark(link, self.place.schema)
        if found is None and self._store_id is None:
            self._make_tables(link)
            found = find_mark(link, self.place.schema)
        if found is None:
            raise StoreClosedError(store=self.name, reason="its tables were moved or removed while it was open")
        problem = found.problem()
        if problem is not None:
            raise self._failures.incompatible(problem)
        store_id = found.store_id
        if self._store_id not in {None, store_id}:
            raise StoreClosedError(store=self.name, reason="its tables were replaced while it was open")
        is_other = self._store_id is not None and greeting.timeline != self._timeline
        if is_other and self.capabilities.durability != "machine":
            raise StoreClosedError(
                store=self.name, reason="another server took over, perhaps without the newest events: open the store again"
            )
        self._store_id, self._timeline = store_id, greeting.timeline

    def _make_helpers(self) -> tuple[Notifications | None, Replica | None]:
        assert self._store_id is not None  # noqa: S101  # the first connection has found it
        channel, replica = f"inventory_es_{self._store_id.hex}", self.place.replica
        return (
            Notifications(self._gate, channel) if self.place.notifies else None,
            None if replica is None else Replica(replica, self._store_id, _MAX_READS),
        )

    def _make_tables(self, link: Link) -> None:
        try:
            make_tables(link, self.place.schema)
        except InsufficientPrivilege as problem:
            missing = "there is no store, and this role may not make one: run 'inventory-es store migrate URL' as its owner"
            raise self._failures.incompatible(missing) from problem


class PostgresqlEventStore(EventStore, EventFeed, GroupCommit, StreamCatalogue, SnapshotStore, TurnTaking):
    """An event store and a snapshot store in one schema of a PostgreSQL database. Opened by :func:`open_postgresql_event_store`.

    Any number of processes on any number of machines may open one schema. An acknowledged append survives what the server's settings make
    a commit survive: the declared durability is read from them. A store belongs to the event loop in which it was opened, or to threads
    without one. It needs PostgreSQL 15 or newer, and the extra ``postgres``.

    Attributes:
        serves_threads: True, because its coroutines run to their end in any thread.
    """

    serves_threads: bool = True

    def __init__(self, store: PostgresqlStore) -> None:
        self._store = store
        self._writes = BlockingCalls(None, name=store.name)
        self._reads = BlockingCalls(anyio.CapacityLimiter(_MAX_READS), name=store.name)
        self._turn_calls = BlockingCalls(None, name=store.name)
        self._shared_reads = Reads(self._reads, store.read_streams)
        self._turns = Turns(self._take_turn, self._give_turn_back)
        self._watch = HeadWatch(self.head, store.notifications)

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        (outcome,) = await self.append_group([writes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await self._writes.run(self._store.commit, groups)
        self._watch.committed()
        return outcomes

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        check_stream(stream)
        check_page(limit=limit, after=after)
        await self._writes.settle()
        return await self._shared_reads.page((stream, after, limit))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        await self._writes.settle()
        return await self._reads.run(self._store.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await self._writes.settle()
        return await self._reads.run(self._store.find_events, stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self._reads.run(self._store.read_all, after=after, limit=limit)

    async def head(self) -> int:
        return await self._reads.run(self._store.head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait for the head. Commits of this handle wake at once, those of others within 5 to 200 ms, sooner after news.

        With ``notify=on``, commits of other handles that have the option wake at once too.
        """
        return await self._watch.wait_for(position, timeout=timeout)

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await self._reads.run(self._store.streams, prefix, after=after, limit=limit)

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        return await self._reads.run(self._store.load_snapshot, stream, schema_version=schema_version, at_most=at_most)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        await self._writes.run(self._store.save_snapshot, snapshot)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self._writes.run(self._store.discard_snapshots, streams)

    async def clear_snapshots(self) -> None:
        """Forget every snapshot. The events stay."""
        await self._writes.run(self._store.clear_snapshots)

    def turn(self, *streams: StreamId) -> AbstractAsyncContextManager[None]:
        """Take a turn over streams, which ends with an append to each of them, or after a second."""
        if not streams:
            msg = "turns of this store are over streams: name at least one"
            raise ValueError(msg)
        return self._turns.over(*streams)

    async def aclose(self) -> None:
        """Finish the calls in flight and release every connection. Idempotent."""
        self._writes.refuse()
        await self._reads.close(lambda: None)
        await self._turn_calls.close(self._store.give_turn_back)
        await self._writes.close(self._store.close)

    async def _take_turn(self, turn: Turn) -> None:
        try:
            await self._turn_calls.run(lambda: self._store.take_turn(turn.close()))
        except UnavailableError as problem:
            _logger.debug("store_turn_not_given", extra={"problem": str(problem)})

    async def _give_turn_back(self, turn: Turn) -> None:
        if self._store.has_turn or not turn.beginning.is_done:  # a thread may take it now for a caller that has gone
            await self._turn_calls.run(self._store.give_turn_back)


def open_postgresql_event_store(url: str, *, lend: Lend | None = None) -> AbstractAsyncContextManager[PostgresqlEventStore]:
    """Open the store of a URL, or make its tables if there are none and the role may. The store closes with the block.

    Args:
        url: ``postgresql://USER@HOST:PORT/DATABASE`` with the parameters of libpq, and these. ``schema`` is ``inventory_es`` by default.
            ``durability=machine`` refuses a server without a synchronous replica. ``pooler=transaction`` is needed behind such a pooler.
            ``timeout`` is the number of seconds for each answer, 5 by default. ``notify=on`` lets processes tell each other of appends.
            ``replica=HOST:PORT`` names a replica for reading the feed, or several.
        lend: lends connections of the host, such as the method ``connection`` of a ``psycopg_pool.ConnectionPool``. The URL has options
            alone then: ``postgresql://?schema=berlin``. At most four are borrowed at a time, and the pool is never closed.

    Raises:
        ValueError: the URL can't be read. The message never has the password.
        IncompatibleStoreError: the server, its database or the tables can't be used. Nothing was changed.
        StoreUnavailableError: the server can't be reached now.
    """
    return _opened(parse_place(url) if lend is None else lent_place(url), lend)


@asynccontextmanager
async def _opened(place: Place, lend: Lend | None) -> AsyncIterator[PostgresqlEventStore]:
    store = await _open(place, lend)
    try:
        yield store
    finally:
        await store.aclose()


async def open_postgresql(url: str, /) -> PostgresqlEventStore:
    """Open the store of a URL. The caller closes it.

    Args:
        url: as for :func:`open_postgresql_event_store`.

    Raises:
        ValueError, IncompatibleStoreError, StoreUnavailableError: as :func:`open_postgresql_event_store`.
    """
    return await _open(parse_place(url), None)


async def _open(place: Place, lend: Lend | None) -> PostgresqlEventStore:
    return PostgresqlEventStore(await run_in_thread(partial(PostgresqlStore, place, lend=lend)))
