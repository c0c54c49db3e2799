"""A broker in memory, which is made to misbehave: it loses answers, hands out twice, and takes ownership away in the middle."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from io import SEEK_END, BytesIO
from random import Random
from typing import IO

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.toolkit.broker import Broker, Claim, CountsAhead, Entry, OwnershipLostError


@attrs.define(eq=False)
class GroupShard:
    """What a group has done with a shard."""

    owner: str = ""
    low: int = 0
    settled: set[int] = attrs.field(factory=set[int])
    deliveries: dict[int, int] = attrs.field(factory=dict[int, int])
    again: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    numbers: int = 0


@attrs.define(eq=False)
class BrokerState:
    """What survives the brokers that are opened on it. The entries are in a file, which may be one on a disk."""

    shards: int = 4
    logs: defaultdict[int, list[tuple[int, int]]] = attrs.field(factory=lambda: defaultdict(list))
    file: IO[bytes] = attrs.field(factory=BytesIO)
    groups: dict[tuple[str, int], GroupShard] = attrs.field(factory=dict)
    dead: defaultdict[str, dict[tuple[int, int], tuple[str, bytes]]] = attrs.field(factory=lambda: defaultdict(dict))
    tokens: int = 0

    def append(self, shard: int, data: bytes) -> None:
        """Add an entry to a log."""
        self.logs[shard].append((self.file.seek(0, SEEK_END), len(data)))
        self.file.write(data)

    def entries(self, shard: int, after: int, limit: int) -> list[Entry]:
        """Return the entries of a log behind a place."""
        found = []
        for place, (start, length) in enumerate(self.logs[shard][after : after + limit], after + 1):
            self.file.seek(start)
            found.append(Entry(place, self.file.read(length)))
        return found


class MemoryBroker(Broker, CountsAhead):
    """A broker over a state.

    Args:
        state: of the logs.
        trouble: chooses what goes wrong; ``None`` for nothing.
        rate: of calls that go wrong, from 0 to 1.
    """

    def __init__(self, state: BrokerState, *, trouble: Random | None = None, rate: float = 0.0) -> None:
        self.state = state
        self._trouble = trouble
        self._rate = rate
        self._claims: set[Claim] = set()
        self._is_closed = False

    @property
    def name(self) -> str:
        return "memory broker"

    @property
    def shards(self) -> int:
        return self.state.shards

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        await self._begin()
        for shard, entries in batches.items():
            for data in entries:
                self.state.append(shard, data)
        self._lose_answer()

    async def join(self, group: str, /) -> None:
        await self._begin()
        for shard in range(self.shards):
            self.state.groups.setdefault((group, shard), GroupShard())

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        await self._begin()
        claims = []
        for shard in shards:
            of = self.state.groups[group, shard]
            if not of.owner:
                self.state.tokens += 1
                of.owner = f"{self.state.tokens}"
                claims.append(Claim(group, shard, of.owner, of.low, frozenset(of.settled), dict(of.deliveries)))
        self._claims |= set(claims)
        return claims

    async def release(self, claims: Collection[Claim], /) -> None:
        await self._begin()
        for claim in claims:
            self._release(claim)

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        found: list[Sequence[Entry] | None] = []
        for claim, after, limit in wanted:
            try:
                of = await self._owned(claim)
            except OwnershipLostError:
                found.append(None)
                continue
            start = after - 1 if after and self._goes_wrong() else after  # an entry that was read already
            again = [Entry(-number, data) for number, data in sorted(of.again.items())]
            found.append([*self.state.entries(claim.shard, start, limit), *again[:limit]])
        return found

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        of = await self._owned(claim)
        of.deliveries[place] = deliveries

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        self._settle(await self._owned(claim), places, low)
        self._lose_answer()

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:
        of = await self._owned(claim)
        self._settle(of, places, low)
        of.deliveries[place] = deliveries
        self._lose_answer()

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        of = await self._owned(claim)
        self._settle(of, [place], low)
        self.state.dead[claim.group].setdefault((claim.shard, place), (event_id, letter))
        self._lose_answer()

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        await self._begin()
        return [letter for _, letter in list(self.state.dead[group].values())[:limit]]

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        await self._begin()
        dead = self.state.dead[group]
        chosen = [key for key, (event_id, _) in dead.items() if event_id in event_ids]
        for shard, place in chosen:
            of = self.state.groups[group, shard]
            of.numbers += 1
            of.again[of.numbers] = dead.pop((shard, place))[1]
        return len(chosen)

    async def aclose(self) -> None:
        for claim in tuple(self._claims):
            self._release(claim)
        self._is_closed = True
        await checkpoint()

    def _release(self, claim: Claim) -> None:
        of = self.state.groups[claim.group, claim.shard]
        if of.owner == claim.token:
            of.owner = ""
        self._claims.discard(claim)

    def _settle(self, of: GroupShard, places: Collection[int], low: int) -> None:
        for place in places:
            of.deliveries.pop(place, None)
            of.again.pop(-place, None)
        of.settled |= {place for place in places if place > 0}
        of.low = max(of.low, low)
        of.settled = {place for place in of.settled if place > of.low}

    async def _begin(self) -> None:
        self._check_open()
        await checkpoint()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=self.name)

    async def _owned(self, claim: Claim) -> GroupShard:
        await self._begin()
        of = self.state.groups[claim.group, claim.shard]
        if self._goes_wrong() and of.owner == claim.token:
            of.owner = ""  # its lease has ended, and anybody may claim
        if of.owner != claim.token:
            self._claims.discard(claim)
            raise OwnershipLostError
        return of

    def _goes_wrong(self) -> bool:
        return self._trouble is not None and self._trouble.random() < self._rate

    def _lose_answer(self) -> None:
        if self._goes_wrong():
            raise EventBusUnavailableError(bus=self.name, reason="the answer was lost")
