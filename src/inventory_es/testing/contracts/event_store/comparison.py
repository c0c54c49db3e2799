"""The comparison of a store with the reference, in every way of reading, by field and by flag."""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    FeedPage,
    RecordedEvent,
    StreamCatalogue,
    StreamPage,
    StreamsPage,
    StreamWrite,
    VersionGlance,
)
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, EventIdCollisionError, StoreUnavailableError
from inventory_es.testing.contracts.core.event_labels import stream_name
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.reference_model import (
    Accepted,
    Answer,
    Collision,
    Conflict,
    Place,
    ReferenceModel,
    record_difference,
    shortened,
)
from inventory_es.testing.contracts.event_store.tested_store import ALL, TestedStore, show_error, show_result
from inventory_es.testing.promise import MismatchError

_STRANGER = UUID("6b9d62c1-9f0e-4dc5-93a7-2f6c8e1f0a11")
_FURTHER = 1_000


@attrs.frozen
class Comparison:
    """A store and the reference. Each method raises a mismatch where they differ."""

    harness: StoreHarness
    store: TestedStore
    model: ReferenceModel

    async def append(self, writes: Sequence[StreamWrite]) -> None:
        """Append to both, and compare the answers."""
        expected = self.model.append(writes)
        answer: AppendResult | Exception
        try:
            answer = await self.store.append(*writes)
        except MismatchError:
            raise
        except Exception as error:  # noqa: BLE001  # every error is compared
            answer = error
        self.has_answered(answer, expected)

    async def cancel(self, writes: Sequence[StreamWrite], point: int) -> None:
        """Cancel an append at its ``point``-th suspension (0: before it begins), and send it again. It is written by one of the two."""
        suspensions = 0
        with anyio.CancelScope() as scope:

            def look() -> None:
                nonlocal suspensions
                suspensions += 1
                if suspensions == point:
                    scope.cancel()

            if not point:
                scope.cancel()
            with suppress(AppendOutcomeUnknownError, StoreUnavailableError):
                await self.store.append(*writes, at_suspension=look)
        expected = self.model.append(writes)
        answer = await self.store.append(*writes, meaning="after a cancelled append, the same events again must be answered or written")
        self.has_answered(answer, attrs.evolve(expected, replayed=answer.replayed) if isinstance(expected, Accepted) else expected)

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]]) -> None:
        """Pass independent appends to a group commit, and compare each outcome as if they had been sent one by one."""
        outcomes = await self.store.outcomes(f"append_group of {len(groups)} appends", groups)
        for writes, outcome in zip(groups, outcomes, strict=True):
            self.has_answered(outcome, self.model.append(writes))

    def has_answered(self, answer: object, expected: Answer) -> None:
        """Compare the answer of an append with the reference's."""
        if isinstance(expected, Accepted):
            self._is_accepted(answer, expected)
        elif isinstance(expected, Collision):
            if not isinstance(answer, EventIdCollisionError):
                raise MismatchError(
                    expected="EventIdCollisionError",
                    got=_shown(answer),
                    meaning="ids of this append are stored already, yet not all of them, in this order, with this identity",
                )
            if answer.event_id not in expected.ids:
                raise MismatchError(
                    expected="the id of an event of this append",
                    got=repr(answer.event_id),
                    meaning="the error names the event that collides",
                )
        else:
            self._is_conflict(answer, expected)

    async def everything(self, *, limits: Sequence[int] = (3, ALL)) -> None:
        """Compare every stream in both directions, every id, the feed, the catalogue and the glances."""
        await self.feed(limits=limits)
        for stream in self.model.streams:
            await self.stream(stream, limits=limits)
            await self.ids(stream)
        await self.catalogue("", limit=limits[0])

    async def stream(self, stream: StreamId, *, after: int = 0, before: int | None = None, limits: Sequence[int] = (ALL,)) -> None:
        """Compare a stream, forward behind ``after`` and backwards from ``before``, and its glance."""
        await self.harness.contract.settle()
        for limit in limits:
            await self.forward(stream, after=after, limit=limit)
            await self.backwards(stream, before=before, limit=limit)
        self.glance(stream)

    def glance(self, stream: StreamId) -> None:
        """Compare a glance, if the store supports it."""
        if not isinstance(self.store.raw, VersionGlance):
            return
        seen, version = self.store.raw.glance_version(stream), self.model.version(stream)
        if seen is not None and (type(seen) is not int or seen != version):
            raise MismatchError(
                expected=f"{version} or None", got=repr(seen), meaning=f"a glance at {stream_name(stream)} tells another version"
            )

    async def forward(self, stream: StreamId, *, after: int, limit: int) -> None:
        """Compare the pages forward."""
        places, is_end = self.model.places(stream), False
        while not is_end:
            page = await self.page(stream, after=after, limit=limit, places=places)
            after, is_end = after + len(page.events), page.is_end
            await checkpoint()

    async def page(self, stream: StreamId, *, after: int, limit: int, places: Sequence[Place] | None = None) -> StreamPage:
        """Compare one page forward, with the stream's events if the caller has them."""
        places = self.model.places(stream) if places is None else places
        page = await self.store.page(stream, after=after, limit=limit)
        rest = places[after:]
        way = f"read_stream of {stream_name(stream)} after {after} with limit {limit}"
        self._is_run(page.events, rest, limit, way)
        _is("version", page.version, len(places), way)
        _is("is_end", page.is_end, len(page.events) == len(rest), way)
        return page

    async def backwards(self, stream: StreamId, *, before: int | None, limit: int, pages: int = ALL) -> None:
        """Compare so many pages backwards."""
        places, is_end = self.model.places(stream), False
        while not is_end and pages > 0:
            page = await self.page_backwards(stream, before=before, limit=limit, places=places)
            pages -= 1
            before, is_end = (page.events[-1].version if page.events else before), page.is_end
            await checkpoint()

    async def page_backwards(
        self, stream: StreamId, *, before: int | None, limit: int, places: Sequence[Place] | None = None
    ) -> StreamPage:
        """Compare one page backwards, with the stream's events if the caller has them."""
        places = self.model.places(stream) if places is None else places
        page = await self.store.page_backwards(stream, before=before, limit=limit)
        rest = (places if before is None else places[: before - 1])[::-1]
        way = f"read_stream_backwards of {stream_name(stream)} before {before} with limit {limit}"
        self._is_run(page.events, rest, limit, way)
        _is("version", page.version, len(places), way)
        _is("is_end", page.is_end, len(page.events) == len(rest), way)
        return page

    async def ids(self, stream: StreamId, asked: Sequence[UUID] | None = None) -> Sequence[RecordedEvent]:
        """Compare the events found by id. By default every id of the store, newest first, each twice, and an unknown one."""
        await self.harness.contract.settle()
        asked = [place.event.event_id for place in reversed(self.model.feed)] * 2 if asked is None else list(asked)
        found = await self.store.find(stream, [*asked, _STRANGER])
        ids = set(asked)
        wanted = [place for place in self.model.places(stream) if place.event.event_id in ids]
        way = f"find_events in {stream_name(stream)} of {len(asked) + 1} ids"
        self._is_run(found, wanted, len(asked) + 1, way)
        if len(found) != len(wanted):
            raise MismatchError(
                expected=f"{len(wanted)} events", got=f"{len(found)}: {self.harness.labels.show(found)}", meaning=f"{way} leaves events out"
            )
        return found

    async def feed(self, *, after: int = 0, limits: Sequence[int] = (ALL,)) -> int:
        """Compare the feed behind a position, and the head, and return the position to go on from."""
        if not self.store.has_feed:
            return 0
        await self.harness.contract.settle()
        goes_on = after
        for limit in limits:
            goes_on = await self._feed(after, limit)
        await self.head()
        return goes_on

    async def head(self) -> int:
        """Compare the head."""
        head = await self.store.head()
        newest = self.model.positions.get(_key(self.model.feed[-1]), head) if self.model.feed else 0
        _is("the head", head, newest, "head()")
        return head

    async def _feed(self, after: int, limit: int) -> int:
        rest, is_end = self._rest(after), False
        while not is_end:
            page = await self.feed_page(after=after, limit=limit, rest=rest)
            rest = rest[len(page.events) :]
            after, is_end = page.next_after, page.is_end
            await checkpoint()
        return after

    def _rest(self, after: int) -> list[Place]:
        return [place for place in self.model.feed if self.model.positions.get(_key(place), after + 1) > after]

    async def feed_page(self, *, after: int, limit: int, rest: Sequence[Place] | None = None) -> FeedPage:
        """Compare one page of the feed, with the events behind the position if the caller has them."""
        rest = self._rest(after) if rest is None else rest
        page = await self.store.feed_page(after=after, limit=limit)
        way = f"read_all after {after} with limit {limit}"
        self._learn_positions(page.events, rest, after, way)
        is_over_a_gap = not page.events and not page.is_end and page.next_after > after
        if not is_over_a_gap:
            self._is_run(page.events, rest, limit, way)
        rest = rest[len(page.events) :]
        _is("is_end", page.is_end, not rest, way)
        newest = page.events[-1].position if page.events else after
        following = self.model.positions.get(_key(rest[0])) if rest else None
        goes_on = page.next_after > after or page.is_end
        skips = following is not None and page.next_after >= following
        if type(page.next_after) is not int or page.next_after < newest or skips or not goes_on:
            raise MismatchError(
                expected=f"next_after {newest}" + (f", or more, below {following}" if following is not None else " or more"),
                got=repr(page.next_after),
                meaning=f"{way}: whoever goes on from there repeats an event, skips one, or stands still",
            )
        return page

    async def catalogue(self, prefix: str, *, after: StreamId | None = None, limit: int = ALL) -> None:
        """Compare the catalogue behind a stream, if the store supports it."""
        if not isinstance(self.store.raw, StreamCatalogue):
            return
        await self.harness.contract.settle()
        rest, is_end = self._listed(prefix, after), False
        while not is_end:
            page = await self.catalogue_page(prefix, after=after, limit=limit, rest=rest)
            rest = rest[len(page.heads) :]
            after, is_end = (page.heads[-1].stream if page.heads else after), page.is_end
            await checkpoint()

    def _listed(self, prefix: str, after: StreamId | None) -> list[tuple[str, int]]:
        return sorted(
            (stream.text, self.model.version(stream))
            for stream in self.model.streams
            if stream.text.startswith(prefix) and (after is None or stream.text > after.text)
        )

    async def catalogue_page(
        self, prefix: str, *, after: StreamId | None, limit: int, rest: Sequence[tuple[str, int]] | None = None
    ) -> StreamsPage:
        """Compare one page of the catalogue, which the store must support, with the streams behind the place if the caller has them."""
        wanted = self._listed(prefix, after) if rest is None else rest
        page = await self.store.streams(prefix, after=after, limit=limit)
        way = f"streams({prefix!r}) after {after} with limit {limit}"
        if len(page.heads) > limit or not (page.heads or page.is_end):
            raise MismatchError(
                expected=f"1 to {limit} streams, or is_end",
                got=f"{len(page.heads)} streams",
                meaning=f"{way}: whoever pages through is flooded, or never ends",
            )
        listed = [(head.stream.text, head.version) for head in page.heads]
        expected = list(wanted if page.is_end else wanted[: len(listed)])
        if listed != expected or any(
            type(head.version) is not int or StreamId(head.stream.category, *head.stream.parts) != head.stream for head in page.heads
        ):
            at = next(
                (at for at, (one, other) in enumerate(zip(listed, expected, strict=False)) if one != other), min(len(listed), len(expected))
            )
            raise MismatchError(
                expected=_show_listed(expected, at),
                got=_show_listed(listed, at),
                meaning=f"{way}: a stream is missing, twice, foreign, out of order, or has another version",
            )
        return page

    def _is_accepted(self, answer: object, expected: Accepted) -> None:
        if not isinstance(answer, AppendResult):
            raise MismatchError(
                expected=f"versions {_versions(expected.versions.items())}{', replayed' if expected.replayed else ''}",
                got=_shown(answer),
                meaning="every event of this append is stored already as it is sent: it has to be answered again"
                if expected.replayed
                else "the append has the expected versions, and none of its ids is stored in its stream",
            )
        _is("replayed", answer.replayed, expected.replayed, "the answer of an append")
        versions = dict(answer.versions)
        if versions != dict(expected.versions) or any(type(version) is not int for version in versions.values()):
            raise MismatchError(
                expected=_versions(expected.versions.items()),
                got=_versions(versions.items()),
                meaning="the answer has the version of each written stream right after the events of this append",
            )
        self._has_position(answer.position, expected.last)

    def _has_position(self, position: int, last: Sequence[Place]) -> None:
        if not self.store.has_feed:
            _is("position", position, 0, "the answer of an append to a store without a feed")
            return
        keys = {_key(place) for place in last}
        if len(keys) == 1 and type(position) is int and position > 0:
            self.model.positions.setdefault(next(iter(keys)), position)
        known = [self.model.positions.get(key, position) for key in keys]
        if type(position) is not int or position < 1 or position not in known:
            raise MismatchError(
                expected=f"position {known[0]}", got=repr(position), meaning="the answer has the position of the append's last event"
            )

    def _is_conflict(self, answer: object, expected: Conflict) -> None:
        wanted = [f"stream {stream_name(stream)}, expected {one}, actual {other}" for stream, one, other in expected.wrong]
        if not isinstance(answer, ConcurrencyError):
            raise MismatchError(
                expected=f"ConcurrencyError({wanted[0]})", got=_shown(answer), meaning="a stream does not have its expected version"
            )
        if (answer.stream, answer.expected, answer.actual) not in expected.wrong or type(answer.actual) is not int:
            raise MismatchError(
                expected=" or ".join(wanted),
                got=f"stream {answer.stream}, expected {answer.expected}, actual {answer.actual!r}",
                meaning="a conflict names a stream that has another version, and that version",
            )

    def _is_run(self, events: Sequence[RecordedEvent], wanted: Sequence[Place], limit: int, way: str) -> None:
        """Expect ``wanted`` or its beginning: at least one event, and at most ``limit``."""
        count = len(events)
        if count > min(limit, len(wanted)) or (wanted and not count):
            raise MismatchError(
                expected=f"1 to {min(limit, len(wanted))} events" if wanted else "no events",
                got=f"{count}: {self.harness.labels.show(events)}",
                meaning=f"{way} gives {'more than there are, or than were asked for' if count else 'nothing, and there is more'}",
            )
        has_feed = self.store.has_feed
        for place, event in zip(wanted, events, strict=False):
            position = self.model.positions.get(_key(place)) if has_feed else 0
            difference = record_difference(place, event, position=position)
            if difference is not None:
                raise MismatchError(
                    expected=f"version {place.version} of {stream_name(place.stream)}, every field as it was appended",
                    got=difference,
                    meaning=f"{way} gives another record than the one that was appended",
                )
        by_index = [events[at] for at in range(count)]
        if not [*events] == by_index == [*events] or [*events[1:]] != by_index[1:] or [*reversed(events)] != by_index[::-1]:
            raise MismatchError(
                expected="the same events by iteration, again, by index, slice and backwards",
                got="others",
                meaning=f"{way}: what it gives is no sequence",
            )

    def _learn_positions(self, events: Sequence[RecordedEvent], rest: Sequence[Place], last: int, way: str) -> None:
        for event, place in zip(events, rest, strict=False):
            if type(event.position) is not int or event.position <= last:
                raise MismatchError(
                    expected=f"a position above {last}", got=repr(event.position), meaning=f"{way}: positions have to increase"
                )
            last = event.position
            if (event.stream, event.event_id) == (place.stream, place.event.event_id):
                self.model.positions.setdefault(_key(place), last)


def _key(place: Place) -> tuple[StreamId, int]:
    return place.stream, place.version


def _is(name: str, value: object, expected: object, way: str) -> None:
    if value != expected or type(value) is not type(expected):
        raise MismatchError(expected=f"{name} {expected!r}", got=f"{name} {value!r}", meaning=f"{way} tells a wrong {name}")


def _shown(answer: object) -> str:
    if isinstance(answer, AppendResult):
        return show_result(answer)
    return show_error(answer) if isinstance(answer, BaseException) else repr(answer)


def _versions(versions: object) -> str:
    return ", ".join(f"{stream_name(stream)}: {version}" for stream, version in cast("Sequence[tuple[StreamId, int]]", versions))


def _show_listed(listed: Sequence[tuple[str, int]], at: int) -> str:
    """Return the stream at this place, and the number of streams."""
    shown = f"stream {shortened(listed[at][0])} at version {listed[at][1]}" if at < len(listed) else "no stream"
    return f"{shown} at place {at + 1} of {len(listed)}"
