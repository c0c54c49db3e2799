"""The PostgreSQL event store where its server, its role or its schema is not as it should be."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString, NoReturn
from uuid import NAMESPACE_URL, uuid5

import pytest
from psycopg import Connection, connect, sql

from inventory_es.adapters.postgresql import rows
from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import (
    AppendOutcomeUnknownError,
    EventIdCollisionError,
    IncompatibleStoreError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from tests.servers.postgresql import Server, server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server({"fsync": "on"}) as one:
        yield one


@contextmanager
def opened(running: Server, schema: str, options: str = "") -> Iterator[PostgresqlStore]:
    with closing(PostgresqlStore(parse_place(f"{running.url}?schema={schema}{options}"))) as store:
        yield store


def execute(running: Server, *queries: LiteralString) -> list[Any]:
    with connect(running.url, autocommit=True) as connection:
        return [_rows(connection, query) for query in queries][-1]


def _rows(connection: Connection[Any], query: LiteralString) -> list[Any]:
    found = connection.execute(query)
    return found.fetchall() if found.description else []


def write(name: str, expected: int, *labels: str) -> list[StreamWrite]:
    return [StreamWrite(StreamId("test", name), expected, [new_event(label) for label in labels])]


def new_event(label: str) -> NewEvent:
    return NewEvent(uuid5(NAMESPACE_URL, label), "Tested", 1, datetime(2026, 1, 5, tzinfo=UTC), b'{"a":1}')


def answer(store: PostgresqlStore, *writes: StreamWrite) -> AppendResult | Exception:
    (outcome,) = store.commit([writes])
    return outcome


def events(store: PostgresqlStore, name: str) -> Sequence[Any]:
    return store.read_stream(StreamId("test", name), after=0, limit=100).events


def test_a_temporary_table_named_like_ours_captures_nothing(running: Server) -> None:
    with opened(running, "temporary") as store:
        with store._writers.lend(store._deadline()) as link:
            link.execute("CREATE TEMPORARY TABLE events (LIKE temporary.events)")
            link.execute("CREATE TEMPORARY TABLE streams (LIKE temporary.streams)")
        answer(store, *write("x", 0, "a"))
        assert len(events(store, "x")) == 1


def test_a_role_whose_transactions_are_not_read_committed_is_refused(running: Server) -> None:
    with opened(running, "isolated") as store:
        execute(running, "CREATE ROLE strict LOGIN SUPERUSER", "ALTER ROLE strict SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(IncompatibleStoreError, match="repeatable read"):
            PostgresqlStore(parse_place(running.url.replace("postgres@", "strict@") + "?schema=isolated"))
        with store._writers.lend(store._deadline()) as link:
            link.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(IncompatibleStoreError, match="not read committed"):
            store.commit([write("x", 0, "a")])
        assert list(events(store, "x")) == []


def test_a_stream_id_of_8_kilobytes_of_incompressible_text(running: Server) -> None:
    parts = ["".join(chr(0x20000 + (number * 7919 + part * 104_729) % 40_000) for number in range(128)) for part in range(16)]
    long = StreamId("test", *parts)
    assert len(long.text.encode()) > 8_000
    with opened(running, "long_names") as store:
        other = StreamId("test", *parts[:-1], parts[-1][:-1])
        for stream in (long, other):
            assert isinstance(answer(store, StreamWrite(stream, 0, [new_event(stream.text[-3:])])), AppendResult)
        assert store.read_stream(long, after=0, limit=1).version == 1
        assert {head.stream for head in store.streams("", after=None, limit=5).heads} == {long, other}


def test_a_page_looks_up_the_head_of_its_stream_once(running: Server) -> None:
    with opened(running, "planned") as store:
        store.commit([write("x", 0, *map(str, range(50)))])
        key = rows.name_key(write("x", 0)[0].stream)
    for page, start in ((rows.FORWARD, 0), (rows.BACKWARD, 51)):
        with connect(running.url, autocommit=True) as connection:
            query = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) " + page).format(schema=sql.Identifier("planned"))
            ((plan,),) = connection.execute(query, ([key], [start], [50], rows.PAGE_BYTES)).fetchall()
        looked_up = [node["Actual Loops"] for node in _nodes(plan[0]["Plan"]) if "Subplan Name" in node]
        assert looked_up == [1]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def test_an_append_that_comes_too_late_is_refused(running: Server) -> None:
    with opened(running, "late") as store:
        store._clock = 0, time.monotonic()  # as if the server's clock had been set since
        with pytest.raises(StoreUnavailableError, match="came too late"):
            store.commit([write("x", 0, "a")])
        assert list(events(store, "x")) == []
        assert isinstance(answer(store, *write("x", 0, "a")), AppendResult), "the clock was read again"


def test_a_failure_to_look_up_lost_appends_is_their_outcome_alone(running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(running, "looked_up") as store:
        answer(store, *write("lost", 0, "a"))

        def fail(*_: object) -> NoReturn:
            raise StoreUnavailableError(store="s", reason="away")

        with monkeypatch.context() as broken:
            broken.setattr(store, "_find_confirmed", fail)
            won, lost = store.commit([write("won", 0, "b"), write("lost", 0, "c")])
        assert isinstance(won, AppendResult)
        assert isinstance(lost, StoreUnavailableError)
        replayed, collided = store.commit([write("won", 0, "b"), write("lost", 0, "a", "d")])
        assert isinstance(replayed, AppendResult)
        assert (replayed.replayed, replayed.position) == (True, won.position)
        assert isinstance(collided, EventIdCollisionError)


def test_another_server_that_took_over_closes_the_store() -> None:
    with server({"fsync": "on"}) as running, opened(running, "taken_over") as store:
        answer(store, *write("x", 0, "a"))
        running.stop()
        running.take_over()
        problem = _raised(store.head)
        while isinstance(problem, StoreUnavailableError):
            problem = _raised(store.head)
        assert isinstance(problem, StoreClosedError)
        assert "open the store again" in problem.message
        with opened(running, "taken_over") as again:
            assert again.head() == 1


def test_threads_share_a_bounded_number_of_connections(running: Server) -> None:
    with opened(running, "bounded") as store:
        answer(store, *write("x", 0, "a"))
        found = _at_once([lambda: _raised(lambda: len(events(store, "x")))] * 40)
        assert found == [1] * 40
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'inventory-es' AND query LIKE '%bounded%'"
        assert 1 <= execute(running, sessions)[0][0] <= 3


def test_a_setting_that_changes_while_a_connection_is_open_is_noticed(running: Server) -> None:
    with opened(running, "reloaded") as store:
        answer(store, *write("x", 0, "a"))
        with _set(running, "synchronous_commit = 'off'"):
            problem = _raised(lambda: answer(store, *write("x", 1, "b")))
            while isinstance(problem, AppendResult):  # until its backend has read the setting
                problem = _raised(lambda: answer(store, *write("x", len(events(store, "x")), "b", str(len(events(store, "x"))))))
            assert isinstance(problem, AppendOutcomeUnknownError)
            with pytest.raises(IncompatibleStoreError, match="process, not power"):
                store.commit([write("y", 0, "c")])


def test_a_lock_that_is_held_is_waited_for_no_longer_than_two_seconds(running: Server) -> None:
    with opened(running, "locked") as store, connect(running.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock('locked.meta'::regclass::oid::integer, 0)")
        with pytest.raises(StoreUnavailableError, match="another writer holds the lock"):
            store.commit([write("x", 0, "a")])
        holder.rollback()
        assert isinstance(answer(store, *write("x", 0, "a")), AppendResult)


def test_two_stores_have_locks_of_their_own(running: Server) -> None:
    with opened(running, "one"), opened(running, "other") as store, connect(running.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock('one.meta'::regclass::oid::integer, 0)")
        assert isinstance(answer(store, *write("x", 0, "a")), AppendResult)


def test_after_a_failover_a_batch_in_which_half_is_stored_is_one_call(running: Server) -> None:
    with opened(running, "resent") as store:
        groups = [write(f"x{number}", 0, f"{number}a", f"{number}b") for number in range(64)]
        store.commit(groups[::2])
        outcomes = store.commit(groups)
        assert [outcome.replayed for outcome in outcomes if isinstance(outcome, AppendResult)] == [True, False] * 32
        assert store.head() == 128
        assert [event.position for event in store.read_all(after=0, limit=500).events] == list(range(1, 129))


def test_positions_have_no_gap_where_a_group_is_lost(running: Server) -> None:
    with opened(running, "lost") as store:
        won, lost, after = store.commit([write("x", 0, "a"), write("y", 3, "b"), write("z", 0, "c")])
        assert isinstance(won, AppendResult)
        assert isinstance(after, AppendResult)
        assert (won.position, after.position, type(lost).__name__) == (1, 2, "ConcurrencyError")


@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_a_wait_for_the_replica_that_is_ended_is_no_acknowledgement(running: Server, how: str) -> None:
    with opened(running, f"replica_{how}") as store:
        answer(store, *write("x", 0, "a"))
        with _waiting_for_a_replica(running):
            outcome: list[object] = []
            writer = threading.Thread(target=lambda: outcome.append(_raised(lambda: store.commit([write("x", 1, "b")]))))
            writer.start()
            _end_the_wait(running, how)
            writer.join()
            assert isinstance(outcome[0], AppendOutcomeUnknownError)
            assert len(events(store, "x")) == 2
        again = answer(store, *write("x", 1, "b"))
        assert isinstance(again, AppendResult)
        assert again.replayed


def test_what_is_found_is_confirmed_by_the_replica(running: Server) -> None:
    with opened(running, "confirmed") as first:
        answer(first, *write("x", 0, "a"))
    with _waiting_for_a_replica(running), opened(running, "confirmed", "&durability=machine") as store:
        assert store.capabilities.durability == "machine"
        outcome: list[object] = []
        writer = threading.Thread(target=lambda: outcome.append(_raised(lambda: store.commit([write("x", 0, "a")]))))
        writer.start()
        _end_the_wait(running, "cancel")
        writer.join()
        assert isinstance(outcome[0], list)
        assert [type(one) for one in outcome[0]] == [AppendOutcomeUnknownError]


def test_events_are_found_once_a_replica_has_them(running: Server) -> None:
    sent = write("x", 0, "a")
    with opened(running, "told") as first:
        answer(first, *sent)
    with _waiting_for_a_replica(running), opened(running, "told", "&durability=machine") as store:
        outcome: list[object] = []
        ids = [event.event_id for event in sent[0].events]
        reader = threading.Thread(target=lambda: outcome.append(_raised(lambda: store.find_events(StreamId("test", "x"), ids))))
        reader.start()
        _end_the_wait(running, "cancel")
        reader.join()
        assert isinstance(outcome[0], StoreUnavailableError)
    with opened(running, "told") as store:
        assert [event.event_id for event in store.find_events(StreamId("test", "x"), ids)] == ids


def test_a_server_that_syncs_nothing_survives_no_power_cut() -> None:
    with server({"fsync": "off"}) as careless, opened(careless, "careless") as store:
        assert store.capabilities.durability == "process"


@pytest.mark.parametrize("setting,durability", [("synchronous_commit = 'on'", "power"), ("synchronous_commit = 'off'", "process")])
def test_durability_is_what_the_server_gives(running: Server, setting: LiteralString, durability: str) -> None:
    with _set(running, setting), opened(running, "durable") as store:
        assert store.capabilities.durability == durability
        with pytest.raises(IncompatibleStoreError, match=f"survive the loss of {durability}, not machine"):
            PostgresqlStore(parse_place(f"{running.url}?schema=durable&durability=machine"))


def test_a_server_that_gives_less_after_a_reconnect_is_refused(running: Server) -> None:
    with opened(running, "weaker") as store:
        answer(store, *write("x", 0, "a"))
        with _set(running, "synchronous_commit = 'off'"):
            _end_all_sessions(running)
            with pytest.raises(IncompatibleStoreError, match="process, not power"):
                store.commit([write("x", 1, "b")])


def test_a_database_that_is_not_utf_8_is_refused(running: Server) -> None:
    execute(running, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(IncompatibleStoreError, match="LATIN1"):
        PostgresqlStore(parse_place(running.url.removesuffix("postgres") + "latin"))


def test_many_handles_may_open_a_new_place_at_once(running: Server) -> None:
    place = parse_place(f"{running.url}?schema=crowded")
    found = _at_once([lambda: _raised(lambda: PostgresqlStore(place))] * 8)
    stores = [store for store in found if isinstance(store, PostgresqlStore)]
    for store in stores:
        store.close()
    assert len(stores) == 8, found


def test_a_newer_format_is_refused(running: Server) -> None:
    with opened(running, "newer"):
        execute(running, "UPDATE newer.meta SET format = 99, least_format = 99")
    with pytest.raises(IncompatibleStoreError, match="its format is 99"):
        PostgresqlStore(parse_place(f"{running.url}?schema=newer"))


def test_a_store_that_was_made_anew_is_another_one(running: Server) -> None:
    with opened(running, "anew") as store:
        answer(store, *write("x", 0, "a"))
        execute(running, "UPDATE anew.meta SET store_id = gen_random_uuid()")
        with pytest.raises(StoreClosedError, match="replaced"):
            store.commit([write("x", 1, "b")])
        _end_all_sessions(running)
        with pytest.raises(StoreClosedError, match="replaced"):
            events(store, "x")


def test_a_replica_or_a_former_primary_takes_no_writes(running: Server) -> None:
    with opened(running, "former") as store:
        with store._writers.lend(store._deadline()) as link:
            link.execute("SET default_transaction_read_only = on")
        with pytest.raises(StoreUnavailableError, match="25006"):
            store.commit([write("x", 0, "a")])


def test_an_old_snapshot_slows_no_append_down(running: Server) -> None:
    with opened(running, "backup") as store, connect(running.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM backup.events")
        for number in range(200):
            store.commit([write("x", number, f"e{number}")])
        dead = execute(running, "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'backup'")
        assert dead == [(0,)]
        assert len(events(store, "x")) == 100


def test_one_attempt_at_a_time_and_then_a_pause(running: Server) -> None:
    with opened(running, "storm") as store:
        answer(store, *write("x", 0, "a"))
        running.stop()
        try:
            problems = _at_once([lambda: _raised(store.head)] * 20)
            assert {type(problem) for problem in problems} == {StoreUnavailableError}
            assert store._gate.attempts < 10
        finally:
            running.start()
        assert _until_it_is_back(store) == 1


def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged(running: Server) -> None:
    acknowledged: list[NewEvent] = []
    stop = threading.Event()

    def work(store: PostgresqlStore, name: str) -> None:
        version = 0
        while not stop.is_set():
            sent = write(name, version, f"{name}{version}", f"{name}{version}b")
            while not isinstance(outcome := _raised(lambda: answer(store, *sent)), AppendResult):  # noqa: B023  # called at once
                assert isinstance(outcome, AppendOutcomeUnknownError | StoreUnavailableError), outcome
            acknowledged.extend(sent[0].events)
            version += 2

    with opened(running, "killed") as one, opened(running, "killed") as other:
        writers = [threading.Thread(target=work, args=(store, name)) for store, name in ((one, "x"), (other, "y"))]
        for writer in writers:
            writer.start()
        for _ in range(3):
            seen = len(acknowledged)
            while len(acknowledged) < seen + 100:
                stop.wait(0.001)
            running.restart()
        stop.set()
        for writer in writers:
            writer.join()
        page = [event for name in "xy" for event in _all(one, name)]
        assert {event.event_id for event in acknowledged} == {event.event_id for event in page}
        assert one.head() == len(page)


def _all(store: PostgresqlStore, name: str) -> list[Any]:
    found: list[Any] = []
    while True:
        page = store.read_stream(StreamId("test", name), after=len(found), limit=1_000)
        found += page.events
        if page.is_end:
            return found


def _until_it_is_back(store: PostgresqlStore) -> int:
    while isinstance(found := _raised(store.head), Exception):
        assert isinstance(found, StoreUnavailableError)
    assert isinstance(found, int)
    return found


def _raised(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as problem:  # noqa: BLE001  # the error is the answer
        return problem


def _at_once(calls: Sequence[Callable[[], object]]) -> list[object]:
    answers: list[object] = []
    threads = [threading.Thread(target=lambda call=call: answers.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@contextmanager
def _waiting_for_a_replica(running: Server) -> Iterator[None]:
    with _set(running, "synchronous_standby_names = 'nobody'"):
        yield


@contextmanager
def _set(running: Server, setting: LiteralString) -> Iterator[None]:
    name = setting.split(" ")[0]
    execute(running, "ALTER SYSTEM SET " + setting, "SELECT pg_reload_conf()")
    _until_set(running, setting)
    try:
        yield
    finally:
        with connect(running.url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
            connection.execute("SELECT pg_reload_conf()")


def _until_set(running: Server, setting: LiteralString) -> None:
    name, _, value = setting.split(" ")
    give_up = time.monotonic() + 10
    while _shown(running, name) != value.strip("'"):
        assert time.monotonic() < give_up, f"the server does not take {setting}"


def _shown(running: Server, name: str) -> str:
    with connect(running.url, autocommit=True) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        assert row is not None
        shown: str = row[0]
        return shown


def _end_the_wait(running: Server, how: str) -> None:
    with connect(running.url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        ended: LiteralString = "SELECT pg_{}_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        give_up = time.monotonic() + 10
        while not connection.execute(sql.SQL(ended).format(sql.SQL("cancel" if how == "cancel" else "terminate"))).fetchall():
            assert time.monotonic() < give_up, "nobody waits for the replica"


def _end_all_sessions(running: Server) -> None:
    execute(running, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'inventory-es'")
