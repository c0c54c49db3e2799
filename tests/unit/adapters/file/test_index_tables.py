"""A table in memory and the same written to a file answer alike; a file that is wrong in any byte is not used."""

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.file.index.table import (
    GrowingTable,
    IndexedEvent,
    SealedTable,
    StreamRows,
    build_slots,
    event_key,
    find_rows,
    load_table,
    pack_table,
    stream_key,
    unpack_place,
)
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.adapters.file.operating_system import OperatingSystem

SEED = 5
NAMES = ["inventory-a", "inventory-b", "inventory-é", "x-\U0001f98a", "a"]


def add(table: GrowingTable, name: str, version: int, key: int, checksum: int, offset: int, length: int) -> None:
    table.add([IndexedEvent(name, version, key, checksum, length)], offset)


def table_of(streams: list[str], *, first: int = 1) -> GrowingTable:
    """One event after the other, each of the stream named."""
    table = GrowingTable(1, first, JournalTail(1, 100 * len(streams), 77, first - 1 + len(streams)))
    versions: dict[str, int] = {}
    for number, name in enumerate(streams):
        versions[name] = versions.get(name, 3) + 1
        add(table, name, versions[name], event_key(UUID(int=number), stream_key(name)), 7 * number, 100 * number, 50 + number)
    return table


def sealed(table: GrowingTable) -> SealedTable:
    return SealedTable(memoryview(pack_table(table, seed=SEED)))


def facts(table: GrowingTable | SealedTable) -> object:
    runs = [(name, run.first_version, list(run.rows)) for name, run in table.streams()]
    return list(table.places), list(table.checksums), list(table.keys), runs, table.segment, table.first, table.end


@given(st.lists(st.sampled_from(NAMES), max_size=60))
def test_a_sealed_table_answers_like_the_growing_one(streams: list[str]) -> None:
    growing = table_of(streams)
    written = sealed(growing)
    assert facts(written) == facts(growing)
    for name in NAMES:
        one, other = growing.stream(name, stream_key(name)), written.stream(name, stream_key(name))
        assert (one is None) == (other is None) == (name not in streams)
        if one is not None and other is not None:
            assert (one.version, list(one.rows)) == (other.version, list(other.rows))
        for number in range(len(streams) + 1):
            key = event_key(UUID(int=number), stream_key(name))
            assert sorted(growing.rows(key)) == sorted(written.rows(key))
        assert [found for found, _ in written.streams(name)] == sorted(found for found in set(streams) if found >= name)
        assert [found for found, _ in growing.streams(name)] == sorted(found for found in set(streams) if found >= name)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=40), st.data())
def test_tables_that_follow_each_other_join(streams: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(streams)))
    whole = table_of(streams)
    head, rest = table_of(streams[:cut]), GrowingTable(1, 1 + cut, whole.end)
    versions = {name: 3 + streams[:cut].count(name) for name in NAMES}
    for number, name in enumerate(streams[cut:], cut):
        versions[name] += 1
        add(rest, name, versions[name], event_key(UUID(int=number), stream_key(name)), 7 * number, 100 * number, 50 + number)
    joined = GrowingTable(1, 1, head.end)
    for part in (sealed(head), rest):
        joined.extend(part)
    assert facts(joined) == facts(whole)
    assert pack_table(joined, seed=SEED) == pack_table(whole, seed=SEED)


def test_places_keep_offset_and_length() -> None:
    table = GrowingTable(1, 1, JournalTail(1, 0, 0, 0))
    add(table, "s", 1, 1, 0, (1 << 40) - 1, (1 << 24) - 1)
    assert unpack_place(table.places[0]) == ((1 << 40) - 1, (1 << 24) - 1)


def test_the_events_of_a_line_stand_one_byte_apart() -> None:
    table = GrowingTable(1, 1, JournalTail(1, 0, 0, 0))
    table.add([IndexedEvent("s", 1, 1, 5, 40), IndexedEvent("t", 1, 2, 6, 50), IndexedEvent("s", 2, 3, 7, 60)], 11)
    table.add([IndexedEvent("s", 3, 4, 8, 70)], 500)
    assert [unpack_place(place) for place in table.places] == [(11, 40), (52, 50), (103, 60), (500, 70)]
    assert list(table.checksums) == [5, 6, 7, 8]
    assert [(name, run.first_version, list(run.rows)) for name, run in table.streams()] == [("s", 1, [0, 2, 3]), ("t", 1, [1])]


def test_a_run_knows_its_last_version() -> None:
    assert StreamRows(6, [7, 8, 9]).first_version == 4


@pytest.mark.parametrize("keys", [[], [0], [0, 0, 0], [(1 << 64) - 1, 0, 1], list(range(1000)), [n << 32 for n in range(1000)]])
def test_every_row_is_found_by_its_key(keys: list[int]) -> None:
    slots = build_slots(keys)
    assert len(slots) >= 2 * len(keys)
    for key in {*keys, 12345, 1 << 63}:
        assert sorted(find_rows(slots, keys, key)) == [row for row, other in enumerate(keys) if other == key]


def test_colliding_keys_are_all_given_by_a_growing_table() -> None:
    table = GrowingTable(1, 1, JournalTail(1, 0, 0, 0))
    for version, key in enumerate([9, 9, 10, 9, (1 << 64) - 1, (1 << 64) - 1], 1):
        add(table, "s", version, key, 0, 0, 1)
    joined = GrowingTable(1, 1, JournalTail(1, 0, 0, 0))
    joined.extend(sealed(table))
    for whole in (table, joined, sealed(joined)):
        assert [sorted(whole.rows(key)) for key in (9, 10, (1 << 64) - 1, 8)] == [[0, 1, 3], [2], [4, 5], []]


def test_keys_do_not_depend_on_the_process() -> None:
    assert stream_key("inventory-85123A-berlin") == 5799919532882904331
    assert event_key(UUID("0f8fad5b-d9cb-469f-a165-70867728950e"), 5) == 12604130451341431700


def loads(path: Path, content: bytes, *, segment: int = 1, seed: int = SEED) -> bool:
    path.write_bytes(content)
    file = OperatingSystem().open(str(path), "read")
    try:
        return load_table(file, segment=segment, seed=seed) is not None
    finally:
        file.close()


def test_a_file_that_is_wrong_in_any_byte_is_not_used(tmp_path: Path) -> None:
    content = pack_table(table_of(NAMES * 3), seed=SEED)
    assert loads(tmp_path / "idx", content)
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert not loads(tmp_path / "idx", changed), f"byte {place}"
        assert not loads(tmp_path / "idx", content[:place]), f"{place} bytes"
    assert not loads(tmp_path / "idx", content + b"\0")


def test_a_file_of_another_store_or_segment_is_not_used(tmp_path: Path) -> None:
    content = pack_table(table_of(NAMES), seed=SEED)
    assert not loads(tmp_path / "idx", content, seed=SEED + 1)
    assert not loads(tmp_path / "idx", content, segment=2)
