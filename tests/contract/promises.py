"""The page of the docs with every promise, and the verdict of each shipped adapter: ``python -m tests.contract.promises``."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.runner import Verdict, cases_of, run
from inventory_es.testing.domain import HISTORY_PROPERTIES, PROGRAM_PROPERTIES
from inventory_es.testing.promise import Promise
from inventory_es.testing.simulation import breach
from tests.contract.test_file_cache import TestFileCache
from tests.contract.test_file_event_bus import TestFileEventBus
from tests.contract.test_file_event_store import TestFileEventStore
from tests.contract.test_kafka_event_bus import TestKafkaEventBus
from tests.contract.test_memory_cache import TestMemoryCache
from tests.contract.test_memory_event_bus import TestMemoryEventBus
from tests.contract.test_memory_event_store import TestMemoryEventStore
from tests.contract.test_nats_event_bus import TestNatsEventBus
from tests.contract.test_postgresql_event_store import TestPostgresqlEventStore
from tests.contract.test_postgresql_rows import TestPostgresqlReadModel, TestPostgresqlSnapshotStore
from tests.contract.test_rabbitmq_event_bus import TestRabbitEventBus
from tests.contract.test_read_models import TestMemoryReadModel, TestSqliteReadModel
from tests.contract.test_redis_cache import TestRedisCache
from tests.contract.test_redis_event_bus import TestRedisEventBus
from tests.contract.test_snapshot_stores import TestMemorySnapshotStore, TestSqliteSnapshotStore
from tests.contract.test_sqlite_event_store import TestSqliteEventStore
from tests.contract.test_sqs_event_bus import TestSqsEventBus
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
    "Cache": {"memory": TestMemoryCache, "file": TestFileCache, "tiers": TestTieredCache, "Redis": TestRedisCache},
    "Event bus": {
        "memory": TestMemoryEventBus,
        "file": TestFileEventBus,
        "Redis": TestRedisEventBus,
        "NATS": TestNatsEventBus,
        "RabbitMQ": TestRabbitEventBus,
        "Kafka": TestKafkaEventBus,
        "SQS": TestSqsEventBus,
    },
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


@attrs.define
class Findings:
    """The cell of each promise, and the declarations as the page shows them: by the name of the contract."""

    cells: dict[tuple[str, str], str] = attrs.Factory(dict)
    declared: dict[str, str] = attrs.Factory(dict)


Observation = tuple[str, str, str, str]
"""The name of a contract, the id of a promise, the cell by one case, and the declarations: plain, so that processes can exchange it."""


def page(findings: Findings) -> str:
    """Return the whole page, with these findings."""
    lines = [_HEAD]
    for port, adapters in ADAPTERS.items():
        lines += [f"## {port}", "", *_declared(adapters, findings), "", *_kept(adapters, findings), ""]
    return "\n".join([*lines, _DOMAIN, *_properties(), ""])


def written(text: str) -> Findings:
    """Return the findings that a page shows."""
    findings = Findings()
    for port, adapters in ADAPTERS.items():
        _, _, section = text.partition(f"## {port}\n")
        lines = [line.removeprefix("| ").removesuffix(" |") for line in section.partition("\n## ")[0].splitlines()]
        for name, kind in adapters.items():
            findings.declared[kind.__name__] = next((line.split(" | ")[1] for line in lines if line.startswith(f"{name} | ")), "")
        for line in lines:
            promise_id, *rest = line.rsplit(" | ", len(adapters))
            for kind, cell in zip(adapters.values(), rest, strict=False):
                findings.cells[kind.__name__, promise_id.partition(" | ")[0]] = cell
    return findings


def observation(contract: Contract, promise: Promise, verdict: Verdict, detail: str) -> Observation:
    """Return what one case of a contract found."""
    declared = {} if contract.last_run is None else contract.last_run.declared
    cell = {"kept": "✓", "not declared": f"needs {detail}"}.get(verdict, f"**{verdict}**")
    return type(contract).__name__, promise.id, cell, ", ".join(f"`{key}={value}`" for key, value in declared.items())


def found_by(observations: Iterable[Observation]) -> Findings:
    """Return the findings about the promises of which every case was observed."""
    by_promise: dict[tuple[str, str], list[str]] = {}
    findings = Findings()
    for kind, promise_id, cell, declared in observations:
        by_promise.setdefault((kind, promise_id), []).append(cell)
        if declared:  # a few cases never open the adapter in this process
            findings.declared.setdefault(kind, declared)
    whole = Counter((kind.__name__, promise.id) for kind in _kinds() for promise, _ in cases_of(kind))
    findings.cells = {key: max(cells, key=len) for key, cells in by_promise.items() if len(cells) == whole[key]}
    findings.declared = {kind.__name__: findings.declared[kind.__name__] for kind in _kinds() if kind.__name__ in findings.declared}
    return findings


def differences(text: str, found: Findings) -> list[str]:
    """Return a sentence about each finding that the page shows differently."""
    shown = written(text)
    cells = [
        f"{kind} {promise_id}: found {cell!r}, the page shows {shown.cells.get((kind, promise_id))!r}"
        for (kind, promise_id), cell in found.cells.items()
        if shown.cells.get((kind, promise_id)) != cell
    ]
    declarations = [
        f"{kind} declares {declared}, the page shows {shown.declared[kind]}"
        for kind, declared in found.declared.items()
        if shown.declared[kind] != declared
    ]
    return cells + declarations


def observe() -> Iterator[Observation]:
    """Run each contract once, on one event loop, and yield what each case finds."""
    for kind in _kinds():
        contract = kind()
        contract.backends, contract.seeds = ("asyncio",), (0,)
        for result in run(contract):
            yield observation(contract, result.promise, result.verdict, result.detail)


def _kinds() -> list[type[Contract]]:
    return [kind for adapters in ADAPTERS.values() for kind in adapters.values()]


def _declared(adapters: Mapping[str, type[Contract]], findings: Findings) -> Iterator[str]:
    yield "| Adapter | Declares | Tested by |"
    yield "|---|---|---|"
    for name, kind in adapters.items():
        source = Path(sys.modules[kind.__module__].__file__ or "").name
        yield f"| {name} | {findings.declared[kind.__name__]} | `tests/contract/{source}` |"


def _kept(adapters: Mapping[str, type[Contract]], findings: Findings) -> Iterator[str]:
    yield f"| | Promise | {' | '.join(adapters)} |"
    yield f"|---|---|{'---|' * len(adapters)}"
    sentences: dict[str, str] = {}
    for kind in adapters.values():
        for promise, _ in cases_of(kind):
            sentences.setdefault(promise.id, promise.sentence)
    for promise_id, sentence in sorted(sentences.items()):
        cells = [findings.cells.get((kind.__name__, promise_id), "") for kind in adapters.values()]
        yield f"| {promise_id} | {sentence} | {' | '.join(cells)} |"


def _properties() -> Iterator[str]:
    yield "| | What holds | Tried by |"
    yield "|---|---|---|"
    for one in HISTORY_PROPERTIES.values():
        yield f"| {one.id} | {one.sentence} | `check_history` |"
    for other in PROGRAM_PROPERTIES.values():
        yield f"| {other.id} | {other.sentence} | `check_program` |"
    for promise in (breach.KEPT, breach.EXPLAINED, breach.REACHED, breach.CACHED, breach.ENDS, breach.SERIAL, breach.WHOLE, breach.REBUILT):
        yield f"| {promise.id} | {promise.sentence} | `simulate` |"


if __name__ == "__main__":
    PAGE.write_text(page(found_by(observe())), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
