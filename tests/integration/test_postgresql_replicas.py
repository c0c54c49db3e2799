"""The PostgreSQL store whose feed is read from a streaming replica: one that lags, goes away, is promoted, or is of another store."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import LiteralString
from uuid import NAMESPACE_URL, UUID, uuid5

import anyio
import pytest
from psycopg import connect

from inventory_es import open_inventory, sync
from inventory_es.adapters.postgresql import feed, migrate
from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import FeedRewoundError, IncompatibleStoreError
from inventory_es.ports import NewEvent, StreamWrite
from tests.servers.postgresql import Server, free_port, replica, server

Pair = tuple[Server, Server]
_FEED_READS: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'inventory-es' AND query LIKE '%before <%'"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with server() as primary, replica(primary) as standby:
        yield primary, standby


@contextmanager
def opened(pair: Pair, schema: str, port: int | None = None) -> Iterator[PostgresqlStore]:
    primary, standby = pair
    with closing(PostgresqlStore(parse_place(url_of(primary, schema, standby.port if port is None else port)))) as store:
        yield store


def url_of(primary: Server, schema: str, port: int) -> str:
    return f"{primary.url}?schema={schema}&replica=127.0.0.1:{port}"


def append(store: PostgresqlStore, first: int, count: int, label: str = "e") -> list[UUID]:
    """Append events in one stream, and return their ids."""
    ids = [uuid5(NAMESPACE_URL, f"{label}{number}") for number in range(first, first + count)]
    events = [NewEvent(one, "Tested", 1, datetime(2026, 1, 5, tzinfo=UTC), b'{"a":1}') for one in ids]
    store.commit([[StreamWrite(StreamId("test", "x"), first, events)]])
    return ids


def followed(store: PostgresqlStore, limit: int = 10) -> list[UUID]:
    """Read the feed to its end, as it says, and return the ids."""
    found: list[UUID] = []
    while True:
        page = store.read_all(after=len(found), limit=limit)
        found += [event.event_id for event in page.events]
        if page.is_end:
            return found


def replay(standby: Server, *, is_on: bool) -> None:
    """Let the replica lag, or catch up."""
    execute(standby, "SELECT pg_wal_replay_resume()" if is_on else "SELECT pg_wal_replay_pause()")
    while not is_on and execute(standby, "SELECT pg_get_wal_replay_pause_state()") != "paused":
        pass


def catch_up(primary: Server, standby: Server) -> None:
    """Wait until the replica has everything."""
    with connect(primary.url, autocommit=True) as connection, connect(standby.url, autocommit=True) as other:
        ((position,),) = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()
        while other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)).fetchall() != [(True,)]:
            pass


def execute(one: Server, *queries: LiteralString) -> object:
    with connect(one.url, autocommit=True) as connection:
        rows: Sequence[tuple[object, ...]] = [connection.execute(query).fetchall() for query in queries][-1]
        return rows[0][0]


def troubles(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["problem"] for record in caplog.records if record.getMessage() == "store_replica_left"]


def test_history_is_read_from_the_replica(pair: Pair) -> None:
    primary, standby = pair
    with opened(pair, "history") as store:
        ids = append(store, 0, 50)
        catch_up(primary, standby)
        assert followed(store) == ids
        assert execute(standby, _FEED_READS) == 1
        assert execute(primary, _FEED_READS) == 0, "each page was full of events that the replica has"


def test_a_replica_that_lags_never_ends_the_feed(pair: Pair) -> None:
    primary, standby = pair
    with opened(pair, "lagging") as store:
        ids = append(store, 0, 12)
        catch_up(primary, standby)
        replay(standby, is_on=False)
        try:
            for number in range(12, 15):
                ids += append(store, number, 1)
                assert followed(store) == ids
                assert store.head() == len(ids)
                assert store.read_stream(StreamId("test", "x"), after=0, limit=100).version == len(ids)
        finally:
            replay(standby, is_on=True)


def test_a_replica_that_has_not_the_tables_yet_is_left_alone(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    primary, standby = pair
    replay(standby, is_on=False)
    try:
        with opened(pair, "later") as store:
            ids = append(store, 0, 5)
            assert followed(store) == ids
    finally:
        replay(standby, is_on=True)
    assert troubles(caplog) == ["the replica does not have the tables yet"]
    assert primary.port != standby.port


def test_followers_catch_up_with_what_was_acknowledged_just_now(pair: Pair, backend: str) -> None:
    async def main() -> None:
        primary, standby = pair
        url = url_of(primary, f"followed_{backend}", standby.port)
        async with open_inventory(url, read_models=url.partition("&")[0]) as inventory:
            for number in range(1, 20):
                await inventory.add_stock("tea", "berlin", 1)
                await inventory.followers.catch_up(on_failure="stop")
                row = await inventory.queries.stock("tea", "berlin")
                assert row is not None
                assert row.on_hand == number

    anyio.run(main, backend=backend)


def test_a_replica_that_is_away_is_left_alone_and_asked_again_later(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, _ = pair
    with opened(pair, "away", free_port()) as store:
        ids = append(store, 0, 25)
        assert followed(store) == ids
        assert troubles(caplog) == ["connection refused"], "it is asked once"
    monkeypatch.setattr(feed, "_LEFT_ALONE", 0.0)
    with replica(primary) as another, opened((primary, another), "away") as store:
        assert followed(store) == ids
        another.restart()
        assert followed(store) == ids
        assert followed(store) == ids
        assert execute(another, _FEED_READS) == 1


def test_a_promoted_replica_with_other_events_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    with server() as primary, replica(primary) as standby, opened((primary, standby), "promoted") as store:
        ids = append(store, 0, 20)
        catch_up(primary, standby)
        assert followed(store) == ids
        execute(standby, "SELECT pg_promote()")
        with opened((standby, standby), "promoted") as other:
            append(other, 20, 10, "other")
        ids += append(store, 20, 10)
        assert followed(store) == ids
        assert [text.partition(":")[0] for text in troubles(caplog)] == ["its feed is another one"]


def test_a_follower_of_a_lost_primary_is_rewound_as_without_replicas() -> None:
    with server() as primary, replica(primary) as standby, replica(primary) as reading:
        url = url_of(primary, "rewound", reading.port)
        rows = "sqlite:" + str(primary.root / "rows.db")
        with sync.open_inventory(url, read_models=rows) as inventory:
            inventory.add_stock("tea", "berlin", 1)
            catch_up(primary, standby)
            execute(standby, "SELECT pg_promote()")
            inventory.add_stock("tea", "berlin", 1)
            catch_up(primary, reading)
            inventory.followers.catch_up(on_failure="stop")
        primary.kill()
        with sync.open_inventory(url_of(standby, "rewound", reading.port), read_models=rows) as inventory:
            inventory.add_stock("tea", "berlin", 1)
            with pytest.raises(FeedRewoundError):
                inventory.followers.catch_up(on_failure="stop")


def test_another_store_is_no_replica(pair: Pair) -> None:
    with server() as stranger:
        migrate(f"{stranger.url}?schema=strange")
        with opened(pair, "strange", stranger.port) as store:
            append(store, 0, 1)
            with pytest.raises(IncompatibleStoreError, match="this server is no replica of the store"):
                followed(store)


@pytest.mark.parametrize("wrong", ["", "a:b", "a:1:2", "host,", "::1", "a b"])
def test_a_wrong_replica_is_told(wrong: str) -> None:
    with pytest.raises(ValueError, match="replica of the URL must be HOST:PORT"):
        open_inventory(f"postgresql://stock:hunter2@localhost/shop?replica={wrong}")


def test_the_way_to_a_replica_on_another_machine_is_verified() -> None:
    place = parse_place("postgresql://stock@localhost:5433/shop?replica=db2.example,[::1]:5434")
    assert place.replica is not None
    assert "sslmode" not in place.parameters
    expected = {"host": "db2.example,::1", "port": "5432,5434", "user": "stock", "dbname": "shop", "sslmode": "verify-full"}
    assert expected.items() <= place.replica.parameters.items()
    assert place.replica.parameters["target_session_attrs"] == "any"


def test_replica_is_no_option_of_read_models() -> None:
    with pytest.raises(ValueError, match="replica of the URL is for an event store"):
        open_inventory("memory:", read_models="postgresql://localhost/shop?replica=other")
