"""Every kind of call of an event store, for cases that end calls early. Each call has its own arguments and one right answer."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import anyio
import attrs

from inventory_es.ports import AppendResult, FeedPage, RecordedEvent, StreamCatalogue, StreamPage, StreamsPage, TurnTaking
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    CorruptStoreError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.ports.toolkit.page_rules import check_feed_page, check_stream_page, check_stream_page_backwards, check_streams_page
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error
from inventory_es.testing.promise import MismatchError

T = TypeVar("T")
_STREAMS = 3
_LENGTH = 3
_FAR = 1 << 60
_PARTS_OF_PATIENCE = 3

UNKNOWN_OUTCOMES = (AppendOutcomeUnknownError, StoreUnavailableError)
"""Further errors that an append may raise when the store is closed during it."""


@attrs.frozen
class Call:
    """One call that can be begun once.

    Attributes:
        kind: the method, and the variant of the call.
        ask: begins the call.
        problem: the mistake of an answer; empty where the answer is right.
        writes: True if the call writes, so that its outcome may be unknown.
    """

    kind: str
    ask: Callable[[], Coroutine[Any, Any, Any]]
    problem: Callable[[Any], str]
    writes: bool = False

    def judge(self, answer: object, meaning: str) -> None:
        """Compare an answer with the stored events.

        Raises:
            MismatchError: the answer is wrong.
        """
        try:
            problem = self.problem(answer)
        except CorruptStoreError as refusal:
            problem = f"at {refusal.place}: {refusal.problem}"
        except (AttributeError, TypeError, ValueError, LookupError):
            problem = f"a {type(answer).__name__}"
        if problem:
            raise MismatchError(expected=f"the right answer of {self.kind}", got=problem, meaning=meaning)


@attrs.define
class Calls:
    """A source of calls of every kind over a store, whose arguments differ from call to call.

    Args:
        harness: the harness of the run.
        store: the store that is called.
        name: the beginning of the names of its streams, which is unique.
    """

    harness: StoreHarness
    store: TestedStore
    name: str
    _number: int = 0
    _fed: Sequence[RecordedEvent] = ()

    async def prepare(self) -> None:
        """Write the events that the calls ask for."""
        writes = [f"{self._stream(number)}@0 {self._labels(number)}" for number in range(_STREAMS)]
        declared = self.store.capabilities
        is_one = declared.multi_stream and declared.max_append_events >= _STREAMS * _LENGTH
        for part in [writes] if is_one else [[write] for write in writes]:
            await self.store.append(*part)
        await self.harness.contract.settle()
        if self.store.has_feed:
            self._fed = (await self.store.whole_feed())[-_STREAMS * _LENGTH :]

    def kinds(self) -> list[str]:
        """Return the kinds of calls that the store supports."""
        return list(self._makers())

    def call(self, kind: str) -> Call:
        """Return a new call of this kind, with arguments and an answer that differ from those of the call before."""
        self._number += 1
        return self._makers()[kind](self._number)

    async def answers(self, kind: str, meaning: str) -> None:
        """Expect the right answer of a call of this kind, in bounded time."""
        call = self.call(kind)
        call.judge(await self.bounded(call.ask, f"{kind}: {meaning}"), meaning)

    async def all_answer(self, meaning: str) -> None:
        """Expect the right answers of calls of every kind, and a new append to be readable at once."""
        for kind in self.kinds():
            await self.answers(kind, meaning)
        await self.bounded(partial(self._reads_its_writes, meaning), meaning)

    async def bounded(self, ask: Callable[[], Coroutine[Any, Any, T]], meaning: str) -> T:
        """Return the answer of ``ask``, which must come in bounded time and without an error."""
        seconds = self.harness.contract.patience / _PARTS_OF_PATIENCE
        with anyio.move_on_after(seconds):
            try:
                return await ask()
            except MismatchError:
                raise
            except Exception as error:
                raise MismatchError(expected="an answer", got=show_error(error), meaning=meaning) from error
        raise MismatchError(expected="an answer", got=f"none within {seconds:g} s", meaning=meaning)

    def wait(self) -> Call:
        """Return a wait for a distant position; the store must have a feed."""
        position, seconds = (self._fed[-1].position if self._fed else 0) + _FAR, 10 * self.harness.contract.patience
        ask = partial(self.store.wait, position, timeout=seconds)
        return Call("wait_for_position of what never comes", ask, lambda answer: "" if isinstance(answer, bool) else f"{answer!r}")

    def _makers(self) -> dict[str, Callable[[int], Call]]:
        makers: dict[str, Callable[[int], Call]] = {
            "read_stream": self._read,
            "read_stream_backwards": self._read_backwards,
            "find_events": self._find,
            "append": self._append,
            "append again": self._append_again,
            "append at a wrong version": self._refused,
        }
        if self.store.capabilities.multi_stream and self.store.capabilities.max_append_events > 1:
            makers["append to two streams"] = self._append_two
        if self.store.has_group_commit:
            makers["append_group"] = self._group
        if self.store.has_feed:
            makers |= {"read_all": self._read_all, "head": self._head, "wait_for_position": self._wait}
        if isinstance(self.store.raw, StreamCatalogue):
            makers["streams"] = self._streams
        if isinstance(self.store.raw, TurnTaking):
            makers["turn"] = self._turn
        return makers

    def _stream(self, number: int) -> str:
        return f"{self.name}s{number % _STREAMS}"

    def _labels(self, number: int) -> str:
        return " ".join(f"{self._stream(number)}e{place}" for place in range(_LENGTH))

    def _shows(self, found: Sequence[RecordedEvent], labels: Sequence[str]) -> str:
        shown = [self.harness.labels.label(event) for event in found]
        return "" if shown == list(labels) else f"{shown} instead of {list(labels)}"

    def _read(self, number: int) -> Call:
        name, after = self._stream(number), number % _LENGTH

        def problem(page: StreamPage) -> str:
            check_stream_page(page, stream_id(name), after=after, limit=_LENGTH, store=self.store.kind)
            return self._shows(page.events, self._labels(number).split()[after : after + len(page.events)]) or _has_version(page)

        return Call("read_stream", lambda: self.store.page(name, after=after, limit=_LENGTH), problem)

    def _read_backwards(self, number: int) -> Call:
        name, before = self._stream(number), number % _LENGTH + 2

        def problem(page: StreamPage) -> str:
            check_stream_page_backwards(page, stream_id(name), before=before, limit=_LENGTH, store=self.store.kind)
            labels = self._labels(number).split()[: before - 1][::-1]
            return self._shows(page.events, labels[: len(page.events)]) or _has_version(page)

        return Call("read_stream_backwards", lambda: self.store.page_backwards(name, before=before, limit=_LENGTH), problem)

    def _find(self, number: int) -> Call:
        labels = self._labels(number).split()[number % _LENGTH :]
        ids = [event_id(f"{self.name}absent{number}"), *map(event_id, labels)]
        return Call("find_events", lambda: self.store.find(self._stream(number), ids), lambda found: self._shows(found, labels))

    def _append(self, number: int) -> Call:
        name = f"{self.name}n{number}"
        return Call("append", lambda: self.store.append(f"{name}@0 {name}a {name}b"), _versions({name: 2}), writes=True)

    def _append_two(self, number: int) -> Call:
        one, two = f"{self.name}t{number}", f"{self.name}u{number}"
        labels = [f"{two}a", f"{two}b"][: self.store.capabilities.max_append_events - 1]
        ask = partial(self.store.append, f"{one}@0 {one}a", f"{two}@0 {' '.join(labels)}")
        return Call("append to two streams", ask, _versions({one: 1, two: len(labels)}), writes=True)

    def _append_again(self, number: int) -> Call:
        name, labels = self._stream(number), self._labels(number)
        return Call("append again", lambda: self.store.append(f"{name}@0 {labels}"), _versions({name: _LENGTH}, replayed=True), writes=True)

    def _refused(self, number: int) -> Call:
        name = self._stream(number)

        async def ask() -> object:
            try:
                return await self.store.append(f"{name}@1 {self.name}no{number}")
            except ConcurrencyError as error:
                return error

        return Call("append at a wrong version", ask, lambda answer: _conflict(answer, name), writes=True)

    def _group(self, number: int) -> Call:
        name, other = f"{self.name}g{number}", self._stream(number)

        def problem(outcomes: Sequence[AppendResult | Exception]) -> str:
            first, second = outcomes
            return _versions({name: 1})(cast("AppendResult", first)) or _conflict(second, other)

        async def ask() -> Sequence[AppendResult | Exception]:
            outcomes = await self.store.append_group([f"{name}@0 {name}a"], [f"{other}@1 {self.name}not{number}"])
            for outcome in outcomes:
                if isinstance(outcome, (StoreClosedError, *UNKNOWN_OUTCOMES)):
                    raise outcome
            return outcomes

        return Call("append_group", ask, problem, writes=True)

    def _read_all(self, number: int) -> Call:
        at = number % (len(self._fed) - 1)
        after = self._fed[at].position

        def problem(page: FeedPage) -> str:
            check_feed_page(page, after=after, limit=2, store=self.store.kind)
            known = [event for event in page.events if event.position <= self._fed[-1].position]
            rest = self._fed[at + 1 :][:2]
            is_right = known == list(rest if page.is_end else rest[: len(known)])
            return "" if is_right else f"{self.harness.labels.show(page.events)}, is_end={page.is_end}"

        return Call("read_all", lambda: self.store.feed_page(after=after, limit=2), problem)

    def _head(self, _number: int) -> Call:
        last = self._fed[-1].position
        return Call("head", self.store.head, lambda head: "" if type(head) is int and head >= last else f"head {head!r}")

    def _wait(self, number: int) -> Call:
        position = self._fed[number % len(self._fed)].position
        ask = partial(self.store.wait, position, timeout=10 * self.harness.contract.patience)
        return Call("wait_for_position", ask, lambda answer: "" if isinstance(answer, bool) else f"{answer!r}")

    def _streams(self, number: int) -> Call:
        stream = stream_id(self._stream(number))

        def problem(page: StreamsPage) -> str:
            check_streams_page(page, stream.text, after=None, limit=2, store=self.store.kind)
            found = {head.stream: head.version for head in page.heads}
            return "" if found == {stream: _LENGTH} else str(found)

        return Call("streams", lambda: self.store.streams(stream.text, limit=2), problem)

    def _turn(self, number: int) -> Call:
        read = self._read(number)

        async def ask() -> object:
            async with self.store.turn():
                return await read.ask()

        return Call("turn", ask, read.problem)

    async def _reads_its_writes(self, meaning: str) -> None:
        self._number += 1
        name = f"{self.name}r{self._number}"
        result = await self.store.append(f"{name}@0 {name}a {name}b")
        await self.harness.holds(self.store, name, f"{name}a {name}b", meaning=f"{meaning}: what was appended now is not read now")
        if not self.store.has_feed:
            return
        head = await self.store.head()
        shown = self.harness.labels.show((await self.store.whole_feed(after=result.position - 1))[:1])
        if head < result.position or shown != f"[{name}b]":
            raise MismatchError(
                expected=f"[{name}b] at position {result.position} of the feed",
                got=f"{shown}, and head {head}",
                meaning=f"{meaning}: what was appended now is not in the feed now",
            )


def _has_version(page: StreamPage) -> str:
    return "" if page.version == _LENGTH else f"version {page.version}"


def _versions(expected: dict[str, int], *, replayed: bool = False) -> Callable[[AppendResult], str]:
    def problem(result: AppendResult) -> str:
        is_right = dict(result.versions) == {stream_id(name): version for name, version in expected.items()} and result.replayed is replayed
        return "" if is_right else str(result)

    return problem


def _conflict(answer: object, name: str) -> str:
    is_right = isinstance(answer, ConcurrencyError) and (answer.stream, answer.actual) == (stream_id(name), _LENGTH)
    return "" if is_right else str(answer)
