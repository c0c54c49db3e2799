"""The work of operators on a PostgreSQL store: roles, migrations, examination and verification."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import anyio
import pytest
from psycopg import connect, sql
from psycopg.errors import InsufficientPrivilege, UniqueViolation

from inventory_es import open_inventory, sync
from inventory_es.adapters.postgresql import PostgresqlEventStore, migrate, migration_script, require_store, schema
from inventory_es.adapters.postgresql.schema import MIGRATIONS, Migration
from inventory_es.cli.app import run
from inventory_es.cli.commands.servers import LIMITS, Diagnosis, examine
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import IncompatibleStoreError, StoreUnavailableError
from inventory_es.ports import Snapshot
from tests.servers.postgresql import Server, as_role, server

ROLES = ("stock_owner", "stock_writer", "stock_reader", "stock_queries", "newcomer")
FORBIDDEN: Sequence[LiteralString] = (
    "INSERT INTO {0}.streams VALUES (0, 9, 'x-y', 'k')",
    "INSERT INTO {0}.events SELECT * FROM {0}.events",
    "UPDATE {0}.events SET data = '{{}}'",
    "DELETE FROM {0}.events",
    "TRUNCATE {0}.events",
    "DROP TABLE {0}.meta",
    "UPDATE {0}.meta SET format = 2",
    "CREATE TABLE {0}.mine (id int)",
    "CREATE INDEX ON {0}.events (recorded_at)",
    "ALTER TABLE {0}.events ADD COLUMN note text",
    "ALTER FUNCTION {0}.append_v1 SECURITY INVOKER",
    "DROP FUNCTION {0}.append_v1",
)
READERS_TOO: Sequence[LiteralString] = (
    "INSERT INTO {0}.snapshots VALUES (0, 'k', 1, 1, gen_random_uuid(), 'x')",
    "DELETE FROM {0}.snapshots",
    "SELECT {0}.settle_v1(0::smallint)",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server({"fsync": "on", "max_prepared_transactions": "2", "wal_level": "logical"}) as one:
        for role in ROLES:
            execute(one, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        yield one


def execute(running: Server, *statements: LiteralString | sql.Composed) -> list[Any]:
    with connect(running.url, autocommit=True) as connection:
        found: list[Any] = []
        for statement in statements:
            cursor = connection.execute(statement)
            found = cursor.fetchall() if cursor.description else []
        return found


def url_of(running: Server, name: str, role: str = "postgres") -> str:
    return as_role(f"{running.url}?schema={name}", role)


def on_hand(url: str) -> int:
    with sync.open_inventory(url) as inventory:
        return inventory.stock("tea", "berlin").on_hand


def store_for_roles(running: Server, name: str) -> None:
    """Make a store whose owner may do nothing but own its schema, with a writer and a reader."""
    execute(running, sql.SQL("CREATE SCHEMA {} AUTHORIZATION stock_owner").format(sql.Identifier(name)))
    migrate(url_of(running, name, "stock_owner"), writers=["stock_writer"], readers=["stock_reader"])


def refused(running: Server, role: str, name: str, statements: Sequence[LiteralString]) -> None:
    for statement in statements:
        with connect(as_role(running.url, role), autocommit=True) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def test_a_writer_sells_and_keeps_snapshots_and_changes_no_event(running: Server, backend: str) -> None:
    async def main() -> None:
        url = url_of(running, name, "stock_writer")
        async with open_inventory(url, snapshots=url) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.reserve("tea", "berlin", 2, ttl=timedelta(minutes=1))
            assert (await inventory.stock("tea", "berlin")).available == 1
            store = inventory.store
            assert isinstance(store, PostgresqlEventStore)
            stream = StreamId("inventory", "tea", "berlin")
            snapshot = Snapshot(stream=stream, schema_version=1, version=2, event_id=uuid4(), data=b"state")
            await store.save_snapshot(snapshot)
            assert await store.load_snapshot(stream, schema_version=1) == snapshot
            await store.discard_snapshots(stream)

    name = f"selling_{backend}"
    store_for_roles(running, name)
    anyio.run(main, backend=backend)
    refused(running, "stock_writer", name, FORBIDDEN)


def test_a_reader_follows_the_feed_and_appends_nothing(running: Server, backend: str) -> None:
    async def main() -> None:
        async with (
            open_inventory(url_of(running, name, "stock_writer")) as writer,
            open_inventory(url_of(running, name, "stock_reader")) as reader,
        ):
            stored = await writer.add_stock("tea", "berlin", 3)
            store = reader.store
            assert isinstance(store, PostgresqlEventStore)
            assert await store.wait_for_position(stored.position, timeout=10)
            assert [event.event_type for event in (await store.read_all(after=0, limit=9)).events] == ["StockAddedEvent"]
            assert len((await store.streams(limit=9)).heads) == 1
            assert (await reader.stock("tea", "berlin")).on_hand == 3
            with pytest.raises(IncompatibleStoreError, match=r"this role may not do that.*42501"):
                await reader.add_stock("tea", "berlin", 3)
            assert (await writer.stock("tea", "berlin")).on_hand == 3

    name = f"reading_{backend}"
    store_for_roles(running, name)
    anyio.run(main, backend=backend)
    with connect(as_role(running.url, "stock_reader")) as connection:
        view = sql.SQL("SELECT stream, event_type FROM {}.readable_events").format(sql.Identifier(name))
        assert connection.execute(view).fetchall() == [("inventory-tea-berlin", "StockAddedEvent")]
    refused(running, "stock_reader", name, [*FORBIDDEN, *READERS_TOO])


def test_a_role_without_grants_is_told(running: Server) -> None:
    store_for_roles(running, "closed")
    with pytest.raises(IncompatibleStoreError, match="see the grants"):
        on_hand(url_of(running, "closed", "newcomer"))


def test_a_role_that_is_missing_is_told_and_nothing_is_granted(running: Server) -> None:
    with pytest.raises(IncompatibleStoreError, match="there is no such role"):
        migrate(url_of(running, "roleless"), writers=["stock_writer", "nobody"])
    with pytest.raises(IncompatibleStoreError, match="there is no store"):
        require_store(url_of(running, "roleless"))


def test_rows_live_in_a_schema_that_their_role_owns(running: Server, backend: str) -> None:
    async def main() -> None:
        rows = url_of(running, f"rows_{backend}", "stock_queries")
        async with open_inventory(url_of(running, name, "stock_writer"), read_models=rows) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.followers.catch_up(on_failure="stop")
            row = await inventory.queries.stock("tea", "berlin")
            assert row is not None
            assert row.on_hand == 3

    name = f"queried_{backend}"
    store_for_roles(running, name)
    execute(running, sql.SQL("CREATE SCHEMA {} AUTHORIZATION stock_queries").format(sql.Identifier(f"rows_{backend}")))
    anyio.run(main, backend=backend)


def test_a_writer_makes_no_store_and_the_error_names_the_command(running: Server) -> None:
    told = r"there is no store.*run 'inventory-es store migrate URL'"
    with pytest.raises(IncompatibleStoreError, match=told):
        on_hand(url_of(running, "missing", "stock_writer"))


NEXT = Migration("CREATE INDEX events_by_time ON events (part, recorded_at);", 1)
BREAKING = Migration("ALTER FUNCTION append_v1 RENAME TO append_v2;", len(MIGRATIONS) + 1)
HALF = Migration("CREATE TABLE half (id integer); SELECT 1 / 0;", 1)
NUMBER = len(MIGRATIONS)


@contextmanager
def newer_package(*steps: Migration) -> Iterator[None]:
    """Be the next version of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, *steps))
        yield


def test_processes_before_and_after_a_migration_work_side_by_side(running: Server) -> None:
    store_for_roles(running, "rolled")
    url = url_of(running, "rolled", "stock_writer")
    with sync.open_inventory(url) as old:
        old.add_stock("tea", "berlin", 1)
        with newer_package(NEXT):
            told = f"its format is {NUMBER}, this package needs {NUMBER + 1}: run 'inventory-es store migrate URL'"
            with pytest.raises(IncompatibleStoreError, match=told):
                on_hand(url)
            assert migrate(url_of(running, "rolled", "stock_owner")) == NUMBER + 1
            with sync.open_inventory(url) as new:
                new.add_stock("tea", "berlin", 2)
        old.add_stock("tea", "berlin", 4)
        assert on_hand(url) == 7


def test_a_package_that_a_migration_leaves_behind_is_told(running: Server) -> None:
    url = url_of(running, "left_behind")
    migrate(url)
    with newer_package(BREAKING):
        migrate(url)
    told = f"its format is {NUMBER + 1}, this package knows up to {NUMBER}: update the package"
    with pytest.raises(IncompatibleStoreError, match=told):
        on_hand(url)
    for change in (migrate, migration_script):
        with pytest.raises(IncompatibleStoreError, match=told):
            change(url, writers=["stock_writer"])


def test_a_sale_goes_on_while_a_migration_runs(running: Server) -> None:
    url = url_of(running, "sold_meanwhile")
    stop = threading.Event()
    sold: list[int] = []

    def sell() -> None:
        while not stop.is_set():
            sold.append(inventory.add_stock("tea", "berlin", 1).position)

    with sync.open_inventory(url) as inventory:
        seller = threading.Thread(target=sell)
        seller.start()
        _until(lambda: len(sold) > 20)
        with newer_package(NEXT):
            migrate(url)
        seen = len(sold)
        _until(lambda: len(sold) > seen + 20)
        stop.set()
        seller.join()
        assert sold == list(range(1, len(sold) + 1))


def test_one_of_several_migrations_at_once_does_the_work(running: Server) -> None:
    url = url_of(running, "raced")
    found: list[object] = []
    with newer_package(NEXT):
        several = [threading.Thread(target=lambda: found.append(migrate(url))) for _ in range(4)]
        for one in several:
            one.start()
        for one in several:
            one.join()
        assert found == [NUMBER + 1] * 4


def test_a_migration_that_another_holds_up_gives_up(running: Server) -> None:
    url = url_of(running, "held_up")
    migrate(url)
    with connect(running.url) as holder, newer_package(NEXT):
        holder.execute("LOCK TABLE held_up.events")
        with pytest.raises(StoreUnavailableError, match="another writer holds the lock"):
            migrate(url)
    assert execute(running, "SELECT format FROM held_up.meta") == [(NUMBER,)]


def test_a_migration_that_fails_leaves_nothing_behind(running: Server) -> None:
    url = url_of(running, "halved")
    with newer_package(NEXT, HALF), pytest.raises(StoreUnavailableError, match="nothing was written"):
        migrate(url)
    assert execute(running, "SELECT FROM pg_namespace WHERE nspname = 'halved'") == []


def test_the_script_for_a_database_administrator_does_the_same(running: Server) -> None:
    url = url_of(running, "scripted")
    script = migration_script(url, writers=["stock_writer"], readers=["stock_reader"])
    assert execute(running, "SELECT FROM pg_namespace WHERE nspname = 'scripted'") == []
    with connect(running.url, autocommit=True) as connection:
        connection.execute(script.encode())
    with sync.open_inventory(url_of(running, "scripted", "stock_writer")) as inventory:
        inventory.add_stock("tea", "berlin", 3)
    refused(running, "stock_writer", "scripted", FORBIDDEN)
    with newer_package(NEXT):
        assert "events_by_time" in migration_script(url)
        assert "CREATE TABLE" not in migration_script(url)


def test_the_command_migrates_and_grants(running: Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = url_of(running, "commanded")
    assert run(["store", "migrate", url, "--sql"]) == 0
    assert "CREATE FUNCTION append_v1" in capsys.readouterr().out
    assert run(["stock", "tea", "berlin", "--url", url]) == 3
    assert "there is no store: 'inventory-es store migrate URL' makes one" in capsys.readouterr().err
    assert run(["store", "migrate", url, "--writer", "stock_writer", "--reader", "stock_reader"]) == 0
    assert f"format {NUMBER}, writer stock_writer, reader stock_reader" in capsys.readouterr().out
    assert run(["store", "migrate", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["store"]) == (NUMBER, f"postgresql://***@127.0.0.1:{running.port}/postgres?schema=***")
    with sync.open_inventory(url_of(running, "commanded", "stock_writer")) as inventory:
        inventory.add_stock("tea", "berlin", 3)
    assert run(["stock", "tea", "berlin", "--url", url_of(running, "commanded", "stock_reader"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_hand"] == 3


@pytest.fixture
def examined(running: Server) -> Iterator[str]:
    """The URL of a store with two events, which goes with the test."""
    url = url_of(running, "examined")
    with sync.open_inventory(url) as inventory:
        inventory.add_stock("tea", "berlin", 1)
        inventory.add_stock("tea", "berlin", 2)
    yield url
    execute(running, "DROP SCHEMA examined CASCADE")


def by_check(url: str) -> Mapping[str, Diagnosis]:
    return {one.check: one for one in examine(url)}


def advice(url: str, check: str) -> str:
    found = by_check(url)[check].advice
    assert found is not None
    return found


def test_a_doctor_finds_nothing_where_all_is_well(examined: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [one for one in examine(examined) if one.advice is not None] == []
    assert run(["doctor", examined]) == 0
    out = capsys.readouterr().out
    assert "✓ durability: a commit survives the loss of power" in out
    assert "✓ who may write: the owner alone" in out
    assert run(["doctor", examined, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(one) for one in found] == [{"check", "state", "advice"}] * 10


def test_a_doctor_needs_a_store(running: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", url_of(running, "nothing_here")]) == 3
    assert "there is no store" in capsys.readouterr().err
    assert run(["doctor", "file:stock"]) == 2
    assert "'inventory-es verify' is for a folder" in capsys.readouterr().err


def test_a_doctor_tells_who_sees_little(running: Server, examined: str) -> None:
    migrate(examined, readers=["newcomer"])
    url = as_role(examined, "newcomer")
    told = advice(url, "visibility")
    execute(running, "GRANT pg_monitor TO newcomer")
    assert told.startswith("GRANT pg_monitor TO newcomer:")
    assert by_check(url)["visibility"] == Diagnosis("visibility", "every session", None)


def test_a_doctor_ends_an_old_snapshot(running: Server, examined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(running.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM examined.events")
        assert by_check(examined)["oldest snapshot"].state.startswith(f"session {old.info.backend_pid} of postgres, for 00:00:")
        monkeypatch.setitem(LIMITS, "snapshot", "0 seconds")
        assert f"end it (SELECT pg_terminate_backend({old.info.backend_pid}))" in advice(examined, "oldest snapshot")
    with connect(running.url) as forgetful:
        forgetful.execute("CREATE TABLE examined.mine (id int)")
        forgetful.execute("PREPARE TRANSACTION 'forgotten'")
    assert "end it (ROLLBACK PREPARED 'forgotten')" in advice(examined, "oldest snapshot")
    execute(running, "ROLLBACK PREPARED 'forgotten'")
    assert by_check(examined)["oldest snapshot"] == Diagnosis("oldest snapshot", "none", None)


def test_a_doctor_names_who_holds_the_lock(running: Server, examined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "wait", "0 seconds")
    with sync.open_inventory(examined) as inventory, connect(running.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock('examined.meta'::regclass::oid::integer, 0)")
        waiter = threading.Thread(target=inventory.add_stock, args=("tea", "berlin", 1))
        waiter.start()
        _until(lambda: by_check(examined)["waiters"].state.startswith("1, the longest for 00:00:0"))
        assert f"session {holder.info.backend_pid} holds the lock" in advice(examined, "waiters")
        holder.rollback()
        waiter.join()
        assert by_check(examined)["waiters"] == Diagnosis("waiters", "0", None)


def test_a_doctor_counts_connections(examined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "connections", 0)
    assert "pooler=transaction" in advice(examined, "connections")


def test_a_doctor_finds_a_replica_that_is_gone(running: Server, examined: str) -> None:
    execute(running, "SELECT pg_create_logical_replication_slot('gone', 'pgoutput')")
    assert "start the replica of gone, or drop the slot" in advice(examined, "replication slots")
    execute(running, "SELECT pg_drop_replication_slot('gone')")
    assert by_check(examined)["replication slots"] == Diagnosis("replication slots", "0", None)


def test_a_doctor_removes_dead_tuples(running: Server, examined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "dead", 0)
    assert by_check(examined)["dead tuples"].advice is None
    execute(running, "INSERT INTO examined.snapshots VALUES (0, 'k', 1, 1, gen_random_uuid(), 'x')", "DELETE FROM examined.snapshots")
    told = advice(examined, "dead tuples")
    assert told.startswith("VACUUM examined.snapshots, and see")
    execute(running, "VACUUM examined.snapshots")
    assert by_check(examined)["dead tuples"].advice is None


def test_a_doctor_finds_an_index_that_is_invalid(running: Server, examined: str) -> None:
    with pytest.raises(UniqueViolation):
        execute(running, "CREATE UNIQUE INDEX CONCURRENTLY by_type ON examined.events (event_type)")
    assert advice(examined, "index sizes").startswith("REINDEX INDEX CONCURRENTLY examined.by_type: it is invalid")
    execute(running, "DROP INDEX examined.by_type")
    assert "examined.events_pkey" in by_check(examined)["index sizes"].state


def test_a_doctor_tells_the_age_of_transactions(examined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "transactions", 0)
    assert "VACUUM (FREEZE)" in advice(examined, "wraparound")


def test_a_doctor_tells_which_settings_lose_events(running: Server, examined: str) -> None:
    assert "synchronous_commit = on" in advice(f"{examined}&options=-csynchronous_commit%3Doff", "durability")
    try:
        execute(running, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        _until(lambda: "loss of machine, replicas 0" in by_check(examined)["durability"].state)
        assert "no synchronous replica is connected" in advice(examined, "durability")
    finally:
        execute(running, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    _until(lambda: by_check(examined)["durability"].advice is None)


def test_a_doctor_finds_who_may_write_to_the_events(running: Server, examined: str) -> None:
    execute(running, "GRANT INSERT, UPDATE ON examined.events TO newcomer", "GRANT DELETE ON examined.streams TO PUBLIC")
    assert by_check(examined)["who may write"].state == "PUBLIC, newcomer"
    told = advice(examined, "who may write")
    assert told.startswith("REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON examined.events, examined.streams FROM PUBLIC, newcomer:")
    with connect(running.url) as connection:
        connection.execute(told.partition(":")[0].encode())
    assert by_check(examined)["who may write"] == Diagnosis("who may write", "the owner alone", None)


@pytest.mark.parametrize(
    "damage,concern,told",
    [
        ("DELETE FROM examined.events WHERE position = 1", "event", "position 1 of its feed is missing"),
        ("DELETE FROM examined.streams", "event", "the head is there, and the feed ends at position 0"),
        ("UPDATE examined.events SET version = 5 WHERE version = 2", "event", "version 2 should be there"),
        ("UPDATE examined.streams SET name_key = 'x'", "stream", "its version is 0 by its name, and 2 in the feed"),
        ("UPDATE examined.events SET data = '{}' WHERE version = 2", "meaning", "product_id is missing"),
        ("INSERT INTO examined.streams VALUES (0, 9, 'inventory-x-y', sha256('inventory-x-y'))", "stream", "no events"),
    ],
)
def test_damage_is_found(
    running: Server, examined: str, damage: LiteralString, concern: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "--url", examined]) == 0
    assert "feed, streams and balances agree" in capsys.readouterr().out
    execute(running, damage)
    assert run(["verify", "--url", examined, "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (found["concern"], found["is_derived"]) == (concern, False)
    assert told in found["place"] + found["problem"]


def test_the_database_is_backed_up_and_repaired_by_its_own_tools(examined: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", str(tmp_path / "copy"), "--url", examined]) == 2
    assert "pg_basebackup or pg_dump; 'inventory-es copy' copies the events" in capsys.readouterr().err
    assert run(["verify", "--url", examined, "--repair"]) == 2
    assert "REINDEX SCHEMA CONCURRENTLY" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_copy_shows_no_password(examined: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = examined.replace("postgres@", "postgres:hunter2@")
    assert run(["copy", url, "memory:"]) == 0
    assert run(["copy", url, "memory:", "--json"]) == 0
    assert run(["verify", "--url", url]) == 0
    assert run(["watch", "--url", url, "--once"]) == 0
    assert run(["copy", url, as_role(examined, "postgres").replace("postgresql:", "postgres:")]) == 2
    out, err = capsys.readouterr()
    assert "FROM and TO are the same store" in err
    assert "hunter2" not in out + err


def _until(is_so: Any) -> None:
    give_up = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < give_up
