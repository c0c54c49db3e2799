"""Connections to one server, each used by one thread at a time, and every wait on them with a deadline.

No state of a session is ever set, because a pooler in transaction mode gives each statement to another session. (See the PgBouncer
documentation, "SQL feature map for pooling modes".) So the settings that matter are read, every name is written with its schema, and each
statement is a transaction of its own.

A connection that was lost is made again when it is needed, by one attempt at a time. After a failure the next attempts are refused for a
random time that grows. So many processes do not fall on a server that has just come back.
"""

import selectors
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from copy import copy
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic, monotonic_ns
from typing import Any, LiteralString, TypeVar
from weakref import WeakSet

import attrs
import psycopg
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
from inventory_es.ports.records import StreamPage
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Event, blocks, give_way, new_event, scope, wait_until

T = TypeVar("T")

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
_EVENTS = {1: selectors.EVENT_READ, 2: selectors.EVENT_WRITE, 3: selectors.EVENT_READ | selectors.EVENT_WRITE}
MOST_LOCKS = 64
"""The most streams of a turn, as each takes a lock of the few thousand that a server has. Over further ones no turn is taken."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
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
            with Selector() as selector:
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
        with Selector() as selector:
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


Lend = Callable[[float], AbstractContextManager[psycopg.Connection[Any]]]
"""Lends a connection of a host, after at most so many seconds, for a block. The method ``connection`` of psycopg's pool is one."""


class Connections:
    """Connections for one kind of use.

    Args:
        gate: makes the connections, shared by the kinds of use.
        most: the most connections at a time. Further threads wait for one of them.
    """

    def __init__(self, gate: "Gate", most: int) -> None:
        self._gate = gate
        self._most = most
        self._lent: set[object] = set()
        self._returns: SimpleQueue[None] = SimpleQueue()
        self._idle: list[Link] = []

    @contextmanager
    def lend(self, give_up: float) -> Iterator[Link]:
        """Lend a connection, whose waits end at a time by the monotonic clock.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: there is none, and none can be made.
        """
        this = object()
        try:  # no semaphore: a signal that ends its acquire() may leave it taken for good
            while not self._has(this):
                if (left := give_up - monotonic()) <= 0:
                    raise self._gate.all_busy()
                with suppress(Empty):
                    self._returns.get(timeout=min(left, _LONGEST_PAUSE))
            with self._gate.borrow(give_up) if self._gate.borrows else self._own(give_up) as link:
                yield link
        finally:
            self._lent.discard(this)
            if self._returns.qsize() < self._most:
                self._returns.put(None)

    def _has(self, this: object) -> bool:
        with STATE_LOCK:
            if len(self._lent) < self._most:
                self._lent.add(this)
            return this in self._lent

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _own(self, give_up: float) -> Iterator[Link]:
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

    def _take(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.is_fit():
                return link
            link.close()
        return None


class Shared:
    """A piece of work that callers wait for together. One of them does it, and then all go on in the same step of the event loop.

    Where that caller is cancelled, or the work raises, the next one does it.

    Attributes:
        is_done: True once the work has returned.
    """

    def __init__(self) -> None:
        self.is_done: bool = False
        self._worker: object = None
        self._news: Event | None = None

    async def do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Return once the work is done, by this caller or by another one."""
        me = object()
        while not self.is_done:
            try:
                news = self._begin(me)
                if news is None:
                    await work()
                    self.is_done = True
                elif blocks():  # a signal may end the work of another thread before it has set its event
                    wait_until(lambda: self.is_done or self._worker is None)
                else:
                    await news.wait()
            finally:
                if self._worker is me:
                    self._end()
        await give_way()  # to those that were woken, and will ask for the same as this caller

    def _begin(self, me: object) -> Event | None:
        with STATE_LOCK:
            if self._worker is not None:
                return self._news
            self._worker, self._news = me, new_event()
            return None

    def _end(self) -> None:
        self._worker = None
        if self._news is not None:
            self._news.set()


class Turn:
    """A turn of one handle, which callers share that wait at the same time and want different streams.

    Attributes:
        streams: the streams of all its callers.
        callers: the number of callers that wait for it or are in it.
        is_asked_for: True once the server is being asked for it.
        is_closed: True once nobody can join.
        beginning: done once the server has answered.
        over: set when the last of its callers has left.
    """

    def __init__(self) -> None:
        self.streams: set[StreamId] = set()
        self.callers: int = 0
        self.is_asked_for: bool = False
        self.is_closed: bool = False
        self.beginning: Shared = Shared()
        self.over: Event = new_event()

    def close(self) -> Collection[StreamId]:
        """Let nobody join any more, and return the streams."""
        with STATE_LOCK:
            self.is_closed = True
            return self.streams


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
            await turn.beginning.do(partial(self._begin, turn))
            yield
        finally:
            await self._leave(turn)

    async def _begin(self, turn: Turn) -> None:
        while (first := self._queue[0]) is not turn:
            await first.over.wait()
        turn.is_asked_for = True
        await self._take(turn)

    def _join(self, streams: Collection[StreamId]) -> Turn:
        """Return the first turn that is not closed, behind all that have one of the same streams."""
        with STATE_LOCK:
            found: Turn | None = None
            for turn in reversed(self._queue):
                if not turn.streams.isdisjoint(streams):
                    break
                if not turn.is_closed and len(turn.streams) + len(streams) <= MOST_LOCKS:
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
            turn.is_closed = True
        try:
            if turn.is_asked_for:
                with scope(shield=True), suppress(StoreClosedError):
                    await self._give_back(turn)
        finally:
            with STATE_LOCK:
                if turn in self._queue:
                    self._queue.remove(turn)
            turn.over.set()


PageAsked = tuple[StreamId, int, int]
"""A stream, the version after which its page begins, and the most events."""


class PagesAsked:
    """Pages of streams that are read in one statement.

    Attributes:
        asked: the pages, in any order.
        found: by place in ``asked``, the page or the error to raise.
        reading: done once they are read.
    """

    def __init__(self) -> None:
        self.asked: list[PageAsked] = []
        self.found: Sequence[StreamPage | Exception] = ()
        self.reading: Shared = Shared()


class Reads:
    """Reads of one handle's callers. Those that wait for a connection share the next statement. Nobody waits for company.

    Args:
        calls: runs the statements in threads.
        read: reads pages in one statement, and returns each or its error.
    """

    def __init__(self, calls: BlockingCalls, read: Callable[[Sequence[PageAsked]], Sequence[StreamPage | Exception]]) -> None:
        self._calls = calls
        self._read = read
        self._next: PagesAsked | None = None

    async def page(self, asked: PageAsked) -> StreamPage:
        """Return a page that is read after this call began."""
        with STATE_LOCK:
            pages = self._next
            if pages is None or len(pages.asked) == MOST_LOCKS or not self._calls.is_open:
                pages = self._next = PagesAsked()
            place = len(pages.asked)
            pages.asked.append(asked)
        await pages.reading.do(lambda: self._send(pages))
        found = pages.found[place]
        if isinstance(found, Exception):
            raise copy(found) from found  # each caller's own, so that it does not collect all their tracebacks
        return found

    async def _send(self, pages: PagesAsked) -> None:
        pages.found = await self._calls.run(lambda: self._read(self._close(pages)))

    def _close(self, pages: PagesAsked) -> Sequence[PageAsked]:
        """Let nobody join any more: the statement is about to be sent."""
        with STATE_LOCK:
            if self._next is pages:
                self._next = None
            return pages.asked


class Gate:
    """Makes connections to one server, one attempt at a time.

    Args:
        place: where to.
        failures: the errors of the store.
        check: refuses a server whose new connection is not as it should be.
        writes: False where a server that takes no writes will do.
        lend: lends connections of the host, so that none is made.

    Attributes:
        greeting: of the newest connection.
        attempts: the number of connections that were tried to make.
        timeout: seconds in which the server must answer each call.
    """

    greeting: Greeting

    def __init__(
        self,
        place: Place,
        failures: Failures,
        check: Callable[[Link, Greeting], None],
        *,
        writes: bool = True,
        lend: Lend | None = None,
    ) -> None:
        self._place = place
        self._lend = lend
        self._greeted = WeakSet[psycopg.Connection[Any]]()
        self._writes = writes
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

    @property
    def borrows(self) -> bool:
        """True if the host lends the connections."""
        return self._lend is not None

    @contextmanager
    def borrow(self, give_up: float) -> Iterator[Link]:
        """Borrow a connection of the host. Its settings, adapters and handlers are the host's, before the block and after it.

        Nothing is set in its session. A connection that the block leaves in the middle of something is closed.

        Raises:
            StoreUnavailableError: the host lends none in time.
            IncompatibleStoreError: the connection can't be used.
        """
        assert self._lend is not None  # noqa: S101  # asked only where the host lends
        with ExitStack() as lent:
            try:
                theirs = lent.enter_context(self._lend(max(0.0, give_up - monotonic())))
            except psycopg.Error as problem:
                raise self._failures.unavailable(f"the host lends no connection ({type(problem).__name__})", None) from problem
            pgconn = theirs.pgconn
            if pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                raise self._failures.incompatible("a lent connection is closed, or in a transaction")
            encoding = pgconn.parameter_status(b"client_encoding")
            if encoding != b"UTF8":
                problem_text = f"the client_encoding of a lent connection is {(encoding or b'').decode()}: set it to UTF8"
                raise self._failures.incompatible(problem_text)
            handlers = pgconn.notice_handler, pgconn.notify_handler
            link = Link(pgconn)
            try:
                link.give_up = give_up
                link.autocommit, link.prepare_threshold = True, None
                self._make_ready(link, is_new=theirs not in self._greeted)
                self._greeted.add(theirs)
                yield link
            finally:
                pgconn.notice_handler, pgconn.notify_handler = handlers
                if not link.is_fit():
                    link.close()

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
            self._make_ready(link, is_new=True)
        except BaseException:
            link.close()
            raise
        return link

    def _make_ready(self, link: Link, *, is_new: bool) -> None:
        link.warnings = []
        link.add_notice_handler(lambda told: link.warnings.append(told.sqlstate or ""))
        for name, loader in _RAW.items():
            link.adapters.register_loader(name, loader)
        register_columns(link)
        if is_new:
            with self._failures.translated():
                greeting = self._greet(link)
                self._check(link, greeting)
            self.greeting = greeting

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
        if is_replica and self._writes:
            raise self._failures.unavailable("the server takes no writes: it is a replica", None)
        if self._place.notifies and link.pgconn.backend_pid != backend:
            problem = "?notify=on needs a session of its own, and a pooler stands before the server"
            raise self._failures.incompatible(f"{problem}: leave the option out, or give the URL of the server itself")
        return Greeting(durability=durability.decode(), timeline=timeline, clock=clock, clock_at=monotonic())
