"""A glance tells what this handle wrote last, as long as nobody else writes."""

from pathlib import Path

import anyio

from inventory_es.adapters.sqlite import open_sqlite_event_store
from tests.unit.adapters.file.test_event_store import A, B, write


def test_it_knows_what_this_handle_wrote_until_another_writes(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other:
            assert one.glance_version(A) is None
            await one.append(write(A, 0, 1))
            assert (one.glance_version(A), one.glance_version(B), other.glance_version(A)) == (1, None, None)
            await other.append(write(B, 0, 2))
            assert (one.glance_version(A), other.glance_version(B)) == (None, 1)
            await one.append(write(A, 1, 3))
            assert (one.glance_version(A), other.glance_version(B)) == (2, None)
        assert one.glance_version(A) is None

    anyio.run(body, backend=backend)


def test_it_knows_nothing_while_the_handle_writes(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as store:
            await store.append(write(A, 0, 1))
            with store._store._turn.transaction():
                assert store.glance_version(A) is None
            assert store.glance_version(A) == 1

    anyio.run(body, backend=backend)
