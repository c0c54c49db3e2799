"""What each failure of the server becomes: a row of the table is a test."""

from types import SimpleNamespace

import pytest
from psycopg import Error, InterfaceError, OperationalError
from psycopg.errors import lookup

from inventory_es.adapters.postgresql.failures import NoAnswerError, store_failures
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.errors import (
    AppendOutcomeUnknownError,
    CorruptStoreError,
    IncompatibleStoreError,
    InventoryError,
    StoreClosedError,
    StoreUnavailableError,
)

FAILURES = store_failures(parse_place("postgresql://stock:hunter2@localhost/shop"))

BROKEN = ("08000", "08003", "08006", "08P01", "57P01", "57P02", "57P04", "57P05", "25P03", "25P04")
AWAY = ("08001", "08004", "25006", "40001", "40P01", "53100", "53200", "53300", "54000", "55P03", "57014", "57P03")
INCOMPATIBLE = ("0A000", "22021", "22P05", "26000", "3D000", "42501", "42703", "42P05", "42601", "42804")


def test_a_connection_that_breaks_under_way_leaves_the_outcome_unknown() -> None:
    problems: list[Error] = [OperationalError("lost"), InterfaceError("closed"), NoAnswerError("no answer in time")]
    problems += [type("Farewell", (OperationalError,), {"sqlstate": code})("farewell") for code in BROKEN]  # an old driver knows not all
    assert {type(FAILURES.of(problem, is_sent=True)) for problem in problems} == {AppendOutcomeUnknownError}
    assert {type(FAILURES.of(problem, is_sent=False)) for problem in problems} == {StoreUnavailableError}


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize("code", ["53100", "53200", "58030", "XX000"])
def test_an_end_of_the_session_under_way_leaves_the_outcome_unknown(code: str, severity: str) -> None:
    diag = SimpleNamespace(sqlstate=code, severity_nonlocalized=severity)
    ended: Error = type("Ended", (OperationalError,), {"sqlstate": code, "diag": diag})("ended")
    assert isinstance(FAILURES.of(ended, is_sent=True), AppendOutcomeUnknownError)
    assert not isinstance(FAILURES.of(ended, is_sent=False), AppendOutcomeUnknownError)


@pytest.mark.parametrize(
    "text,kind",
    [
        ("connection failed: SSL SYSCALL error: EOF detected", StoreUnavailableError),
        ("connection failed: server does not support SSL, but SSL was required", IncompatibleStoreError),
        ('connection failed: FATAL:  permission denied for database "shop"', IncompatibleStoreError),
    ],
)
def test_a_refusal_at_the_door_is_lasting_or_may_pass(text: str, kind: type[InventoryError]) -> None:
    assert isinstance(FAILURES.at_the_door(OperationalError(text)), kind)


@pytest.mark.parametrize("code", AWAY)
@pytest.mark.parametrize("is_sent", [True, False])
def test_a_refusal_that_may_pass_is_unavailable_and_wrote_nothing(code: str, is_sent: bool) -> None:
    told = FAILURES.of(lookup(code)("no"), is_sent=is_sent)
    assert isinstance(told, StoreUnavailableError)
    assert code in told.message


def test_a_full_disk_names_what_to_do() -> None:
    told = FAILURES.of(lookup("53100")("no"), is_sent=True)
    assert isinstance(told, StoreUnavailableError)
    assert (told.remedy, told.retryable) == ("free space on the disk of the server", False)


@pytest.mark.parametrize("code", INCOMPATIBLE)
def test_a_refusal_that_stays_is_incompatible(code: str) -> None:
    assert isinstance(FAILURES.of(lookup(code)("no"), is_sent=True), IncompatibleStoreError)


@pytest.mark.parametrize(
    "code,kind",
    [
        ("3F000", StoreClosedError),
        ("42P01", StoreClosedError),
        ("42883", StoreClosedError),
        ("XX001", CorruptStoreError),
        ("XX002", CorruptStoreError),
        ("58030", CorruptStoreError),
        ("23505", CorruptStoreError),
        ("22003", StoreUnavailableError),
        ("XX000", StoreUnavailableError),
        ("P0001", StoreUnavailableError),
    ],
)
def test_every_other_code_is_an_error_of_the_port(code: str, kind: type[InventoryError]) -> None:
    assert type(FAILURES.of(lookup(code)("no"), is_sent=True)) is kind


@pytest.mark.parametrize(
    "text,kind",
    [
        ("connection refused", StoreUnavailableError),
        ("FATAL:  the database system is starting up", StoreUnavailableError),
        ("FATAL:  sorry, too many clients already", StoreUnavailableError),
        ('FATAL:  password authentication failed for user "stock"', IncompatibleStoreError),
        ('FATAL:  role "stock" does not exist', IncompatibleStoreError),
        ('FATAL:  database "shop" does not exist', IncompatibleStoreError),
        ("FATAL:  no pg_hba.conf entry for host", IncompatibleStoreError),
        ("root certificate file does not exist", IncompatibleStoreError),
    ],
)
def test_no_connection_is_told_by_its_text(text: str, kind: type[InventoryError]) -> None:
    told = FAILURES.at_the_door(OperationalError(f"hunter2 {text}"))
    assert type(told) is kind
    assert "hunter2" not in f"{told!r} {told}"


def test_a_place_shows_no_password() -> None:
    place = parse_place("postgresql://stock:hunter2@db.example:5433/shop?schema=berlin&sslmode=disable")
    assert str(place) == "db.example:5433/shop, schema berlin"
    assert "hunter2" not in repr(place)


def test_another_machine_is_asked_for_its_certificate() -> None:
    far = parse_place("postgresql://stock@db.example/shop").parameters
    assert far["sslmode"] == "verify-full"
    assert "sslmode" not in parse_place("postgresql://stock@127.0.0.1/shop").parameters
    assert parse_place("postgresql://stock@db.example/shop?sslmode=require").parameters["sslmode"] == "require"


@pytest.mark.parametrize(
    "url,host",
    [
        ("postgresql:///shop", "localhost"),
        ("postgresql:///shop?host=/var/run/postgresql", "/var/run/postgresql"),
        ("postgresql://db/shop", "db"),
    ],
)
def test_a_url_may_leave_the_host_to_libpq(url: str, host: str) -> None:
    place = parse_place(url)
    assert place.shown == f"{host}:5432/shop, schema inventory_es"
    assert ("sslmode" in place.parameters) == (host == "db")


def test_the_environment_names_the_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    place = parse_place("postgresql://stock@/shop")
    assert (place.parameters["sslmode"], place.shown.partition(":")[0]) == ("verify-full", "db.example")
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode" not in parse_place("postgresql://stock@/shop").parameters


def test_a_service_of_libpq_is_taken_for_another_machine() -> None:
    assert parse_place("postgresql:///?service=shop").parameters["sslmode"] == "verify-full"


def test_a_plus_is_a_plus_and_the_time_to_connect_follows_the_timeout() -> None:
    place = parse_place("postgresql://localhost/shop?password=a+b&timeout=9.5")
    assert (place.parameters["password"], place.parameters["connect_timeout"]) == ("a+b", "10")
    assert parse_place("postgresql://localhost/shop?timeout=0.5").parameters["connect_timeout"] == "2"


@pytest.mark.parametrize("options", ["client_encoding=latin1", "schema=information_schema"])
def test_an_option_that_would_spoil_the_tables_is_refused(options: str) -> None:
    with pytest.raises(ValueError, match=options.split("=", maxsplit=1)[0]):
        parse_place(f"postgresql://localhost/shop?{options}")
