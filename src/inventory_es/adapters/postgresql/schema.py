"""The tables, and the functions that write them: format 1.

Every key begins with ``part``, a partition of the feed, which is 0 today. Nothing is ever updated in place: there is no sequence, no
counter and no column with the version of a stream. So an old snapshot, such as that of a backup, does not slow appends down.

``append_v1`` decides a whole group commit in one statement:

1. It takes the lock of the feed, and holds it until the commit. So positions become visible in their order, and no reader of the feed can
   skip one. The lock is a statement of its own: the next statement's snapshot is then taken after the wait.
2. It refuses after ``give_up_at``, so that a request that was held up for long has no effect after its caller was told so.
3. It reads the last position, the version of each stream, and the ids that are stored.
4. It inserts every group whose streams have their expected versions and of whose ids none is stored. Positions have no gaps, so that a
   missing event shows.

It also tells the server's clock and the durability that holds now, because a setting may change while a connection is open.

The name of a function carries its version, so that processes before and after a migration run side by side. ``pg_temp`` comes last in the
search path; otherwise a temporary table named ``events`` would take the rows.
"""

from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

FORMAT = 1
"""The format of the tables. A newer one is refused."""

LOCK_SECONDS = 2
"""The longest wait for other appends."""

MIGRATION_LOCK = 0x4945_5331
"""The key of the lock that one migration at a time holds: ``IES1`` in ASCII."""

_TABLES: LiteralString = """
CREATE TABLE meta (store_id uuid NOT NULL, format integer NOT NULL, partitions smallint NOT NULL, history integer NOT NULL);
INSERT INTO meta VALUES (gen_random_uuid(), 1, 1, 1);
CREATE TABLE streams (
    part smallint NOT NULL, id bigint NOT NULL, name text COLLATE "C" NOT NULL, name_key bytea NOT NULL,
    PRIMARY KEY (part, id), UNIQUE (part, name_key)
);
CREATE INDEX streams_by_name ON streams (part, (left(name, 200)));
CREATE TABLE events (
    part smallint NOT NULL, position bigint NOT NULL, stream_id bigint NOT NULL, version bigint NOT NULL, event_id uuid NOT NULL,
    event_type text NOT NULL, schema_version integer NOT NULL, recorded_at timestamptz NOT NULL, data text NOT NULL, metadata text NOT NULL,
    PRIMARY KEY (part, position)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_freeze_min_age = 0);
CREATE UNIQUE INDEX events_by_version ON events (part, stream_id, version);
CREATE UNIQUE INDEX events_by_id ON events (part, stream_id, event_id);
CREATE TABLE snapshots (
    part smallint NOT NULL, name_key bytea NOT NULL, schema_version integer NOT NULL, version bigint NOT NULL, event_id uuid NOT NULL,
    data bytea NOT NULL, PRIMARY KEY (part, name_key, schema_version)
);
CREATE VIEW readable_events AS
    SELECT position, name AS stream, version, event_id, event_type, schema_version, recorded_at, data, metadata
    FROM events JOIN streams ON streams.part = events.part AND id = stream_id;
"""

DURABILITY: LiteralString = """CASE
        WHEN current_setting('fsync') = 'off' OR current_setting('synchronous_commit') = 'off' THEN 'process'
        WHEN current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') IN ('on', 'remote_apply')
        THEN 'machine' ELSE 'power' END"""
"""The crash that a commit survives by the settings of the session, which may change at any reload."""

_APPEND: LiteralString = (
    """
CREATE FUNCTION append_v1(
    store uuid, p smallint, give_up_at timestamptz, names text[], groups integer[], expected bigint[],
    writes integer[], versions bigint[], ids uuid[], types text[], schemas integer[], times timestamptz[], datas text[], metas text[],
    OUT base bigint, OUT actual bigint[], OUT written boolean[], OUT clock timestamptz, OUT durability text
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, pg_temp SET lock_timeout = '2s' SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation level is not read committed' USING ERRCODE = 'IE002';
    END IF;
    PERFORM pg_advisory_xact_lock('{schema}.meta'::regclass::oid::integer, p);
    clock := clock_timestamp();
    IF clock > give_up_at THEN
        RAISE EXCEPTION 'the append came too late' USING ERRCODE = 'IE001';
    END IF;
    IF NOT EXISTS (SELECT FROM meta WHERE store_id = store) THEN
        RAISE EXCEPTION 'this is another store' USING ERRCODE = 'IE003';
    END IF;
    durability := """
    + DURABILITY
    + """;
    base := coalesce((SELECT max(e.position) FROM events e WHERE e.part = p), 0);
    WITH known AS MATERIALIZED (
        SELECT u.n, u.name, u.grp, u.expected, named.key, s.id,
            coalesce((SELECT e.version FROM events e WHERE e.part = p AND e.stream_id = s.id ORDER BY e.version DESC LIMIT 1), 0) AS actual
        FROM unnest(names, groups, expected) WITH ORDINALITY u (name, grp, expected, n)
        CROSS JOIN LATERAL (SELECT sha256(convert_to(u.name, 'UTF8')) AS key) named
        LEFT JOIN LATERAL (SELECT s.id FROM streams s WHERE s.part = p AND s.name_key = named.key LIMIT 1) s ON true
    ), w AS MATERIALIZED (
        SELECT k.*, coalesce(k.id, k.n + (SELECT coalesce(max(s.id), 0) FROM streams s WHERE s.part = p)) AS stream_id FROM known k
    ), e AS MATERIALIZED (
        SELECT u.*, w.grp, w.stream_id, w.id IS NOT NULL AND (
            SELECT true FROM events x WHERE x.part = p AND x.stream_id = w.id AND x.event_id = u.event_id LIMIT 1
        ) IS NOT NULL AS is_stored
        FROM unnest(writes, versions, ids, types, schemas, times, datas, metas)
            WITH ORDINALITY u (w, version, event_id, event_type, schema_version, recorded_at, data, metadata, n)
        JOIN w ON w.n = u.w
    ), fits AS MATERIALIZED (
        SELECT w.grp FROM w GROUP BY w.grp HAVING bool_and(w.actual = w.expected) EXCEPT SELECT e.grp FROM e WHERE e.is_stored
    ), new_streams AS (
        INSERT INTO streams SELECT p, w.stream_id, w.name, w.key FROM w JOIN fits USING (grp) WHERE w.id IS NULL ORDER BY w.n
    ), new_events AS (
        INSERT INTO events
        SELECT p, base + row_number() OVER (ORDER BY e.n), e.stream_id,
            e.version, e.event_id, e.event_type, e.schema_version, e.recorded_at, e.data, e.metadata
        FROM e JOIN fits USING (grp)
    )
    SELECT array_agg(w.actual ORDER BY w.n), array_agg(fits.grp IS NOT NULL ORDER BY w.n) INTO actual, written
    FROM w LEFT JOIN fits USING (grp);
END $$;
"""
)

_SETTLE: LiteralString = """
CREATE FUNCTION settle_v1(p smallint) RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, pg_temp SET lock_timeout = '2s'
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('{schema}.meta'::regclass::oid::integer, p);
    RETURN clock_timestamp();
END $$;
REVOKE ALL ON FUNCTION append_v1, settle_v1 FROM PUBLIC;
"""

STEPS: tuple[LiteralString, ...] = (_TABLES + _APPEND + _SETTLE,)
"""The steps from each format to the next. They are added and never edited."""


def find_format(link: psycopg.Connection[Any], schema: str) -> tuple[int, UUID] | None:
    """Return the format of the store in a schema, and its id; ``None`` where there is none."""
    if not has_table(link, schema, "meta"):
        return None
    row = link.execute(sql.SQL("SELECT format, store_id FROM {}.meta").format(sql.Identifier(schema)), binary=True).fetchone()
    return None if row is None else (row[0], UUID(bytes=row[1]))


def has_table(link: psycopg.Connection[Any], schema: str, name: str) -> bool:
    """Return True if a schema has a table. Unlike ``to_regclass``, this sees what was committed while a lock was waited for."""
    found = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"
    return link.execute(found, (schema, name)).rowcount > 0


def make_tables(link: psycopg.Connection[Any], schema: str) -> None:
    """Make the tables and functions of a store in a schema, unless another process has made them meanwhile."""
    name = sql.Identifier(schema)
    with link.transaction():
        bound_waits(link)
        link.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        if find_format(link, schema) is None:
            link.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
            link.execute(sql.SQL("SET LOCAL search_path = {}").format(name))
            for step in STEPS:
                link.execute(sql.SQL(step).format(schema=name))


def bound_waits(link: psycopg.Connection[Any]) -> None:
    """Bound the waits of a transaction for other sessions, and of others for it where its client has vanished."""
    link.execute("SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '5s'")
