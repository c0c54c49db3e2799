"""The migration of a store, which its owner runs before a version that needs it."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from time import monotonic

from psycopg import sql

from inventory_es.adapters.postgresql import schema
from inventory_es.adapters.postgresql.connections import Gate, Link
from inventory_es.adapters.postgresql.failures import store_failures
from inventory_es.adapters.postgresql.place import Place, parse_place

_PATIENCE = 3_600.0
"""Seconds for one statement, since a step may make an index over all events."""


@contextmanager
def connected(place: Place) -> Iterator[Link]:
    """Open a connection to the server of a store for an operator, whose statements may take an hour."""
    failures = store_failures(place)
    gate = Gate(place, failures, lambda _link, _greeting: None)
    with failures.translated(), closing(gate.connect()) as link:
        link.give_up = monotonic() + _PATIENCE
        yield link


def require_store(url: str) -> None:
    """Check that a URL leads to a store that this version can use. Nothing is made.

    Raises:
        ValueError, StoreUnavailableError: as :func:`~inventory_es.adapters.postgresql.open_postgresql_event_store`.
        IncompatibleStoreError: there is no store, or one of another format.
    """
    place = parse_place(url)
    with connected(place) as link:
        mark = schema.find_mark(link, place.schema)
    problem = "there is no store: 'inventory-es store migrate URL' makes one" if mark is None else mark.problem()
    if problem is not None:
        raise store_failures(place).incompatible(problem)


def migrate(url: str, *, writers: Sequence[str] = (), readers: Sequence[str] = ()) -> int:
    """Bring the tables of a store to the newest format, or make them, in one transaction. Then let roles use them. Idempotent.

    Processes of the version before go on meanwhile and afterwards, unless the changelog says otherwise. One migration at a time runs.

    Args:
        url: of the owner of the tables.
        writers: existing roles that may append, read, and keep snapshots.
        readers: existing roles that may read.

    Returns:
        The format of the tables.

    Raises:
        ValueError, IncompatibleStoreError: as :func:`~inventory_es.adapters.postgresql.open_postgresql_event_store`. Nothing was changed.
        StoreUnavailableError: the server can't be reached, or another session holds a lock on a table. Nothing was changed: try again.
    """
    place = parse_place(url)
    with connected(place) as link, link.transaction():
        for statement in _statements(link, place, writers, readers):
            link.execute(statement)
        return len(schema.MIGRATIONS)


def migration_script(url: str, *, writers: Sequence[str] = (), readers: Sequence[str] = ()) -> str:
    """Return the statements of :func:`migrate` as a script for ``psql``, and change nothing. Arguments and errors are the same."""
    place = parse_place(url)
    with connected(place) as link:
        lines = [statement.as_string(link).strip().rstrip(";") for statement in _statements(link, place, writers, readers)]
    return ";\n".join(["BEGIN", *lines, "COMMIT;"])


def _statements(link: Link, place: Place, writers: Sequence[str], readers: Sequence[str]) -> Iterator[sql.SQL | sql.Composed]:
    yield from schema.migration(link, place.schema)
    mark = schema.find_mark(link, place.schema)
    problem = None if mark is None else mark.problem()
    if problem is not None and mark is not None and mark.format >= len(schema.MIGRATIONS):
        raise store_failures(place).incompatible(problem)
    for kind, roles in (("writer", writers), ("reader", readers)):
        for role in roles:
            yield schema.grants(kind, place.schema, role)
