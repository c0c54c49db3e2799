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

No role but the owner may write to the tables of events: a writer may execute the functions, which run as the owner.
"""

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

LOCK = sql.SQL("SELECT pg_advisory_xact_lock({})").format(0x4945_5331)
"""Waits for the lock that one migration at a time holds. Its key is ``IES1`` in ASCII."""

BOUNDS = sql.SQL("SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '5s'")

_TABLES: LiteralString = """
CREATE TABLE meta (store_id uuid NOT NULL, format integer NOT NULL, least_format integer NOT NULL);
INSERT INTO meta VALUES (gen_random_uuid(), 1, 1);
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


class Migration(NamedTuple):
    """A step to the next format.

    Attributes:
        statements: run with the schema first in the search path.
        least_format: the oldest format whose packages may go on using the tables after the step.
    """

    statements: LiteralString
    least_format: int


MIGRATIONS: tuple[Migration, ...] = (Migration(_TABLES + _APPEND + _SETTLE, 1),)
"""The steps from each format to the next. Their number is the format that this package needs. They are added and never edited."""

_READ: LiteralString = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.meta, {schema}.streams, {schema}.events, {schema}.snapshots, {schema}.readable_events TO {role};
"""
GRANTS: Mapping[str, LiteralString] = {
    "reader": _READ,
    "writer": _READ
    + """GRANT INSERT, UPDATE, DELETE ON {schema}.snapshots TO {role};
GRANT EXECUTE ON FUNCTION {schema}.append_v1, {schema}.settle_v1 TO {role};
""",
}
"""By kind of role, the statements that let it do its work and no more."""


class Mark(NamedTuple):
    """The row of ``meta``.

    Attributes:
        format: of the tables.
        least_format: the oldest format whose packages may use the tables.
        store_id: of the store.
    """

    format: int
    least_format: int
    store_id: UUID

    def problem(self) -> str | None:
        """Return the reason why this package can't use the tables, and the remedy; ``None`` if it can."""
        needed = len(MIGRATIONS)
        if self.least_format > needed:
            return f"its format is {self.format}, this package knows up to {needed}: update the package"
        if self.format < needed:
            return f"its format is {self.format}, this package needs {needed}: run 'inventory-es store migrate URL' as its owner"
        return None


def find_mark(link: psycopg.Connection[Any], schema: str) -> Mark | None:
    """Return the mark of the store in a schema; ``None`` where there is no store."""
    if not has_table(link, schema, "meta"):
        return None
    statement = sql.SQL("SELECT format, least_format, store_id FROM {}.meta").format(sql.Identifier(schema))
    row = link.execute(statement, binary=True).fetchone()
    return None if row is None else Mark(row[0], row[1], UUID(bytes=row[2]))


def has_table(link: psycopg.Connection[Any], schema: str, name: str) -> bool:
    """Return True if a schema has a table. Unlike ``to_regclass``, this sees what was committed while a lock was waited for."""
    found = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"
    return link.execute(found, (schema, name)).rowcount > 0


def has_schema(link: psycopg.Connection[Any], schema: str) -> bool:
    """Return True if there is a schema. ``CREATE SCHEMA IF NOT EXISTS`` would need the right to create one where it exists too."""
    return link.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)).rowcount > 0


def migration(link: psycopg.Connection[Any], schema: str) -> Iterator[sql.SQL | sql.Composed]:
    """Yield the statements that bring a schema to the newest format, for one transaction.

    They wait for a lock first. What is left to do is read after that, since another process may have done it meanwhile.
    """
    yield BOUNDS
    yield LOCK
    mark = find_mark(link, schema)
    if mark is None and not has_schema(link, schema):
        yield sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))
    done = 0 if mark is None else mark.format
    for number, step in enumerate(MIGRATIONS[done:], done + 1):
        yield sql.SQL("SET LOCAL search_path = {}, pg_temp").format(sql.Identifier(schema))
        yield sql.SQL(step.statements).format(schema=sql.Identifier(schema))
        if number > 1:  # the first step inserts the row
            yield sql.SQL("UPDATE meta SET format = {}, least_format = {}").format(number, step.least_format)


def grants(kind: str, schema: str, role: str) -> sql.Composed:
    """Return the statements that make a role a ``writer`` or a ``reader`` of a store."""
    return sql.SQL(GRANTS[kind]).format(schema=sql.Identifier(schema), role=sql.Identifier(role))


def make_tables(link: psycopg.Connection[Any], schema: str) -> None:
    """Bring the tables and functions of a store to the newest format, or make them. Idempotent, and safe while others do the same."""
    with link.transaction():
        for statement in migration(link, schema):
            link.execute(statement)


def bound_waits(link: psycopg.Connection[Any]) -> None:
    """Bound the waits of a transaction for other sessions, and of others for it where its client has vanished."""
    link.execute(BOUNDS)
