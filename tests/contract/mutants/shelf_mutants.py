"""Caches with one mistake that Redis, memcached, DynamoDB, SQL and tiers make likely."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from unicodedata import normalize

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import Cache, CacheEntry, Clock
from inventory_es.testing import ManualClock, Site
from tests.contract.mutants.mutant import CacheMutants, breaks
from tests.contract.stores.cell_cache import CellCache
from tests.contract.stores.plain_cache import Kept, PlainCache
from tests.contract.test_good_caches import TestCellCache as CellContract

_ZERO = timedelta(0)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


class Roomy(CacheMutants):
    """The contract of a cache that declares no bound."""

    capacity: int | None = None

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield self.adapter(clock, capacity=10_000)


@breaks("CA-07", "Cuts large values at half a mebibyte.")
class CutsLargeValues(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, Kept(kept.value[: 1 << 19], kept.version, kept.until))


@breaks("CA-07", "Does not keep a large value, and goes on giving the old one.")
class KeepsTheOldForALargeOne(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        if len(kept.value) < 1 << 20:
            super().put(name, kept)


@breaks("CA-07", "Takes a buffer, and keeps the caller's own.")
class KeepsTheBuffer(PlainCache):
    def check_value(self, value: bytes, version: int) -> None:
        super().check_value(bytes(value), version)

    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        return None if entry is None else CacheEntry(bytes(entry.value), entry.version)


@breaks("CA-09", "Clears the first thousand entries that it finds.", contract=Roomy)
class ClearsAThousand(PlainCache):
    async def clear(self) -> None:
        await self.begin()
        for name in list(self.entries)[:1_000]:
            del self.entries[name]


@breaks("CA-13", "Looks whether it is full, lets others run, and then adds an entry.")
class FullOneByOne(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        is_full = len(self.entries) >= self.capacity
        await self.begin()
        capacity, self.capacity = self.capacity, self.capacity if is_full else 1_000
        try:
            self.check_key(key)
            self.check_value(value, version)
            self.check_ttl(ttl)
            kept = self.live(key)
            if kept is None or self.may_overwrite(kept, version):
                if is_full and key not in self.entries:
                    self.entries.pop(self.victim())
                    self.capacity = 1_000
                self.put(key, Kept(value, version, self.until(kept, ttl)))
        finally:
            self.capacity = capacity


@breaks("CA-13", "Remembers the version of an entry that had to go.")
class RemembersTheGone(PlainCache):
    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.gone: dict[str, Kept] = {}

    def victim(self) -> str:
        name = super().victim()
        self.gone[name] = self.entries[name]
        return name

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        gone = self.gone.get(key)
        if gone is None or version >= gone.version:
            await super().set(key, value, version=version, ttl=ttl)

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        for key in keys:
            self.gone.pop(key, None)

    async def clear(self) -> None:
        await super().clear()
        self.gone.clear()


@breaks("CA-13", "What is invalidated goes on taking room.")
class InvalidatedTakesRoom(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        for key in keys:
            if key in self.entries:
                self.entries[f"{key} (gone {len(self.entries)})"] = self.entries.pop(key)


@breaks("CA-13", "Makes room for a value before it looks whether it is newer.")
class MakesRoomFirst(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        if len(self.entries) == self.capacity:
            self.entries.pop(self.victim())
        return super().may_overwrite(kept, version)


@breaks("CA-13", "Makes room for a value before it refuses its time to live.")
class MakesRoomForTheRefused(PlainCache):
    def check_ttl(self, ttl: timedelta) -> None:
        if ttl <= _ZERO and len(self.entries) == self.capacity:
            self.entries.pop(self.victim())
        super().check_ttl(ttl)


@breaks("CA-20", "Keeps values on disk, and their ends in memory.", contract=CellContract)
class ForgetsTheEnds(CellCache):
    def encode(self, kept: Kept) -> bytes:
        self.ends = getattr(self, "ends", {}) | {kept.value: kept.until}
        return super().encode(Kept(kept.value, kept.version, self.clock.now() + _DAY))

    def decode(self, cell: bytes) -> Kept | None:
        kept = super().decode(cell)
        return None if kept is None else Kept(kept.value, kept.version, getattr(self, "ends", {}).get(kept.value, kept.until))


@breaks("CA-20", "Invalidates in memory, and the disk brings it back.", contract=CellContract)
class InvalidatesInMemory(CellCache):
    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        self.gone = getattr(self, "gone", frozenset()) | set(keys)

    def live(self, name: str) -> Kept | None:
        return None if name in getattr(self, "gone", ()) else super().live(name)

    def put(self, name: str, kept: Kept) -> None:
        self.gone = getattr(self, "gone", frozenset()) - {name}
        super().put(name, kept)


@breaks("CA-21", "Takes an equal version for an older one.")
class EqualIsOlder(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return version > kept.version


@breaks("CA-21", "A value of the same version keeps the old time to live.")
class EqualKeepsTheEnd(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        self.is_equal = version == kept.version
        return super().may_overwrite(kept, version)

    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return kept.until if kept is not None and self.is_equal else super().until(kept, ttl)


@breaks("CA-21", "A set of an older version renews the time to live of the newer one.")
class OlderRenews(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await super().set(key, value, version=version, ttl=ttl)
        kept = self.live(key)
        if kept is not None and kept.version > version:
            self.entries[key] = Kept(kept.value, kept.version, self.clock.now() + ttl)


@breaks("CA-21", "Compares versions as texts.")
class ComparesTextsOfVersions(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return str(version) >= str(kept.version)


@breaks("CA-22", "Invalidates by pattern.")
class InvalidatesByPattern(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        for name in [name for name in self.entries if any(name == key or fnmatchcase(name, key) for key in keys)]:
            del self.entries[name]


@breaks("CA-22", "Invalidates by prefix.")
class InvalidatesByPrefix(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        for name in [name for name in self.entries if name.startswith(keys)]:
            del self.entries[name]


@breaks("CA-22", "Keeps versions under names that keys may have.")
class VersionsAreKeys(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, kept)
        self.entries[f"{name}:version"] = Kept(b"%d" % kept.version, 0, kept.until)

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys, *(f"{key}:version" for key in keys))


@breaks("CA-22", "Trims keys.")
class TrimsKeys(PlainCache):
    def name(self, key: str) -> str:
        return key.strip() or key


@breaks("CA-22", "Ends keys at a NUL.")
class EndsKeysAtNul(PlainCache):
    def name(self, key: str) -> str:
        return key.split("\0", maxsplit=1)[0] or key


@breaks("CA-22", "Folds keys that look alike.")
class FoldsLookAlikes(PlainCache):
    def name(self, key: str) -> str:
        return normalize("NFKC", key) if key != normalize("NFC", key) or not key.isascii() else key


@breaks("CA-23", "Invalidates the first hundred keys.")
class FirstHundred(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys[:100])


@breaks("CA-23", "Invalidates in batches of 25, and forgets the last one that is not full.")
class ForgetsTheLastBatch(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*(keys if len(keys) < 25 else keys[: len(keys) // 25 * 25]))


@breaks("CA-23", "Fails on a key that is named twice.")
class FailsOnTheSameTwice(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        if len(set(keys)) < len(keys):
            msg = "ValidationException: Provided list of item keys contains duplicates"
            raise RuntimeError(msg)
        await super().invalidate(*keys)


@breaks("CA-23", "Has more parameters in one statement than its database takes.")
class TooManyParameters(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        if len(keys) > 999:
            msg = "too many SQL variables"
            raise RuntimeError(msg)
        await super().invalidate(*keys)


@breaks("CA-24", "Rounds the time to live up to seconds.")
class WholeSeconds(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() - _SECOND * (-ttl // _SECOND)


@breaks("CA-24", "Cuts the time to live to seconds: one below is none.")
class CutsToSeconds(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + _SECOND * (ttl // _SECOND)


@breaks("CA-24", "Takes the seconds of a time to live and leaves out its days.")
class LeavesOutDays(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + (timedelta(seconds=ttl.seconds, microseconds=ttl.microseconds) or ttl)


@breaks("CA-24", "Takes the seconds of a time to live and leaves out its fraction.")
class LeavesOutFractions(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + max(timedelta(days=ttl.days, seconds=ttl.seconds), timedelta(milliseconds=1))


@breaks("CA-24", "More than 30 days are a date, and one that has passed.")
class ThirtyDaysAreADate(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + (ttl if ttl <= 30 * _DAY else _ZERO)


@breaks("CA-24", "Counts the milliseconds of a time to live in 32 bits.")
class MillisecondsIn32Bits(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        count = (ttl // timedelta(milliseconds=1) + 2**31) % 2**32 - 2**31
        return self.clock.now() + timedelta(milliseconds=max(1, count))


@breaks("CA-24", "Keeps the end in 32 bits: nothing lives beyond 2038.")
class EndsIn2038(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        end = self.clock.now() + ttl
        return end if end.timestamp() < 2**31 else self.clock.now()


@breaks("CA-24", "An entry lives at the end of its time.")
class LivesAtItsEnd(PlainCache):
    def live(self, name: str) -> Kept | None:
        kept = self.entries.get(name)
        return kept if kept is not None and self.clock.now() <= kept.until else None


@breaks("CA-25", "Keeps versions in 32 bits.")
class VersionsIn32Bits(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, Kept(kept.value, kept.version % 2**32, kept.until))


@breaks("CA-25", "Keeps the largest version of 32 bits for every larger one.")
class VersionsEndAt32Bits(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, Kept(kept.value, min(kept.version, 2**31 - 1), kept.until))


@breaks("CA-25", "Compares versions as fractions, as a script in a server does.")
class ComparesFractions(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return float(version) >= float(kept.version)


@breaks("CA-25", "Gives versions as fractions.")
class GivesFractions(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        fraction: Any = None if entry is None else float(entry.version)
        return None if entry is None or fraction is None else CacheEntry(entry.value, fraction if fraction < 2**53 else entry.version)


class OneConnection(PlainCache):
    """A cache that sends a request, and takes the next answer that comes."""

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.answers: deque[CacheEntry | None] = deque()

    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        self.answers.append(entry)
        await checkpoint()
        return self.answers.popleft()


@breaks("CA-26", "The answer to a get that was cancelled is given to the next caller.")
class AnswersTheNext(OneConnection): ...


@breaks("CA-26", "Has ten connections in turn, and the answer to a cancelled get is given to the tenth caller after it.")
class AnswersTheTenth(PlainCache):
    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.connections: deque[deque[CacheEntry | None]] = deque(deque() for _ in range(10))

    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        self.connections.rotate(1)
        connection = self.connections[0]
        connection.append(entry)
        await checkpoint()
        return connection.popleft()


@breaks("CA-26", "A cancelled get keeps its connection: after a few of them none is left.")
class LeaksConnections(PlainCache):
    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.pool = anyio.Semaphore(32)

    async def get(self, key: str, /) -> CacheEntry | None:
        await self.pool.acquire()
        entry = await super().get(key)
        self.pool.release()
        return entry


@breaks("CA-26", "A cancelled invalidation keeps its lock.")
class InvalidationKeepsTheLock(PlainCache):
    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.lock = anyio.Semaphore(1)

    async def invalidate(self, *keys: str) -> None:
        await self.lock.acquire()
        await super().invalidate(*keys)
        self.lock.release()

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        async with self.lock:
            await super().set(key, value, version=version, ttl=ttl)


@breaks("CA-27", "Sets a value, and then its end: a set that is cancelled in between never ends.")
class SetsThenExpires(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await super().set(key, value, version=version, ttl=ttl)
        kept = self.entries.get(key)
        if kept is not None and kept.value == value and kept.version == version:
            self.entries[key] = Kept(value, version, self.clock.now() + 1_000 * _DAY)
            await checkpoint()
            self.entries[key] = kept


@breaks("CA-27", "Sets the version, and then the value: a set that is cancelled in between mixes two entries.")
class SetsTheVersionFirst(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await self.begin()
        self.check_key(key)
        self.check_value(value, version)
        self.check_ttl(ttl)
        kept = self.live(key)
        if kept is None or self.may_overwrite(kept, version):
            self.put(key, Kept(b"" if kept is None else kept.value, version, self.until(kept, ttl)))
            await checkpoint()
            now = self.entries.get(key)
            if now is None or now.version <= version:
                self.put(key, Kept(value, version, self.until(kept, ttl)))


@breaks("CA-27", "A cancelled set leaves its version, and the same set is refused after it.")
class LeavesTheVersion(PlainCache):
    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.begun: set[tuple[str, int]] = set()

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        if (key, version) not in self.begun:
            self.begun.add((key, version))
            await super().set(key, value, version=version, ttl=ttl)
            self.begun.discard((key, version))


class NearCopies(PlainCache):
    """A cache that keeps entries near after the first get, and reads them there from then on."""

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.near: dict[str, Kept] = {}

    async def get(self, key: str, /) -> CacheEntry | None:
        await self.begin()
        self.check_key(key)
        kept = self.near.get(key) or self.live(key)
        if kept is None or self.clock.now() >= kept.until:
            return None
        await checkpoint()
        self.near[key] = kept
        if key in self.entries:
            self.use(key, kept)
        return CacheEntry(kept.value, kept.version)

    def put(self, name: str, kept: Kept) -> None:
        super().put(name, kept)
        self.near.pop(name, None)

    def victim(self) -> str:
        name = super().victim()
        self.near.pop(name, None)
        return name

    def use(self, name: str, kept: Kept) -> None:
        self.entries[name] = self.entries.pop(name)

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        for key in keys:
            self.near.pop(key, None)

    async def clear(self) -> None:
        await super().clear()
        self.near.clear()


@breaks("CA-28", "Keeps near what it got, although it was overwritten or forgotten meanwhile.")
class FillsNearTooLate(NearCopies): ...


@breaks("CA-28", "Writes every value to one draft, which two sets at once share.")
class SharesADraft(PlainCache):
    draft = b""

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        self.check_value(value, version)
        self.draft = value
        await checkpoint()
        await super().set(key, self.draft, version=version, ttl=ttl)


@breaks("CA-28", "Reads from a replica that lags behind, every other time.")
class ReadsAReplica(PlainCache):
    gets = 0

    async def get(self, key: str, /) -> CacheEntry | None:
        self.gets += 1
        if self.gets % 2:
            return await super().get(key)
        entry = await super().get(key)
        for _ in range(6):
            await checkpoint()
        return entry if self.live(key) is None else await self._of_replica(key, entry)

    async def _of_replica(self, key: str, entry: CacheEntry | None) -> CacheEntry | None:
        old = self.replica.get(key, entry)
        self.replica[key] = entry
        return old if old is not None and entry is not None and old.version <= entry.version else entry

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.replica: dict[str, CacheEntry | None] = {}


@breaks("CA-28", "Reads all entries, lets others run, and writes all of them back.")
class WritesAllBack(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        there = dict(self.entries)
        await checkpoint()
        self.entries = there
        await super().set(key, value, version=version, ttl=ttl)


@breaks("CA-29", "A get that meets the close fails with what its connection says.")
class LeaksWhenClosed(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        if self.closed:
            msg = "Connection closed by server"
            raise ConnectionError(msg)
        return entry


@breaks("CA-29", "Closing waits for calls in flight, and a get that meets it never ends.")
class GetNeverEnds(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        if self.closed:
            await anyio.sleep_forever()
        return entry


@breaks("CA-29", "A close that is cancelled is taken for done, and the cache works on.")
class CancelledCloseIsDone(PlainCache):
    begun = False

    async def aclose(self) -> None:
        if not self.begun:
            self.begun = True
            await checkpoint()
            self.closed = True


@breaks("CA-29", "A second close waits for the first, which was cancelled.")
class SecondCloseWaits(PlainCache):
    begun = False

    async def aclose(self) -> None:
        while self.begun and not self.closed:
            await checkpoint()
        self.begun = True
        await checkpoint()
        self.closed = True
