"""The event bus on Redis or Valkey: the toolkit's sharded bus over streams.

Every key of a bus has the tag ``{P:b}``, where P is the prefix. So one node has them all, and each call is one script in one round trip.
A shard is a stream. The state of a group is a hash. The pending entries of a consumer group would not do. They count deliveries of whole
pages, and are lost with their consumer or with a trimmed entry. The keys:

- ``meta`` has the number of shards, ``groups`` the names of the groups, ``log:SHARD`` the entries. The field ``e`` of
  an entry is a CloudEvent in structured mode.
- ``lease:SHARD:GROUP`` is the token of the owner, with an end.
- ``of:SHARD:GROUP`` has the place ``low``, ``s:PLACE`` for a settled one, ``d:PLACE`` for its deliveries, and the count ``n`` of letters.
- ``dead:GROUP`` has the dead letters, ``again:SHARD:GROUP`` those that wait again.
"""

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import anyio
import redis

from inventory_es.adapters.redis.connection import FAILURES, Connection, RedisPlace, Script, reason_of, remedy_of
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.event_bus import GroupLag
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.broker import Broker, Claim, CountsAhead, Entry, OwnershipLostError
from inventory_es.ports.toolkit.delivery_rules import check_group
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.ports.toolkit.urls import masked

T = TypeVar("T")

_MAX_CALLS = 8
_TIMEOUT = 5.0
_SHARDS = 16
_LEASE = 10.0
_BATCH_BYTES = 1 << 20
_OPTIONS = ("lease", "shards")

_FENCE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('LOST the lease') end\n"
_PUBLISH = Script("for i = 1, #ARGV, 2 do redis.call('XADD', KEYS[tonumber(ARGV[i])], '*', 'e', ARGV[i + 1]) end")
_CLAIM = Script("""\
local found, token = {}, false
for i = 3, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    token = token or redis.call('HINCRBY', KEYS[1], 'tokens', 1) .. ARGV[1]
    redis.call('SET', KEYS[i], token, 'PX', ARGV[2])
    found[#found + 1] = {(i - 3) / 2, redis.call('HGETALL', KEYS[i + 1])}
  end
end
if token then redis.call('SADD', KEYS[2], ARGV[3]) end
return {token or '', found}
""")
_RENEW = Script("""\
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i + 1] then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
""")
_RELEASE = Script("for i = 1, #KEYS do if redis.call('GET', KEYS[i]) == ARGV[i] then redis.call('DEL', KEYS[i]) end end")
_READ = Script("""\
local found = {}
for i = 1, #KEYS, 3 do
  if redis.call('GET', KEYS[i]) == ARGV[i] then
    local entries, again = redis.call('XRANGE', KEYS[i + 1], '(' .. ARGV[i + 1], '+', 'COUNT', ARGV[i + 2]), {}
    local numbers = redis.call('HKEYS', KEYS[i + 2])
    table.sort(numbers, function(one, other) return tonumber(one) < tonumber(other) end)
    for j = 1, math.min(#numbers, ARGV[i + 2]) do again[j] = {numbers[j], redis.call('HGET', KEYS[i + 2], numbers[j])} end
    found[#found + 1] = {entries, again}
  else
    found[#found + 1] = false
  end
end
return found
""")
_RECORD = Script(f"{_FENCE}redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])")
_SETTLE_BODY = """\
redis.call('HSET', KEYS[2], 'low', ARGV[2])
for i = 8, 7 + ARGV[3] do
  redis.call('HDEL', KEYS[2], 'd:' .. ARGV[i])
  if string.sub(ARGV[i], 1, 1) == '-' then redis.call('HDEL', KEYS[3], string.sub(ARGV[i], 2)) end
end
for i = 8 + ARGV[3], 7 + ARGV[3] + ARGV[4] do redis.call('HSET', KEYS[2], 's:' .. ARGV[i], 1) end
for i = 8 + ARGV[3] + ARGV[4], #ARGV do redis.call('HDEL', KEYS[2], 's:' .. ARGV[i]) end
"""
_SETTLE = Script(f"{_FENCE}{_SETTLE_BODY}if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'd:' .. ARGV[5], ARGV[6]) end")
_BURY = Script(f"""\
{_FENCE}if redis.call('HEXISTS', KEYS[2], 'd:' .. ARGV[8]) == 0 then return end
redis.call('XADD', KEYS[4], '*', 'i', ARGV[5], 'e', ARGV[6], 'p', ARGV[7])
{_SETTLE_BODY}""")
_DEAD = Script("return redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])")
_REVIVE = Script("""\
local wanted, count = {}, 0
for i = 1, #ARGV do wanted[ARGV[i]] = true end
for _, letter in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  local fields = letter[2]
  if wanted[fields[2]] then
    local shard = 2 + 2 * tonumber(fields[6])
    redis.call('HSET', KEYS[shard + 1], redis.call('HINCRBY', KEYS[shard], 'n', 1), fields[4])
    redis.call('XDEL', KEYS[1], letter[1])
    count = count + 1
  end
end
return count
""")
_LAG = Script("""\
local lag, most = 0, tonumber(ARGV[1])
for i = 1, #KEYS, 2 do
  local settled = 0
  for _, name in ipairs(redis.call('HKEYS', KEYS[i + 1])) do
    if string.sub(name, 1, 2) == 's:' then settled = settled + 1 end
  end
  local low = redis.call('HGET', KEYS[i + 1], 'low') or '0-0'
  lag = lag + #redis.call('XRANGE', KEYS[i], '(' .. low, '+', 'COUNT', most - lag + settled) - settled
  if lag >= most then return most end
end
return lag
""")
_TRIM = Script("""\
local function below(one, other)
  local a, b = string.match(one, '(%d+)-'), string.match(other, '(%d+)-')
  if #a ~= #b then return #a < #b end
  if a ~= b then return a < b end
  a, b = string.match(one, '-(%d+)'), string.match(other, '-(%d+)')
  if #a ~= #b then return #a < #b end
  return a < b
end
local least = false
for i = 2, #KEYS do
  local low = redis.call('HGET', KEYS[i], 'low') or '0-0'
  if not least or below(low, least) then least = low end
end
if not least then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', least)
""")


class RedisBroker(Broker, CountsAhead):
    """The logs of a bus on a server. Its owner closes it.

    Args:
        place: of the server.
        name: for errors.
        connection: to the server.
        shards: their number.
        lease: the seconds after which the shards of a process that died are free.
    """

    def __init__(self, place: RedisPlace, name: str, connection: Connection, *, shards: int, lease: float) -> None:
        self._name = name
        self.prefix: str = place.prefix
        self._tag = f"{{{place.prefix}:b}}"
        self._connection = connection
        self._shards = shards
        self._lease = max(1, round(lease * 1_000))
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=name)
        self._held: dict[str, set[int]] = {}
        self._claims: dict[str, Claim] = {}
        self._interrupted: list[list[Claim]] = []
        self._is_over = threading.Event()
        self._renewal: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        return self._name

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._shards

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries, a megabyte at a time in one step. An append without an answer may still happen."""
        shards = sorted(batches)
        keys = [f"{self._tag}:log:{shard}" for shard in shards]
        words: list[Any] = []
        size = 0
        for number, shard in enumerate(shards, 1):
            for data in batches[shard]:
                words += (number, data)
                size += len(data)
                if size > _BATCH_BYTES:
                    await self._script(_PUBLISH, keys, *words)
                    words, size = [], 0
        if words:
            await self._script(_PUBLISH, keys, *words)

    async def join(self, group: str, /) -> None:
        """Make a group exist."""
        await self._run(partial(self._command, "SADD", f"{self._tag}:groups", group))

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Own free shards, and keep them owned by a thread that renews the leases."""
        made: list[Claim] = []
        try:
            return await self._run(partial(self._claim, group, tuple(shards), made))
        except BaseException:
            self._interrupted.append(made)  # a thread may still fill it
            raise

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims."""
        for claim in claims:
            self._forget(claim)
        await self._run(partial(self._release, claims))

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Read shards in one round trip."""
        keys, words = [], []
        for claim, after, limit in wanted:
            keys += [self._key("lease", claim), f"{self._tag}:log:{claim.shard}", self._key("again", claim)]
            words += [claim.token, _id_of(after), limit]
        found = await self._script(_READ, keys, *words)
        return [None if of is None else _entries_of(*of) for of in found]

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry."""
        keys = [self._key("lease", claim), self._key("of", claim)]
        await self._script(_RECORD, keys, claim.token, f"d:{_text_of(place)}", deliveries, claim=claim)

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        """Settle entries."""
        await self._settle(_SETTLE, claim, places, low)

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:
        """Settle entries, and keep the number of deliveries of the next one."""
        await self._settle(_SETTLE, claim, places, low, _text_of(place), deliveries)

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        """Settle an entry, and keep it as a dead letter."""
        await self._settle(_BURY, claim, [place], low, event_id, letter)

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest dead letters of a group."""
        found = await self._script(_DEAD, [f"{self._tag}:dead:{group}"], limit)
        return [_fields(fields)[b"e"] for _, fields in found]

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Let dead letters be read again."""
        of_shards = [f"{self._tag}:{kind}:{shard}:{group}" for shard in range(self._shards) for kind in ("of", "again")]
        return int(await self._script(_REVIVE, [f"{self._tag}:dead:{group}", *of_shards], *event_ids))

    async def trim(self) -> int:
        """Remove the entries that every group has settled; return their number."""
        groups = [name.decode() for name in await self._run(partial(self._command, "SMEMBERS", f"{self._tag}:groups"))]
        count = 0
        for shard in range(self._shards):
            keys = [f"{self._tag}:log:{shard}", *(f"{self._tag}:of:{shard}:{group}" for group in groups)]
            count += int(await self._script(_TRIM, keys))
        return count

    async def lag(self, group: str, most: int) -> int:
        """Return the number of entries that a group has not settled, counted up to ``most`` in one step."""
        keys = [f"{self._tag}:{kind}" for shard in range(self._shards) for kind in (f"log:{shard}", f"of:{shard}:{group}")]
        return int(await self._script(_LAG, keys, most))

    async def aclose(self) -> None:
        """Release every claim and the connections. Idempotent."""
        await self._calls.close(self._close)

    def _key(self, kind: str, claim: Claim) -> str:
        return f"{self._tag}:{kind}:{claim.shard}:{claim.group}"

    def _command(self, *words: Any) -> Any:
        return self._connection.client.execute_command(*words)

    def _claim(self, group: str, shards: Sequence[int], made: list[Claim]) -> list[Claim]:
        self._release(())
        keys = [f"{self._tag}:{kind}:{shard}:{group}" for shard in shards for kind in ("lease", "of")]
        keys = [f"{self._tag}:meta", f"{self._tag}:groups", *keys]
        unique = f"-{os.getpid()}-{time.monotonic_ns()}"  # a failover may give the number of a token again
        token, found = self._connection.run(_CLAIM, keys, unique, self._lease, group)
        made += (_claim_of(group, shards[int(index)], token.decode(), of) for index, of in found)
        for claim in made:
            self._held[self._key("lease", claim)] = set(claim.settled)
            self._claims[self._key("lease", claim)] = claim
        if made and self._renewal is None:
            self._renewal = threading.Thread(target=self._renew, name=f"leases of {self._name}", daemon=True)
            self._renewal.start()
        return made

    def _forget(self, claim: Claim) -> None:
        if self._claims.get(self._key("lease", claim)) is claim:
            del self._claims[self._key("lease", claim)], self._held[self._key("lease", claim)]

    def _release(self, claims: Iterable[Claim]) -> None:
        """Give up claims, and those of interrupted calls."""
        interrupted, self._interrupted = self._interrupted, []
        given_up = [*claims, *chain.from_iterable(interrupted)]
        for claim in given_up:
            self._forget(claim)
        if given_up:
            self._connection.run(_RELEASE, [self._key("lease", claim) for claim in given_up], *(claim.token for claim in given_up))

    def _renew(self) -> None:
        """Renew the leases at a third of their time, or soon after a failure, in a thread. A server that is away lets them end."""
        pause = self._lease / 3_000
        while not self._is_over.wait(pause):
            held = dict(self._claims)
            pause = self._lease / 30_000
            with suppress(*FAILURES):
                if held:
                    self._connection.run(_RENEW, list(held), self._lease, *(claim.token for claim in held.values()))
                pause = self._lease / 3_000

    def _close(self) -> None:
        self._is_over.set()
        if self._renewal is not None:
            self._renewal.join()
        with suppress(*FAILURES):  # the leases end by themselves
            self._release(tuple(self._claims.values()))
        self._connection.close()

    async def _settle(
        self, script: Script, claim: Claim, places: Collection[int], low: int, name: str = "", value: bytes | int = b""
    ) -> None:
        above = self._held.get(self._key("lease", claim), set())
        added = [place for place in places if place > low]
        removed = [place for place in above if place <= low]
        keys = [*(self._key(kind, claim) for kind in ("lease", "of", "again")), f"{self._tag}:dead:{claim.group}"]
        every = [_text_of(place) for group in (places, added, removed) for place in group]
        await self._script(script, keys, claim.token, _id_of(low), len(places), len(added), name, value, claim.shard, *every, claim=claim)
        above.update(added)
        above.difference_update(removed)

    async def _script(self, script: Script, keys: list[str], *words: Any, claim: Claim | None = None) -> Any:
        try:
            return await self._run(partial(self._connection.run, script, keys, *words))
        except OwnershipLostError:
            if claim is not None:
                self._forget(claim)
            raise

    async def _run(self, function: Callable[[], T]) -> T:
        await self._calls.settle()  # a call that a cancelled caller left behind must not land after this one
        return await self._calls.run(partial(_translated, self._name, function))


class RedisEventBus(ShardedBus, GroupLag):
    """An event bus on a Redis or Valkey server. Opened by :func:`open_redis_event_bus`.

    Events are kept until :meth:`trim`, and a new group gets all of them. ``publish`` never waits for a slow group, whose backlog stands on
    the server. A publish of up to a megabyte happens whole or not at all. All keys of a bus are on one node of a cluster.

    It is durable if the server syncs each write (``appendonly yes``, ``appendfsync always``). A failover to a replica may go back in time:
    events, answers and dead letters of the last moments are gone together. The feed has them: let the relay publish them again.
    """

    def __init__(self, broker: RedisBroker, *, clock: Clock, durable: bool, max_deliveries: int = 5, window: int = 100) -> None:
        super().__init__(
            broker, clock=clock, durable=durable, max_deliveries=max_deliveries, window=window, survives_fork=True, source=broker.prefix
        )
        self._redis = broker

    async def trim(self) -> int:
        """Remove the events that every group has settled; return their number. A group that is away keeps all from its place on."""
        return await self._redis.trim()

    async def lag(self, group: str, /, *, most: int = 10_000) -> int:
        """Return how far a group is behind. The server counts in one step. See :class:`~inventory_es.ports.event_bus.GroupLag`."""
        check_group(group)
        check_page(limit=most)
        return await self._redis.lag(group, most)


def bus_at(url: str, clock: Clock, /, *, max_deliveries: int = 5, window: int = 100) -> Callable[[], Awaitable[RedisEventBus]]:
    """Return a function that opens the bus of a URL, as :func:`open_redis_event_bus`; the caller closes it.

    Raises:
        ValueError: as :func:`open_redis_event_bus`.
    """
    place = RedisPlace.parse(url, timeout=_TIMEOUT, own=_OPTIONS)
    shards, lease = place.options.get("shards"), place.options.get("lease", f"{_LEASE}")
    try:
        is_right = (shards is None or 1 <= int(shards) <= 1_024) and 0.01 <= float(lease) <= 600
    except ValueError:
        is_right = False
    if not is_right or min(max_deliveries, window) < 1:
        msg = f"{masked(url)!r}: shards are 1 to 1024, lease is 0.01 to 600 seconds, and every other bound is 1 or more"
        raise ValueError(msg)

    async def open_bus() -> RedisEventBus:
        name = f"Redis event bus {place}"
        connection = Connection(place.connect)
        wanted = None if shards is None else int(shards)
        try:
            count, is_durable = await anyio.to_thread.run_sync(_translated, name, partial(_open, place, name, connection, wanted))
        except BaseException:
            connection.close()
            raise
        broker = RedisBroker(place, name, connection, shards=count, lease=float(lease))
        return RedisEventBus(broker, clock=clock, durable=is_durable, max_deliveries=max_deliveries, window=window)

    return open_bus


@asynccontextmanager
async def open_redis_event_bus(url: str, /, *, clock: Clock, max_deliveries: int = 5, window: int = 100) -> AsyncIterator[RedisEventBus]:
    """Open the bus on the server of a URL, or make one; it closes with the block.

    Args:
        url: as of :func:`open_redis_cache`. Its own option ``shards``, 16 by default, counts when the bus is made. The
            option ``lease`` has the seconds after which the shards of a process that died are taken over, 10 by default.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        window: how many unanswered events of a shard are in memory, 1 or more.

    Raises:
        ValueError: no such URL, an unknown option, or a bound out of range. The message has no password.
        EventBusUnavailableError: the server is away or refuses.
        IncompatibleStoreError: the bus has another number of shards, or the server may evict its keys.
    """
    bus = await bus_at(url, clock, max_deliveries=max_deliveries, window=window)()
    try:
        yield bus
    finally:
        await bus.aclose()


def _open(place: RedisPlace, name: str, connection: Connection, shards: int | None) -> tuple[int, bool]:
    """Make or check the bus; return its number of shards, and True if the server is durable."""
    client = connection.client
    settings: dict[str, str] = {}
    with suppress(redis.ResponseError):  # a service may forbid it: then nothing is declared
        for option in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
            settings |= {_text(key): _text(value) for key, value in client.execute_command("CONFIG GET", option).items()}
    if settings.get("maxmemory", "0") != "0" and settings.get("maxmemory-policy") != "noeviction":
        problem = f"its server evicts keys ({settings.get('maxmemory-policy')}): set maxmemory-policy noeviction"
        raise IncompatibleStoreError(store="event bus", place=name, problem=problem)
    meta = f"{{{place.prefix}:b}}:meta"
    client.execute_command("HSETNX", meta, "shards", _SHARDS if shards is None else shards)
    found = int(client.execute_command("HGET", meta, "shards"))
    if shards is not None and found != shards:
        problem = f"it has {found} shards, not {shards}: leave the option out, or choose another prefix"
        raise IncompatibleStoreError(store="event bus", place=name, problem=problem)
    return found, settings.get("appendonly") == "yes" and settings.get("appendfsync") == "always"


def _translated(name: str, function: Callable[[], T]) -> T:
    """Call a function, and raise the errors of the port."""
    try:
        return function()
    except redis.ResponseError as problem:
        if str(problem).startswith("LOST"):
            raise OwnershipLostError from problem
        raise EventBusUnavailableError(bus=name, reason=reason_of(problem), remedy=remedy_of(problem)) from problem
    except FAILURES as problem:
        raise EventBusUnavailableError(bus=name, reason=reason_of(problem), remedy=remedy_of(problem)) from problem


def _claim_of(group: str, shard: int, token: str, of: Sequence[bytes]) -> Claim:
    state = _fields(of)
    settled = frozenset(_place_of(name[2:]) for name in state if name.startswith(b"s:"))
    deliveries = {_place_of(name[2:]): int(value) for name, value in state.items() if name.startswith(b"d:")}
    return Claim(group, shard, token, _place_of(state.get(b"low", b"0-0")), settled, deliveries)


def _entries_of(log: Sequence[Any], again: Sequence[Any]) -> list[Entry]:
    entries = [Entry(_place_of(place), _fields(fields)[b"e"]) for place, fields in log]
    return [*entries, *(Entry(-int(number), data) for number, data in again)]


def _fields(words: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return names and values that a server lists one after the other."""
    return dict(zip(words[::2], words[1::2], strict=True))


def _place_of(text: bytes) -> int:
    """Return the place of an entry's id, such as ``1700000000000-2``; that of a dead letter is negative."""
    if text.startswith(b"-"):
        return int(text)
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds) << 64 | int(number)


def _id_of(place: int) -> str:
    return f"{place >> 64}-{place & (1 << 64) - 1}"


def _text_of(place: int) -> str:
    return str(place) if place < 0 else _id_of(place)


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
