"""An event store under test, in the words of the cases."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from inspect import iscoroutine
from typing import Any, Literal, NoReturn, TypeVar, cast
from uuid import UUID

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    EventFeed,
    EventStore,
    FeedPage,
    GroupCommit,
    NewEvent,
    RecordedEvent,
    StoreCapabilities,
    StreamCatalogue,
    StreamPage,
    StreamsPage,
    StreamWrite,
    TurnTaking,
    VersionGlance,
)
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, CorruptStoreError
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.page_rules import count_empty_pages
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_id, stream_name
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import TestedPort
from inventory_es.testing.contracts.event_store.append_answers import Asked, check_answer
from inventory_es.testing.contracts.event_store.linearizability import Appended, Conflicted, Observed, Operation, Unknown
from inventory_es.testing.promise import MismatchError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
Way = Literal["append", "append_group"]
ALL = 1 << 20


@attrs.define(eq=False)
class TestedStore(TestedPort[EventStore]):
    """An opened store: streams are named by words, and writes read ``x@2 b c``.

    Attributes:
        labels: the events of the run.
        operations: appends and whole reads, for the linearizability checker.
    """

    labels: EventLabels
    operations: list[Operation] = attrs.field(factory=list[Operation])

    @property
    def capabilities(self) -> StoreCapabilities:
        """The declared capabilities."""
        return self.raw.capabilities

    @property
    def kind(self) -> str:
        """The adapter's type, for errors."""
        return adapter_name(self.raw)

    @property
    def feed(self) -> EventFeed:
        """The store as a feed; check :attr:`has_feed` first."""
        return cast("EventFeed", self.raw)

    @property
    def has_feed(self) -> bool:
        """True if the store declares a feed. A declaration that its methods contradict breaks the promise at hand."""
        declared = self.capabilities.feed == "total"
        self._agree(declared, isinstance(self.raw, EventFeed), "feed='total'", "read_all, head and wait_for_position")
        return declared

    @property
    def has_group_commit(self) -> bool:
        """True if the store declares group commit. A declaration that its methods contradict breaks the promise at hand."""
        declared = self.capabilities.group_commit
        self._agree(declared, isinstance(self.raw, GroupCommit), "group_commit", "append_group")
        return declared

    def write(self, text: str) -> StreamWrite:
        """Return the write of a text such as ``x@2 b c``."""
        return self.labels.write(text)

    async def append(
        self,
        *writes: str | StreamWrite,
        at_suspension: AtSuspension | None = None,
        held: Callable[[], Iterable[object]] | None = None,
        meaning: str | None = None,
    ) -> AppendResult:
        """Append all writes at once. A single write above a declared maximum is sent in smaller pieces.

        Args:
            writes: texts such as ``x@2 b c``, or records.
            at_suspension: called at each suspension of the append; such an append is not split.
            held: returns the turns of the event loop to wait at each await point; such an append is not split.
            meaning: the meaning of a refusal, for the report; without it, the store's error passes through.
        """
        records = [self.write(write) if isinstance(write, str) else write for write in writes]
        if at_suspension is not None or held is not None or len(records) != 1 or self.fits(records):
            self.need_room(records)
            return await self._append(records, at_suspension, meaning, held)
        first, *others = self._pieces(records[0])
        result = await self._append([first], None, meaning)
        for piece in others:
            try:
                result = await self._append([piece], None, None)
            except ConcurrencyError:
                self._not_in_pieces(records)
        return result

    async def _append(
        self,
        records: Sequence[StreamWrite],
        at_suspension: AtSuspension | None,
        meaning: str | None,
        held: Callable[[], Iterable[object]] | None = None,
    ) -> AppendResult:
        note = "append " + " ".join(self.labels.show_write(write) for write in records)
        start = self.run.history.tick()
        try:
            result = await self._answer(note, records, at_suspension, held)
        except MismatchError:
            raise
        except ConcurrencyError as error:
            self._operation(records, start, Conflicted(error.actual))
            if meaning is None:
                raise
            raise MismatchError(expected="the append to succeed", got=show_error(error), meaning=meaning) from error
        except Exception as error:
            if meaning is None:
                raise
            raise MismatchError(expected="the append to succeed", got=show_error(error), meaning=meaning) from error
        except BaseException:
            self._operation(records, start, Unknown())
            raise
        self._operation(records, start, Appended(result.versions.get(records[0].stream, -1), replayed=result.replayed))
        return result

    async def _answer(
        self,
        note: str,
        records: Sequence[StreamWrite],
        at_suspension: AtSuspension | None,
        held: Callable[[], Iterable[object]] | None,
    ) -> AppendResult:
        """Return the answer of the adapter, or raise its error, if that can belong to this append."""
        asked = Asked.of(records)
        try:
            result = await self.call(note, self.raw.append(records), show_result, at_suspension, held)
        except Exception as error:
            check_answer(asked, error, self.capabilities)
            raise
        check_answer(asked, result, self.capabilities)
        return result

    async def refused(self, kind: type[E], *writes: str | StreamWrite, meaning: str) -> E:
        """Append, and expect exactly this kind of error. A conflicting append is cut to the store's maximum of events."""
        records = [self.write(write) if isinstance(write, str) else write for write in writes]
        if kind is ConcurrencyError and len(records) == 1 and not self.fits(records):
            records = [next(self._pieces(records[0]))]
        if kind is not AppendTooLargeError:
            self.need_room(records)
        try:
            result = await self._append(records, None, None)
        except kind as error:
            return error
        except MismatchError:
            raise
        except Exception as error:
            raise MismatchError(expected=kind.__name__, got=show_error(error), meaning=meaning) from error
        raise MismatchError(expected=kind.__name__, got=show_result(result), meaning=meaning)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The methods that append."""
        return ("append", "append_group") if self.has_group_commit else ("append",)

    async def append_by(self, way: Way, write: str, *, meaning: str | None = None) -> AppendResult:
        """Append one write by this method; raise a refusal that is an outcome of its group."""
        if way == "append":
            return await self.append(write, meaning=meaning)
        (outcome,) = await self.append_group([write])
        if isinstance(outcome, AppendResult):
            return outcome
        if meaning is None:
            raise outcome
        raise MismatchError(expected="the append to succeed", got=show_error(outcome), meaning=meaning) from outcome

    async def append_group(self, *groups: Sequence[str]) -> Sequence[AppendResult | Exception]:
        """Pass independent appends to a group commit, each a list of writes."""
        records = [[self.write(write) for write in group] for group in groups]
        for group in records:
            self.need_room(group)
        note = "append_group " + ", ".join(" ".join(self.labels.show_write(write) for write in group) for group in records)
        return await self.outcomes(note, records)

    async def outcomes(self, note: str, groups: Sequence[Sequence[StreamWrite]]) -> Sequence[AppendResult | Exception]:
        """Pass independent appends to a group commit, whatever is declared, and expect one outcome each."""
        asked = [Asked.of(group) for group in groups]
        found: Any = await self.call(note, cast("GroupCommit", self.raw).append_group(groups), show_outcomes)
        if not isinstance(found, Sequence) or len(found) != len(groups):
            raise MismatchError(
                expected=f"a sequence of {len(groups)} outcomes",
                got=f"{len(found)}" if isinstance(found, Sequence) else f"a {type(found).__name__}",
                meaning="each append of a group has one outcome, in the order of the appends",
            )
        for one, outcome in zip(asked, found, strict=True):
            check_answer(one, outcome, self.capabilities)
        return found

    async def page(self, stream: str | StreamId, *, after: int = 0, limit: int = ALL) -> StreamPage:
        """Return one page forward."""
        note = f"read {_name(stream)}" + (f" after {after}" if after else "") + (f" limit {limit}" if limit != ALL else "")
        return await self.call(note, self.raw.read_stream(_id(stream), after=after, limit=limit), self._show_page)

    async def page_backwards(self, stream: str | StreamId, *, before: int | None = None, limit: int = ALL) -> StreamPage:
        """Return one page backwards."""
        note = f"read backwards {_name(stream)}" + (f" before {before}" if before is not None else "")
        return await self.call(note, self.raw.read_stream_backwards(_id(stream), before=before, limit=limit), self._show_page)

    async def find(self, stream: str | StreamId, ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Return the events of these ids."""
        return await self.call(f"find {len(ids)} ids in {_name(stream)}", self.raw.find_events(_id(stream), ids), self.labels.show)

    async def feed_page(self, *, after: int = 0, limit: int = ALL) -> FeedPage:
        """Return one page of the feed."""
        note = f"read all after {after}" + (f" limit {limit}" if limit != ALL else "")
        return await self.call(note, self.feed.read_all(after=after, limit=limit), lambda page: self.labels.show(page.events))

    async def head(self) -> int:
        """Return the head of the feed."""
        return await self.call("head", self.feed.head(), str)

    async def wait(self, position: int, *, timeout: float) -> bool:
        """Wait for a position."""
        return await self.call(f"wait for {position}", self.feed.wait_for_position(position, timeout=timeout), str)

    async def streams(self, prefix: str = "", *, after: StreamId | None = None, limit: int = ALL) -> StreamsPage:
        """Return one page of the catalogue; the store must be a StreamCatalogue."""
        note = f"streams {prefix!r} after {after} limit {limit}"
        call = cast("StreamCatalogue", self.raw).streams(prefix, after=after, limit=limit)
        return await self.call(note, call, lambda page: f"{len(page.heads)} streams")

    def glance(self, stream: str) -> int | None:
        """Return the version of a stream without an await; the store must be a VersionGlance."""
        entry = self.run.history.begin(f"{self.name}glance at {stream}")
        try:
            version: object = cast("VersionGlance", self.raw).glance_version(_id(stream))
        except Exception as error:
            entry.outcome = show_error(error)
            raise MismatchError(expected="a version or None", got=entry.outcome, meaning="a glance raises nothing") from error
        if iscoroutine(version):
            version.close()
        if not (version is None or isinstance(version, int)):
            raise MismatchError(expected="a version or None", got=f"a {type(version).__name__}", meaning="a glance is told at once")
        entry.outcome = "unknown" if version is None else str(version)
        return version

    @asynccontextmanager
    async def turn(self, *names: str) -> AsyncGenerator[None, None]:
        """Take a turn of this instance, where turns are by stream over those named, or over x; the store must be a TurnTaking."""
        streams = map(stream_id, names or "x") if self.capabilities.turns_by_stream else ()
        turn = cast("TurnTaking", self.raw).turn(*streams)
        await self.call("turn", turn.__aenter__(), lambda _: "begun")
        try:
            yield
        except BaseException as problem:
            if not await self.call("leave the turn", turn.__aexit__(type(problem), problem, problem.__traceback__), _show_leaving):
                raise
        else:
            await self.call("leave the turn", turn.__aexit__(None, None, None), _show_leaving)

    async def close(self) -> None:
        """Close the store."""
        await self.call("close", self.raw.aclose(), lambda _: "closed")

    async def whole(self, stream: str | StreamId) -> StreamPage:
        """Return all events of a stream, read page by page, as one page with the version of the last page."""
        start = self.run.history.tick()
        events: list[RecordedEvent] = []
        page = await self.page(stream)
        first_version = page.version
        while not page.is_end:
            last = events[-1].version if events else 0
            if not page.events or page.events[-1].version <= last:
                raise MismatchError(
                    expected=f"events behind version {last}, or is_end",
                    got=f"{len(page.events)} events that do not go further, in a page that is not the end",
                    meaning="whoever pages through the stream never ends",
                )
            events += page.events
            await checkpoint()
            page = await self.page(stream, after=events[-1].version)
        events += page.events
        if first_version == page.version:
            self.operations.append(Operation(_name(stream), start, self.run.history.tick(), 0, (), Observed(page.version)))
        return StreamPage(events, page.version, is_end=True)

    async def whole_feed(self, *, after: int = 0, limit: int = ALL) -> list[RecordedEvent]:
        """Return all events of the feed, read page by page."""
        events: list[RecordedEvent] = []
        empty = 0
        while True:
            page = await self.feed_page(after=after, limit=limit)
            with going_on():
                empty = count_empty_pages(empty, page, store=self.kind)
            events += page.events
            if page.is_end:
                return events
            if page.next_after <= after:
                raise MismatchError(
                    expected=f"next_after above {after}", got=str(page.next_after), meaning="whoever follows the feed stands still for ever"
                )
            after = page.next_after
            await checkpoint()

    def show_error(self, error: Exception) -> str:
        """Return an error with its message."""
        return show_error(error)

    def fits(self, records: Sequence[StreamWrite]) -> bool:
        """Return True if an append is within the declared maxima of an append. The size of a single event is the case's concern."""
        declared, sizes = self.capabilities, [event.size for record in records for event in record.events]
        return len(sizes) <= declared.max_append_events and (sum(sizes) <= declared.max_append_bytes or len(sizes) == 1)

    def need_room(self, records: Sequence[StreamWrite]) -> None:
        """End the case as not declared, where an append is above a declared maximum."""
        if not self.fits(records):
            self._not_in_pieces(records)

    def _not_in_pieces(self, records: Sequence[StreamWrite]) -> NoReturn:
        sizes = [event.size for record in records for event in record.events]
        self.run.not_declared(f"max_append_events of {len(sizes)} and max_append_bytes of {sum(sizes)}, or more")

    def _pieces(self, write: StreamWrite) -> Iterator[StreamWrite]:
        """Yield consecutive writes that append the same events, each within the declared maxima."""
        piece: list[NewEvent] = []
        version = write.expected_version
        for event in write.events:
            if piece and not self.fits([attrs.evolve(write, events=[*piece, event])]):
                yield attrs.evolve(write, expected_version=version, events=piece)
                version, piece = version + len(piece), []
            piece.append(event)
        yield attrs.evolve(write, expected_version=version, events=piece)

    def _show_page(self, page: StreamPage) -> str:
        return f"version {page.version}, {self.labels.show(page.events)}"

    def _operation(self, records: Sequence[StreamWrite], start: int, outcome: Appended | Conflicted | Unknown) -> None:
        if len(records) != 1:
            return  # the checker takes histories of one stream
        write = records[0]
        end = None if isinstance(outcome, Unknown) else self.run.history.tick()
        ids = tuple(event.event_id for event in write.events)
        self.operations.append(Operation(_name(write.stream), start, end, write.expected_version, ids, outcome))

    def _agree(self, declared: bool, observed: bool, capability: str, methods: str) -> None:  # noqa: FBT001  # two findings that must be equal
        if declared and not observed:
            raise MismatchError(
                expected=f"{methods}, as declared",
                got="no such methods",
                meaning=f"the store declares {capability} and does not implement it",
            )
        if observed and not declared:
            raise MismatchError(
                expected=f"no {methods}", got="they are there", meaning=f"the store implements {methods} and does not declare {capability}"
            )


@contextmanager
def going_on() -> Iterator[None]:
    """Turn the refusal of a page into a broken promise."""
    try:
        yield
    except CorruptStoreError as refusal:
        raise MismatchError(
            expected="a page that goes on from the one before it",
            got=f"at {refusal.place}: {refusal.problem}",
            meaning="whoever goes through the pages never ends, or misses something",
        ) from refusal


def show_result(result: AppendResult) -> str:
    """Return ``3``, ``3 replayed``, ``{x: 3, y: 1}``."""
    versions = {stream_name(stream): version for stream, version in result.versions.items()}
    shown = str(next(iter(versions.values()))) if len(versions) == 1 else str(versions)
    return f"{shown} replayed" if result.replayed else shown


def show_error(error: BaseException) -> str:
    """Return ``ConcurrencyError(actual=3)``, or the type of another error with its message."""
    if isinstance(error, ConcurrencyError):
        return f"ConcurrencyError(actual={error.actual})"
    return f"{type(error).__name__}({error})"


def _show_leaving(is_swallowed: bool | None) -> str:  # noqa: FBT001  # the result of __aexit__
    return "left, and what was raised in it is swallowed" if is_swallowed else "left"


def show_outcomes(outcomes: object) -> str:
    """Return the outcomes of a group, in order."""
    if not isinstance(outcomes, Sequence):
        return f"a {type(outcomes).__name__}"
    return ", ".join(show_result(outcome) if isinstance(outcome, AppendResult) else show_error(outcome) for outcome in outcomes)


def _id(stream: str | StreamId) -> StreamId:
    return stream_id(stream) if isinstance(stream, str) else stream


def _name(stream: str | StreamId) -> str:
    return stream if isinstance(stream, str) else stream_name(stream)
