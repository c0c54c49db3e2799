"""Lanes: one queue per stream, so that commands for one inventory that meet in this process are served together."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint

from inventory_es.application.commands.batching import Combiner, Crowd, Ticket
from inventory_es.application.commands.lane import LaneWorker
from inventory_es.application.commands.requests import Request
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import LaneFullError

_AT_ONCE = 4


class Lanes:
    """The open lanes of one process. A lane that nobody uses does not exist, so memory is bounded by the callers.

    Args:
        worker: serves the batches.
        max_batch: requests served together at most.
        max_waiting: requests that wait in one lane at most.
    """

    def __init__(self, worker: LaneWorker, *, max_batch: int, max_waiting: int) -> None:
        self._worker = worker
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._crowd = Crowd()
        self._answered_at_once = 0
        self._open: dict[str, Combiner[Any]] = {}

    async def serve(self, inventory_id: InventoryId, request: Request) -> None:
        """Queue ``request`` and return when it has its outcome.

        A caller that is cancelled while it waits in the queue is withdrawn. Once it is taken, the work goes on, and only its
        caller does not learn the outcome.

        Raises:
            LaneFullError: too many wait already.
        """
        if self._worker.serve_at_once(inventory_id, request):
            self._answered_at_once += 1
            if self._answered_at_once % _AT_ONCE == 0:  # whoever asks and asks lets the others of the event loop run
                await checkpoint()
            return
        lane = self._lane(inventory_id.stream)
        if lane.lead_alone(request):
            try:
                await self._worker.serve(inventory_id, (request,))
            finally:
                lane.hand_over()
        elif await lane.join(request):
            batch: list[Request] = lane.take(self._max_batch)
            others = batch[1:]
            try:
                await self._worker.serve(inventory_id, batch)
            except BaseException:
                lane.put_back(one for one in others if one.outcome is None)
                raise
            finally:
                lane.wake([one for one in others if one.outcome is not None])
                lane.hand_over()

    async def enter(self, inventories: Sequence[InventoryId]) -> "LanePass":
        """Hold the lanes of these inventories, alone, each entered when those before it are served.

        Entered in the order of their stream ids, so that two callers never wait for each other in a ring.

        Raises:
            LaneFullError: too many wait in one of them already.
        """
        entered = LanePass()
        try:
            for inventory_id in sorted(inventories, key=lambda one: one.stream):
                lane = self._lane(inventory_id.stream)
                await lane.join(_Alone())
                lane.take(1)
                entered.lanes.append(lane)
        except BaseException:
            entered.leave()
            raise
        return entered

    def _lane(self, stream: StreamId) -> Combiner[Any]:
        lane = self._open.get(stream.text)
        if lane is None:
            lane = self._open[stream.text] = Combiner(self._crowd, partial(self._open.pop, stream.text))
        elif len(lane) >= self._max_waiting:
            raise LaneFullError(stream=stream, waiting=len(lane))
        return lane

    def __len__(self) -> int:
        return len(self._open)


class _Alone(Ticket):
    """Of one who holds the lane, and is served by nobody."""

    alone = True


class LanePass:
    """Lanes that one caller holds alone, until it leaves."""

    def __init__(self) -> None:
        self.lanes: list[Combiner[Any]] = []

    def leave(self) -> None:
        """Hand every lane over."""
        while self.lanes:
            self.lanes.pop().hand_over()
