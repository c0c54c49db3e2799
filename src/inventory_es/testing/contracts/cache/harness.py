"""The harness of the cache's cases."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Literal, Protocol

import attrs

from inventory_es.application.queries.cached_answers import CachedAnswers
from inventory_es.ports import Cache, CacheEntry, Clock
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import TestedPort
from inventory_es.testing.promise import MismatchError
from inventory_es.testing.site import Site

LONG = timedelta(hours=1)


@attrs.define(eq=False)
class TestedCache(TestedPort[Cache]):
    """A cache under test."""

    async def get(self, key: str, /, *, at_suspension: AtSuspension | None = None) -> CacheEntry | None:
        """Return an entry."""
        return await self.call(f"get {_short(key)}", self.raw.get(key), _show, at_suspension)

    async def set(
        self,
        key: str,
        value: bytes | str,
        /,
        *,
        version: int = 1,
        ttl: timedelta = LONG,
        at_suspension: AtSuspension | None = None,
    ) -> None:
        """Keep a value; a text stands for its UTF-8 bytes."""
        data = value.encode() if isinstance(value, str) else value
        note = f"set {_short(key)}={_short(value)} version {version} for {ttl}"
        await self.call(note, self.raw.set(key, data, version=version, ttl=ttl), at_suspension=at_suspension)

    async def invalidate(self, *keys: str, at_suspension: AtSuspension | None = None) -> None:
        """Forget keys."""
        await self.call(f"invalidate {' '.join(map(_short, keys))}", self.raw.invalidate(*keys), at_suspension=at_suspension)

    async def clear(self, *, at_suspension: AtSuspension | None = None) -> None:
        """Forget everything."""
        await self.call("clear", self.raw.clear(), at_suspension=at_suspension)

    async def aclose(self, *, at_suspension: AtSuspension | None = None) -> None:
        """Close the cache."""
        await self.call("close", self.raw.aclose(), at_suspension=at_suspension)

    async def holds(self, key: str, value: bytes | str | None, *, version: int = 1, meaning: str) -> None:
        """Expect exactly this entry; with ``None``, a miss."""
        entry = await self.get(key)
        data = value.encode() if isinstance(value, str) else value
        wanted = None if data is None else CacheEntry(data, version)
        self.is_one_of(entry, wanted, meaning=meaning)

    def is_one_of(self, entry: CacheEntry | None, *allowed: CacheEntry | None, meaning: str) -> None:
        """Expect an answer to be one of these, with equal types; ``None`` is a miss."""
        if entry not in allowed:
            differs = _differs(allowed[0], entry) if len(allowed) == 1 else None
            raise MismatchError(expected=_show_any(allowed), got=_show(entry), meaning=meaning, differs=differs)
        if entry is not None and (type(entry.value) is not bytes or type(entry.version) is not int):
            types = f"a {type(entry.value).__name__} with a version that is a {type(entry.version).__name__}"
            raise MismatchError(
                expected="bytes with a version that is an int", got=types, meaning="the answer has other types than what was set"
            )


class _Hooks(Protocol):
    """The declarations and hooks of the contract that the cases use."""

    capacity: int | None
    is_durable: bool
    multi_process: bool
    survives_fork: bool
    when_down: Literal["raise", "miss"]
    patience_for_marks: float

    @property
    def keeps_own_time(self) -> bool: ...
    def open_cache(self, site: Site, *, clock: ManualClock) -> AbstractAsyncContextManager[Cache]: ...
    def answers(self, cache: Cache, clock: Clock) -> CachedAnswers: ...
    async def let_time_pass(self, clock: ManualClock, by: timedelta) -> None: ...
    async def raw(self, site: Site, key: str, junk: bytes) -> bool: ...
    async def kill(self, site: Site) -> bool: ...


@attrs.define(eq=False)
class CacheHarness:
    """The harness of one run: it opens caches on the run's site, with a clock that the case moves."""

    contract: _Hooks
    run: Run
    clock: ManualClock = attrs.field(factory=ManualClock)
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedCache, None]:
        """Open an instance on the run's site; the first one must find it empty."""
        async with self.contract.open_cache(self.run.site, clock=self.clock) as raw:
            self._opened += 1
            contract = self.contract
            declared = {
                "capacity": contract.capacity,
                "is_durable": contract.is_durable,
                "multi_process": contract.multi_process,
                "when_down": contract.when_down,
            }
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


def _show_any(entries: Sequence[CacheEntry | None]) -> str:
    if len(entries) > 4:
        return f"one of {len(entries)} from {_show(entries[0])} to {_show(entries[-1])}"
    return " or ".join(map(_show, entries))


def _short(value: bytes | str) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = repr(value)
    text = text if text.isprintable() and text else repr(text)
    return text if len(text) <= 40 else f"{text[:30]}…({len(value)})"
