"""One run of the main job: survey, replay, audit."""

import gc
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import anyio
import attrs

from inventory_es.cli.replay.audit import Audit, audit
from inventory_es.cli.replay.ledger import LEDGER
from inventory_es.cli.replay.orders_file import OrdersError, OrderSource
from inventory_es.cli.replay.progress import ReplayAdvancedEvent
from inventory_es.cli.replay.replayer import ReplayClock, Replayer, ReplayOutcome
from inventory_es.cli.replay.steps import Survey, survey
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.wiring import open_inventory

Bar = Callable[[int], AbstractContextManager[Callable[[ReplayAdvancedEvent], None]]]


@attrs.frozen(kw_only=True)
class ReplayRun:
    """What one run did, and what it found in the end.

    Attributes:
        survey: of the source.
        outcome: of the replay.
        audit: of the streams.
        seconds: from the first look at the source to the last acknowledged append.
        audit_seconds: of the audit after it.
    """

    survey: Survey
    outcome: ReplayOutcome
    audit: Audit
    seconds: float
    audit_seconds: float

    @property
    def events_per_second(self) -> float:
        """Events that this run appended, by its seconds."""
        return self.outcome.events_now / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            **attrs.asdict(self.outcome.totals),
            "inventories": self.audit.inventories,
            "invariant_violations": len(self.audit.violations),
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events_per_second, 1),
            "resumed_at_row": self.outcome.resumed_at_row,
        }


def run_replay(source: OrderSource, url: str, *, opening: int | None, skip_bad: bool, bar: Bar, warn: Callable[[str], None]) -> ReplayRun:
    """Bring the orders in, and check all that they moved.

    Args:
        source: the orders.
        url: of the store.
        opening: units that each inventory is opened with; ``None``: what lacks is received.
        skip_bad: whether to leave out lines that make no sense.
        bar: shows progress.
        warn: told about each line that is left out.

    Raises:
        OrdersError: the orders can't be taken as they are.
    """
    with _rare_collections():
        return anyio.run(partial(_run, source, url, opening=opening, skip_bad=skip_bad, bar=bar, warn=warn))


async def _run(source: OrderSource, url: str, *, opening: int | None, skip_bad: bool, bar: Bar, warn: Callable[[str], None]) -> ReplayRun:
    started = perf_counter()
    found = survey(source, skip_bad=skip_bad)
    for line in found.bad_lines:
        warn(f"{source.name}:{line.number}: {line.reason}; left out")
    clock = ReplayClock()
    async with open_inventory(url, clock=clock) as inventory:
        with bar(found.rows) as advanced:
            replayer = Replayer(inventory, clock, source, found, opening=opening, advanced=advanced)
            try:
                outcome = await replayer.run()
            except ConcurrencyError as conflict:
                if conflict.stream not in {replayer.stream, LEDGER}:
                    raise
                msg = f"{source.name} is being brought into {url} by another process too, which was faster: leave it to that one"
                if conflict.stream == LEDGER:
                    msg = f"{url} takes orders from another process too, which was faster: start again when that one has ended"
                raise OrdersError(msg) from None
            replayed = perf_counter()
            audited = await audit(inventory.store, found, replayer.stream, outcome.totals)
            return ReplayRun(
                survey=found, outcome=outcome, audit=audited, seconds=replayed - started, audit_seconds=perf_counter() - replayed
            )


@contextmanager
def _rare_collections() -> Generator[None, None, None]:
    """A replay makes millions of objects with hardly a cycle among them: looking for cycles as often as usual takes a fifth of its time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
