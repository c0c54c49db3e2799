"""Running a replay in a test, and holding it against the independent count."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from inventory_es.cli.replay.audit import audit
from inventory_es.cli.replay.orders_file import OrdersFile, OrderSource
from inventory_es.cli.replay.progress import ReplayAdvancedEvent
from inventory_es.cli.replay.replayer import ReplayClock, Replayer, ReplayOutcome
from inventory_es.cli.replay.steps import survey
from inventory_es.ports import EventStore
from inventory_es.wiring import open_inventory
from tests.integration.independent_count import count
from tests.servers.postgresql import database


@contextmanager
def store_url(scheme: str, folder: Path) -> Iterator[str]:
    """The URL of an empty store: ``memory``, ``file`` or ``sqlite`` in a folder, or ``postgresql`` on a server of its own."""
    if scheme == "postgresql":
        with database() as url:
            yield url
    else:
        yield "memory:" if scheme == "memory" else f"{scheme}:{folder / 'stock'}"


async def replay(
    path: Path,
    store: str | EventStore,
    *,
    opening: int | None = None,
    most_commands: int = 4_000,
    advanced: Callable[[ReplayAdvancedEvent], object] = lambda _: None,
) -> ReplayOutcome:
    """Replay a file to its end, and audit the store."""
    return await replay_source(OrdersFile(path), store, opening=opening, most_commands=most_commands, advanced=advanced)


async def replay_source(
    source: OrderSource,
    store: str | EventStore,
    *,
    opening: int | None = None,
    most_commands: int = 4_000,
    advanced: Callable[[ReplayAdvancedEvent], object] = lambda _: None,
) -> ReplayOutcome:
    """Replay a source to its end, and audit the store."""
    clock = ReplayClock()
    found = survey(source, skip_bad=False)
    async with open_inventory(store, clock=clock) as inventory:
        replayer = Replayer(inventory, clock, source, found, opening=opening, advanced=advanced, most_commands=most_commands)
        outcome = await replayer.run()
        audited = await audit(inventory.store, found, replayer.stream, outcome.totals)
    assert list(audited.violations) == []
    return outcome


def check_totals(outcome: ReplayOutcome, path: Path, *, opening: int | None = None) -> None:
    """The totals are those of the whole file."""
    assert attrs.asdict(outcome.totals) == count(path, opening=opening)
