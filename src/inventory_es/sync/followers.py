"""The followers of the feed, without ``await``."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from inventory_es.application.followers import Followers as _Async
from inventory_es.application.following.projection import OnFailure, ProjectionStatus
from inventory_es.application.service import InventoryService
from inventory_es.ports.errors import StoreClosedError
from inventory_es.sync.ending import END
from inventory_es.sync.engine import Engine

T = TypeVar("T")


class Followers:
    """Keeps what is derived from the events up with them. See :class:`inventory_es.application.followers.Followers`.

    Args:
        running: gives the open engine.
    """

    def __init__(self, running: Callable[[], Engine]) -> None:
        self._running = running

    def run(self, *, on_failure: OnFailure) -> None:
        """Follow the feed until :meth:`stop`, until the service is closed, or until failing events have stopped every projection.

        It also ends with the main thread. Run it in a thread of the host, daemon or not.
        """
        with END.stopping(self._stop_at_the_end):
            self._do(lambda followers: followers.run(on_failure=on_failure))

    def catch_up(self, *, on_failure: OnFailure) -> None:
        """Bring every projection to the end of the feed once; stand by where another process works on one."""
        with END.stopping(self._stop_at_the_end):
            self._do(lambda followers: followers.catch_up(on_failure=on_failure))

    def status(self) -> tuple[ProjectionStatus, ...]:
        """Return the state of each projection, whichever runner has it, here or elsewhere."""
        return self._do(_Async.status)

    def resume(self) -> None:
        """Resume the projections that are stopped; the next run tries the failing event again."""
        self._do(_Async.resume)

    def rewind_relay(self, *, to: int) -> None:
        """Set the checkpoint of the relay back, so that the events after a position are published again."""
        self._do(lambda followers: followers.rewind_relay(to=to))

    def stop(self) -> None:
        """End every :meth:`run`, also one that begins later, after the commits in flight. Idempotent."""
        self._running().tell(lambda service: service.followers.stop())

    def _stop_at_the_end(self) -> None:
        with suppress(StoreClosedError, RuntimeError):  # the service was closed meanwhile, or its loop: that has ended it
            self.stop()

    def _do(self, method: Callable[[_Async], Awaitable[T]]) -> T:
        async def do(service: InventoryService) -> T:
            return await method(service.followers)

        return self._running().call(do)
