"""Loading processes, deciding, and appending to their streams, optimistically."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

from inventory_es.application.context import current_context
from inventory_es.application.processes.session import ProcessDraft
from inventory_es.application.service import InventoryService
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.errors import ClockSkewError
from inventory_es.domain.processes.decider import Decider
from inventory_es.ports import NewEvent, SteadyClock, StreamWrite
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.metadata import EventMetadata
from inventory_es.ports.page_rules import read_stream_page

State = TypeVar("State")
Event = TypeVar("Event")
T = TypeVar("T")

_PAGE = 500


class ProcessHandler(Generic[State, Event]):
    """Keeps the streams of one kind of process, beside the inventories that it drives.

    Args:
        decider: of the kind.
        inventory: open; its store has the streams.
    """

    def __init__(self, decider: Decider[State, Event], inventory: InventoryService) -> None:
        self._decider = decider
        self._inventory = inventory
        self._parts = inventory.parts

    async def load(self, process_id: str) -> ProcessDraft[State, Event]:
        """The process as the store has it now.

        Raises:
            CorruptStreamError: its events contradict each other. EventDecodeError: they are not its events.
        """
        draft = ProcessDraft(self._decider, process_id)
        is_end = False
        while not is_end:
            page = await read_stream_page(self._inventory.store, draft.stream, after=draft.version, limit=_PAGE)
            for recorded in page.events:
                draft.fold(self._parts.codec.decode(recorded), recorded.recorded_at)
            is_end = page.is_end
        return draft

    async def attempt(self, process_id: str, work: Callable[[ProcessDraft[State, Event]], Awaitable[T]]) -> T:
        """Load a process and work on it; again from the store's own state whenever somebody else moves its stream meanwhile.

        Raises:
            ConcurrencyError: others kept winning.
        """
        attempt = 0
        while True:
            attempt += 1
            if attempt > 2:
                await self._parts.sleep(self._parts.settings.pause(attempt, self._parts.chance()))
            draft = await self.load(process_id)
            try:
                return await work(draft)
            except (ConcurrencyError, EventIdCollisionError) as problem:
                if problem.stream != draft.stream or attempt >= self._parts.settings.max_attempts:
                    raise

    def decide(self, draft: ProcessDraft[State, Event], command: Any) -> None:
        """Take what ``command`` comes to now.

        Raises:
            RejectionError: the process refuses.
            ClockSkewError: this machine's clock stands too far behind the stream.
            ClockJumpError: it was set by too much since the inventory was opened.
        """
        at = self.time_of(draft)
        draft.take(self._decider.decide(draft.state, command, at), at, command_id=command.command_id)

    def time_of(self, draft: ProcessDraft[State, Event]) -> datetime:
        """The time of a decision now: the clock's, but never before the stream's last event."""
        clock, last_time, longest = self._parts.clock, draft.last_time, self._parts.settings.max_clock_skew
        if isinstance(clock, SteadyClock):
            self._parts.settings.check_jump(clock.jump)
        now = clock.now()
        if last_time is None or now >= last_time:
            return now
        if last_time - now > longest:
            raise ClockSkewError(stream=draft.stream, now=now, last_time=last_time, max_clock_skew=longest)
        return last_time

    def write(self, draft: ProcessDraft[State, Event]) -> StreamWrite:
        """What is drafted, as the store takes it. Ids derive from the command or step and the event's place in the stream."""
        ids, context = EventIds(draft.stream), current_context()
        events: list[NewEvent] = []
        for version, (event, command_id, at) in enumerate(draft.drafted, draft.version + 1):
            metadata = EventMetadata(
                command_id=command_id,
                correlation_id=context.correlation_id,
                causation_id=context.causation_id,
                actor_id=context.actor_id,
            )
            event_type, schema_version, data = self._parts.codec.encode(event)
            metadata_bytes = self._parts.codec.encode_metadata(metadata)
            events.append(NewEvent(ids.own(command_id, version), event_type, schema_version, at, data, metadata_bytes))
        return StreamWrite(draft.stream, draft.version, events)

    async def append(self, draft: ProcessDraft[State, Event]) -> None:
        """Store what is drafted, if anything is.

        Raises:
            ConcurrencyError: somebody else moved the stream; nothing was appended.
            AppendOutcomeUnknownError: perhaps appended; the same command again comes to the same events at the same version, so it
                meets what is late.
        """
        if draft.drafted:
            await self._inventory.execute_all((), writes=[self.write(draft)])
            draft.stored()


def check_command(command: object, kind: Any) -> None:
    """Refuse what is no command of a process.

    Args:
        command: what a caller gave.
        kind: a class of commands, or a union of them.

    Raises:
        TypeError: it is of another class.
    """
    if not isinstance(command, kind):
        names = ", ".join(one.__name__ for one in get_args(kind) or (kind,))
        msg = f"command must be one of {names}, not a {type(command).__name__}"
        raise TypeError(msg)
