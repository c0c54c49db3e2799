"""``relay rewind``: events are published to the bus again."""

import json
from functools import partial
from pathlib import Path

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryEventBus
from inventory_es.adapters.system import SystemClock
from inventory_es.cli.app import run

ends: list[int] = []  # one for each event that marks the end of a run
PLACES = ["--url", "file:stock", "--read-model", "rows.db"]


def published(*, added: int = 0) -> list[int]:
    """Add stock so many times, let the relay publish to the end of the feed, and return the versions that a group gets."""

    async def main() -> list[int]:
        bus = MemoryEventBus(clock=SystemClock())
        async with open_inventory("file:stock", read_models="sqlite:rows.db", bus=bus) as inventory, bus.subscribe("g") as deliveries:
            for _ in range(added):
                await inventory.add_stock("mug", "main", 1)
            await inventory.add_stock("end", "main", 1)
            versions = []
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(inventory.followers.run, on_failure="stop"))
                    async for delivery in deliveries:
                        await delivery.ack()
                        if delivery.event.stream.parts[0] == "mug":
                            versions.append(delivery.event.version)
                        elif delivery.event.version == len(ends):
                            break
                    inventory.followers.stop()
            return versions

    ends.append(0)
    return anyio.run(main)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ends.clear()


def test_events_after_the_position_are_published_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert published(added=3) == [1, 2, 3]
    assert published() == []
    assert run(["relay", "rewind", *PLACES, "--to", "2"]) == 0
    assert capsys.readouterr().out == "✓ relay publishes the events after position 2 again\n"
    assert published() == [3]
    assert run(["relay", "rewind", *PLACES, "--to", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "relay", "position": 0}
    assert published() == [1, 2, 3]


def test_a_position_beyond_the_checkpoint_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    published(added=1)
    assert run(["relay", "rewind", *PLACES, "--to", "99"]) == 2
    assert "relay is at position 2: rewind it to a position from 0 to that one, not to 99" in capsys.readouterr().err
    assert run(["relay", "rewind", *PLACES, "--to", "1", "--name", "No name"]) == 2
    assert "name must be a lower-case ASCII identifier" in capsys.readouterr().err
    assert run(["relay", "rewind", "--url", "file:stock", "--read-model", "none.db", "--to", "1"]) == 3
    assert published() == []
