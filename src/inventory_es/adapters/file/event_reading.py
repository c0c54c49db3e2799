"""Reading events out of the journal's segments, given their places: few reads, each of many neighbours."""

from collections.abc import Sequence
from typing import NoReturn
from zlib import crc32

from inventory_es.adapters.file.index import EventPlace
from inventory_es.adapters.file.journal_segments import JournalSegments
from inventory_es.adapters.file.stored_form import StoredFields, decode_events
from inventory_es.ports.errors import CorruptStoreError

MAX_PAGE_BYTES = 4 << 20
_MAX_GAP = 16 << 10


class EventReader:
    """Reads stored events. Any number of threads may use it at once.

    Args:
        segments: of the journal.
        name: of the store, for errors.
    """

    def __init__(self, segments: JournalSegments, *, name: str) -> None:
        self._segments = segments
        self._name = name

    def read_stored(self, places: Sequence[EventPlace]) -> list[bytes]:
        """The stored form at each place, in this order.

        Raises:
            CorruptStoreError: something else stands there now, or nothing.
        """
        stored: list[bytes] = []
        at = 0
        while at < len(places):
            segment, start, length, _ = places[at]
            first, end = at, start + length
            at += 1
            while at < len(places):
                next_segment, offset, length, _ = places[at]
                if next_segment != segment or not 0 <= offset - end <= _MAX_GAP or offset + length - start > MAX_PAGE_BYTES:
                    break
                end = offset + length
                at += 1
            data = self._segments.open(segment).read(end - start, start)
            if len(data) != end - start:
                self.refuse(places[first], "the segment ends before it")
            stored += [data[offset - start : offset - start + length] for _, offset, length, _ in places[first:at]]
        if [crc32(form) for form in stored] != [place.checksum for place in places]:
            damaged = next(place for place, form in zip(places, stored, strict=True) if crc32(form) != place.checksum)
            self.refuse(damaged, "the event is damaged")
        return stored

    def read(self, places: Sequence[EventPlace]) -> list[StoredFields]:
        """The event at each place.

        Raises:
            CorruptStoreError: something else stands at one of them now, or nothing.
        """
        return decode_events(self.read_stored(places)) if places else []

    def refuse(self, place: EventPlace, problem: str) -> NoReturn:
        """Report that what stands at a place is not what the index says."""
        where = f"{self._segments.path(place.segment)}, byte {place.offset}"
        raise CorruptStoreError(store=self._name, place=where, problem=problem)


def within_a_page(places: Sequence[EventPlace]) -> Sequence[EventPlace]:
    """The first of these places, one at least, that make up no more than a page's bytes."""
    size = 0
    for count, place in enumerate(places):
        size += place.length
        if size > MAX_PAGE_BYTES and count:
            return places[:count]
    return places
