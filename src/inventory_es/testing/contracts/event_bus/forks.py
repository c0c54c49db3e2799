"""EB-40: a process forks, and parent and child both use the bus. The publisher that both run stands here too."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from inventory_es.ports import BusSubscription, EventBus
from inventory_es.testing.contracts.core.event_labels import EventLabels, event_id, recorded, stream_id
from inventory_es.testing.contracts.event_bus.harness import BusHarness
from inventory_es.testing.contracts.processes.other_process import Step, steps_of
from inventory_es.testing.promise import MismatchError, promise

_FORKS = "After a fork, parent and child each publish, whichever closes first, and nothing is lost; an inherited handle is closed."
GROUP = "fork"


class ForkCases:
    """Cases of forks: a handle never survives a fork, and the site does."""

    @promise("EB-40", _FORKS, seeds=0)
    async def test_eb_40_the_parent_closes_first(self, harness: BusHarness) -> None:
        await _delivers_all(harness, "parent_closes_first")

    @promise("EB-40", _FORKS, seeds=0)
    async def test_eb_40_the_parent_goes_on(self, harness: BusHarness) -> None:
        await _delivers_all(harness, "parent_goes_on")


async def _delivers_all(harness: BusHarness, plan: str) -> None:
    async with harness.open() as bus:
        if not bus.capabilities.survives_fork:
            harness.run.not_declared("survives_fork")
        steps: list[Step] = []
        ended = anyio.Event()

        async def fork() -> None:
            steps.extend(await steps_of(harness.run, plan))
            ended.set()

        async with bus.raw.subscribe(GROUP) as consumer, anyio.create_task_group() as tasks:
            tasks.start_soon(fork)
            delivered = await _until(consumer, steps, ended, patience=harness.contract.patience_for_delivery)
    for writer in {step["writer"] for step in steps if "published" in step}:
        published = [event_id(step["published"]) for step in steps if step.get("writer") == writer]
        got = [one for one in dict.fromkeys(delivered) if one in published]
        if got != published:
            raise MismatchError(
                expected=f"the {len(published)} events of {writer}, in order",
                got=f"{len(got)} of them, in order" if set(got) < set(published) else "another order",
                meaning="events that the parent or a child published are lost, or overtook each other",
            )


async def _until(consumer: BusSubscription, steps: Sequence[Step], ended: anyio.Event, *, patience: float) -> list[object]:
    """Acknowledge deliveries until the processes have ended and everything that they published has come."""
    delivered: list[object] = []

    async def take() -> None:
        async for delivery in consumer:
            await delivery.ack()
            delivered.append(delivery.event.event_id)

    async def all_came() -> None:
        await ended.wait()
        wanted = {event_id(step["published"]) for step in steps if "published" in step}
        with anyio.move_on_after(patience):
            while not wanted <= set(delivered):  # noqa: ASYNC110  # another task takes them
                await anyio.sleep(0.01)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await all_came()
            scope.cancel()
    return delivered


async def write_rounds(bus: EventBus, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Publish ``rounds`` events of this writer's stream, one after the other, and tell each."""
    labels = EventLabels()
    for number in range(1, rounds + 1):
        label = f"{writer}n{number}"
        await bus.publish([recorded(stream_id(writer), number, number, labels.event(label))])
        tell({"writer": writer, "published": label, "at": 0})


def uses(bus: EventBus) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method of a bus, by its name."""
    return {
        "publish": lambda: bus.publish([recorded(stream_id("inherited"), 1, 1, EventLabels().event("inherited"))]),
        "dead_letters": lambda: bus.dead_letters(GROUP),
    }
