"""A publisher that tells each event once it is published."""

from collections.abc import Awaitable, Callable

from inventory_es.ports import EventBus
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from inventory_es.testing.contracts.processes.other_process import Step

GROUP = "fork"


async def write_rounds(bus: EventBus, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Publish ``rounds`` events of this writer's stream, one after the other, and tell each."""
    labels = EventLabels()
    for number in range(1, rounds + 1):
        label = f"{writer}n{number}"
        await bus.publish([recorded(stream_id(writer), number, number, labels.event(label))])
        tell({"writer": writer, "published": label, "at": 0})


def uses(bus: EventBus) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every way of using a bus, by the name of the method."""
    return {
        "publish": lambda: bus.publish([recorded(stream_id("inherited"), 1, 1, EventLabels().event("inherited"))]),
        "dead_letters": lambda: bus.dead_letters(GROUP),
    }
