"""A glance at a version: right over all handles, or nothing at all."""

import anyio
import pytest

from inventory_es.adapters.file import open_file_event_store
from inventory_es.ports.errors import AppendOutcomeUnknownError
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.simfs import SimFS
from tests.unit.adapters.file.test_file_store import A, B, Bench, is_journal, write


def test_a_glance_tells_what_a_read_tells() -> None:
    engine = Bench().open()
    assert engine.glance_version(A) == 0
    engine.commit([write(A, 0, 1, 2), write(B, 0, 3)])
    assert (engine.glance_version(A), engine.glance_version(B)) == (2, 1)


def test_what_another_handle_appended_is_not_told_wrongly() -> None:
    bench = Bench()
    one, two = bench.open(), bench.open()
    one.commit([write(A, 0, 1)])
    assert two.glance_version(A) is None
    assert two.read_stream(A, limit=1).version == 1
    assert two.glance_version(A) == 1


def test_a_glance_waits_for_nobody() -> None:
    engine = Bench().open()
    with engine._mutex:
        assert engine.glance_version(A) is None
    assert engine.glance_version(A) == 0


def test_without_a_good_lock_file_nothing_is_told() -> None:
    bench = Bench(lambda kind, path: kind == "read" and path.endswith(".lock"))
    engine = bench.open()
    bench.plan.is_on = True
    assert engine.glance_version(A) is None
    bench.plan.is_on = False
    assert engine.glance_version(A) == 0


def test_after_an_unknown_outcome_only_what_was_acknowledged_is_told() -> None:
    bench = Bench(lambda kind, path: kind == "sync" and is_journal(path))
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    bench.plan.is_on = True
    with pytest.raises(AppendOutcomeUnknownError):
        engine.commit([write(A, 1, 2)])
    bench.plan.is_on = False
    assert engine.glance_version(A) == 1
    engine.commit([write(B, 0, 3)])
    assert engine.glance_version(A) == engine.read_stream(A, limit=9).version


def test_a_closed_store_tells_nothing() -> None:
    async def case() -> None:
        async with open_file_event_store("/stock", file_system=SimFS(Disk())) as store:
            assert store.glance_version(A) == 0
        assert store.glance_version(A) is None

    anyio.run(case)
    engine = Bench().open()
    engine.close()
    assert engine.glance_version(A) is None
