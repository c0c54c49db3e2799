"""Commands on a store in PostgreSQL, for its operators: ``store migrate`` and ``doctor``."""

from collections.abc import Mapping, Sequence
from typing import LiteralString

import attrs
import click
from rich.markup import escape

from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import SERVER_URL, json_option
from inventory_es.cli.tables import console, print_json, print_line
from inventory_es.ports.toolkit.urls import masked


@click.group()
def store() -> None:
    """Migrate the tables of a store on a server."""


@store.command()
@click.argument("url", metavar="URL", type=SERVER_URL)
@click.option("--writer", "writers", metavar="ROLE", multiple=True, help="Let a role append, read and keep snapshots. May be repeated.")
@click.option("--reader", "readers", metavar="ROLE", multiple=True, help="Let a role read. May be repeated.")
@click.option("--sql", "shows_sql", is_flag=True, help="Print the statements for psql instead, and change nothing.")
@json_option
def migrate(*, url: str, writers: tuple[str, ...], readers: tuple[str, ...], shows_sql: bool, as_json: bool) -> None:
    """Migrate the tables of a store to the format of this version, or make them, and grant roles what they need.

    URL is that of the owner of the tables. All of it is one transaction, and nothing is changed if it is up to date. Processes of the
    version before go on working meanwhile and afterwards, unless the changelog says otherwise. The roles exist: CREATE ROLE makes them.
    """
    from inventory_es.adapters.postgresql import migrate as migrate_store  # noqa: PLC0415  # its driver comes with an extra
    from inventory_es.adapters.postgresql import migration_script  # noqa: PLC0415  # the same

    if shows_sql:
        script = migration_script(url, writers=writers, readers=readers)
        print_json({"sql": script}) if as_json else print_line(script)
        return
    number = migrate_store(url, writers=writers, readers=readers)
    if as_json:
        print_json({"store": masked(url), "format": number, "writers": writers, "readers": readers})
        return
    roles = [f"writer {name}" for name in writers] + [f"reader {name}" for name in readers]
    console().print(f"[good]✓[/] {escape(masked(url))}: format {number}{escape(', '.join(['', *roles]))}", soft_wrap=True)


@attrs.frozen
class Diagnosis:
    """The state of one thing that operators watch.

    Attributes:
        check: the name of the thing.
        state: a short text.
        advice: the remedy; ``None`` where all is well.
    """

    check: str
    state: str
    advice: str | None


@click.command()
@click.argument("url", metavar="URL", type=SERVER_URL)
@json_option
@click.pass_context
def doctor(ctx: click.Context, /, *, url: str, as_json: bool) -> None:
    """Examine a store in PostgreSQL and its server, and say what to do.

    The durability settings, long transactions, waiting appends, connections, replication slots, dead tuples, index sizes, the age of
    transaction numbers and the grants are examined. Nothing is changed. The role needs pg_monitor to see other sessions. The exit code
    is 1 if something is to be done. With --json, print one object per line.
    """
    found = examine(url)
    for one in found:
        if as_json:
            print_json(attrs.asdict(one))
        else:
            mark = "[good]✓[/]" if one.advice is None else "[bad]✗[/]"
            console().print(f"{mark} {one.check}: {escape(one.state)}", soft_wrap=True)
            if one.advice is not None:
                console().print(f"  {escape(one.advice)}", soft_wrap=True)
    if any(one.advice is not None for one in found):
        ctx.exit(WRONG)


def examine(url: str) -> Sequence[Diagnosis]:
    """Return the state of each thing.

    Raises:
        IncompatibleStoreError: there is no store, or one of another format.
        StoreUnavailableError: the server can't be reached now.
    """
    from psycopg import sql  # noqa: PLC0415  # it comes with an extra

    from inventory_es.adapters.postgresql import parse_place, require_store  # noqa: PLC0415  # the same
    from inventory_es.adapters.postgresql.migration import connected  # noqa: PLC0415  # the same
    from inventory_es.adapters.postgresql.schema import DURABILITY  # noqa: PLC0415  # the same

    require_store(url)
    place = parse_place(url)
    found: list[Diagnosis] = []
    with connected(place) as link:
        for check, query in _CHECKS.items():
            statement = sql.SQL(query).format(
                schema=sql.Identifier(place.schema), name=sql.Literal(place.schema), durability=sql.SQL(DURABILITY), **LIMITS
            )
            found += [Diagnosis(check, state, advice) for state, advice in link.execute(statement)]
    return found


LIMITS: dict[str, str | int] = {
    "snapshot": "15 minutes",
    "wait": "1 second",
    "connections": 80,  # percent
    "dead": 10_000,  # tuples
    "index": 100_000_000,  # bytes
    "transactions": 500_000_000,
}
"""The values beyond which there is an advice."""

_CHECKS: Mapping[str, LiteralString] = {
    "durability": """
        SELECT 'a commit survives the loss of ' || survives || CASE WHEN named THEN ', replicas ' || replicas ELSE '' END, CASE
            WHEN survives = 'process' THEN 'set fsync = on and synchronous_commit = on: a power cut loses acknowledged events'
            WHEN current_setting('full_page_writes') = 'off' THEN 'set full_page_writes = on: a power cut may damage pages'
            WHEN named AND replicas = 0 THEN 'no synchronous replica is connected, so commits wait for one: see synchronous_standby_names'
            END
        FROM (SELECT {durability} AS survives, current_setting('synchronous_standby_names') <> '' AS named,
            (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS replicas) now""",
    "visibility": """
        SELECT CASE WHEN sees THEN 'every session' ELSE 'own sessions alone' END,
            CASE WHEN NOT sees THEN 'GRANT pg_monitor TO ' || quote_ident(current_user) || ': the next two checks see less without it' END
        FROM (SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS sees) granted""",
    "oldest snapshot": """
        SELECT coalesce(min(holder) || ', for ' || date_trunc('second', min(since)), 'none'), CASE WHEN min(since) > {snapshot} THEN
            'end it (' || min(remedy) || '), and set idle_in_transaction_session_timeout: VACUUM removes nothing that is newer' END
        FROM (
            SELECT 'session ' || pid || ' of ' || usename, clock_timestamp() - xact_start, 'SELECT pg_terminate_backend(' || pid || ')'
            FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
            UNION ALL SELECT 'prepared transaction ' || gid, clock_timestamp() - prepared, 'ROLLBACK PREPARED ' || quote_literal(gid)
            FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 2 DESC NULLS LAST LIMIT 1
        ) oldest (holder, since, remedy)""",
    "waiters": """
        SELECT count(*) || coalesce(', the longest for ' || max(clock_timestamp() - waitstart), ''),
            CASE WHEN max(clock_timestamp() - waitstart) > {wait} THEN 'session ' || coalesce(min(holder)::text, 'of somebody')
            || ' holds the lock of the feed: see its query in pg_stat_activity, and end it with pg_terminate_backend' END
        FROM (SELECT waitstart, (pg_blocking_pids(pid))[1] AS holder FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid IN ('{schema}.meta'::regclass, '{schema}.streams'::regclass)) waiting""",
    "connections": """
        SELECT used || ' of ' || most, CASE WHEN 100 * used > {connections} * most THEN
            'raise max_connections, or put a pooler in between, with pooler=transaction in the URL' END
        FROM (SELECT count(*) AS used FROM pg_stat_activity WHERE backend_type = 'client backend') sessions,
            (SELECT current_setting('max_connections')::int AS most) setting""",
    "replication slots": """
        SELECT count(*) || coalesce(', the furthest behind by ' || pg_size_pretty(max(behind)), ''),
            CASE WHEN bool_or(NOT active) THEN 'start the replica of ' || string_agg(slot_name, ', ') FILTER (WHERE NOT active)
            || ', or drop the slot with pg_drop_replication_slot: it keeps log until the disk is full' END
        FROM (SELECT slot_name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS behind FROM pg_replication_slots) slots""",
    "dead tuples": """
        SELECT sum(n_dead_tup) || ' of ' || sum(n_dead_tup + n_live_tup), 'VACUUM ' || string_agg(relid::regclass::text, ', ')
            FILTER (WHERE n_dead_tup > {dead} AND n_dead_tup > n_live_tup / 5) || ', and see the oldest snapshot and autovacuum'
        FROM pg_stat_user_tables JOIN pg_class ON oid = relid WHERE relnamespace = quote_ident({name})::regnamespace""",
    "index sizes": """
        SELECT string_agg(indexrelid::regclass || ' ' || pg_size_pretty(own), ', ' ORDER BY own DESC, indexrelid) FILTER (WHERE place <= 5),
            'REINDEX INDEX CONCURRENTLY ' || string_agg(indexrelid::regclass::text, ', ')
            FILTER (WHERE NOT indisvalid OR own > {index} AND own > rows) || ': it is invalid, or larger than its table'
        FROM (SELECT indexrelid, indisvalid, pg_relation_size(indexrelid) AS own, pg_table_size(indrelid) AS rows,
            row_number() OVER (ORDER BY pg_relation_size(indexrelid) DESC, indexrelid) AS place
            FROM pg_index JOIN pg_class ON oid = indrelid WHERE relnamespace = quote_ident({name})::regnamespace) sizes""",
    "wraparound": """
        SELECT oldest || ' of 2100000000 transactions', CASE WHEN oldest > {transactions} THEN
             'run VACUUM (FREEZE) in this database, and see why autovacuum does not: the oldest snapshot, replication slots' END
        FROM (SELECT age(datfrozenxid) AS oldest FROM pg_database WHERE datname = current_database()) ages""",
    "who may write": """
        SELECT coalesce(string_agg(DISTINCT who, ', '), 'the owner alone'), 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON '
            || string_agg(DISTINCT relation, ', ') || ' FROM ' || string_agg(DISTINCT who, ', ') || ': functions append events'
        FROM (SELECT c.oid::regclass::text AS relation, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
            FROM pg_class c, aclexplode(relacl) WHERE grantee <> relowner AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
            AND c.oid IN ('{schema}.meta'::regclass, '{schema}.streams'::regclass, '{schema}.events'::regclass)) granted""",
}
"""By name, a query for the state of a thing, and for the advice, which is NULL where all is well."""
