from pathlib import Path

import pytest

from inventory_es.adapters.file.journal.stored_form import JournalState, JournalTail, read_state, write_state
from inventory_es.adapters.file.operating_system import OperatingSystem

TAIL = JournalTail(segment=41, offset=1 << 40, checksum=0xDEADBEEF, position=10**19)


def stored(path: Path, *, dirty: bool) -> bytes:
    file = OperatingSystem().open_lock(str(path))
    write_state(file, TAIL, dirty=dirty)
    file.close()
    return path.read_bytes()


def read(path: Path, content: bytes) -> JournalState | None:
    path.write_bytes(content)
    file = OperatingSystem().open(str(path), "read")
    try:
        return read_state(file)
    finally:
        file.close()


@pytest.mark.parametrize("dirty", [False, True])
def test_it_reads_what_was_written(tmp_path: Path, dirty: bool) -> None:
    assert read(tmp_path / "copy", stored(tmp_path / "lock", dirty=dirty)) == JournalState(TAIL, dirty=dirty)


def test_the_length_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    file = OperatingSystem().open_lock(str(path))
    sizes = set()
    for tail in (TAIL, JournalTail(1, 0, 0, 0)):
        for dirty in (False, True):
            write_state(file, tail, dirty=dirty)
            sizes.add(file.size())
    file.close()
    assert len(sizes) == 1


def test_every_cut_and_every_changed_byte_is_unreadable(tmp_path: Path) -> None:
    content = stored(tmp_path / "lock", dirty=True)
    for place in range(len(content)):
        assert read(tmp_path / "copy", content[:place]) is None
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert read(tmp_path / "copy", changed) is None, f"byte {place}"
    assert read(tmp_path / "copy", content + b"x") is None
