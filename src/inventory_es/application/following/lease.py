"""Who may move a projection's checkpoint: one owner at a time, for as long as it renews, fenced by an epoch."""

from contextlib import suppress
from datetime import datetime, timedelta

import anyio
import attrs

from inventory_es.ports import Checkpoint, Clock, ProjectionId, ReadModel
from inventory_es.ports.errors import CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError

_RELEASE_SECONDS = 2.0
_ZERO = timedelta(0)
_LONGEST = timedelta(hours=1)
_LOST = (CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError)


@attrs.frozen
class Ownership:
    """One candidate for running one projection.

    Attributes:
        read_model: where the checkpoint is.
        projection_id: of what.
        owner: an opaque text, unique to this candidate.
        clock: of this machine. Clocks that differ make a takeover early or late, never wrong: the epoch fences.
        lease: for how long a claim or a renewal holds.
    """

    read_model: ReadModel
    projection_id: ProjectionId
    owner: str
    clock: Clock
    lease: timedelta

    async def claim(self, *, by_force: bool = False) -> Checkpoint | None:
        """Take the projection over, if it is free: nobody's, this candidate's own from before, or its lease is over.

        Args:
            by_force: also from an owner that is alive; it notices at its next commit.

        Returns:
            The checkpoint to go on from; ``None`` where somebody else has it.
        """
        seen = await self.read_model.checkpoint(self.projection_id)
        is_free = seen.owner == self.owner or not is_held(seen, self.clock.now(), lease=self.lease)
        if not (is_free or by_force):
            return None
        claimed = self.renewed(attrs.evolve(seen, epoch=seen.epoch + 1, owner=self.owner))
        try:
            await self.read_model.commit(self.projection_id, (), before=seen, after=claimed)
        except CheckpointConflictError:  # somebody was faster
            return None
        return claimed

    def renewed(self, held: Checkpoint) -> Checkpoint:
        """The checkpoint with a lease that begins now."""
        return attrs.evolve(held, owned_until=self.clock.now() + self.lease)

    def is_ageing(self, held: Checkpoint) -> bool:
        """Whether a third of the lease is over, or it ends too late, since the clock was set back."""
        return held.owned_until is None or not 2 * self.lease / 3 <= held.owned_until - self.clock.now() <= self.lease

    async def release(self, epoch: int) -> None:
        """Let others have it at once. Where that fails, they have it when the lease is over."""
        with anyio.move_on_after(_RELEASE_SECONDS, shield=True), suppress(*_LOST):
            seen = await self.read_model.checkpoint(self.projection_id)
            if (seen.owner, seen.epoch) == (self.owner, epoch):
                free = attrs.evolve(seen, owner=None, owned_until=None)
                await self.read_model.commit(self.projection_id, (), before=seen, after=free)


def is_held(seen: Checkpoint, now: datetime, *, lease: timedelta = _ZERO) -> bool:
    """Return whether somebody holds a checkpoint now.

    Args:
        seen: the checkpoint.
        now: the time.
        lease: the longest that is known to be in use. A lease that ends later than that from now, and more than an hour from now, was
            written by a clock that stood ahead: it is over.
    """
    until = seen.owned_until
    return seen.owner is not None and until is not None and _ZERO < until - now <= max(lease, _LONGEST)
