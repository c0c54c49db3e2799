"""Connections to one server, each used by one thread at a time, and every wait on them with a deadline.

No state of a session is ever set, because a pooler in transaction mode gives each statement to another session. (See the PgBouncer
documentation, "SQL feature map for pooling modes".) So the settings that matter are read, every name is written with its schema, and each
statement is a transaction of its own.

A connection that was lost is made again when it is needed, by one attempt at a time. After a failure the next attempts are refused for a
random time that grows. So many processes do not fall on a server that has just come back.
"""

import logging
import math
import selectors
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from time import monotonic, monotonic_ns
from typing import Any, LiteralString, TypeVar

import attrs
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

from inventory_es.adapters.postgresql.append_batch import register_columns
from inventory_es.adapters.postgresql.failures import Failures, NoAnswerError
from inventory_es.adapters.postgresql.place import Place
from inventory_es.adapters.postgresql.schema import DURABILITY
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError, UnavailableError
from inventory_es.ports.event_store import Durability
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Event, Exclusive, new_event, scope

T = TypeVar("T")

_logger = logging.getLogger("inventory_es")

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_EVENTS = {1: selectors.EVENT_READ, 2: selectors.EVENT_WRITE, 3: selectors.EVENT_READ | selectors.EVENT_WRITE}
MOST_LOCKS = 64
"""The most streams of a turn, as each takes a lock of the few thousand that a server has. Over further ones no turn is taken."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_TELLS_AGAIN = 0.5
"""Seconds between two notifications of one process. A follower that has received one looks often for a second, and each takes a lock that
the server has once for all its databases."""

_LISTENS_AGAIN = (0.1, 30.0)
"""Seconds from a lost connection that listened to the next attempt: first, and at most."""

_TELL: LiteralString = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {channel}; COMMIT"
"""A notification waits for no disk and for no replica: what it tells of is committed."""

_GREETING: LiteralString = (
    "SELECT current_setting('transaction_isolation'), current_setting('server_encoding'), current_setting('server_version_num')::int, "
    "pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() THEN substring(pg_walfile_name(pg_current_wal_lsn()) for 8) END, "
    + DURABILITY
    + ", clock_timestamp(), pg_backend_pid()"
)
_LEAST_VERSION = 150_000
_RAW: Mapping[str, type[Any]] = {"text": ByteaBinaryLoader, "uuid": ByteaBinaryLoader, "timestamptz": Int8BinaryLoader}
"""What the server sends stays as it is until a field is asked for: texts and UUIDs bytes, instants microseconds since 2000."""


class Link(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits end at a time.

    Attributes:
        give_up: the time by the monotonic clock at which every wait ends, and the connection with it.
        warnings: the codes of the server's warnings and farewells since they were cleared.
    """

    give_up: float = 0.0
    warnings: list[str]

    def __del__(self, *_: object) -> None:
        """Do nothing: a store that was dropped warns by itself, and one that a fork inherited must not."""

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.0, timeout: float | None = None) -> T:  # noqa: ARG002  # the driver's own
        """Run a generator of the driver to its end.

        Raises:
            NoAnswerError: the server did not answer in time.
        """
        try:
            with _Selector() as selector:
                wanted = next(gen)
                selector.register(self.pgconn.socket, _EVENTS[wanted])
                while True:
                    wanted = gen.send(self._ready(selector))
                    selector.modify(self.pgconn.socket, _EVENTS[wanted])
        except StopIteration as end:
            result: T = end.value
            return result
        except psycopg.Error as problem:
            if isinstance(problem, NoAnswerError):
                self.pgconn.finish()
            raise
        except BaseException:  # an interrupt: the answer would meet the next statement
            self.pgconn.finish()
            raise

    def _ready(self, selector: selectors.BaseSelector) -> int:
        ready = selector.select(max(0.0, self.give_up - monotonic()))
        if not ready:
            raise NoAnswerError("the server did not answer in time")
        return ready[0][1]

    def is_fit(self) -> bool:
        """Return True if the connection is idle, and the server has sent nothing by itself: a farewell, or other settings."""
        if self.closed or self.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return False
        with _Selector() as selector:
            selector.register(self.pgconn.socket, selectors.EVENT_READ)
            return not selector.select(0)


@attrs.frozen(kw_only=True)
class Greeting:
    """The facts about a server that a new connection reads.

    Attributes:
        durability: the crash that a commit survives.
        timeline: of the server's log. A server has another one after it took over from another server.
        clock: the server's time, in microseconds since 2000.
        clock_at: the time of that answer by the monotonic clock.
    """

    durability: Durability
    timeline: bytes
    clock: int
    clock_at: float


class Connections:
    """Connections for one kind of use.

    Args:
        gate: makes the connections, shared by the kinds of use.
        most: the most connections at a time. Further threads wait for one of them.
    """

    def __init__(self, gate: "Gate", most: int) -> None:
        self._gate = gate
        self._free = threading.BoundedSemaphore(most)
        self._idle: list[Link] = []

    @contextmanager
    def lend(self, give_up: float) -> Iterator[Link]:
        """Lend a connection, whose waits end at a time by the monotonic clock.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: there is none, and none can be made.
        """
        if not self._free.acquire(timeout=max(0.0, give_up - monotonic())):
            raise self._gate.all_busy()
        try:
            link = self._take()
            if link is None:
                link = self._gate.connect()
                link.give_up = max(give_up, link.give_up)
            else:
                link.give_up = give_up
            try:
                yield link
            finally:
                if link.is_fit():
                    self._idle.append(link)
                else:
                    link.close()
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.is_fit():
                return link
            link.close()
        return None


class Turn:
    """A turn of one handle, which callers share that wait at the same time and want different streams.

    Attributes:
        streams: the streams of all its callers.
        callers: the number of callers that wait for it or are in it.
        is_asked_for: True once the server was asked for it, so that nobody can join.
        has_begun: True once the server has answered.
        beginning: held by the caller that begins it.
        over: set when the last of its callers has left.
    """

    def __init__(self) -> None:
        self.streams: set[StreamId] = set()
        self.callers: int = 0
        self.is_asked_for: bool = False
        self.has_begun: bool = False
        self.beginning: Exclusive = Exclusive()
        self.over: Event = new_event()


class Turns:
    """The turns of one handle, one after the other.

    Args:
        take: asks the server for a turn.
        give_back: ends it.
    """

    def __init__(self, take: Callable[[Turn], Awaitable[None]], give_back: Callable[[Turn], Awaitable[None]]) -> None:
        self._take = take
        self._give_back = give_back
        self._queue: list[Turn] = []

    @asynccontextmanager
    async def over(self, *streams: StreamId) -> AsyncIterator[None]:
        """Be in a turn over these streams for the block. The last caller that leaves it ends it."""
        turn = self._join(streams)
        try:
            async with turn.beginning:  # one of its callers begins it, for all
                if not turn.has_begun:
                    while (first := self._queue[0]) is not turn:
                        await first.over.wait()
                    turn.is_asked_for = True
                    await self._take(turn)
                    turn.has_begun = True
            yield
        finally:
            await self._leave(turn)

    def _join(self, streams: Collection[StreamId]) -> Turn:
        """Return the first turn that nobody has asked the server for, behind all that have one of the same streams."""
        with STATE_LOCK:
            found: Turn | None = None
            for turn in reversed(self._queue):
                if not turn.streams.isdisjoint(streams):
                    break
                if not turn.is_asked_for and len(turn.streams) + len(streams) <= MOST_LOCKS:
                    found = turn
            if found is None:
                found = Turn()
                self._queue.append(found)
            found.streams.update(streams)
            found.callers += 1
            return found

    async def _leave(self, turn: Turn) -> None:
        with STATE_LOCK:
            turn.callers -= 1
            if turn.callers:
                return
            if not turn.is_asked_for:
                self._queue.remove(turn)
        try:
            if turn.is_asked_for:
                with scope(shield=True), suppress(StoreClosedError):
                    await self._give_back(turn)
        finally:
            with STATE_LOCK:
                if turn in self._queue:
                    self._queue.remove(turn)
            turn.over.set()


class Gate:
    """Makes connections to one server, one attempt at a time.

    Args:
        place: where to.
        failures: the errors of the store.
        check: refuses a server whose new connection is not as it should be.

    Attributes:
        greeting: of the newest connection.
        attempts: the number of connections that were tried to make.
        timeout: seconds in which the server must answer each call.
    """

    greeting: Greeting

    def __init__(self, place: Place, failures: Failures, check: Callable[[Link, Greeting], None]) -> None:
        self._place = place
        self._failures = failures
        self._check = check
        self._attempt = threading.Lock()
        self._pause = 0.0
        self._not_before = 0.0
        self.attempts: int = 0
        self.timeout: float = place.timeout

    def connect(self) -> Link:
        """Return a new connection.

        Raises:
            StoreUnavailableError: the server can't be reached, or an attempt failed a moment ago.
            IncompatibleStoreError: the server or its database can't be used.
        """
        with self._attempt:
            left = self._not_before - monotonic()
            if left > 0:
                raise self._failures.unavailable("no connection a moment ago", None)
            self.attempts += 1
            try:
                link = self._connect()
            except UnavailableError:
                self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
                self._not_before = monotonic() + self._pause * (monotonic_ns() // 1_000 % 1_000) / 1_000
                raise
            self._pause = self._not_before = 0.0
            link.give_up = monotonic() + self._place.timeout
            return link

    def all_busy(self) -> InventoryError:
        """Return the error of a caller for whom no connection became free in time."""
        return self._failures.unavailable("every connection is in use", None)

    def _connect(self) -> Link:
        try:
            link = Link.connect(
                make_conninfo(**self._place.parameters), autocommit=True, prepare_threshold=None if self._place.is_pooled else 2
            )
        except psycopg.Error as problem:
            raise self._failures.at_the_door(problem) from None  # its text may tell more than a log should have
        try:
            link.give_up = monotonic() + self._place.timeout
            link.warnings = []
            link.add_notice_handler(lambda told: link.warnings.append(told.sqlstate or ""))
            for name, loader in _RAW.items():
                link.adapters.register_loader(name, loader)
            register_columns(link)
            with self._failures.translated():
                greeting = self._greet(link)
                self._check(link, greeting)
            self.greeting = greeting
        except BaseException:
            link.close()
            raise
        return link

    def _greet(self, link: Link) -> Greeting:
        row = link.execute(_GREETING, binary=True).fetchone()
        assert row is not None  # noqa: S101  # a SELECT without FROM has one row
        isolation, encoding, version, is_replica, timeline, durability, clock, backend = row
        if version < _LEAST_VERSION:
            problem = f"it needs PostgreSQL 15 or newer, and the server has {version // 10_000}"
            raise self._failures.incompatible(problem)
        if encoding != b"UTF8":
            problem = f"the encoding of the database is {encoding.decode()}: create one with ENCODING 'UTF8'"
            raise self._failures.incompatible(problem)
        if isolation != b"read committed":
            problem = f"transactions of this role are {isolation.decode()}"
            raise self._failures.incompatible(f"{problem}: ALTER ROLE … SET default_transaction_isolation = 'read committed'")
        if is_replica:
            raise self._failures.unavailable("the server takes no writes: it is a replica", None)
        if self._place.notifies and link.pgconn.backend_pid != backend:
            problem = "?notify=on needs a session of its own, and a pooler stands before the server"
            raise self._failures.incompatible(f"{problem}: leave the option out, or give the URL of the server itself")
        return Greeting(durability=durability.decode(), timeline=timeline, clock=clock, clock_at=monotonic())


class Notifications:
    """Notifications between the processes of a store, over one connection in a thread that begins with the first use.

    They are hints, and no process sends two within half a second. A follower looks at the feed too, and often after news.

    Args:
        gate: makes the connection. No pooler may stand before the server.
        channel: of the store.

    Attributes:
        heard: called in that thread when another process has appended, or may have while nobody listened.
        is_listening: True while notifications arrive.
    """

    def __init__(self, gate: "Gate", channel: str) -> None:
        self._gate = gate
        self._channel = sql.Identifier(channel)
        self._bell, self._ear = socket.socketpair()
        self._ear.settimeout(0)
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._told_at = -math.inf
        self.heard: Callable[[], None] = lambda: None
        self.is_listening: bool = False

    def start(self) -> None:
        """Begin to listen. Idempotent."""
        with STATE_LOCK:
            if self._thread is None and not self._is_over:
                self._thread = threading.Thread(target=self._run, name="inventory_es notifications", daemon=True)
                self._thread.start()

    def tell(self) -> None:
        """Let the other processes know that something was appended, unless they know. It does not wait for that."""
        self.start()
        if monotonic() - self._told_at > _TELLS_AGAIN:
            self._ring()

    def close(self) -> None:
        """End the thread and its connection. Idempotent."""
        with STATE_LOCK:
            if self._is_over:
                return
            self._is_over = True
        self._ring()
        if self._thread is not None:
            self._thread.join()
        self._bell.close()
        self._ear.close()

    def _ring(self) -> None:
        with suppress(OSError):  # it has been rung often enough, or is closed
            self._bell.send(b"!")

    def _run(self) -> None:
        pause, longest = _LISTENS_AGAIN
        while not self._is_over:
            try:
                with closing(self._gate.connect()) as link:
                    link.execute(sql.SQL("LISTEN {}").format(self._channel))
                    self.heard()  # what was committed while nobody listened
                    self.is_listening = True
                    pause, _ = _LISTENS_AGAIN
                    self._listen(link)
            except (InventoryError, psycopg.Error) as problem:
                if pause == _LISTENS_AGAIN[0]:
                    _logger.warning("store_notifications_lost", extra={"problem": type(problem).__name__})
                self.is_listening = False
                again = monotonic() + pause
                while not self._is_over and (left := again - monotonic()) > 0:
                    self._wait(None, left)
                pause = min(longest, 2 * pause)

    def _listen(self, link: Link) -> None:
        own = link.pgconn.backend_pid
        link.add_notify_handler(lambda told: self.heard() if told.pid != own else None)
        while not self._is_over:
            is_rung, is_told = self._wait(link, None)
            if is_rung and not self._is_over and monotonic() - self._told_at > _TELLS_AGAIN:
                self._told_at = monotonic()
                link.give_up = self._told_at + self._gate.timeout
                link.execute(sql.SQL(_TELL).format(channel=self._channel))
            elif is_told:
                link.pgconn.consume_input()
                while (told := link.pgconn.notifies()) is not None:
                    if told.be_pid != own:
                        self.heard()

    def _wait(self, link: Link | None, seconds: float | None) -> tuple[bool, bool]:
        """Wait until somebody rings, or the server sends something. Return which of them did."""
        with _Selector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            if link is not None:
                selector.register(link.pgconn.socket, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(seconds)]
        with suppress(BlockingIOError):
            self._ear.recv(4_096)
        return self._ear in ready, link is not None and link.pgconn.socket in ready


def moved(failures: Failures, problem: str) -> StoreClosedError:
    """Return the error for a store that is no longer in its place."""
    return StoreClosedError(store=failures.name, reason=problem)
