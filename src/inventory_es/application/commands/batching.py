"""Flat combining: callers that meet are served together by one of them.

There is no background task, so the service holds no cancel scope across its ``async with`` and starts nothing that a host
would have to stop. Whoever finds the place free leads: it takes everything that waits, its own item included, serves it, wakes
the others, and hands the lead to the first that came meanwhile. So nothing waits for company (zero added delay), and a
batch is exactly what arrived while the last one was in flight.

Callers that were just woken often come back at once. So whoever leads while some of them have not had their turn yet lets them
run first: one step of the event loop, which they take in any case, and they share one batch instead of two.

The technique is known from concurrent data structures (Hendler, Incze, Shavit, Tzafrir: Flat Combining and the
Synchronization-Parallelism Tradeoff, SPAA 2010); here the "processors" are tasks of one event loop.

The leader serves others, so it must not be cancelled half way: it runs shielded, and its own cancellation is delivered when
its batch is done. A follower that is cancelled while waiting is withdrawn; once taken, its outcome is unknown to it and
the batch goes on. No shield holds against asyncio's own ``Task.cancel``, which ``asyncio.timeout`` and many hosts use: a leader
that it interrupts puts back those whom it left unserved, for the next leader.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, TypeVar

import anyio
import attrs
from anyio.lowlevel import cancel_shielded_checkpoint

from inventory_es.ports.toolkit.wakeup import Wakeup, futures

T = TypeVar("T", bound="Ticket")


class Crowd:
    """Callers of one or more combiners, all of one event loop.

    Attributes:
        waking: how many were woken and have not had their turn yet.
    """

    __slots__ = ("_future", "waking")

    def __init__(self) -> None:
        self.waking: int = 0
        self._future: Callable[[], Wakeup | None] | None = None

    def wakeup(self) -> Wakeup:
        """What the calling task waits for, and nobody else: a future where its event loop has them."""
        if self._future is None:
            self._future = futures()
        return self._future() or Wakeup(anyio.Event())


@attrs.define(eq=False)
class Ticket:
    """One caller's place in the queue. What is to be served is a ticket of its own kind: each of them is one object less.

    Attributes:
        alone: whether it is to be served in a batch of its own.
        leads: whether its caller was handed the lead.
        is_taken: whether somebody serves it, or did.
        left: whether its caller was cancelled and is gone.
        wakeup: what its caller waits for; ``None`` when it does not wait, or was woken.
    """

    alone: ClassVar[bool] = False
    leads: bool = attrs.field(default=False, init=False)
    is_taken: bool = attrs.field(default=False, init=False)
    left: bool = attrs.field(default=False, init=False)
    wakeup: Wakeup | None = attrs.field(default=None, init=False)

    @property
    def waits(self) -> bool:
        """Whether its caller waits, and was not woken yet."""
        return self.wakeup is not None


class Combiner(Generic[T]):
    """A queue whose callers serve one another, one batch at a time.

    Args:
        crowd: its callers, counted with those of other combiners.
        when_idle: called when nobody leads and nobody waits.
    """

    __slots__ = ("_busy", "_crowd", "_waiting", "_when_idle")

    def __init__(self, crowd: Crowd, when_idle: Callable[[], object] | None = None) -> None:
        self._busy = False
        self._crowd = crowd
        self._waiting: deque[T] = deque()
        self._when_idle = when_idle

    def __len__(self) -> int:
        return len(self._waiting)

    def lead_alone(self, ticket: T) -> bool:
        """Lead at once, with ``ticket`` as the whole batch, where nobody leads and nobody was just woken; else change nothing.

        Whoever leads must call :meth:`hand_over` in the end.
        """
        if self._busy or self._crowd.waking:
            return False
        self._busy = ticket.is_taken = True
        return True

    async def join(self, ticket: T) -> bool:
        """Queue ``ticket``; or, where :meth:`join` was cancelled and somebody serves it, wait for that, shielded now.

        Returns:
            ``True``: the caller leads now; its ticket is first in the queue, to be taken with :meth:`take`, and it must call
            :meth:`hand_over` in the end. ``False``: another leader has served it.
        """
        ticket.left = ticket.leads = False
        if not ticket.is_taken:
            self._waiting.append(ticket)
        if self._busy:
            wakeup = ticket.wakeup = self._crowd.wakeup()
            try:
                await wakeup
            except BaseException:
                self._leave(ticket)
                raise
            finally:
                if not ticket.waits:
                    self._crowd.waking -= 1
                ticket.wakeup = None
            if not ticket.leads:
                return False
        self._busy = True
        if self._crowd.waking:
            try:
                await cancel_shielded_checkpoint()
            except BaseException:  # no shield holds against asyncio's own cancellation
                ticket.leads = True
                self._leave(ticket)
                raise
        return True

    def take(self, limit: int) -> list[T]:
        """The tickets to serve next: up to ``limit``, or one that is to be served alone."""
        waiting = self._waiting
        batch = [waiting.popleft()]
        while waiting and len(batch) < limit and not batch[0].alone and not waiting[0].alone:
            batch.append(waiting.popleft())
        for ticket in batch:
            ticket.is_taken = True
        return batch

    def put_back(self, tickets: Iterable[T]) -> None:
        """Queue taken tickets again, before all others, in their order. Those whose callers are gone stay out."""
        self._waiting.extendleft(reversed([ticket for ticket in tickets if not ticket.left]))

    def wake(self, tickets: Iterable[T]) -> None:
        """Let the callers of these go on, those that wait."""
        for ticket in tickets:
            wakeup = ticket.wakeup
            if wakeup is not None and not wakeup.done():
                ticket.wakeup = None
                self._crowd.waking += 1
                wakeup.set_result(None)

    def hand_over(self) -> None:
        """Give up the lead, to the first that waits."""
        if self._waiting:
            first = self._waiting[0]
            first.leads = True
            self.wake((first,))
        else:
            self._busy = False
            if self._when_idle is not None:
                self._when_idle()

    def _leave(self, ticket: T) -> None:
        ticket.left = True
        if ticket.leads:
            self._waiting.remove(ticket)
            self.hand_over()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)
