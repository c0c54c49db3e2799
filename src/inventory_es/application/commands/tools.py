"""What every part of the command side works with."""

from collections.abc import Awaitable, Callable, Sequence

import attrs

from inventory_es.application.commands.drafting import Drafting
from inventory_es.application.commands.group_commit import Committer
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.idempotency import ReplayCheck
from inventory_es.application.commands.states import StreamReader
from inventory_es.application.commands.turns import Turns
from inventory_es.application.commands.unsettled import UnsettledAppends
from inventory_es.application.commands.warm_states import WarmStates
from inventory_es.domain.inventory import Policy
from inventory_es.ports import Clock, EventStore, IdGenerator, SteadyClock, StoreCapabilities


@attrs.frozen(kw_only=True)
class Tools:
    """The collaborators of lanes and baskets, built once for a command handler.

    Attributes:
        store: the event store.
        capabilities: what it promises.
        drafting: events to what a store takes.
        reader: streams to states.
        committer: appends, sharing commits.
        turns: makes other processes wait, where they were faster again and again.
        replay_check: finds commands that were accepted before.
        unsettled: appends with an unknown outcome that may still take effect.
        warm: states kept between commands.
        clock: the time.
        ids: ids for commands of the handler's own.
        policies: the host's rules.
        settings: bounds.
        sleep: waits for seconds; cancellable.
        chance: a number from 0 up to, not including, 1: jitter.
        expiry_chunk: due reservations closed with one append at most: as the settings say, with room for the command's own events.
    """

    store: EventStore
    capabilities: StoreCapabilities
    drafting: Drafting
    reader: StreamReader
    committer: Committer
    turns: Turns
    replay_check: ReplayCheck
    unsettled: UnsettledAppends
    warm: WarmStates
    clock: Clock
    ids: IdGenerator
    policies: Sequence[Policy]
    settings: HandlerSettings
    sleep: Callable[[float], Awaitable[object]]
    chance: Callable[[], float]
    expiry_chunk: int = attrs.field(init=False)
    _jump: Callable[[], float] | None = attrs.field(init=False)

    @expiry_chunk.default
    def _expiry_chunk(self) -> int:
        return max(1, min(self.settings.expiry_chunk, self.capabilities.max_append_events // 2))

    @_jump.default
    def _jump_of_the_clock(self) -> Callable[[], float] | None:
        return self.clock.jump if isinstance(self.clock, SteadyClock) else None

    def check_clock(self) -> None:
        """Raise ``ClockJumpError`` if the clock was set by more than is allowed since the inventory was opened."""
        if self._jump is not None:
            self.settings.check_jump(self._jump)

    async def wait(self, attempt: int) -> None:
        """Wait before attempt number ``attempt``: not at all before the first two, then longer and longer, with jitter."""
        if attempt > 2:
            await self.sleep(self.settings.pause(attempt, self.chance()))
