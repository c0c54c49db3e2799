"""The file cache for an event loop: what its contract does not ask."""

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.file import open_file_cache
from inventory_es.testing import ManualClock
from inventory_es.testing.crash.simfs import SimFS


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_value_bytes": 0}, {"max_bytes": 100, "max_value_bytes": 51}], ids=str)
def test_a_bound_that_can_not_be_is_refused_and_makes_no_folder(tmp_path: Path, options: dict[str, int]) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="max_bytes at least twice max_value_bytes"):
            async with open_file_cache(tmp_path / "cache", clock=ManualClock(), **options):  # type: ignore[arg-type]  # all of them are ints
                pass

    anyio.run(scenario)
    assert not (tmp_path / "cache").exists()


def test_a_cache_may_be_on_another_file_system() -> None:
    disk = SimFS()

    async def scenario() -> None:
        async with open_file_cache("/cache", clock=ManualClock(), file_system=disk):
            pass

    anyio.run(scenario)
    assert disk.exists("/cache/format.json")


def test_the_smallest_bounds_are_bounds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_file_cache(tmp_path / "cache", clock=ManualClock(), max_entries=1, max_value_bytes=1, max_bytes=2):
            pass

    anyio.run(scenario)
    assert (tmp_path / "cache").exists()


def test_what_can_not_name_an_entry_is_not_forgotten_silently(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_file_cache(tmp_path / "cache", clock=ManualClock()) as cache:
            await cache.set("key", b"value", version=1, ttl=timedelta(1))
            with pytest.raises(ValueError, match="a cache key is a text"):
                await cache.invalidate("key", "")
            assert await cache.get("key") is not None

    anyio.run(scenario)
