"""Lines of a bus's journal: bounded in events and in bytes, whatever is published at once."""

import pytest

from inventory_es.adapters.file.bus import stored_form
from inventory_es.adapters.file.bus.stored_form import encode_lines


@pytest.mark.parametrize(
    "sizes, lines",
    [
        ([], []),
        ([1] * 7, [3, 3, 1]),
        ([5] * 5, [2, 2, 1]),
        ([10, 1], [1, 1]),
        ([4, 6, 1], [2, 1]),
        ([11, 11, 1], [1, 1, 1]),
    ],
    ids=["nothing", "three events", "ten bytes", "a full one", "just full", "too large for any"],
)
def test_a_line_is_as_full_as_its_bounds_allow(monkeypatch: pytest.MonkeyPatch, sizes: list[int], lines: list[int]) -> None:
    monkeypatch.setattr(stored_form, "MAX_LINE_EVENTS", 3)
    monkeypatch.setattr(stored_form, "MAX_LINE_BYTES", 10)
    stored = [bytes([97 + number]) * size for number, size in enumerate(sizes)]
    expected, place = [], 0
    for count in lines:
        expected.append((b'{"first":%d,"events":[%b]' % (17 + place, b",".join(stored[place : place + count])), 16 + place + count))
        place += count
    assert list(encode_lines(stored, first=17)) == expected
