"""The lease and the loop of a leader: fenced by the epoch, one run at a time, growing pauses."""

from datetime import timedelta

import anyio
import pytest

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.application.following.lease import Leader, Lease
from inventory_es.application.following.subscription import Pace
from inventory_es.errors import CheckpointConflictError, ReadModelUnavailableError
from inventory_es.ports import ProjectionId
from inventory_es.testing import ManualClock

ID = ProjectionId("rows", 1)
DURATION = timedelta(seconds=9)


async def two_leases(clock: ManualClock) -> tuple[Lease, Lease]:
    model = MemoryReadModel()
    await model.prepare(ID, ())
    return Lease(model, ID, "first", clock, DURATION), Lease(model, ID, "second", clock, DURATION)


def test_a_lease_that_was_taken_over_commits_nothing(backend: str) -> None:
    async def body() -> None:
        first, second = await two_leases(ManualClock())
        assert await first.acquire()
        await first.commit(position=3)
        assert not await second.acquire()
        assert await second.acquire(by_force=True)
        with pytest.raises(CheckpointConflictError):
            await first.commit(position=4)
        assert not first.is_held
        await first.release()
        assert not await first.keep()
        await second.commit()
        assert (second.held_checkpoint.position, second.held_checkpoint.owner, second.held_checkpoint.epoch) == (3, "second", 2)

    anyio.run(body, backend=backend)


def test_a_lease_is_renewed_after_a_third_of_its_duration(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        lease, _ = await two_leases(clock)
        assert await lease.keep()
        until = lease.held_checkpoint.owned_until
        clock.advance(timedelta(seconds=lease.renew_after))
        assert await lease.keep()
        assert lease.held_checkpoint.owned_until == until
        clock.advance(timedelta(seconds=1))
        assert await lease.keep()
        assert lease.held_checkpoint.owned_until == clock.now() + DURATION
        assert lease.held_checkpoint.epoch == 1

    anyio.run(body, backend=backend)


def test_a_leader_runs_once_at_a_time(backend: str) -> None:
    async def body() -> None:
        lease, other = await two_leases(ManualClock())
        leader = Leader(lease, Pace())

        async def term() -> float:
            assert await lease.acquire()
            with pytest.raises(RuntimeError, match="runs already"):
                await leader.run(term)
            leader.stop()
            return 1.0

        await leader.run(term)
        assert await other.acquire(), "the lease was released at the end"

    anyio.run(body, backend=backend)


def test_pauses_grow_until_the_checkpoint_moves(backend: str) -> None:
    paused: list[float] = []

    async def body() -> None:
        lease, _ = await two_leases(ManualClock())

        async def sleep(seconds: float) -> None:
            paused.append(seconds)

        async def term() -> float | None:
            if len(paused) == 6:
                return None
            assert await lease.acquire()
            if len(paused) == 4:
                await lease.commit(position=1)
            raise ReadModelUnavailableError(read_model="rows", reason="away")

        await Leader(lease, Pace(first_pause=0.5), sleep=sleep).run(term)

    anyio.run(body, backend=backend)
    assert paused == [0.5, 1.0, 2.0, 3.0, 0.5, 1.0]
