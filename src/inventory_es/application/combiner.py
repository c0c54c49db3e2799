"""Flat combining: callers that meet are served together by one of them.

There is no background task, so the service holds no cancel scope across its ``async with`` and starts nothing that a host
would have to stop. Whoever finds the place free leads: it takes everything that waits, its own item included, serves it, wakes
the others, and hands the lead to the first that came meanwhile. So nothing waits for company (zero added delay), and a
batch is exactly what arrived while the last one was in flight.

The technique is known from concurrent data structures (Hendler, Incze, Shavit, Tzafrir: Flat Combining and the
Synchronization-Parallelism Tradeoff, SPAA 2010); here the "processors" are tasks of one event loop.

The leader serves others, so it must not be cancelled half way: it runs shielded, and its own cancellation is delivered when
its batch is done. A follower that is cancelled while waiting is withdrawn; once taken, its outcome is unknown to it and
the batch goes on. No shield holds against asyncio's own ``Task.cancel``, which ``asyncio.timeout`` and many hosts use: a leader
that it interrupts puts back those whom it left unserved, for the next leader.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Ticket(Generic[T]):
    """One caller's place in the queue.

    Attributes:
        item: what is to be served.
        alone: whether it is to be served in a batch of its own.
        leads: whether its caller was handed the lead.
        left: whether its caller was cancelled and is gone.
    """

    __slots__ = ("_event", "alone", "item", "leads", "left")

    def __init__(self, item: T, *, alone: bool = False) -> None:
        self.item: T = item
        self.alone: bool = alone
        self.leads: bool = False
        self.left: bool = False
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        """Until the item was served by another caller, or the lead was handed over."""
        self._event = anyio.Event()
        await self._event.wait()

    def wake(self) -> None:
        """Let its caller go on."""
        if self._event is not None:
            self._event.set()


class Combiner(Generic[T]):
    """A queue whose callers serve one another, one batch at a time.

    Args:
        when_idle: called when nobody leads and nobody waits.
    """

    __slots__ = ("_busy", "_waiting", "_when_idle")

    def __init__(self, when_idle: Callable[[], object] | None = None) -> None:
        self._busy = False
        self._waiting: deque[Ticket[T]] = deque()
        self._when_idle = when_idle

    def __len__(self) -> int:
        return len(self._waiting)

    async def join(self, ticket: Ticket[T]) -> bool:
        """Queue ``ticket``.

        Returns:
            ``True``: the caller leads now; its ticket is first in the queue, to be taken with :meth:`take`, and it must call
            :meth:`hand_over` in the end. ``False``: another leader has served it.
        """
        self._waiting.append(ticket)
        if not self._busy:
            self._busy = True
            return True
        try:
            await ticket.wait()
        except BaseException:
            ticket.left = True
            if ticket.leads:
                self._waiting.remove(ticket)
                self.hand_over()
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            raise
        return ticket.leads

    def take(self, limit: int) -> list[Ticket[T]]:
        """The tickets to serve next: up to ``limit``, or one that is to be served alone."""
        batch = [self._waiting.popleft()]
        while self._waiting and len(batch) < limit and not batch[0].alone and not self._waiting[0].alone:
            batch.append(self._waiting.popleft())
        return batch

    def put_back(self, tickets: Iterable[Ticket[T]]) -> None:
        """Queue taken tickets again, before all others, in their order. Those whose callers are gone stay out."""
        self._waiting.extendleft(reversed([ticket for ticket in tickets if not ticket.left]))

    def hand_over(self) -> None:
        """Give up the lead, to the first that waits."""
        if self._waiting:
            first = self._waiting[0]
            first.leads = True
            first.wake()
        else:
            self._busy = False
            if self._when_idle is not None:
                self._when_idle()
