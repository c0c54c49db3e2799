"""Verifying, repairing and copying a database."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inventory_es.adapters.sqlite import Finding, back_up, database, repair, verify
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import CorruptStoreError, IncompatibleStoreError
from inventory_es.ports import AppendResult, RecordedEvent, Snapshot, StreamWrite
from inventory_es.testing.contracts.core.event_labels import EventLabels

A, B = StreamId("s", "a"), StreamId("s", "b")


def filled(path: Path) -> Path:
    engine, labels = SqliteStore(str(path), synchronous="FULL"), EventLabels()
    for version, (one, other) in enumerate([("a1", "b1"), ("a2", "b2"), ("a3", "b3")]):
        outcomes = engine.commit([[StreamWrite(A, version, labels.events(one))], [StreamWrite(B, version, labels.events(other))]])
        assert all(isinstance(outcome, AppendResult) for outcome in outcomes)
    engine.save_snapshot(Snapshot(stream=A, schema_version=1, version=2, event_id=labels.event("a2").event_id, data=b"state"))
    engine.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return filled(tmp_path / "stock.db")


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def forget_checksums(path: Path) -> None:
    """Make the file one that was migrated from a version without checksums."""
    change(path, "UPDATE events SET checksum = NULL", "DELETE FROM stream_names", "UPDATE checksums SET since = 6")


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    selected = connection.execute(query).fetchall()
    connection.close()
    return selected


def found(path: Path) -> list[tuple[str, str, str]]:
    return [(finding.concern, finding.place, finding.problem) for finding in verify(path)]


def test_a_good_store_has_no_findings_and_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    assert list(verify(path)) == []
    assert list(repair(path)) == []
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["stock.db"]


@pytest.mark.parametrize(
    "statement, findings",
    [
        (
            "UPDATE events SET data = '{}' WHERE position = 3",
            [("event", "position 3, version 2 of stream s-a", "its checksum is that of another row")],
        ),
        (
            "UPDATE events SET checksum = NULL WHERE position = 3",
            [("event", "position 3, version 2 of stream s-a", "it has no checksum")],
        ),
        (
            "DELETE FROM events WHERE position = 3",
            [
                ("event", "position 3", "what should be there is missing: position 4 follows"),
                ("stream", "stream s-a", "its version is 3, and it has 2 events, of versions 1 to 3"),
            ],
        ),
        ("DELETE FROM events WHERE position = 6", [("stream", "stream s-b", "its version is 3, and it has 2 events, of versions 1 to 2")]),
        (
            "UPDATE streams SET version = 9 WHERE id = 2",
            [("stream", "stream s-b", "its version is 9, and it has 3 events, of versions 1 to 3")],
        ),
        (
            "UPDATE snapshots SET data = x'00'",
            [("snapshot", "snapshot of s-a, schema version 1", "it has not the checksum of what it says, and is not used")],
        ),
    ],
)
def test_what_was_changed_is_found(statement: str, findings: list[tuple[str, str, str]], path: Path) -> None:
    change(path, statement)
    assert found(path) == findings


def test_a_renamed_stream_is_found_by_its_name_and_by_each_of_its_events(path: Path) -> None:
    change(path, "UPDATE streams SET name = 's-c' WHERE name = 's-a'")
    assert [concern for concern, _, _ in found(path)] == ["event", "event", "event", "stream"]
    assert found(path)[-1][1:] == ("stream s-c", "it has another name than when it began")


def test_a_lost_stream_is_found(path: Path) -> None:
    change(path, "DELETE FROM streams WHERE name = 's-a'")
    assert found(path)[-1] == ("stream", "stream with the key 1", "its events or its name are there, and its own row is not")


def test_damage_of_an_index_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_by_id'").fetchone()
    content = bytearray(path.read_bytes())
    content[root * 4096 - 1] ^= 1
    path.write_bytes(content)
    assert {concern for concern, _, _ in found(path)} == {"database"}


def test_what_the_events_mean_is_checked_too(path: Path) -> None:
    def check(stream: StreamId, events: Iterator[RecordedEvent]) -> Iterator[tuple[int, str]]:
        yield from ((event.version, f"{event.event_type} is odd") for event in events if (stream, event.version) == (B, 2))

    (finding,) = verify(path, check_stream=check)
    assert finding == Finding("meaning", str(path), "version 2 of stream s-b", "ContractCheckedEvent is odd")
    assert str(finding) == f"{path}: version 2 of stream s-b: ContractCheckedEvent is odd"


def test_events_from_before_there_were_checksums_get_theirs(path: Path) -> None:
    original = path.with_name("original.db")
    original.write_bytes(path.read_bytes())
    forget_checksums(path)
    findings = list(verify(path))
    assert [(finding.concern, finding.problem, finding.is_derived) for finding in findings] == [
        ("checksum", "6 events are from before there were checksums, and have none", True),
        ("checksum", "2 names of streams are from before there were checksums, and have none", True),
    ]
    assert list(repair(path)) == []
    for query in ("SELECT * FROM events", "SELECT * FROM stream_names", "SELECT * FROM checksums"):
        assert rows(path, query) == rows(original, query)
    change(path, "UPDATE events SET checksum = NULL WHERE position = 3")
    assert [concern for concern, _, _ in found(path)] == ["event"]


def test_a_repair_that_was_interrupted_goes_on(path: Path) -> None:
    forget_checksums(path)
    change(path, "UPDATE events SET checksum = NULL WHERE position < 4")
    assert list(repair(path)) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET event_id = x'00' WHERE position = 3", "UPDATE events SET recorded_at = -9e18 WHERE position = 3"]
)
def test_an_event_without_a_checksum_that_can_be_none_is_not_given_one(statement: str, path: Path) -> None:
    forget_checksums(path)
    change(path, statement)
    with pytest.raises(CorruptStoreError, match=r"position 3, version 2 of stream s-a.*a column holds what no event has"):
        repair(path)


def test_a_store_that_is_damaged_is_not_repaired(path: Path) -> None:
    change(path, "UPDATE events SET data = '{}' WHERE position = 3")
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match="position 3"):
        repair(path)
    assert path.read_bytes() == before


def test_a_damaged_snapshot_is_forgotten_by_a_repair(path: Path) -> None:
    change(path, "UPDATE snapshots SET data = x'00'")
    assert list(repair(path)) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)
    connection.close()


def test_a_file_of_an_older_schema_version_is_brought_to_the_newest_by_a_repair(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(database._SCHEMA[0])
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO streams VALUES (1, 's-a', 1)")
        connection.execute("INSERT INTO events VALUES (1, 1, 1, ?, 'Kept', 1, 0, '{}', '{}')", (bytes(16),))
    connection.close()
    with pytest.raises(IncompatibleStoreError, match="its schema version is 1, this one is 3: open the store once"):
        list(verify(path))
    assert list(repair(path)) == []
    assert list(verify(path)) == []


def test_a_copy_is_made_while_others_write(path: Path, tmp_path: Path) -> None:
    engine, labels = SqliteStore(str(path), synchronous="FULL"), EventLabels()
    engine.commit([[StreamWrite(A, 3, labels.events("a4"))]])
    assert back_up(path, tmp_path / "copy.db") == 7
    engine.commit([[StreamWrite(A, 4, labels.events("a5"))]])
    engine.close()
    copy = SqliteStore(str(tmp_path / "copy.db"), synchronous="FULL")
    assert copy.read_stream(A, after=0, limit=9).version == 4
    copy.close()
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy.db", "stock.db"]


def test_a_copy_replaces_nothing_and_no_damage_is_copied(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("mine")
    with pytest.raises(IncompatibleStoreError, match="something already"):
        back_up(path, tmp_path / "there.db")
    change(path, "UPDATE events SET data = '{}' WHERE position = 3")
    with pytest.raises(CorruptStoreError, match=r"stock\.db, position 3, version 2 of stream s-a"):
        back_up(path, tmp_path / "copy.db")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["stock.db", "there.db"]
    assert (tmp_path / "there.db").read_text() == "mine"


def copied(path: Path) -> int:
    return back_up(path, path.with_name("copy.db"))


def verified(path: Path) -> list[Finding]:
    return list(verify(path))


@pytest.mark.parametrize("function", [verified, repair, copied])
def test_what_is_no_store_is_refused(function: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStoreError, match="there is no such file"):
        function(tmp_path / "nowhere.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text").write_text("no database " * 1_000)
    with pytest.raises(IncompatibleStoreError):
        function(tmp_path / "text")
    sqlite3.connect(tmp_path / "text2").execute("PRAGMA application_id = 7").connection.close()
    with pytest.raises(IncompatibleStoreError, match="another application"):
        function(tmp_path / "text2")
