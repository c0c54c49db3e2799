"""Storage in a PostgreSQL database, with psycopg 3. Its license is the LGPL 3.0."""

try:
    import psycopg as _driver  # noqa: F401  # what is missing without the extra
except ImportError as _problem:
    _msg = "PostgreSQL needs the driver psycopg 3: pip install 'inventory_es[postgres]'"
    raise ModuleNotFoundError(_msg, name="psycopg") from _problem

from inventory_es.adapters.postgresql.event_store import PostgresqlEventStore, open_postgresql, open_postgresql_event_store
from inventory_es.adapters.postgresql.migration import migrate, migration_script, require_store
from inventory_es.adapters.postgresql.place import Place, parse_place
from inventory_es.adapters.postgresql.read_model import PostgresqlReadModel, open_postgresql_read_model, open_read_model, rows_place

__all__ = [
    "Place",
    "PostgresqlEventStore",
    "PostgresqlReadModel",
    "migrate",
    "migration_script",
    "open_postgresql",
    "open_postgresql_event_store",
    "open_postgresql_read_model",
    "open_read_model",
    "parse_place",
    "require_store",
    "rows_place",
]
