from pathlib import Path

import pytest

from inventory_es.adapters.file.journal import stored_form
from inventory_es.adapters.file.journal.stored_form import TRAILER_SIZE, check, read_lines, read_trailer, seal
from inventory_es.adapters.file.operating_system import OperatingSystem

SEED = 0xC0FFEE


def lines_of(path: Path, content: bytes) -> list[stored_form.Line]:
    path.write_bytes(content)
    file = OperatingSystem().open(str(path), "read")
    try:
        return list(read_lines(file, start=0, end=len(content), seed=SEED))
    finally:
        file.close()


def test_a_line_is_one_json_object_that_ends_in_its_checksums() -> None:
    line, checksum = seal(b'{"n":1', previous=0xAB, seed=SEED)
    assert line == b'{"n":1,"previous":"000000ab","checksum":"%08x"}\n' % checksum
    assert check(line, seed=SEED) == (0xAB, checksum)


def test_every_changed_byte_is_found() -> None:
    line, _ = seal(b'{"n":1', previous=7, seed=SEED)
    for place in range(len(line)):
        for flip in (1, 0x20, 0x80):
            changed = line[:place] + bytes([line[place] ^ flip]) + line[place + 1 :]
            assert check(changed, seed=SEED) is None, f"byte {place}"


def test_every_cut_is_found() -> None:
    line, _ = seal(b'{"n":1', previous=7, seed=SEED)
    assert [size for size in range(len(line)) if check(line[:size], seed=SEED) is not None] == []


def test_a_line_of_another_journal_is_bad() -> None:
    line, _ = seal(b'{"n":1', previous=7, seed=SEED)
    assert check(line, seed=SEED + 1) is None


def test_a_trailer_takes_only_hexadecimal_digits() -> None:
    line, _ = seal(b"{", previous=0x12345678, seed=SEED)
    trailer = line[-TRAILER_SIZE:]
    assert read_trailer(trailer) is not None
    assert read_trailer(trailer.replace(b"12345678", b"1234567g")) is None
    assert read_trailer(trailer.replace(b"12345678", b"+2345678")) is None
    assert read_trailer(trailer.replace(b"12345678", b"1_345678")) is None


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_lines_are_found_whatever_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(stored_form, "CHUNK", chunk)
    first, checksum = seal(b'{"n":1', previous=0, seed=SEED)
    second, last = seal(b'{"n":22', previous=checksum, seed=SEED)
    found = lines_of(tmp_path / "journal", first + b"\n" + second + b"torn")
    assert [(line.offset, line.data) for line in found] == [
        (0, first),
        (len(first), b"\n"),
        (len(first) + 1, second),
        (len(first) + 1 + len(second), b"torn"),
    ]
    assert [line.chain for line in found] == [(0, checksum), None, (checksum, last), None]
    assert [line.checksum for line in found] == [checksum, 0, last, 0]
    assert found[-1].end == len(first) + 1 + len(second) + 4
