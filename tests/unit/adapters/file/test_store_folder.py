from collections.abc import Sequence
from pathlib import Path

import pytest

from inventory_es.adapters.file.folder import find_folder, open_folder
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError

FS = OperatingSystem()


def snapshot(path: Path) -> dict[str, bytes | None]:
    return {str(item.relative_to(path)): item.read_bytes() if item.is_file() else None for item in path.rglob("*")}


@pytest.mark.parametrize("is_there", [True, False])
def test_an_empty_or_missing_folder_becomes_a_store(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "stock"
    if is_there:
        path.mkdir()
    folder = open_folder(FS, str(path), creation_id="one")
    assert sorted(snapshot(path)) == [".lock", "events", "format.json", "journal"]
    assert folder == find_folder(FS, str(path))
    assert folder == open_folder(FS, str(path), creation_id="another")
    assert folder.creation_id == "one"


def test_two_stores_have_different_seeds(tmp_path: Path) -> None:
    seeds = {open_folder(FS, f"{tmp_path}/{name}", creation_id=name).seed for name in ("a", "b")}
    assert len(seeds) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format":"other","version":1,"creation_id":"x"}',
        b'{"format":"inventory_es.file_store","version":2,"creation_id":"x"}',
        b'{"format":"inventory_es.file_store","version":2,"new":"shape"}',
        b'{"format":"inventory_es.file_store","version":1}',
    ],
)
def test_another_format_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "format.json").write_bytes(content)
    before = snapshot(tmp_path)
    with pytest.raises(IncompatibleStoreError, match=r"format"):
        open_folder(FS, str(tmp_path), creation_id="x")
    assert snapshot(tmp_path) == before


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_bytes(b'{"format":"inventory_es.file_store","version":7}')
    with pytest.raises(IncompatibleStoreError, match="format version 7, not 1"):
        open_folder(FS, str(tmp_path), creation_id="x")


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"beach")
    before = snapshot(tmp_path)
    with pytest.raises(IncompatibleStoreError, match="name an empty or a new folder"):
        open_folder(FS, str(tmp_path), creation_id="x")
    with pytest.raises(IncompatibleStoreError, match=r"no format\.json"):
        find_folder(FS, str(tmp_path))
    assert snapshot(tmp_path) == before


def test_a_store_that_lost_its_format_is_refused(tmp_path: Path) -> None:
    open_folder(FS, str(tmp_path), creation_id="x")
    (tmp_path / "format.json").unlink()
    (tmp_path / "journal" / "00000000000000000001.jsonl").write_bytes(b"events")
    with pytest.raises(IncompatibleStoreError, match=r"restore format\.json"):
        open_folder(FS, str(tmp_path), creation_id="x")


def test_a_creation_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / ".lock").write_bytes(b"")
    (tmp_path / "format.json.draft").write_bytes(b'{"for')
    assert open_folder(FS, str(tmp_path), creation_id="x").creation_id == "x"
    assert sorted(snapshot(tmp_path)) == [".lock", "events", "format.json", "journal"]


def test_a_missing_journal_is_no_empty_store(tmp_path: Path) -> None:
    open_folder(FS, str(tmp_path), creation_id="x")
    (tmp_path / "journal").rmdir()
    with pytest.raises(CorruptStoreError, match="the journal's folder is missing"):
        open_folder(FS, str(tmp_path), creation_id="x")


def test_a_store_that_another_process_fills_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    open_folder(FS, str(tmp_path), creation_id="x")

    class Late(OperatingSystem):
        looks = 0

        def list_directory(self, path: str) -> Sequence[str]:
            if path.endswith("journal"):
                self.looks += 1
                return [] if self.looks == 1 else ["00000000000000000001.jsonl"]
            return super().list_directory(path)

    before = snapshot(tmp_path)
    assert open_folder(Late(), str(tmp_path), creation_id="y").creation_id == "x"
    assert snapshot(tmp_path) == before
