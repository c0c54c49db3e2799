"""The harness of the snapshot store's cases."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from uuid import UUID, uuid5

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import TestedPort, show_declared
from inventory_es.testing.promise import MismatchError
from inventory_es.testing.site import Site

STREAM = StreamId("inventory", "espresso", "berlin")
OTHER = StreamId("inventory", "tea", "berlin")
SCHEMA = 3
_IDS = UUID(int=0x5E)


def snapshot(version: int, data: bytes | str = "state", *, stream: StreamId = STREAM, schema_version: int = SCHEMA) -> Snapshot:
    """Return a snapshot; a text stands for its UTF-8 bytes."""
    event_id = uuid5(_IDS, f"{stream} {version}")
    content = data.encode() if isinstance(data, str) else data
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=event_id, data=content)


@attrs.define(eq=False)
class TestedSnapshots(TestedPort[SnapshotStore]):
    """A snapshot store under test."""

    async def load(self, stream: StreamId = STREAM, *, schema_version: int = SCHEMA, at_most: int | None = None) -> Snapshot | None:
        """Return the newest snapshot."""
        note = f"load {stream} schema {schema_version}" + ("" if at_most is None else f" at most {at_most}")
        return await self.call(note, self.raw.load_snapshot(stream, schema_version=schema_version, at_most=at_most), show)

    async def save(self, one: Snapshot, *, at_suspension: AtSuspension | None = None) -> None:
        """Save a snapshot."""
        await self.call(f"save {show(one)}", self.raw.save_snapshot(one), at_suspension=at_suspension)

    async def discard(self, *streams: StreamId) -> None:
        """Discard the snapshots of streams."""
        await self.call(f"discard {' '.join(map(str, streams))}", self.raw.discard_snapshots(*streams))

    async def clear(self) -> None:
        """Discard all snapshots."""
        await self.call("clear", self.raw.clear_snapshots())

    async def close(self, *, at_suspension: AtSuspension | None = None) -> None:
        """Close the store."""
        await self.call("close", self.raw.aclose(), at_suspension=at_suspension)

    async def gives(
        self, *allowed: Snapshot | None, stream: StreamId = STREAM, schema_version: int = SCHEMA, at_most: int | None = None, meaning: str
    ) -> Snapshot | None:
        """Expect one of these snapshots; with ``None``, no snapshot."""
        found = await self.load(stream, schema_version=schema_version, at_most=at_most)
        if found not in allowed or (found is not None and type(found.data) is not bytes):
            differs = difference(allowed[0], found) if allowed[0] is not None and found is not None else None
            raise MismatchError(expected=" or ".join(map(show, allowed)), got=show(found), meaning=meaning, differs=differs)
        return found


class _Hooks(Protocol):
    """The declarations and hooks of the contract that the cases use."""

    is_durable: bool
    multi_process: bool
    survives_fork: bool

    def open_snapshots(self, site: Site) -> AbstractAsyncContextManager[SnapshotStore]: ...
    async def tear(self, site: Site, stream: StreamId) -> bool: ...


@attrs.define(eq=False)
class SnapshotHarness:
    """The harness of one run: it opens snapshot stores on the run's site."""

    contract: _Hooks
    run: Run
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedSnapshots, None]:
        """Open an instance on the run's site; the first one must find it empty."""
        async with self.contract.open_snapshots(self.run.site) as raw:
            self._opened += 1
            declared = {"is_durable": self.contract.is_durable, "multi_process": self.contract.multi_process}
            self.run.note_opened(raw, declared, show_declared(declared))
            if self._opened == 1 and await raw.load_snapshot(STREAM, schema_version=SCHEMA) is not None:
                raise MismatchError(
                    expected="no snapshot on a fresh site",
                    got="one",
                    meaning=f"open_snapshots does not keep sites apart: use site.path or site.name ({self.run.site.name})",
                )
            yield TestedSnapshots(raw, self.run)


def show(one: object) -> str:
    """Return a short text of a snapshot."""
    if not isinstance(one, Snapshot):
        return "nothing" if one is None else repr(one)
    text = one.data.decode(errors="replace")
    shown = text if text.isprintable() and len(text) <= 20 else f"{len(one.data)} bytes"
    return f"{one.stream}@{one.version} schema {one.schema_version} ({shown})"
