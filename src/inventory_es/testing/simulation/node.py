"""An application node: an engine with a memory and a clock of its own, both of which a restart takes away."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

import attrs

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.engine import Engine
from inventory_es.ports import Clock, EventFeed
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.ports.toolkit.forwarding import forward
from inventory_es.testing.simulation.scheduler import Scheduler, StoppedError

_APPENDS = frozenset({"append", "append_group"})


class WorldClock:
    """The true time: an instant plus the virtual seconds since. It leaps when a program says that days pass.

    Args:
        start: the instant.
        scheduler: source of the virtual seconds.
    """

    def __init__(self, start: datetime, scheduler: Scheduler) -> None:
        self._start = start
        self._scheduler = scheduler

    def now(self) -> datetime:
        """Return the true time."""
        return self._start + timedelta(microseconds=round(self._scheduler.now * 1e6))

    def reach(self, at: datetime) -> None:
        """Leap to an instant. No-op if the instant is past."""
        self._start += max(at - self.now(), timedelta(0))


@attrs.define(eq=False)
class NodeClock:
    """A node's own clock, which follows the true one and can jump.

    Attributes:
        skew: how far the clock is ahead.
        readings: every time that the clock ever gave.
    """

    _world: Clock
    skew: timedelta = timedelta(0)
    readings: list[datetime] = attrs.field(factory=list[datetime])

    def now(self) -> datetime:
        """Return the true time plus the skew, and add it to the readings."""
        self.readings.append(self._world.now() + self.skew)
        return self.readings[-1]


@attrs.define(eq=False)
class Incarnation:
    """A node from one start to its end.

    Attributes:
        number: unique over all nodes.
        is_stopped: True if the node has ended.
        in_flight: appends that the node sent before its end and that have not arrived yet.
    """

    number: int
    is_stopped: bool = False
    in_flight: int = 0
    _minted: int = 0

    def new_id(self) -> str:
        """Return an id that no other incarnation makes."""
        self._minted += 1
        return f"minted-{self.number}-{self._minted}"


@attrs.define(eq=False)
class Node:
    """A node of the application.

    Attributes:
        name: the node in the trace.
        clock: the node's clock.
        life: the present incarnation.
        engine: the engine of this incarnation.
        feed: the same store, as the node's consumers see it.
    """

    name: str
    clock: NodeClock
    life: Incarnation
    engine: Engine
    feed: EventFeed

    def __str__(self) -> str:
        return f"{self.name}.{self.life.number}"


class Network(Protocol):
    """Receiver of what happens to a node's appends."""

    def met_conflict(self) -> None:
        """Note that an append met another version than it expected."""
        ...

    def send_late(self, life: Incarnation, call: Callable[[], Awaitable[object]]) -> None:
        """Decide whether an append arrives that was under way when the node ended."""
        ...


def node_store(store: MemoryEventStore, life: Incarnation, network: Network) -> Any:
    """Return a node's handle on the store. An append that was sent when the node ended may still arrive.

    Args:
        store: the handle.
        life: the incarnation that uses the handle.
        network: is notified of what happens to the appends.
    """

    async def carry(method: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if method not in _APPENDS:
            return await call()
        try:
            answer = await call()
        except StoppedError:
            network.send_late(life, call)
            raise
        except ConcurrencyError:
            network.met_conflict()
            raise
        for result in answer if method == "append_group" else ():
            if isinstance(result, ConcurrencyError):
                network.met_conflict()
        return answer

    return forward(store, carry, name="NodeStore")
