"""The page of the docs with every promise, and the verdict of each shipped adapter: ``python -m tests.contract.promises``."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.runner import run
from inventory_es.testing.domain import HISTORY_PROPERTIES, PROGRAM_PROPERTIES
from inventory_es.testing.simulation import breach
from tests.contract.test_file_cache import TestFileCache
from tests.contract.test_file_event_bus import TestFileEventBus
from tests.contract.test_file_event_store import TestFileEventStore
from tests.contract.test_memory_cache import TestMemoryCache
from tests.contract.test_memory_event_bus import TestMemoryEventBus
from tests.contract.test_memory_event_store import TestMemoryEventStore
from tests.contract.test_nats_event_bus import TestNatsEventBus
from tests.contract.test_postgresql_event_store import TestPostgresqlEventStore
from tests.contract.test_postgresql_rows import TestPostgresqlReadModel, TestPostgresqlSnapshotStore
from tests.contract.test_read_models import TestMemoryReadModel, TestSqliteReadModel
from tests.contract.test_snapshot_stores import TestMemorySnapshotStore, TestSqliteSnapshotStore
from tests.contract.test_sqlite_event_store import TestSqliteEventStore
from tests.contract.test_tiered_cache import TestTieredCache

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "promises.md"

ADAPTERS: Mapping[str, Mapping[str, type[Contract]]] = {
    "Event store": {
        "memory": TestMemoryEventStore,
        "file": TestFileEventStore,
        "SQLite": TestSqliteEventStore,
        "PostgreSQL": TestPostgresqlEventStore,
    },
    "Snapshot store": {"memory": TestMemorySnapshotStore, "SQLite": TestSqliteSnapshotStore, "PostgreSQL": TestPostgresqlSnapshotStore},
    "Read model": {"memory": TestMemoryReadModel, "SQLite": TestSqliteReadModel, "PostgreSQL": TestPostgresqlReadModel},
    "Cache": {"memory": TestMemoryCache, "file": TestFileCache, "tiers": TestTieredCache},
    "Event bus": {"memory": TestMemoryEventBus, "file": TestFileEventBus, "NATS": TestNatsEventBus},
}
"""By port, the contract under which each adapter that we ship is tested."""

_HEAD = """# Every promise

This page lists the promises of each port by id, with the results of this package's adapters. ✓ marks a promise that a test has tried
and found kept. *Needs* names a capability that the adapter does not declare. The test then checks that the capability is missing. The
same tests run [your adapter](testing.md).

To run one test: `python -m inventory_es.testing check tests/contract/test_file_event_store.py:TestFileEventStore --only ES-34`.
`python -m tests.contract.promises` generates this page, and a test fails if it is out of date.
"""

_DOMAIN = """## The domain

These promises hold for every history of every inventory, in any store.
{py:func}`~inventory_es.testing.domain.check_history` tests those that a log alone can show, over any log of yours.
{py:func}`~inventory_es.testing.domain.check_program` tests those that also need the commands.
{py:func}`~inventory_es.testing.simulate` tests those of several nodes.
"""


def page() -> str:
    """Return the whole page. Each contract runs once, on one event loop."""
    lines = [_HEAD]
    for port, adapters in ADAPTERS.items():
        lines += [f"## {port}", "", *_declared(adapters), "", *_kept(adapters), ""]
    return "\n".join([*lines, _DOMAIN, *_properties(), ""])


def _declared(adapters: Mapping[str, type[Contract]]) -> Iterator[str]:
    yield "| Adapter | Declares | Tested by |"
    yield "|---|---|---|"
    for name, kind in adapters.items():
        contract = _quick(kind)
        next(iter(run(contract)))
        declared = contract.last_run.declared if contract.last_run is not None else {}
        shown = ", ".join(f"`{key}={value}`" for key, value in declared.items())
        yield f"| {name} | {shown} | `tests/contract/{Path(sys.modules[kind.__module__].__file__ or '').name}` |"


def _kept(adapters: Mapping[str, type[Contract]]) -> Iterator[str]:
    verdicts: dict[str, dict[str, str]] = {}
    sentences: dict[str, str] = {}
    for name, kind in adapters.items():
        for result in run(_quick(kind)):
            sentences.setdefault(result.promise.id, result.promise.sentence)
            found = verdicts.setdefault(result.promise.id, {})
            found[name] = max(found.get(name, ""), _cell(result.verdict, result.detail), key=len)
    yield f"| | Promise | {' | '.join(adapters)} |"
    yield f"|---|---|{'---|' * len(adapters)}"
    for promise_id, sentence in sorted(sentences.items()):
        yield f"| {promise_id} | {sentence} | {' | '.join(verdicts[promise_id].get(name, '') for name in adapters)} |"


def _cell(verdict: str, detail: str) -> str:
    return {"kept": "✓", "not declared": f"needs {detail}"}.get(verdict, f"**{verdict}**")


def _properties() -> Iterator[str]:
    yield "| | What holds | Tried by |"
    yield "|---|---|---|"
    for one in HISTORY_PROPERTIES.values():
        yield f"| {one.id} | {one.sentence} | `check_history` |"
    for other in PROGRAM_PROPERTIES.values():
        yield f"| {other.id} | {other.sentence} | `check_program` |"
    for promise in (breach.KEPT, breach.EXPLAINED, breach.REACHED, breach.CACHED, breach.ENDS, breach.SERIAL, breach.WHOLE, breach.REBUILT):
        yield f"| {promise.id} | {promise.sentence} | `simulate` |"


def _quick(kind: type[Contract]) -> Contract:
    contract = kind()
    contract.backends, contract.seeds = ("asyncio",), (0,)
    return contract


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
