"""Read events out of the journal's segments, given their places: few reads, each of many neighbours."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NoReturn
from zlib import crc32

from inventory_es.adapters.file.index.store_index import EventPlaces
from inventory_es.adapters.file.index.table import LENGTH_BITS, LENGTHS, unpack_place
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.stored_event import StoredFields, decode_events
from inventory_es.ports.errors import CorruptStoreError

MAX_PAGE_BYTES = 4 << 20
_MAX_PAGE_EVENTS = 4_096
_MAX_GAP = 16 << 10


class EventReader:
    """Reads stored events. Any number of threads may call at once.

    Args:
        segments: of the journal.
        name: of the store, for errors.
    """

    def __init__(self, segments: JournalSegments, *, name: str) -> None:
        self._segments = segments
        self._name = name

    def read_stored(self, events: EventPlaces) -> list[bytes]:
        """Return the stored form at each place, in this order.

        Raises:
            CorruptStoreError: something else stands there now, or nothing.
        """
        stored: list[bytes] = []
        file = self._segments.open(events.segment)
        for places in _neighbours(list(events.places)):
            start, (offset, length) = places[0] >> LENGTH_BITS, unpack_place(places[-1])
            data = file.read(offset + length - start, start)
            if len(data) != offset + length - start:
                self.refuse(events, len(stored), "the segment ends before it")
            stored += [data[(at := (place >> LENGTH_BITS) - start) : at + (place & LENGTHS)] for place in places]
        found = list(map(crc32, stored))
        if found != list(events.checksums):
            damaged = next(at for at, checksum in enumerate(events.checksums) if found[at] != checksum)
            self.refuse(events, damaged, "the event is damaged")
        return stored

    def read(self, events: EventPlaces) -> list[StoredFields]:
        """Return the event at each place.

        Raises:
            CorruptStoreError: something else stands at one of them now, or nothing.
        """
        return decode_events(self.read_stored(events))

    def refuse(self, events: EventPlaces, at: int, problem: str) -> NoReturn:
        """Raise ``CorruptStoreError``: the bytes at one of the places are not those of the index."""
        where = f"{self._segments.path(events.segment)}, byte {events.places[at] >> LENGTH_BITS}"
        raise CorruptStoreError(store=self._name, place=where, problem=problem)


def first_on_a_page(places: Sequence[EventPlaces]) -> list[EventPlaces]:
    """Return the first of these, one at least, that make up no more than a page's bytes."""
    page: list[EventPlaces] = []
    room = MAX_PAGE_BYTES
    for part in places:
        sizes = [place & LENGTHS for place in part.places]
        if sum(sizes) > room:
            count = next(count for count, size in enumerate(accumulate(sizes)) if size > room)
            return [*page, part.part(0, count)] if count else page or [part.part(0, 1)]
        page.append(part)
        room -= sum(sizes)
    return page


def last_on_a_page(places: Sequence[EventPlaces]) -> list[EventPlaces]:
    """Return the last of these, one at least, that make up no more than a page's bytes."""
    page = first_on_a_page([part.backwards() for part in reversed(places)])
    return [part.backwards() for part in reversed(page)]


def pages(places: Iterable[EventPlaces]) -> Iterator[EventPlaces]:
    """Yield all of these, page by page."""
    for part in places:
        left = part
        while left.places:
            (page,) = first_on_a_page([left.part(0, _MAX_PAGE_EVENTS)])
            yield page
            left = left.part(len(page.places))


def _neighbours(places: list[int]) -> Iterator[list[int]]:
    """Yield groups of places that are read at once, because little stands between them."""
    first, start, end = 0, places[0] >> LENGTH_BITS, sum(unpack_place(places[-1]))
    if end - start <= min(MAX_PAGE_BYTES, _MAX_GAP * (len(places) - 1)) and places == sorted(places):
        yield places
        return
    for at, place in enumerate(places):
        offset, length = unpack_place(place)
        if at > first and not (0 <= offset - end <= _MAX_GAP and offset + length - start <= MAX_PAGE_BYTES):
            yield places[first:at]
            first, start = at, offset
        end = offset + length
    yield places[first:]
