"""Reading events out of the journal's segments, given their places: few reads, each of many neighbours."""

from collections.abc import Sequence
from typing import NoReturn

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
            CorruptStoreError: a segment is shorter than its index says.
        """
        stored: list[bytes] = []
        at = 0
        while at < len(places):
            segment, start, length = places[at]
            first, end = at, start + length
            at += 1
            while at < len(places):
                next_segment, offset, length = places[at]
                if next_segment != segment or not 0 <= offset - end <= _MAX_GAP or offset + length - start > MAX_PAGE_BYTES:
                    break
                end = offset + length
                at += 1
            data = self._segments.open(segment).read(end - start, start)
            if len(data) != end - start:
                self.refuse(places[first], "the segment ends before it")
            stored += [data[offset - start : offset - start + length] for _, offset, length in places[first:at]]
        return stored

    def read(self, places: Sequence[EventPlace]) -> list[StoredFields]:
        """The event at each place.

        Raises:
            CorruptStoreError: there is no event at one of them.
        """
        if not places:
            return []
        stored = self.read_stored(places)
        try:
            return decode_events(stored)
        except ValueError:
            self.refuse(places[0], "no event stands there, or at a place read with it")

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
