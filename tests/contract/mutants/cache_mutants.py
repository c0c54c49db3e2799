"""Caches with one mistake each."""

import pickle
from datetime import datetime, timedelta

from anyio.lowlevel import checkpoint

from inventory_es.ports import CacheEntry
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.cell_cache import CellCache, MissingWhenAway
from tests.contract.stores.plain_cache import Kept, PlainCache
from tests.contract.test_good_caches import TestCacheThatMissesWhenAway as MissContract
from tests.contract.test_good_caches import TestCellCache as CellContract


@breaks("CA-01", "Asking for an entry makes an empty one.")
class AskingMakes(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        self.entries.setdefault(self.name(key), Kept(b"", 0, self.clock.now() + timedelta(hours=1)))
        return entry


@breaks("CA-02", "Forgets the version of an entry.")
class ForgetsVersions(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        return None if entry is None else CacheEntry(entry.value, 0)


@breaks("CA-03", "Never overwrites.")
class NeverOverwrites(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return False


@breaks("CA-04", "Invalidates the first of several keys.")
class InvalidatesTheFirst(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys[:1])


@breaks("CA-04", "Fails to invalidate what is not there.")
class InvalidatesOnlyWhatIsThere(PlainCache):
    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        for key in keys:
            del self.entries[key]


@breaks("CA-05", "Takes empty bytes for a miss.")
class EmptyIsAMiss(PlainCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        entry = await super().get(key)
        return entry if entry and entry.value else None


@breaks("CA-06", "Knows a key by its first character.")
class KnowsTheFirstCharacter(PlainCache):
    def name(self, key: str) -> str:
        return key[0]


@breaks("CA-07", "Keeps values as text.")
class KeepsText(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, Kept(kept.value.decode(errors="replace").encode(), kept.version, kept.until))


@breaks("CA-07", "Takes values that are no bytes.")
class TakesAnything(PlainCache):
    def check_value(self, value: bytes, version: int) -> None: ...


@breaks("CA-08", "Folds keys to lower case.")
class FoldsKeys(PlainCache):
    def name(self, key: str) -> str:
        return key.lower()


@breaks("CA-08", "Cuts keys at 255 characters.")
class CutsKeys(PlainCache):
    def name(self, key: str) -> str:
        return key[:255]


@breaks("CA-08", "Takes keys of any length.")
class TakesAnyKey(PlainCache):
    def check_key(self, key: str) -> None: ...


@breaks("CA-09", "Clears the values and keeps the versions.")
class ClearKeepsVersions(PlainCache):
    cleared = 0

    async def clear(self) -> None:
        await self.begin()
        self.cleared = max([kept.version for kept in self.entries.values()], default=self.cleared)
        self.entries.clear()

    def check_value(self, value: bytes, version: int) -> None:
        super().check_value(value, version)
        if version < self.cleared:
            msg = "an older version"
            raise ValueError(msg)


@breaks("CA-10", "Never lets an entry expire.")
class NeverExpires(PlainCache):
    def live(self, name: str) -> Kept | None:
        return self.entries.get(name)


@breaks("CA-10", "Remembers the version of an entry that has expired.")
class ExpiredStillWins(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        old = self.entries.get(self.name(key))
        if old is None or version >= old.version:
            await super().set(key, value, version=version, ttl=ttl)


@breaks("CA-10", "Reads the time to live as milliseconds.")
class ReadsMilliseconds(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + ttl / 1_000


@breaks("CA-11", "Takes a time to live of zero for no end.")
class ZeroIsForEver(PlainCache):
    def check_ttl(self, ttl: timedelta) -> None:
        if ttl:
            super().check_ttl(ttl)


@breaks("CA-12", "Overwriting keeps the old time to live.")
class KeepsTheOldEnd(PlainCache):
    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return kept.until if kept is not None else super().until(kept, ttl)


@breaks("CA-12", "Getting an entry makes it live longer.")
class LivesOnWhenUsed(PlainCache):
    def use(self, name: str, kept: Kept) -> None:
        super().use(name, kept)
        self.entries[name] = Kept(kept.value, kept.version, self.clock.now() + timedelta(seconds=10))


@breaks("CA-13", "First in, first out: use does not count.")
class FirstInFirstOut(PlainCache):
    def use(self, name: str, kept: Kept) -> None: ...


@breaks("CA-13", "Has no bound.")
class HasNoBound(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        self.entries.pop(name, None)
        self.entries[name] = kept


@breaks("CA-13", "The newest entry goes first.")
class NewestGoesFirst(PlainCache):
    def victim(self) -> str:
        return list(self.entries)[-2]


@breaks("CA-14", "The last writer wins, whatever its version.")
class LastWriterWins(PlainCache):
    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return True


@breaks("CA-14", "Compares versions, lets others run, and then writes.")
class ComparesThenWrites(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await self.begin()
        self.check_key(key)
        self.check_value(value, version)
        kept = self.live(self.name(key))
        await checkpoint()
        if kept is None or self.may_overwrite(kept, version):
            self.put(self.name(key), Kept(value, version, self.until(kept, ttl)))


@breaks("CA-17", "Unpickles what it finds.", contract=CellContract)
class Unpickles(CellCache):
    def encode(self, kept: Kept) -> bytes:
        return pickle.dumps((kept.value, kept.version, kept.until))

    def decode(self, cell: bytes) -> Kept | None:
        try:
            return Kept(*pickle.loads(cell))
        except Exception:  # noqa: BLE001  # the mutant thinks that this makes it safe
            return None


@breaks("CA-17", "Fails on an entry that it did not write.", contract=CellContract)
class FailsOnForeignEntries(CellCache):
    def decode(self, cell: bytes) -> Kept | None:
        kept = super().decode(cell)
        if kept is None:
            msg = "a broken entry"
            raise OSError(msg)
        return kept


@breaks("CA-17", "Gives foreign bytes as a value.", contract=CellContract)
class GivesForeignBytes(CellCache):
    def decode(self, cell: bytes) -> Kept | None:
        return super().decode(cell) or Kept(cell, 1, self.clock.now() + timedelta(hours=1))


@breaks("CA-18", "The driver's error leaks while the backend is away.", contract=CellContract)
class LeaksDriverErrors(CellCache):
    def fail(self) -> None:
        msg = "connection refused"
        raise ConnectionError(msg)


@breaks("CA-18", "Misses while the backend is away, although it declares that it raises.", contract=CellContract)
class MissesInSilence(MissingWhenAway): ...


@breaks("CA-18", "Raises while the backend is away, although it declares that it misses.", contract=MissContract)
class RaisesInsteadOfMissing(CellCache): ...


@breaks("CA-20", "Works on after it was closed.")
class CacheWorksAfterClose(PlainCache):
    async def begin(self) -> None:
        await checkpoint()


@breaks("CA-20", "Loses its entries when it is closed, although it declares that they survive.", contract=CellContract)
class ForgetsOnClose(CellCache):
    async def aclose(self) -> None:
        await super().aclose()
        self.cells.content.clear()
