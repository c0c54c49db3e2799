"""How the parts of the engine fit together."""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import attrs

from inventory_es.application.command_handler import CommandHandler
from inventory_es.application.committer import Committer
from inventory_es.application.handler_settings import HandlerSettings
from inventory_es.application.observers import Observers
from inventory_es.application.replay_check import ReplayCheck
from inventory_es.application.stream_reader import StreamReader
from inventory_es.application.strong_reads import StrongReads
from inventory_es.application.tools import Tools
from inventory_es.application.warm_states import WarmStates
from inventory_es.domain.decide import Policy
from inventory_es.ports import Clock, EventStore, IdGenerator
from inventory_es.ports.codec import EventCodec


@attrs.frozen(kw_only=True)
class EngineParts:
    """What a host may choose.

    Attributes:
        codec: events to bytes and back.
        clock: the time.
        ids: ids that callers don't give.
        chance: a number from 0 up to, not including, 1, for the jitter between attempts.
        policies: the host's rules.
        observers: objects with any of the methods of :class:`~inventory_es.application.observers.Observers`.
        settings: bounds.
        sleep: waits for seconds.
        monotonic: seconds that never go back.
    """

    codec: EventCodec
    clock: Clock
    ids: IdGenerator
    chance: Callable[[], float]
    policies: Sequence[Policy] = ()
    observers: Sequence[object] = ()
    settings: HandlerSettings = attrs.field(factory=HandlerSettings)
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    monotonic: Callable[[], float] = anyio.current_time


@attrs.frozen
class Engine:
    """The assembled command side and strong reads over one store.

    Attributes:
        store: the event store.
        handler: executes commands.
        reads: answers from the stream.
    """

    store: EventStore
    handler: CommandHandler
    reads: StrongReads


def assemble(store: EventStore, parts: EngineParts) -> Engine:
    """Build the engine over ``store``."""
    observers = Observers(parts.observers)
    reader = StreamReader(store, parts.codec)
    tools = Tools(
        store=store,
        capabilities=store.capabilities,
        codec=parts.codec,
        reader=reader,
        committer=Committer(store, observers, parts.monotonic),
        replay_check=ReplayCheck(reader, parts.codec),
        warm=WarmStates(parts.settings.warm_inventories),
        clock=parts.clock,
        ids=parts.ids,
        policies=tuple(parts.policies),
        settings=parts.settings,
        sleep=parts.sleep,
        chance=parts.chance,
    )
    handler = CommandHandler(tools, observers, parts.monotonic)
    return Engine(store, handler, StrongReads(store, parts.codec, handler, reader))
