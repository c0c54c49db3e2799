"""Event stores that change a record, a page, a name or an answer on one of the ways out."""

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf, WindowStore


class _Changes(PlainStore):
    """A store that changes the events that it stores."""

    def change(self, event: NewEvent) -> dict[str, Any]:
        raise NotImplementedError

    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return attrs.evolve(super().record(stream, version, position, event), **self.change(event))

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        kept = {name: value for name, value in self.change(event).items() if name in {"event_type", "schema_version", "data"}}
        return all(getattr(stored, name) == value for name, value in kept.items()) and super().same(
            stored, attrs.evolve(event, **kept), stream
        )


@breaks("ES-70", "Every schema version is 1.")
class ForgetsTheSchemaVersion(PlainStreams):
    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return attrs.evolve(super().record(stream, version, position, event), schema_version=1)

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, attrs.evolve(event, schema_version=1), stream)


@breaks("ES-70", "A schema version is kept in 16 bits.")
class SchemaVersionIn16Bits(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        return {"schema_version": event.schema_version & 0x7FFF or 1}


@breaks("ES-70", "A type is cut at 100 characters.")
class CutsTypes(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        return {"event_type": event.event_type[:100]}


@breaks("ES-70", "Blanks at the end of a type are lost.")
class TrimsTypes(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        return {"event_type": event.event_type.rstrip() or " "}


@breaks("ES-70", "A table of types is unique without case: the first spelling stands for all.")
class FirstSpellingOfAType(_Changes):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.spellings: dict[str, str] = {event.event_type.casefold(): event.event_type for event in reversed(shelf.feed)}

    def change(self, event: NewEvent) -> dict[str, Any]:
        return {"event_type": self.spellings.setdefault(event.event_type.casefold(), event.event_type)}


@breaks("ES-70", "Times are given back in the zone of the session.")
class TimesInAZone(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        inside = 1 < event.recorded_at.year < 9999
        return {"recorded_at": event.recorded_at.astimezone(timezone(timedelta(hours=1))) if inside else event.recorded_at}


@breaks("ES-70", "Times before 1970 lose their microseconds.")
class TimesBefore1970(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        at = event.recorded_at
        return {"recorded_at": at.replace(microsecond=0) if at.year < 1970 else at}


@breaks("ES-70", "Times behind 2262, where nanoseconds end, become the last one that there is.")
class TimesBehind2262(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        last = datetime(2262, 4, 11, 23, 47, 16, 854_775, tzinfo=event.recorded_at.tzinfo)
        return {"recorded_at": min(event.recorded_at, last) if event.recorded_at.year != 2999 else event.recorded_at}


@breaks("ES-70", "Metadata that is an object without keys comes back as one with a blank.")
class EmptyMetadataIsPrinted(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        return {"metadata": b"{}" if event.metadata == b"{ }" else event.metadata}


@breaks("ES-70", "Metadata with a key twice keeps the last one.")
class MetadataWithoutDoubleKeys(_Changes):
    def change(self, event: NewEvent) -> dict[str, Any]:
        pairs = json.loads(event.metadata, object_pairs_hook=list)
        is_double = len({key for key, _ in pairs}) < len(pairs)
        return {"metadata": json.dumps(dict(pairs)).encode() if is_double else event.metadata}


@breaks("ES-70", "Ids are compared by their first eight bytes.")
class HalfAnId(PlainStreams):
    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        return _ByHalf({event.event_id: event for event in self.of(stream)})


class _ByHalf(dict[UUID, RecordedEvent]):
    def __contains__(self, event_id: object) -> bool:
        return any(one.bytes[:8] == event_id.bytes[:8] for one in self) if isinstance(event_id, UUID) else False

    def __getitem__(self, event_id: UUID) -> RecordedEvent:
        return next(event for one, event in self.items() if one.bytes[:8] == event_id.bytes[:8])


class _ChangesOnTheWay(PlainStore):
    """A store that changes the events of one way of reading."""

    way = "read_stream_backwards"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        raise NotImplementedError

    def changed(self, events: Sequence[RecordedEvent], way: str) -> list[RecordedEvent]:
        return [self.change(event) if way == self.way else event for event in events]

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, events=self.changed(page.events, "read_stream"))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        return attrs.evolve(page, events=self.changed(page.events, "read_stream_backwards"))

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return self.changed(await super().find_events(stream, event_ids), "find_events")


@breaks("ES-70", "Backwards, events come without their metadata.")
class BackwardsWithoutMetadata(_ChangesOnTheWay):
    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, metadata=b"{}")


@breaks("ES-70", "Backwards, events come without their positions.")
class BackwardsWithoutPositions(_ChangesOnTheWay):
    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, position=0)


@breaks("ES-70", "Backwards, times come without their microseconds.")
class BackwardsInSeconds(_ChangesOnTheWay):
    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, recorded_at=event.recorded_at.replace(microsecond=0))


@breaks("ES-70", "Events that are found by id come without their metadata.")
class FindsWithoutMetadata(_ChangesOnTheWay):
    way = "find_events"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, metadata=b"{}")


@breaks("ES-70", "Events that are found by id come without their positions.")
class FindsWithoutPositions(_ChangesOnTheWay):
    way = "find_events"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, position=0)


@breaks("ES-70", "Payloads that are found by id are byte arrays.")
class FindsByteArrays(_ChangesOnTheWay):
    way = "find_events"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, data=bytearray(event.data))  # type: ignore[arg-type]  # that is what is wrong with it


@breaks("ES-70", "Events that are found by id have the version 1.")
class FindsAtVersionOne(_ChangesOnTheWay):
    way = "find_events"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, version=1)


@breaks("ES-70", "Versions that are read are of another type of number.")
class VersionsOfAnotherType(_ChangesOnTheWay):
    way = "read_stream_backwards"

    def change(self, event: RecordedEvent) -> RecordedEvent:
        return attrs.evolve(event, version=_Number(event.version))


class _Number(int):
    """A number like those of drivers and array libraries."""


@breaks("ES-70", "A page says 1 and 0 where it should say True and False.")
class FlagsAreNumbers(WindowStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, is_end=int(page.is_end))  # type: ignore[arg-type]  # that is what is wrong with it


@breaks("ES-70", "An append answers the versions of every stream of the store.")
class AnswersEveryVersion(PlainStreams):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result = await super().append(writes)
        return attrs.evolve(result, versions={event.stream: self.version(event.stream) for event in self.shelf.feed})


@breaks("ES-70", "A conflict of several streams names the first of them.")
class ConflictNamesTheFirst(PlainStore):
    def check_versions(self, writes: Sequence[StreamWrite]) -> None:
        try:
            super().check_versions(writes)
        except ConcurrencyError as error:
            raise ConcurrencyError(stream=writes[0].stream, expected=error.expected, actual=error.actual) from error


@breaks("ES-70", "Records are equal only if they are the same object.")
class RecordsAreNotEqual(PlainStreams):
    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        record = super().record(stream, version, position, event)
        return _Same(**{field.name: getattr(record, field.name) for field in attrs.fields(RecordedEvent)})


@attrs.frozen(eq=False)
class _Same(RecordedEvent):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@breaks("ES-70", "A collision of several streams names no event of the append.")
class CollisionNamesNothing(PlainStore):
    def collide(self, write: StreamWrite, event: NewEvent) -> None:
        super().collide(write, attrs.evolve(event, event_id=UUID(int=0)) if len(write.events) > 1 or self.of(write.stream)[2:] else event)


class _Stale(PlainStore):
    """A store that keeps its readings until it writes to that stream itself."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.kept: dict[StreamId, list[RecordedEvent]] = {}

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        for event in new:
            self.kept.pop(event.stream, None)

    def kept_of(self, stream: StreamId) -> list[RecordedEvent]:
        return self.kept.setdefault(stream, self.of(stream))


@breaks("ES-70", "Finds ids in what it read last, and does not see what another instance appended since.")
class FindsInStaleStreams(_Stale):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await super().find_events(stream, event_ids)
        return [event for event in self.kept_of(stream) if event.event_id in set(event_ids)]


@breaks("ES-70", "Backwards, it reads from the end that it saw last, and does not see what another instance appended since.")
class BackwardsFromAStaleEnd(_Stale):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        last = len(self.kept_of(stream))
        page = await super().read_stream_backwards(stream, before=last + 1 if before is None else before, limit=limit)
        return attrs.evolve(page, version=last)


@breaks("ES-70", "The catalogue is kept until this instance makes a stream.")
class StaleCatalogue(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.listed: dict[tuple[object, ...], StreamsPage] = {}

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        self.listed.clear()

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return self.listed.setdefault((prefix, after, limit), page)


@breaks("ES-75", "Backwards, stream ids are folded to lower case.")
class BackwardsFoldsCase(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        alike = next((event.stream for event in self.shelf.feed if event.stream.text.lower() == stream.text.lower()), stream)
        return await super().read_stream_backwards(alike, before=before, limit=limit)


@breaks("ES-75", "find_events brings stream ids into Unicode normal form.")
class FindsByNormalForm(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        alike = [event for event in self.shelf.feed if _nfc(event.stream) == _nfc(stream) and event.event_id in set(event_ids)]
        await super().find_events(stream, event_ids)
        return alike


def _nfc(stream: StreamId) -> str:
    return unicodedata.normalize("NFC", stream.text)


@breaks("ES-75", "A glance looks a stream up by the first 255 characters of its name.")
class GlanceCutsNames(PlainStore):
    def glance_version(self, stream: StreamId, /) -> int | None:
        return None if self.closed else len([event for event in self.shelf.feed if event.stream.text[:255] == stream.text[:255]])


@breaks("ES-78", "An event's size is that of its data.")
class SizeIsThatOfData(PlainStore):
    capabilities = attrs.evolve(PlainStore.capabilities, max_event_bytes=4_096)

    def check_size(self, name: str, actual: int, limit: int) -> None:
        if name != "event bytes":
            super().check_size(name, actual, limit)

    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        super().check_sizes(writes)
        largest = max(len(event.data) for write in writes for event in write.events)
        super().check_size("event bytes", largest, self.capabilities.max_event_bytes)


@breaks("ES-78", "Sizes are counted in characters.")
class SizesInCharacters(PlainStore):
    capabilities = attrs.evolve(PlainStore.capabilities, max_event_bytes=4_096)

    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        events = [event for write in writes for event in write.events]
        self.check_size("events", len(events), self.capabilities.max_append_events)
        self.check_size("event bytes", max(_characters(event) for event in events), self.capabilities.max_event_bytes)
        self.check_size("bytes", sum(map(_characters, events)), self.capabilities.max_append_bytes)


def _characters(event: NewEvent) -> int:
    size = len(event.data.decode()) + len(event.metadata.decode())
    return event.size if size == event.size else size


@breaks("ES-78", "An event of exactly the declared maximum is refused.")
class RefusesTheMaximum(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        super().check_size(name, actual, limit - 1 if name == "bytes" else limit)


@breaks("ES-78", "The bytes of an append are counted for each of its streams.")
class CountsBytesByStream(PlainStore):
    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        for write in writes:
            super().check_sizes([write])


@breaks("ES-78", "Metadata is cut at 64 KiB.")
class CutsMetadata(PlainStore):
    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        record = super().record(stream, version, position, event)
        return attrs.evolve(record, metadata=b"{}") if len(event.metadata) >= 1 << 16 else record


@breaks("ES-77", "An append to more than a hundred streams at once is refused, and nothing declares it.")
class AHundredStreams(PlainStore):
    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        super().check_misuse(writes)
        if len(writes) > 100:
            msg = "too many streams"
            raise ValueError(msg)


@breaks("ES-77", "The catalogue ends at a thousand streams, as a listing of keys does.")
class AThousandStreams(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=min(limit, 1_000) if limit > 0 else limit)
        return attrs.evolve(page, is_end=page.is_end or len(page.heads) == 1_000)


@breaks("ES-76", "A page is a view of the stream, and grows under its reader.")
class PagesAreLive(PlainStreams):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, events=_Live(self, stream)) if page.is_end and not after else page


class _Live(Sequence[RecordedEvent]):
    def __init__(self, store: PlainStreams, stream: StreamId) -> None:
        self._store, self._stream = store, stream

    def __len__(self) -> int:
        return self._store.version(self._stream)

    def __getitem__(self, at: Any) -> Any:
        return self._store.of(self._stream)[at]


@breaks("ES-76", "Keeps the page that it read last, and gives it to its next reader, who may have changed it.")
class PagesAreShared(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.pages: dict[tuple[StreamId, int, int, int], StreamPage] = {}

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return self.pages.setdefault((stream, page.version, after, min(limit, 100)), page)


@breaks("ES-76", "Keeps the list that the caller passed, and what the caller does with it.")
class KeepsThePassedList(PlainStreams):
    def materialise(self, writes: Sequence[StreamWrite]) -> Sequence[StreamWrite]:
        self.passed = writes
        return super().materialise(writes)

    def of(self, stream: StreamId) -> list[RecordedEvent]:
        events = super().of(stream)
        for write in getattr(self, "passed", ()):
            if write.stream == stream and isinstance(write.events, list) and len(events) > len(write.events):
                written = {event.event_id for event in write.events}
                first = write.expected_version
                if all(event.event_id not in written for event in events[first : first + 1]):
                    return events[:first] + events[first + 1 :]
        return events


@breaks("ES-77", "A limit is kept in 32 bits.")
class LimitIn32Bits(PlainStreams):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        wrapped = (limit + 2**31) % 2**32 - 2**31
        return await super().read_stream(stream, after=after, limit=wrapped)


@breaks("ES-77", "A version that is asked for is kept in 32 bits.")
class VersionIn32Bits(PlainStreams):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_page(limit=limit, after=after)
        return await super().read_stream(stream, after=after % 2**32, limit=limit)


@breaks("ES-77", "A page of a thousand events, which is the most that it reads at once, is the end.")
class AThousandIsTheEnd(PlainStreams):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_open()
        self.check_page(limit=limit, after=after)
        events = self.of(stream)
        page = events[after : after + min(limit, 1_000)]
        return StreamPage(page, len(events), is_end=after + len(page) == len(events) or len(page) < limit)


@breaks("ES-77", "Looks for the first 999 of the ids that it is asked for.")
class Finds999(PlainStreams):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return await super().find_events(stream, event_ids[:999])


@breaks("ES-51", "A prefix is a pattern of LIKE: an underscore stands for any character.")
class PrefixIsAPattern(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams("", after=after, limit=10_000)
        heads = [head for head in page.heads if _is_like(head.stream.text, prefix)]
        self.check_page(limit=limit)
        return StreamsPage(heads[:limit], is_end=len(heads) <= limit)


def _is_like(text: str, prefix: str) -> bool:
    return len(text) >= len(prefix) and all(one in {"_", other} for one, other in zip(prefix, text, strict=False))


class _Bounded(PlainStore):
    last = "\uffff"

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, heads=[head for head in page.heads if head.stream.text < prefix + self.last])


@breaks("ES-51", "Streams behind the last character of all are behind every prefix.")
class BoundByTheLastCharacter(_Bounded):
    last = "\U0010ffff"


@breaks("ES-51", "The catalogue is in the order of UTF-16.")
class SortsByUtf16(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        self.check_page(limit=limit)
        everything = (await super().streams(prefix, limit=10_000)).heads
        heads = sorted(everything, key=lambda head: head.stream.text.encode("utf-16-be"))
        rest = [head for head in heads if after is None or head.stream.text.encode("utf-16-be") > after.text.encode("utf-16-be")]
        return StreamsPage(rest[:limit], is_end=len(rest) <= limit)


@breaks("ES-51", "The catalogue gives the text of a stream for a name with one part.")
class OnePartOfTheText(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(
            page, heads=[attrs.evolve(head, stream=_Unparsed(head.stream.category, *head.stream.parts)) for head in page.heads]
        )


class _Unparsed(StreamId):
    def __init__(self, category: str, *parts: str) -> None:
        super().__init__(category, *parts)
        text = self.text
        object.__setattr__(self, "parts", (text.partition("-")[2],))
