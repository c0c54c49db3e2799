"""Each failure of the server or the connection, as an error of the port.

A statement that the server refused with an ``ERROR`` was rolled back. The outcome is unknown where the connection broke while a statement
was under way. That holds if the server, or a pooler, took its leave (57P01, 57P02, 08P01) too: the commit may have come before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import psycopg

from inventory_es.adapters.postgresql.place import Place
from inventory_es.domain.errors import InventoryError
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    CorruptStoreError,
    IncompatibleStoreError,
    ReadModelUnavailableError,
    StoreClosedError,
    StoreUnavailableError,
)

TOO_LATE = "IE001"
WRONG_ISOLATION = "IE002"
REPLACED = "IE003"

_OTHER_TABLES = "the tables are not those of this version of the package"

_BROKEN = {"08000", "08003", "08006", "08P01", "57P01", "57P02", "57P04", "57P05", "25P03", "25P04"}
"""Codes with which a connection ends. What was under way on it may have been committed."""

_AWAY = {
    "08001": "no connection",
    "08004": "the server refused the connection",
    "25006": "the server takes no writes: it is a replica, or a former primary",
    "40001": "other transactions kept it from going on",
    "40P01": "a deadlock",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has no connection left",
    "54000": "a value is too large for it",
    "55P03": "another writer holds the lock",
    "57014": "the statement was cancelled",
    "57P03": "it is starting, stopping or recovering",
    TOO_LATE: "the append came too late, and was given up",
}
_REMEDIES = {"53100": "free space on the disk of the server"}
_GONE = {"3F000", "42P01", "42883", REPLACED}
_DAMAGED = {"XX001", "XX002", "58030"}
_INCOMPATIBLE = {
    "0A000": "the server does not support the statement",
    "22021": "the database is not UTF-8",
    "22P05": "the database is not UTF-8",
    "26000": "a prepared statement is gone, as behind a pooler: write ?pooler=transaction",
    "3D000": "there is no such database",
    "42501": "this role may not do that: see the grants in the guide 'Use PostgreSQL'",
    "42704": "there is no such role: CREATE ROLE makes one",
    "42703": f"a column is missing: {_OTHER_TABLES}",
    "42P05": "a prepared statement is of another session, as behind a pooler: write ?pooler=transaction",
    WRONG_ISOLATION: "transactions of this role are not read committed: set default_transaction_isolation of the role to 'read committed'",
}
_NO_SSL = "server does not support SSL"
_REFUSED_AT_THE_DOOR = (
    ("password authentication failed", "the server refused the password: give it in the URL, in PGPASSWORD or in a password file"),
    ("no password supplied", "the server asks for a password: give it in the URL, in PGPASSWORD or in a password file"),
    ("pg_hba.conf", "the server lets no such user in from here: see its pg_hba.conf"),
    ("role", "there is no such user on the server"),
    ("permission denied for database", "this user may not connect to the database: GRANT CONNECT"),
    ("database", "there is no such database on the server"),
    ("certificate", "the certificate of the server can't be checked: see sslmode and sslrootcert"),
    (_NO_SSL, "the server does not encrypt: see sslmode"),
)
_UNREACHED = (
    "connection refused",
    "timeout expired",
    "could not translate host name",
    "no route to host",
    "network is unreachable",
    "the database system is starting up",
    "the database system is shutting down",
    "too many clients already",
    "invalid sslmode value",
)
"""Reasons for no connection that an error may show. The rest of the driver's text may have more than a log should."""
_ENDS_THE_SESSION = {"FATAL", "PANIC"}
"""Severities after which nobody knows what became of a statement: a panic may follow the record of its commit."""
_NEVER_SENT = (psycopg.DataError, psycopg.NotSupportedError, psycopg.ProgrammingError)
"""Errors of the driver that come from no server, unless they have a code."""


@attrs.frozen
class Failures:
    """The errors of one store.

    Attributes:
        place: the store's place.
        name: of the store, for errors.
        unavailable: makes the error for a backend that is away, from a reason and a remedy.
        is_derived: True for a read model, which can be made again, and whose tables another process may be making again now.
    """

    place: Place
    name: str
    unavailable: Callable[[str, str | None], InventoryError]
    is_derived: bool = False

    @contextmanager
    def translated(self, *, is_sent: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Translate the errors of the driver.

        Args:
            is_sent: returns True if a commit may be under way.
        """
        try:
            yield
        except psycopg.Error as problem:
            raise self.of(problem, is_sent=is_sent()) from problem

    def of(self, problem: psycopg.Error, *, is_sent: bool) -> InventoryError:
        """Return the error of the port."""
        code = problem.sqlstate or problem.diag.sqlstate  # the driver knows no class for the codes of our functions
        if code is None and isinstance(problem, _NEVER_SENT):
            return self.unavailable(f"the driver refused the statement ({type(problem).__name__})", None)
        if code is None or code in _BROKEN:
            reason = str(problem) if isinstance(problem, NoAnswerError) else "the connection was lost"
            return self.unknown(reason) if is_sent else self.unavailable(reason, None)
        if is_sent and problem.diag.severity_nonlocalized in _ENDS_THE_SESSION:
            return self.unknown(f"the server ended the session ({code})")
        if code in _AWAY:
            return self.unavailable(f"{_AWAY[code]} ({code})", _REMEDIES.get(code))
        if code in _GONE and self.is_derived:
            return self.unavailable(f"a table is gone for now ({code})", None)
        if code in _GONE:
            return StoreClosedError(store=self.name, reason="its tables were moved, removed or replaced while it was open")
        if code in _DAMAGED:
            way_out = ": drop its schema, and run what follows the events, which makes it again" if self.is_derived else ""
            return self.corrupt(f"the server reports damage ({code}){way_out}")
        if code == "23505":
            return self.corrupt("a row is there twice: somebody wrote to the tables without the functions; see who may INSERT")
        problem_text = _INCOMPATIBLE.get(code) or (_OTHER_TABLES if code[:2] == "42" else None)
        if problem_text is not None:
            return self.incompatible(f"{problem_text} ({code})")
        return self.unavailable(f"the server answered with {type(problem).__name__} ({code}), and nothing was written", None)

    def at_the_door(self, problem: psycopg.Error) -> InventoryError:
        """Return the error for a connection that could not be made. libpq gives it no code, only a text."""
        text = str(problem)
        if problem.sqlstate is not None:
            return self.of(problem, is_sent=False)
        for words, meaning in _REFUSED_AT_THE_DOOR:
            if words in text and ("FATAL" in text or words in {"certificate", _NO_SSL}) and "starting up" not in text:
                if words in {"role", "database"} and "does not exist" not in text:
                    continue
                return self.incompatible(meaning)
        reason = next((words for words in _UNREACHED if words.lower() in text.lower()), "no connection")
        return self.unavailable(reason, None)

    def unknown(self, reason: str) -> AppendOutcomeUnknownError:
        """Return the error of an append that was perhaps written."""
        return AppendOutcomeUnknownError(store=self.name, reason=reason, retry_after=self.place.timeout)

    def corrupt(self, problem: str) -> CorruptStoreError:
        """Return the error of stored data that contradicts itself."""
        return CorruptStoreError(store=self.name, place=str(self.place), problem=problem)

    def incompatible(self, problem: str) -> IncompatibleStoreError:
        """Return the error of a place that this version can't use."""
        kind = "read model" if self.is_derived else "store"
        return IncompatibleStoreError(store=f"postgresql {kind}", place=str(self.place), problem=problem)


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time. The connection is closed."""


def store_failures(place: Place) -> Failures:
    """Return the errors of an event store."""
    name = f"postgresql store {place}"
    return Failures(place, name, lambda reason, remedy: StoreUnavailableError(store=name, reason=reason, remedy=remedy))


def read_model_failures(place: Place) -> Failures:
    """Return the errors of a read model."""
    name = f"postgresql read model {place}"

    def away(reason: str, remedy: str | None) -> ReadModelUnavailableError:
        return ReadModelUnavailableError(read_model=name, reason=reason, remedy=remedy)

    return Failures(place, name, away, is_derived=True)
