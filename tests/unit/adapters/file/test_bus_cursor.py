"""A group's cursor: what is durable when, and what a torn file costs."""

from collections.abc import Callable
from zlib import crc32

import pytest

from inventory_es.adapters.file.bus.stored_form import BusCursor, CursorState
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.testing.crash.simfs import SimFS

WRITES = 700


def state(number: int) -> CursorState:
    return CursorState(JournalTail(1, number * 10, number, number), number + 2, {number + 1: 1, number + 2: 0})


def saved(disk: SimFS, count: int = WRITES) -> BusCursor:
    cursor = BusCursor(disk, "/")
    for number in range(1, count + 1):
        cursor.save(state(number))
    return cursor


def test_the_last_state_is_read_back() -> None:
    disk = SimFS()
    for _ in range(3):
        cursor = saved(disk, 3)
        cursor.close()
        assert cursor.state == BusCursor(disk, "/").state == state(3)


def test_a_new_cursor_has_no_state() -> None:
    assert BusCursor(SimFS(), "/").state is None


@pytest.mark.parametrize("is_settled, oldest", [(False, WRITES - 256), (True, WRITES)])
def test_what_a_power_cut_leaves_is_at_most_some_hundred_writes_old(is_settled: bool, oldest: int) -> None:
    disk = SimFS()
    cursor = saved(disk)
    if is_settled:
        cursor.settle()
    after = BusCursor(SimFS(disk.disk.cut({}, {})), "/").state

    assert after is not None
    assert after.place.position >= oldest


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-9],
        lambda data: data.replace(b"1", b"2") + b"\n",
        lambda _: b"\xff" * 99,
        lambda _: b"%08x {}\n" % crc32(b"{}"),
        lambda _: b"%08x \xff\n" % crc32(b"\xff"),
    ],
    ids=["empty", "cut", "changed", "garbage", "forged", "forged garbage"],
)
def test_one_torn_file_is_no_harm(damage: Callable[[bytes], bytes]) -> None:
    disk = SimFS()
    saved(disk)
    files = {path: content for path, content in disk.disk.paths() if content is not None}
    for torn in files:
        left = SimFS()
        for path, content in files.items():
            left.open(path, "create").write(damage(content.partition(b"\n")[0]) if path == torn else content, 0)
        after = BusCursor(left, "/").state
        assert after is not None
        assert after.place.position >= WRITES - 2 * 256


def test_a_shorter_state_over_a_longer_one_is_read_back() -> None:
    disk = SimFS()
    cursor = BusCursor(disk, "/")
    cursor.save(CursorState(JournalTail(1, 2, 3, 4), 999, dict.fromkeys(range(5, 999), 7)))
    cursor.save(state(1))

    assert BusCursor(disk, "/").state == state(1)
