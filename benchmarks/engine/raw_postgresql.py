"""The limit of a PostgreSQL server, as a contender: an advisory lock and one statement that inserts, without an engine.

W1 appends one event in a commit. W1c appends to 64 streams in a commit, and W3 64 events to one stream. W2 and W4 read pages of 1,000 rows.
"""

import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from benchmarks.contender_process import serve
from benchmarks.engine.store_url import schema_of, url_of
from benchmarks.measure import Measure, Measures, of_calls
from benchmarks.sizes import Sizes

AT_ONCE = 64
PAGE = 1_000
DATA = '{"quantity": 1, "on_hand": 1000000000, "reserved": 12, "purpose": "ORDER", "note": "as long as an event of a reservation"}' * 2
"""About as long as the data and the metadata of an event of ours."""
_TABLES: LiteralString = """
    CREATE TABLE streams (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" UNIQUE, version bigint NOT NULL)
        WITH (fillfactor = 70);
    CREATE TABLE events (position bigint PRIMARY KEY, stream bigint NOT NULL, version bigint NOT NULL, id uuid NOT NULL, data text NOT NULL,
        UNIQUE (stream, version), UNIQUE (stream, id));
    CREATE FUNCTION append(names text[], events_each int, ids uuid[], body text) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE last bigint;
    BEGIN
        PERFORM pg_advisory_xact_lock(1);
        SELECT coalesce(max(position), 0) INTO last FROM events;
        WITH moved AS (
            INSERT INTO streams AS s (name, version) SELECT name, events_each FROM unnest(names) AS name ORDER BY name
            ON CONFLICT (name) DO UPDATE SET version = s.version + excluded.version RETURNING s.id, s.name, s.version
        )
        INSERT INTO events
        SELECT last + n, moved.id, moved.version - events_each + 1 + (n - 1) % events_each, given, body
        FROM unnest(ids) WITH ORDINALITY AS wanted(given, n) JOIN moved ON moved.name = names[1 + (n - 1) / events_each];
        RETURN last;
    END $$;
"""
_APPEND: LiteralString = "SELECT append(%s, %s, %s, %s)"


class Raw:
    """A connection to tables of its own."""

    def __init__(self, folder: Path) -> None:
        url = url_of("postgresql", folder).partition("?")[0]
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema_of(folder))))
        self.connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema_of(folder))))

    def close(self) -> None:
        self.connection.close()

    def create(self) -> None:
        self.connection.execute(_TABLES)

    def append(self, names: list[str], events_each: int) -> None:
        ids = [uuid4() for _ in range(len(names) * events_each)]
        self.connection.execute(_APPEND, (names, events_each, ids, DATA), prepare=True, binary=True)

    def measure(self, streams: int, events_each: int, sizes: Sizes) -> Measure:
        """Append for as long as a case may take. Each event counts as a call."""
        waits: list[float] = []
        started = time.perf_counter()
        for number in count():
            before = time.perf_counter()
            if before > started + sizes["patience"]:
                break
            self.append([f"p{(number * streams + at) % sizes['inventories']}" for at in range(streams)], events_each)
            waits.append(time.perf_counter() - before)
        seconds = time.perf_counter() - started
        return of_calls(waits, seconds) | {"per_second": len(waits) * streams * events_each / seconds}

    def read(self) -> Measure:
        """Read the whole feed in pages."""
        started, events, last = time.perf_counter(), 0, 0
        while page := self.connection.execute(
            "SELECT * FROM events WHERE position > %s ORDER BY position LIMIT %s", (last, PAGE), prepare=True, binary=True
        ).fetchall():
            events += len(page)
            last = page[-1][0]
        return {"per_second": events / (time.perf_counter() - started), "events": events}


def commands(folder: Path, sizes: Sizes) -> Measures:
    """Measure the work below W1 and W1c."""
    with closing(Raw(folder)) as raw:
        raw.create()
        return {"W1": raw.measure(1, 1, sizes), "W1c": raw.measure(min(AT_ONCE, sizes["inventories"]), 1, sizes)}


def hot(folder: Path, sizes: Sizes) -> Measures:
    """Measure the work below W3."""
    with closing(Raw(folder)) as raw:
        raw.create()
        return {"W3 1": raw.measure(1, 1, sizes), "W3 64": raw.measure(1, AT_ONCE, sizes | {"inventories": 1})}


def prepare_log(folder: Path, sizes: Sizes) -> Measures:
    """Write what is read."""
    for name, streams in (("long", 1), ("feed", sizes["feed"] // 100)):
        with closing(Raw(folder / name)) as raw:
            raw.create()
            for at in range(streams):
                raw.append([f"p{at}"], 100 if name == "feed" else sizes["long_stream"])
    return {}


def log(folder: Path, _: Sizes) -> Measures:
    """Measure the work below W2 and W4."""
    with closing(Raw(folder / "long")) as long, closing(Raw(folder / "feed")) as feed:
        return {"W2": long.read(), "W4": feed.read()}


if __name__ == "__main__":
    serve({"commands": commands, "hot": hot, "prepare_log": prepare_log, "log": log})
