"""The broker of the event bus on NATS JetStream: two streams.

A subject ``PREFIX.log.SHARD`` of the stream ``PREFIX-log`` is a shard, so that all shards of a publication are one atomic batch. Its
messages are CloudEvents in structured mode. Reading is by direct get, from any place: no consumer of JetStream is used. Its pending
messages could get stuck, and its ``max_deliver`` leaves a message in place.

The stream ``PREFIX-groups`` keeps the last message of each subject. All answers of a group about a shard are one of them, which its owner
replaces by compare-and-set on its sequence. So a takeover fences every write of the former owner. The subjects of a group, by their name:

- ``PREFIX.joined.GROUP`` exists.
- ``PREFIX.of.GROUP.SHARD`` has the owner, the low-water mark, and what is settled and was delivered above it.
- ``PREFIX.letter.GROUP.SHARD.PLACE`` is a dead letter, or one that waits again; an empty one is settled, and vanishes.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import attrs
import msgspec
from nats.aio.msg import Msg

from inventory_es.adapters.nats.connection import Connection, NatsError
from inventory_es.adapters.nats.streams import Streams, header_of, subject_of
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.ports.toolkit.broker import Broker, Claim, CountsAhead, Entry, OwnershipLostError
from inventory_es.ports.toolkit.cloudevents import STRUCTURED_TYPE
from inventory_es.ports.toolkit.loop_thread import LoopCalls

T = TypeVar("T")

_MAX_CALLS = 8
_BATCH_BYTES = 1 << 20
_BATCH_MESSAGES = 1_000
_STATES_BYTES = 32 << 20
_PAGE = 256
_FRESH = 0.5

_WRONG_SEQUENCE = (10071, 10164)
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_LETTER = "Inventory-Letter"
_EVENT_ID = "Inventory-Event-Id"
_CLOUD_EVENT: Mapping[str, str] = {"content-type": STRUCTURED_TYPE}
_TOMBSTONE: Mapping[str, str] = {"Nats-TTL": "60s"}


class _State(msgspec.Struct, frozen=True, array_like=True):
    """The answers of a group about a shard, in MessagePack, with the owner's lease in seconds and the time when the log was made."""

    owner: str = ""
    lease: float = 0.0
    log: str = ""
    low: int = 0
    settled: frozenset[int] = frozenset()
    deliveries: dict[int, int] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


@attrs.define(eq=False)
class _Held:
    """A claim that this process holds.

    Attributes:
        claim: as the bus has it.
        subject: of the state.
        state: as the server has it, if ``sequence`` is known.
        sequence: of the state on the server; ``None`` after a write without an answer.
        written_at: the time of the last write, by the clock of the process.
        read: the place and the end of the log where the shard had nothing more, and when that was.
        is_lost: True once another claim may exist.
    """

    claim: Claim
    subject: str
    state: _State
    sequence: int | None
    written_at: float
    read: tuple[int, int, float] = (0, -1, 0.0)
    is_lost: bool = False
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)


@attrs.define(eq=False)
class _Letters:
    """The letters of a group that wait again.

    Attributes:
        through: the sequence up to which they were read; 0 for all of them to be read.
        waiting: by subject, the sequence and the letter.
    """

    through: int = 0
    waiting: dict[str, tuple[int, bytes]] = attrs.field(factory=dict[str, tuple[int, bytes]])


class NatsBroker(Broker, CountsAhead):
    """The logs of a bus on a server. Its owner closes it.

    Args:
        name: for errors.
        connection: to the server, which ends with the broker.
        streams: of the bus.
        shards: their number.
        lease: the seconds after which the shards of a process that died are free.
    """

    def __init__(self, name: str, connection: Connection, streams: Streams, *, shards: int, lease: float) -> None:
        self._name = name
        self._connection = connection
        self._streams = streams
        self.prefix: str = streams.prefix
        self._shards = shards
        self._lease = lease
        self._calls = LoopCalls(connection, anyio.CapacityLimiter(_MAX_CALLS), name=name)
        self._held: dict[tuple[str, int], _Held] = {}
        self._tokens: set[str] = set()  # those that the server may have
        self._letters: dict[str, _Letters] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        connection.start(self._renew)

    @property
    def name(self) -> str:
        """The name for errors, without a password."""
        return self._name

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._shards

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Append entries, up to a thousand and a megabyte in one step. An append without an answer may still happen."""
        await self._run(self._publish, batches)

    async def join(self, group: str, /) -> None:
        """Make a group exist."""
        await self._run(self._join, group)

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Own free shards, and keep them owned by a task that renews the leases."""
        return await self._run(self._claim, group, tuple(shards))

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims."""
        await self._run(self._release, tuple(claims))

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Read shards, all at the same time."""
        return await self._run(self._read, tuple(wanted))

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        """Keep the number of deliveries of an entry."""
        await self._run(self._write, claim, lambda state: _recorded(state, place, deliveries))

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:
        """Settle entries."""
        await self._run(self._settle, claim, tuple(places), low, lambda state: state)

    async def settle_and_record(self, claim: Claim, places: Collection[int], /, *, low: int, place: int, deliveries: int) -> None:
        """Settle entries, and keep the number of deliveries of the next one."""
        await self._run(self._settle, claim, tuple(places), low, lambda state: _recorded(state, place, deliveries))

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:
        """Settle an entry, and keep it as a dead letter."""
        await self._run(self._bury, claim, place, event_id, letter, low)

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest dead letters of a group."""
        return await self._run(self._dead_letters, group, limit)

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Let dead letters be read again."""
        return await self._run(self._revive, group, frozenset(event_ids))

    async def trim(self) -> int:
        """Remove the entries that every group has settled; return their number."""
        return await self._run(self._trim)

    async def lag(self, group: str) -> int:
        """Return the number of entries that a group has not settled."""
        return await self._run(self._lag, group)

    async def aclose(self) -> None:
        """Release every claim and the connection. Idempotent."""
        await self._calls.close(self._close)

    async def _publish(self, batches: Mapping[int, Sequence[bytes]]) -> None:
        messages: list[tuple[str, bytes, Mapping[str, str]]] = []
        size = 0
        for shard in sorted(batches):
            for data in batches[shard]:
                if messages and (size + len(data) > _BATCH_BYTES or len(messages) == _BATCH_MESSAGES):
                    await self._streams.publish(messages)
                    messages, size = [], 0
                messages.append((f"{self.prefix}.log.{shard}", data, _CLOUD_EVENT if data.startswith(b"{") else {}))
                size += len(data)
        if messages:
            await self._streams.publish(messages)

    async def _join(self, group: str) -> None:
        try:
            await self._streams.publish([(f"{self.prefix}.joined.{_token(group)}", b"", {_EXPECTED: "0"})])
        except NatsError as problem:
            if problem.code not in _WRONG_SEQUENCE:
                raise

    async def _claim(self, group: str, shards: Sequence[int]) -> list[Claim]:
        """Own what is free, what this broker owns without the bus's knowledge, and what was not written for the time of its lease."""
        states = await self._states(_token(group))
        free = []
        for shard in shards:
            subject = f"{self.prefix}.of.{_token(group)}.{shard}"
            sequence, state = states.get(shard, (0, _State()))
            if not state.owner or state.owner in self._tokens or self._has_ended(subject, sequence, state.lease):
                free.append((shard, subject, sequence, state))
        if not free:
            return []
        log = await self._streams.api(f"STREAM.INFO.{self._streams.log}")
        claims: list[Claim] = []
        problems: list[NatsError] = []

        async def own(shard: int, subject: str, sequence: int, state: _State) -> None:
            if state.log != log["created"] or state.low > log["state"]["last_seq"]:
                state = _State()  # the log was made again, or lost its end in a power cut: its places are those of other entries
            state = _with(state, owner=self._streams.new_token(), lease=self._lease, log=log["created"])
            written_at = time.monotonic()
            self._tokens.add(state.owner)
            try:
                written = await self._streams.publish([(subject, _encode(state), {_EXPECTED: f"{sequence}"})])
            except NatsError as problem:
                if problem.code in _WRONG_SEQUENCE:  # another process was faster
                    self._tokens.discard(state.owner)
                else:
                    problems.append(problem)
                return
            claim = Claim(group, shard, state.owner, state.low, state.settled, state.deliveries)
            if (former := self._held.get((group, shard))) is not None:
                former.is_lost = True
            self._held[group, shard] = _Held(claim, subject, state, written, written_at)
            claims.append(claim)

        await _together(partial(own, *each) for each in free)
        if problems and not claims:
            raise problems[0]
        self._letters.setdefault(group, _Letters()).through = 0  # those of the former owners may be settled now
        return sorted(claims, key=lambda claim: claim.shard)

    async def _states(self, token: str) -> dict[int, tuple[int, _State]]:
        """Return the state of each shard of a group, with its sequence."""
        wanted = [f"{self.prefix}.of.{token}.*"]
        found, _ = await self._streams.read(self._streams.groups, multi_last=wanted, batch=self._shards, max_bytes=_STATES_BYTES)
        return {int(subject_of(message).rpartition(".")[2]): (sequence, _decode(message.data)) for sequence, message in found}

    def _has_ended(self, subject: str, sequence: int, lease: float) -> bool:
        """Return True if this process has seen the same state for the time of its lease. So no clocks are compared."""
        now = time.monotonic()
        before, since = self._seen.get(subject, (0, now))
        if before != sequence:
            self._seen[subject] = sequence, now
            return False
        return now - since >= lease

    async def _release(self, claims: Sequence[Claim]) -> None:
        held = [one for claim in claims if (one := self._of(claim)) is not None]
        for one in held:
            self._held.pop((one.claim.group, one.claim.shard), None)

        async def release(one: _Held) -> None:
            try:
                with suppress(OwnershipLostError):
                    await self._change(one, lambda state: _with(state, owner=""))
                self._tokens.discard(one.claim.token)
            finally:
                one.is_lost = True

        await _together(partial(release, one) for one in held)

    async def _read(self, wanted: Sequence[tuple[Claim, int, int]]) -> list[list[Entry] | None]:
        info: dict[str, Any] = {}

        async def look() -> None:
            info.update((await self._streams.api(f"STREAM.INFO.{self._streams.log}"))["state"])

        groups = sorted({claim.group for claim, _, _ in wanted})
        await _together([look, *(partial(self._read_letters, group) for group in groups)])
        entries: list[list[Entry] | None] = [None] * len(wanted)

        async def read(index: int, claim: Claim, after: int, limit: int) -> None:
            held = self._of(claim)
            if held is not None:
                log = await self._read_log(held, after, limit, end=info["last_seq"])
                letters = self._letters[claim.group].waiting.items()
                start = f"{self.prefix}.letter.{_token(claim.group)}.{claim.shard}."
                again = sorted((number, data) for subject, (number, data) in letters if subject.startswith(start))
                entries[index] = [*log, *(Entry(-number, data) for number, data in again)]

        await _together(partial(read, index, *each) for index, each in enumerate(wanted))
        return entries

    async def _read_log(self, held: _Held, after: int, limit: int, *, end: int) -> list[Entry]:
        """Read entries of a shard, unless it had none just now and the log is the same.

        A replica may lag behind the end of the log, so that it is asked again after a moment.
        """
        place, known_end, at = held.read
        if (place, known_end) == (after, end) and time.monotonic() - at < _FRESH:
            return []
        now = time.monotonic()
        subject = f"{self.prefix}.log.{held.claim.shard}"
        found, pending = await self._streams.read(self._streams.log, next_by_subj=subject, seq=after + 1, batch=limit)
        if not pending:
            held.read = (found[-1][0] if found else after), end, now
        return [Entry(sequence, message.data) for sequence, message in found]

    async def _read_letters(self, group: str) -> None:
        """Take note of the letters of a group that wait again, and of those that don't any more."""
        letters = self._letters[group]
        through, waiting = letters.through, dict(letters.waiting) if letters.through else {}
        async for sequence, message in self._each_letter(group, through):
            through = sequence
            if header_of(message, _LETTER) == "again":
                waiting[subject_of(message)] = sequence, message.data
            else:
                waiting.pop(subject_of(message), None)
        letters.through, letters.waiting = through, waiting

    async def _each_letter(self, group: str, after: int = 0) -> AsyncIterator[tuple[int, Msg]]:
        subject = f"{self.prefix}.letter.{_token(group)}.*.*"
        pending = 1
        while pending:
            found, pending = await self._streams.read(self._streams.groups, next_by_subj=subject, seq=after + 1, batch=_PAGE)
            for sequence, message in found:
                yield sequence, message
                after = sequence

    async def _settle(self, claim: Claim, places: Sequence[int], low: int, record: Callable[[_State], _State]) -> None:
        ended = self._subjects(claim, places)
        await self._write(claim, lambda state: record(_settled(state, places, low)), [(subject, b"", _TOMBSTONE) for subject in ended])
        for subject in ended:
            self._letters[claim.group].waiting.pop(subject, None)

    async def _bury(self, claim: Claim, place: int, event_id: str, letter: bytes, low: int) -> None:
        """Write the letter and the state in one step. A place that has no deliveries was buried before."""
        (subject,) = self._subjects(claim, [place]) or [f"{self.prefix}.letter.{_token(claim.group)}.{claim.shard}.{place}"]
        letters = [(subject, letter, {_LETTER: "dead", _EVENT_ID: event_id})]
        await self._write(claim, lambda state: _settled(state, [place], low) if place in state.deliveries else None, letters)
        if claim.group in self._letters:
            self._letters[claim.group].waiting.pop(subject, None)

    def _subjects(self, claim: Claim, places: Iterable[int]) -> list[str]:
        """Return the subjects of those of these places that are letters which wait again."""
        letters = self._letters.get(claim.group, _Letters()).waiting
        return [subject for subject, (number, _) in letters.items() if -number in places]

    async def _write(
        self,
        claim: Claim,
        change: Callable[[_State], _State | None],
        letters: Sequence[tuple[str, bytes, Mapping[str, str]]] = (),
    ) -> None:
        held = self._of(claim)
        if held is None:
            raise OwnershipLostError
        await self._change(held, change, letters)

    async def _change(
        self,
        held: _Held,
        change: Callable[[_State], _State | None],
        letters: Sequence[tuple[str, bytes, Mapping[str, str]]] = (),
    ) -> None:
        """Replace the state on the server, if it is still this owner's; ``None`` for no change."""
        async with held.lock:
            while not held.is_lost:
                if held.sequence is None:
                    await self._look_again(held)
                    continue
                new = change(held.state)
                if new is None:
                    return
                expected, held.sequence = held.sequence, None  # until there is an answer
                now = time.monotonic()
                try:
                    held.sequence = await self._streams.publish([*letters, (held.subject, _encode(new), {_EXPECTED: f"{expected}"})])
                except NatsError as problem:
                    if problem.code in _WRONG_SEQUENCE:
                        continue
                    raise
                held.state, held.written_at = new, now
                return
        raise OwnershipLostError

    async def _look_again(self, held: _Held) -> None:
        """Find out if a write without an answer has happened, or if another claim exists."""
        found = await self._streams.last(held.subject)
        state = _State() if found is None else _decode(found[1])
        if found is None or state.owner != held.claim.token:
            held.is_lost = True
            self._tokens.discard(held.claim.token)
            if self._of(held.claim) is held:
                del self._held[held.claim.group, held.claim.shard]
        else:
            held.sequence, held.state = found[0], state

    def _of(self, claim: Claim) -> _Held | None:
        held = self._held.get((claim.group, claim.shard))
        return held if held is not None and held.claim is claim else None

    async def _dead_letters(self, group: str, limit: int) -> list[bytes]:
        found: list[bytes] = []
        async for _, message in self._each_letter(group):
            if len(found) == limit:
                break
            if header_of(message, _LETTER) == "dead":
                found.append(message.data)
        return found

    async def _revive(self, group: str, event_ids: frozenset[str]) -> int:
        count = 0
        async for sequence, message in self._each_letter(group):
            event_id = header_of(message, _EVENT_ID)
            if header_of(message, _LETTER) == "dead" and event_id in event_ids:
                headers = {_LETTER: "again", _EVENT_ID: event_id, _EXPECTED: f"{sequence}"}
                try:
                    await self._streams.publish([(subject_of(message), message.data, headers)])
                except NatsError as problem:
                    if problem.code not in _WRONG_SEQUENCE:  # else another process was faster
                        raise
                else:
                    count += 1
        return count

    async def _trim(self) -> int:
        joined = await self._streams.api(f"STREAM.INFO.{self._streams.groups}", subjects_filter=f"{self.prefix}.joined.*")
        lows: dict[int, list[int]] = {shard: [] for shard in range(self._shards)}
        for subject in joined["state"].get("subjects") or {}:
            states = await self._states(subject.rpartition(".")[2])
            for shard, of_shard in lows.items():
                of_shard.append(states[shard][1].low if shard in states else 0)
        count = 0
        for shard, of_shard in lows.items():
            if low := min(of_shard, default=0):
                purge = await self._streams.api(f"STREAM.PURGE.{self._streams.log}", filter=f"{self.prefix}.log.{shard}", seq=low + 1)
                count += int(purge["purged"])
        return count

    async def _lag(self, group: str) -> int:
        states = await self._states(_token(group))
        behind: list[int] = []

        async def look(shard: int) -> None:
            _, state = states.get(shard, (0, _State()))
            subject = f"{self.prefix}.log.{shard}"
            found, pending = await self._streams.read(self._streams.log, next_by_subj=subject, seq=state.low + 1, batch=1)
            behind.append(len(found) + pending - sum(place > 0 for place in state.settled))

        await _together(partial(look, shard) for shard in range(self._shards))
        return sum(behind)

    async def _renew(self) -> None:
        """Write the states again that were not written for a third of their lease. A server that is away lets the leases end."""
        while True:
            await anyio.sleep(self._lease / 6)
            due = time.monotonic() - self._lease / 3

            async def renew(held: _Held) -> None:
                with suppress(NatsError, OwnershipLostError):
                    await self._change(held, lambda state: state)

            await _together(partial(renew, held) for held in tuple(self._held.values()) if held.written_at <= due)

    def _close(self) -> None:
        try:
            with suppress(NatsError):  # the leases end by themselves
                self._connection.run(self._release, [held.claim for held in self._held.values()])
        finally:
            self._connection.end(self._connection.close)

    async def _run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        await self._calls.settle()  # a call that a cancelled caller left behind must not land after this one
        return translated(self._name, (await self._calls.outcome(function, *arguments)).result)


async def _together(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do works at the same time, and raise the first error of one after all have ended."""
    problems: list[NatsError] = []

    async def do(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except NatsError as problem:
            problems.append(problem)

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(do, work)
    if problems:
        raise problems[0]


def translated(name: str, function: Callable[[], T]) -> T:
    """Call a function, and raise the error of the port."""
    try:
        return function()
    except NatsError as problem:
        raise EventBusUnavailableError(bus=name, reason=str(problem), remedy=problem.remedy) from problem


def _settled(state: _State, places: Collection[int], low: int) -> _State:
    low = max(low, state.low)
    deliveries = {place: count for place, count in state.deliveries.items() if place not in places and not 0 < place <= low}
    return _with(state, low=low, settled={place for place in {*state.settled, *places} if place > low}, deliveries=deliveries)


def _recorded(state: _State, place: int, deliveries: int) -> _State:
    return _with(state, deliveries={**state.deliveries, place: deliveries})


def _with(state: _State, **changes: Any) -> _State:
    if "settled" in changes:
        changes["settled"] = frozenset(changes["settled"])
    return msgspec.structs.replace(state, **changes)


def _token(group: str) -> str:
    """Return a part of a subject for the name of a group."""
    return quote(group, safe="").replace(".", "%2E").replace("~", "%7E")
