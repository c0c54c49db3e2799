"""The harness of the snapshot store's cases."""

from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid5

import anyio
import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.failure import MismatchError

if TYPE_CHECKING:
    from inventory_es.testing.contracts.snapshot_store.contract import SnapshotStoreContract

T = TypeVar("T")
STREAM = StreamId("inventory", "espresso", "berlin")
OTHER = StreamId("inventory", "tea", "berlin")
SCHEMA = 3
_IDS = UUID(int=0x5E)


def snapshot(version: int, data: bytes | str = "state", *, stream: StreamId = STREAM, schema_version: int = SCHEMA) -> Snapshot:
    """A snapshot; a text stands for its UTF-8 bytes."""
    event_id = uuid5(_IDS, f"{stream} {version}")
    content = data.encode() if isinstance(data, str) else data
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=event_id, data=content)


@attrs.define(eq=False)
class TestedSnapshots:
    """A snapshot store under test: every call is noted in the history and driven by the schedule."""

    __test__ = False  # no test class, whatever its name begins with

    raw: SnapshotStore
    run: Run

    async def load(self, stream: StreamId = STREAM, *, schema_version: int = SCHEMA, at_most: int | None = None) -> Snapshot | None:
        """Ask for the newest one."""
        note = f"load {stream} schema {schema_version}" + ("" if at_most is None else f" at most {at_most}")
        return await self.call(note, self.raw.load_snapshot(stream, schema_version=schema_version, at_most=at_most))

    async def save(self, one: Snapshot, *, at_suspension: AtSuspension | None = None) -> None:
        """Keep one."""
        await self.call(f"save {show(one)}", self.raw.save_snapshot(one), at_suspension)

    async def discard(self, *streams: StreamId) -> None:
        """Forget those of streams."""
        await self.call(f"discard {' '.join(map(str, streams))}", self.raw.discard_snapshots(*streams))

    async def clear(self) -> None:
        """Forget all."""
        await self.call("clear", self.raw.clear_snapshots())

    async def close(self, *, at_suspension: AtSuspension | None = None) -> None:
        """Close the store."""
        await self.call("close", self.raw.aclose(), at_suspension)

    async def gives(
        self, *allowed: Snapshot | None, stream: StreamId = STREAM, schema_version: int = SCHEMA, at_most: int | None = None, meaning: str
    ) -> Snapshot | None:
        """Expect one of these, or with ``None`` nothing."""
        found = await self.load(stream, schema_version=schema_version, at_most=at_most)
        if found not in allowed or (found is not None and type(found.data) is not bytes):
            differs = difference(allowed[0], found) if allowed[0] is not None and found is not None else None
            raise MismatchError(expected=" or ".join(map(show, allowed)), got=show(found), meaning=meaning, differs=differs)
        return found

    async def call(self, note: str, call: Coroutine[Any, Any, T], at_suspension: AtSuspension | None = None) -> T:
        """Drive one call of the adapter and note it."""
        entry = self.run.history.begin(note)
        try:
            result = await self.run.schedule.drive(call, at_suspension)
        except anyio.get_cancelled_exc_class():
            entry.outcome = "cancelled"
            raise
        except Exception as error:
            entry.outcome = type(error).__name__
            raise
        entry.outcome = show(result) if note.startswith("load") else "done"
        return result


@attrs.define(eq=False)
class SnapshotHarness:
    """One run of one case: opens snapshot stores on its site."""

    contract: "SnapshotStoreContract"
    run: Run
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedSnapshots, None]:
        """Open an instance on the run's site; the first one must find it empty."""
        async with self.contract.open_snapshots(self.run.site) as raw:
            self._opened += 1
            declared = {"is_durable": self.contract.is_durable, "multi_process": self.contract.multi_process}
            self.run.note_opened(raw, declared, ", ".join(name for name, value in declared.items() if value) or "nothing beyond the least")
            if self._opened == 1 and await raw.load_snapshot(STREAM, schema_version=SCHEMA) is not None:
                raise MismatchError(
                    expected="no snapshot on a fresh site",
                    got="one",
                    meaning=f"open_snapshots does not keep sites apart: use site.path or site.name ({self.run.site.name})",
                )
            yield TestedSnapshots(raw, self.run)


def show(one: object) -> str:
    """A snapshot, short."""
    if not isinstance(one, Snapshot):
        return "nothing" if one is None else repr(one)
    text = one.data.decode(errors="replace")
    shown = text if text.isprintable() and len(text) <= 20 else f"{len(one.data)} bytes"
    return f"{one.stream}@{one.version} schema {one.schema_version} ({shown})"
