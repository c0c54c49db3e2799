"""The writers of a file store: one thread for an event loop, or the callers themselves.

All appends that arrive while the thread commits share its next commit.
"""

import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.errors import InventoryError
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import AppendResult, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError, wanted_while
from inventory_es.ports.toolkit.waiting import Event, Wakeup, futures, look_again, must_finish, new_event, wait_until

Groups = Sequence[Sequence[StreamWrite]]

_logger = logging.getLogger(__name__)
_IDLE = 0.2
_LONGEST_PAUSE = 0.2
"""Seconds without an append after which a priority request lapses."""
_MAX_GROUPS = 4_096
_MAX_BACKLOG = 100_000


@attrs.define(eq=False)
class _Request:
    """Appends of one caller. The one that acquires ``claim`` decides: the writer runs it, or the caller has withdrawn it."""

    groups: Groups
    done: Wakeup
    claim: threading.Lock = attrs.field(factory=lambda: threading.Lock())  # noqa: PLW0108  # gevent may have patched it since
    is_answered: bool = False
    outcomes: Sequence[AppendResult | Exception] = ()
    error: Exception | None = None


@attrs.define(eq=False)
class PriorityRequest:
    """The wish to write before others do. Put into the queue when it is made, and again when it is over."""

    has_begun: anyio.Event
    is_over: bool = False


_Item = _Request | PriorityRequest | None


class CommitWriter:
    """Runs the commits of one store, one at a time, in a thread of its own; its tasks are those of one event loop.

    When nothing has arrived for 200 ms it tidies; under steady load, when the readable copies are 100,000 events behind. If the thread
    ends with an unexpected error, every call that waits or comes later raises ``StoreClosedError``.

    Args:
        store: the store that it drives.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._call_soon = _thread_safe_call()
        self._future = futures()
        self._finished = anyio.Event()
        self._is_let_go = False
        self._taken: list[_Request] = []
        self._left: list[_Request] = []
        self._delivered: Event | None = None
        self._waiting: deque[_Item] = deque()
        self._failure: StoreClosedError | None = None
        self._thread = threading.Thread(target=self._run, name="inventory_es file store writer", daemon=True)
        self._thread.start()

    async def commit(self, groups: Groups) -> Sequence[AppendResult | Exception]:
        """Run these appends in the next commit; see :meth:`FileStore.commit`.

        Cancelled before the commit begins, none of them runs, and ``WithdrawnError`` is the cause of the cancellation. After that the
        outcome is unknown to the caller. In :func:`finishing` it is finished and returned, unless asyncio's own cancellation ends the wait.
        """
        request = _Request(groups, self._future() or Wakeup(anyio.Event()))
        self._queue.put(request)
        if self._failure is not None and request.claim.acquire(blocking=False):  # the thread has ended: nothing reads the queue
            raise self._failure
        try:
            await request.done
        except BaseException as cancelled:
            if request.claim.acquire(blocking=False):
                raise cancelled from WithdrawnError()
            try:
                if not must_finish() or anyio.current_effective_deadline() != -inf:
                    raise
                with anyio.CancelScope(shield=True):
                    while not request.is_answered:
                        request.done = self._future() or Wakeup(anyio.Event())
                        await request.done
            finally:
                if not request.is_answered:
                    self._left.append(request)
        if request.error is not None:
            raise request.error
        return request.outcomes

    def next_delivery(self) -> Event:
        """Return the event that is set when the next commit has been answered."""
        self._delivered = self._delivered or new_event()
        return self._delivered

    async def settle(self) -> None:
        """Wait for the commits that go on although their callers were cancelled."""
        while self._left and (left := [one for one in self._left if not one.is_answered]):
            self._left = left
            await self.next_delivery().wait()
        self._left = []

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Keep other handles from committing, but for no longer than the event loop goes on; one at a time."""
        request = PriorityRequest(anyio.Event())
        self._queue.put(request)
        try:
            if self._failure is not None:
                raise self._failure
            await request.has_begun.wait()
            yield
        finally:
            request.is_over = True
            self._queue.put(request)

    async def stop(self) -> None:
        """Run the requests that are queued, and end the thread."""
        self._queue.put(None)
        await self._finished.wait()

    def let_go(self) -> None:
        """Have the thread close the store and end: no call will come, and the event loop may be gone. For a finalizer."""
        self._is_let_go = True
        self._queue.put(None)

    def _run(self) -> None:
        try:
            with wanted_while(self._is_wanted):
                self._serve_all()
            if self._is_let_go:
                self._store.close()
        except BaseException as problem:
            _logger.exception("store_writer_failed", extra={"store": self._store.name})
            reason = f"its writer ended with an unexpected {type(problem).__name__}"
            self._failure = StoreClosedError(store=self._store.name, reason=reason)
            with suppress(RuntimeError):  # the event loop has ended, and all who waited in it
                self._fail_all(self._failure)
        with suppress(RuntimeError):
            self._call_soon(self._finished.set)

    def _fail_all(self, failure: StoreClosedError) -> None:
        """Answer every request that was taken and not answered, and all that wait in the queue."""
        waiting = self._taken
        with suppress(Empty):
            while True:
                item = self._waiting.popleft() if self._waiting else self._queue.get_nowait()
                if isinstance(item, _Request) and item.claim.acquire(blocking=False):
                    waiting.append(item)
                elif isinstance(item, PriorityRequest):  # its appends are refused
                    self._call_soon(item.has_begun.set)
        for request in waiting:
            request.error = failure
        self._call_soon(self._deliver, waiting)

    def _serve_all(self) -> None:
        patience: float | None = _IDLE
        while True:
            try:
                item = self._queue.get(timeout=patience)
            except Empty:
                patience = None if self._tidy() else 0.0
                continue
            patience = _IDLE
            if not self._serve(item):
                break

    def _serve(self, item: _Item) -> bool:
        """Serve this item and those that arrive meanwhile; return False to stop."""
        waiting = self._waiting
        waiting.append(item)
        while waiting:
            first = waiting[0]
            if isinstance(first, _Request):
                self._commit()
                continue
            waiting.popleft()
            if first is None or not (first.is_over or self._grant(first)):
                return False
        return True

    def _grant(self, request: PriorityRequest) -> bool:
        """Serve this process alone until its priority request is over, or nothing arrives for a while; return False to stop."""
        try:
            with wanted_while(lambda: not request.is_over), self._store.turn():
                self._call_soon(request.has_begun.set)
                while not request.is_over:
                    if not self._serve(self._queue.get(timeout=_LONGEST_PAUSE)):
                        return False
        except Empty:
            _logger.debug("store_turn_lapsed")
        except Exception as problem:
            if self._taken:
                raise
            _logger.debug("store_turn_not_given", extra={"problem": type(problem).__name__})
        finally:
            self._call_soon(request.has_begun.set)
        return True

    def _commit(self) -> None:
        """Commit the requests at the front together. They are claimed under the lock; until then, each may be withdrawn."""
        try:
            outcomes = self._store.commit(self._take())
        except WithdrawnError:
            while self._waiting and isinstance(self._waiting[0], _Request):
                self._waiting.popleft()
            return
        except Exception as problem:  # noqa: BLE001 - whatever it is belongs to the callers
            if not self._taken:
                list(self._take())
            requests = self._taken
            for request in requests:
                request.error = problem if len(requests) == 1 else _copy(problem)
        else:
            requests = self._taken
            at = 0
            for request in requests:
                request.outcomes = outcomes[at : at + len(request.groups)]
                at += len(request.groups)
        self._call_soon(self._deliver, requests)
        self._taken = []
        if self._store.settle() > _MAX_BACKLOG:
            self._tidy()

    def _is_wanted(self) -> bool:
        """Return True if a caller still waits for a commit that has to wait for the lock."""
        while not self._queue.empty():
            self._waiting.append(self._queue.get())
        return any(isinstance(one, _Request) and not one.claim.locked() for one in self._waiting)

    def _take(self) -> Iterator[Sequence[StreamWrite]]:
        """Claim the requests at the front, and in the queue behind them, that were not withdrawn; yield their appends."""
        waiting, taken, count = self._waiting, self._taken, 0
        while count < _MAX_GROUPS and (waiting or not self._queue.empty()):
            request = waiting.popleft() if waiting else self._queue.get()
            if not isinstance(request, _Request):
                waiting.appendleft(request)
                break
            if request.claim.acquire(blocking=False):
                taken.append(request)
                count += len(request.groups)
                yield from request.groups

    def _deliver(self, requests: list[_Request]) -> None:
        for request in requests:
            request.is_answered = True
            if not request.done.done():
                request.done.set_result(None)
        if self._delivered is not None:
            self._delivered.set()
            self._delivered = None

    def _tidy(self) -> bool:
        try:
            with wanted_while(lambda: True):
                return self._store.tidy()
        except BaseException as problem:  # noqa: BLE001 - no promise depends on it, and callers wait for this thread
            said = str(problem) if isinstance(problem, InventoryError) else type(problem).__name__
            _logger.warning("store_not_tidied", extra={"problem": said})
            return True


class CallersCommits:
    """Commits by the callers themselves, which are threads: one at a time, without a helper thread.

    Callers write readable copies once these are 100,000 events behind. Closing the store writes the rest.

    Args:
        store: the store that it drives.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._mutex = threading.Lock()
        self._is_stopped = False
        self._delivered: Event | None = None

    async def commit(self, groups: Groups) -> Sequence[AppendResult | Exception]:
        """Run these appends in one commit; see :meth:`FileStore.commit`."""
        store = self._store
        with self._mutex:
            if self._is_stopped:
                raise StoreClosedError(store=store.name)
            try:
                outcomes = store.commit(groups)
                if store.settle() > _MAX_BACKLOG:
                    store.tidy()
            except BaseException:  # of a signal too
                store.repair()
                raise
        if self._is_stopped:
            look_again()  # type: ignore[unreachable]  # another thread stops it
        delivered, self._delivered = self._delivered, None
        if delivered is not None:
            delivered.set()
        return outcomes

    def next_delivery(self) -> Event:
        """Return the event that is set after the next commit."""
        delivered = self._delivered = self._delivered or new_event()
        return delivered

    async def settle(self) -> None:
        """Do nothing: a commit ends before its caller does."""

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Keep other handles from committing, for 200 ms at most. Any thread of this process may commit meanwhile."""
        turn, store = object(), self._store
        lapse = threading.Timer(_LONGEST_PAUSE, store.end_turn, [turn])
        lapse.daemon = True
        try:
            try:
                store.begin_turn(turn)
                lapse.start()
            except Exception as problem:  # noqa: BLE001  # without a turn, the caller races on
                _logger.debug("store_turn_not_given", extra={"problem": type(problem).__name__})
            yield
        except BaseException:
            store.repair()
            raise
        finally:
            store.end_turn(turn)
            lapse.cancel()

    async def stop(self) -> None:
        """Wait for the commit in flight, and let no other one begin."""
        self._is_stopped = True
        wait_until(lambda: not self._mutex.locked())

    def let_go(self) -> None:
        """Close the store: no call will come. For a finalizer."""
        self._store.close()


def _copy(problem: Exception) -> Exception:
    """Return a copy of an exception, so that each caller raises its own; the same one if it can't be copied."""
    try:
        return copy(problem)
    except Exception:  # noqa: BLE001 - a foreign class may do anything
        return problem


def _thread_safe_call() -> Callable[..., object]:
    """Return how another thread schedules a function in this event loop, without waiting for it: asyncio's way or trio's."""
    loop: Any = anyio.lowlevel.current_token().native_token
    call: Callable[..., object] = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    return call
