"""The port of a broker: logs of shards, exclusive ownership, and dead letters. :class:`ShardedBus` makes an event bus of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs


class OwnershipLostError(Exception):
    """A claim is no longer held: another process may own the shard. Nothing was changed. Never reaches a host."""


@attrs.frozen(eq=False)
class Claim:
    """The exclusive ownership of a shard for a group, from :meth:`Broker.claim` until it is released or lost.

    Attributes:
        group: of the consumers.
        shard: the number of the shard.
        token: names this claim and no other one.
        low: the place up to which the group has settled everything; 0 for nothing.
        settled: places above ``low`` that are settled too.
        deliveries: the recorded deliveries of places that are not settled; a missing one has none. A broker that pushes entries adds
            those of an entry before it returns the entry.
    """

    group: str
    shard: int
    token: str
    low: int
    settled: frozenset[int]
    deliveries: Mapping[int, int]


@attrs.frozen
class Entry:
    """An entry of a shard.

    Attributes:
        place: in the shard's log, 1 or more, in the order of publication. Negative for an entry that was a dead letter.
        data: as published.
    """

    place: int
    data: bytes


class Broker(Protocol):
    """A durable log of each shard, and what each group has done with it.

    Every method may raise ``EventBusUnavailableError``, after which its effect is unknown, and it can be repeated. A method that takes a
    claim raises :class:`OwnershipLostError` without an effect once another claim of that group and shard may exist. The broker keeps a
    claim alive by itself until it is released. The claim of a process that died ends within the broker's lease.
    """

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        ...

    @property
    def shards(self) -> int:
        """The number of shards, 1 or more, constant for the broker's place."""
        ...

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries to shards, in order within each, durably before returning."""
        ...

    async def join(self, group: str, /) -> None:
        """Make a group exist, from the beginning of the kept logs, or from now on. Idempotent."""
        ...

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Own those of these shards that nobody owns, for a group. Of a shard in which it only stands by, a broker returns no entries.

        What an interrupted call claimed is given up with the next call of this method or of :meth:`release`, which every group makes.
        """
        ...

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims. A lost one is a no-op."""
        ...

    def ending(self, group: str, /) -> Collection[Claim]:
        """Return the claims of a group that another process is to own. The bus releases each once its deliveries have answers."""
        del group
        return ()

    async def leave(self, group: str, /) -> None:
        """Note that this process has no consumer of a group any more. It has released its claims."""
        del group

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Read shards. Nothing is raised for a lost claim.

        Args:
            wanted: claims, each with the place after which to read and the most entries, 1 or more.

        Returns:
            For each claim, the entries in order, then those that were dead letters and wait again. Of these, the oldest are enough, as
            many as the most entries. ``None`` for a lost claim.
        """
        ...

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry, before it is delivered."""
        ...

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        """Settle entries. Everything up to ``low`` is settled with them. Idempotent."""
        ...

    async def refuse(self, claim: Claim, place: int, /) -> bool:
        """Take back an entry whose delivery was refused, to be read again at another place. A broker that does not returns ``False``."""
        del claim, place
        return False

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        """Settle an entry as :meth:`settle`, and keep it as a dead letter, in one step. Repeated, it keeps one letter."""
        ...

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest ``limit`` dead letters of a group, oldest first."""
        ...

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Let dead letters be read again, in one step each; return their number. What is read is the letter."""
        ...

    async def aclose(self) -> None:
        """Release every claim and every resource. Idempotent."""
        ...


@runtime_checkable
class CountsAhead(Protocol):
    """An optional protocol of brokers: one call settles an entry and records the next delivery, which is expected to follow at once."""

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:
        """Settle entries as :meth:`Broker.settle`, and keep the deliveries of ``place`` as :meth:`Broker.record`, in one step."""
        ...
