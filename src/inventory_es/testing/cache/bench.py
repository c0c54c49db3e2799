"""The workbench of the cache's cases."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import attrs

from inventory_es.ports import Cache, CacheEntry
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contract import Run
from inventory_es.testing.difference import difference
from inventory_es.testing.failure import MismatchError

if TYPE_CHECKING:
    from inventory_es.testing.cache.contract import CacheContract

T = TypeVar("T")
LONG = timedelta(hours=1)


@attrs.define(eq=False)
class TestedCache:
    """A cache under test: every call is noted in the history and driven by the schedule."""

    __test__ = False  # no test class, whatever its name begins with

    raw: Cache
    run: Run

    async def get(self, key: str, /) -> CacheEntry | None:
        """Ask for an entry."""
        return await self.call(f"get {_short(key)}", self.raw.get(key))

    async def set(self, key: str, value: bytes | str, /, *, version: int = 1, ttl: timedelta = LONG) -> None:
        """Keep a value; a text stands for its UTF-8 bytes."""
        data = value.encode() if isinstance(value, str) else value
        note = f"set {_short(key)}={_short(value)} version {version} for {ttl}"
        await self.call(note, self.raw.set(key, data, version=version, ttl=ttl))

    async def invalidate(self, *keys: str) -> None:
        """Forget keys."""
        await self.call(f"invalidate {' '.join(map(_short, keys))}", self.raw.invalidate(*keys))

    async def clear(self) -> None:
        """Forget everything."""
        await self.call("clear", self.raw.clear())

    async def aclose(self) -> None:
        """Close the cache."""
        await self.call("close", self.raw.aclose())

    async def holds(self, key: str, value: bytes | str | None, *, version: int = 1, meaning: str) -> None:
        """Expect exactly this entry, or with ``None`` a miss."""
        entry = await self.get(key)
        data = value.encode() if isinstance(value, str) else value
        wanted = None if data is None else CacheEntry(data, version)
        if entry != wanted or (entry is not None and type(entry.value) is not bytes):
            raise MismatchError(expected=_show(wanted), got=_show(entry), meaning=meaning, differs=_differs(wanted, entry))

    async def refused(self, kind: type[Exception], call: Callable[[], Coroutine[Any, Any, object]], *, meaning: str) -> None:
        """Expect exactly this kind of error."""
        try:
            await call()
        except kind:
            return
        except Exception as error:
            raise MismatchError(expected=kind.__name__, got=f"{type(error).__name__}({error})", meaning=meaning) from error
        raise MismatchError(expected=kind.__name__, got="no error", meaning=meaning)

    async def call(self, note: str, call: Coroutine[Any, Any, T]) -> T:
        """Drive one call of the adapter and note it."""
        entry = self.run.history.begin(note)
        try:
            result = await self.run.schedule.drive(call)
        except anyio.get_cancelled_exc_class():
            entry.outcome = "cancelled"
            raise
        except Exception as error:
            entry.outcome = type(error).__name__
            raise
        entry.outcome = _show(result) if isinstance(result, CacheEntry) or note.startswith("get") else "done"
        return result


@attrs.define(eq=False)
class CacheBench:
    """One run of one case: opens caches on its site, with a clock that the case moves."""

    contract: "CacheContract"
    run: Run
    clock: ManualClock = attrs.field(factory=ManualClock)
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedCache, None]:
        """Open an instance on the run's site; the first one must find it empty."""
        async with self.contract.open_cache(self.run.site, clock=self.clock) as raw:
            self._opened += 1
            contract = self.contract
            declared = {"capacity": contract.capacity, "is_durable": contract.is_durable, "when_down": contract.when_down}
            beyond = ", ".join(f"{name}={value}" for name, value in declared.items() if value not in {None, False})
            self.run.note_opened(raw, declared, beyond)
            if self._opened == 1 and await raw.get("k") is not None:
                raise MismatchError(
                    expected="an empty cache on a fresh site",
                    got="an entry",
                    meaning=f"open_cache does not keep sites apart: use site.path or site.name ({self.run.site.name})",
                )
            yield TestedCache(raw, self.run)

    async def pass_time(self, by: timedelta) -> None:
        """Let entries grow older."""
        self.run.history.begin(f"time passes: {by}").outcome = ""
        await self.contract.let_time_pass(self.clock, by)


def _differs(wanted: CacheEntry | None, entry: CacheEntry | None) -> str | None:
    return difference(wanted, entry) if wanted is not None and entry is not None else None


def _show(entry: object) -> str:
    if not isinstance(entry, CacheEntry):
        return "a miss" if entry is None else repr(entry)
    return f"{_short(entry.value)} version {entry.version}"


def _short(value: bytes | str) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = repr(value)
    text = text if text.isprintable() and text else repr(text)
    return text if len(text) <= 40 else f"{text[:30]}…({len(value)})"
