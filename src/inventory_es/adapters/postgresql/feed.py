"""The services for followers of the feed: notifications, looks at its head, and replicas."""

import logging
import math
import selectors
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from hashlib import sha256
from time import monotonic
from typing import Any, LiteralString
from uuid import UUID

import anyio
import anyio.from_thread
import psycopg
from anyio.lowlevel import EventLoopToken, current_token
from psycopg import sql

from inventory_es.adapters.postgresql import rows
from inventory_es.adapters.postgresql.connections import Connections, Gate, Greeting, Link, Selector
from inventory_es.adapters.postgresql.failures import store_failures
from inventory_es.adapters.postgresql.place import Place
from inventory_es.adapters.postgresql.schema import find_mark
from inventory_es.domain.errors import InventoryError
from inventory_es.ports.errors import StoreClosedError, StoreUnavailableError
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Exclusive, blocks, check_timeout, new_event, scope

_logger = logging.getLogger("inventory_es")

_TELLS_AGAIN = 0.5
"""Seconds between two notifications of one process. A follower that has received one looks often for a second, and each takes a lock that
the server has once for all its databases."""

_LISTENS_AGAIN = (0.1, 30.0)
"""Seconds from a lost connection that listened to the next attempt: first, and at most."""

_LEFT_ALONE = 30.0
"""Seconds for which a replica is not asked after it failed."""

_TELL: LiteralString = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {channel}; COMMIT"
"""A notification waits for no disk and for no replica: what it tells of is committed."""
_POLLS = (0.005, 0.05, 0.2)
"""Seconds between two looks at the head: soon after news, later, and at rest."""


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
        with Selector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            if link is not None:
                selector.register(link.pgconn.socket, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(seconds)]
        with suppress(BlockingIOError):
            self._ear.recv(4_096)
        return self._ear in ready, link is not None and link.pgconn.socket in ready


class Replica:
    """A server that pages of the feed may be read from. The primary decides which of them hold: a replica may lag, or have another past.

    One that fails is not asked for half a minute, and the caller asks the primary.

    Args:
        place: the way to it, or to several of which the first that answers is taken.
        store_id: of the store.
        most: the most connections at a time.
    """

    def __init__(self, place: Place, store_id: UUID, most: int) -> None:
        self._place = place
        self._store_id = store_id
        self._failures = store_failures(place)
        self._statement = sql.SQL(rows.FEED).format(schema=sql.Identifier(place.schema))
        self._readers = Connections(Gate(place, self._failures, self._check, writes=False), most)
        self._not_before = -math.inf

    def page(self, after: int, limit: int, ask_primary: Callable[[LiteralString, tuple[Any, ...]], list[Any]]) -> tuple[list[Any], int]:
        """Return rows of the feed that the primary has too, and the primary's head. No rows mean that the primary has to give them.

        Raises:
            IncompatibleStoreError: the server has another store, or can't be used.
        """
        found: list[Any] = []
        if monotonic() >= self._not_before:
            try:
                with self._failures.translated(), self._readers.lend(monotonic() + self._place.timeout / 2) as link:
                    found = link.execute(self._statement, (after, limit), binary=True).fetchall()
            except (StoreUnavailableError, StoreClosedError) as problem:
                self._leave(problem.reason)
        if not found:
            return [], 0
        ((digest, head),) = ask_primary(rows.FEED_DIGEST, (after, found[-1][1]))
        if digest != sha256(b"".join(row[2] for row in found)).digest():
            self._leave("its feed is another one: it was promoted, or follows another primary")
            return [], 0
        return found, head

    def _leave(self, problem: str) -> None:
        self._not_before = monotonic() + _LEFT_ALONE
        _logger.warning("store_replica_left", extra={"problem": problem})

    def close(self) -> None:
        """Close the idle connections."""
        self._readers.close()

    def _check(self, link: Link, _greeting: Greeting) -> None:
        mark = find_mark(link, self._place.schema)
        if mark is None or mark.problem() is not None:
            raise self._failures.unavailable("the replica does not have the tables yet", None)
        if mark.store_id != self._store_id:
            raise self._failures.incompatible("this server is no replica of the store: see the option replica of the URL")


class HeadWatch:
    """Waits of one handle for the head of its feed, which looks at it for all of them.

    Args:
        head: returns the position of the newest event.
        notifications: of the store, if it has any.
    """

    def __init__(self, head: Callable[[], Awaitable[int]], notifications: Notifications | None) -> None:
        self._head = head
        self._notifications = notifications
        self._looks = Exclusive()
        self._news = new_event()
        self._loop: EventLoopToken | None = None
        self._seen = 0
        self._seen_at = -math.inf
        self._looked_at = -math.inf

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """See ``EventFeed.wait_for_position``."""
        check_timeout(timeout)
        if self._notifications is not None:
            self._loop = None if blocks() else current_token()
            self._notifications.heard = self._hear_from_afar
            self._notifications.start()
        if await self._head() >= position:  # beyond the timeout, which may be 0
            return True
        with scope(timeout):
            while True:
                with STATE_LOCK:
                    if self._news.is_set():
                        self._news = new_event()
                    news = self._news
                if await self._look() >= position:
                    return True
                with scope(self._pause()):
                    await news.wait()
        return False

    def committed(self) -> None:
        """Wake the waiters of this handle after a commit of its own, and let other processes wake theirs."""
        self._hear()
        if self._notifications is not None:
            self._notifications.tell()

    def _hear(self) -> None:
        self._looked_at = -math.inf
        self._news.set()

    def _hear_from_afar(self) -> None:
        """Wake the waiters of the event loop, from the thread that listens. The loop may have ended."""
        if self._loop is None:
            self._hear()
        elif not self._news.is_set():
            with suppress(anyio.RunFinishedError):
                anyio.from_thread.run_sync(self._hear, token=self._loop)

    async def _look(self) -> int:
        """Return the head, as it was found for any waiter not longer ago than the pause."""
        async with self._looks:
            if monotonic() - self._looked_at >= self._pause():
                self._looked_at = monotonic()  # news during the look ask for another one
                head = await self._head()
                if head != self._seen:
                    self._seen, self._seen_at = head, monotonic()
            return self._seen

    def _pause(self) -> float:
        rest = monotonic() - self._seen_at
        soon, later, at_rest = _POLLS
        return soon if rest < 1 else later if rest < 10 else at_rest  # seconds
