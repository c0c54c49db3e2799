"""What each failure of the server becomes: a row of the table is a test."""

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
