"""The history of a report: folded where operations repeat, and bounded."""

from collections.abc import Sequence

from inventory_es.testing.contracts.core.history import History


def history(*operations: str | tuple[str, str]) -> History:
    made = History()
    for operation in operations:
        asked, outcome = (operation, "done") if isinstance(operation, str) else operation
        made.begin(asked).outcome = outcome
    return made


def numbered(numbers: Sequence[int]) -> list[str]:
    return [f"append x@{number}" for number in numbers]


def test_operations_are_shown_in_order_with_their_outcomes() -> None:
    made = history(("append x@0 [a]", "1"), ("read x", "version 1, [a]"))
    made.begin("head")
    assert str(made) == "#1 append x@0 [a] -> 1 · #2 read x -> version 1, [a] · #3 head (never ended)"


def test_a_run_of_equal_operations_is_one() -> None:
    made = history(*numbered(range(6)), *[("read all after 3", "[]")] * 406, ("read all after 3", "[d]"))
    assert "#7–#412 read all after 3 -> [] (406 times) · #413 read all after 3 -> [d]" in str(made)


def test_two_are_no_run() -> None:
    assert str(history("head", "head")) == "#1 head -> done · #2 head -> done"


def test_a_round_of_several_operations_is_one() -> None:
    made = history("append x@0", *["read all after 3", "head"] * 50, "close")
    assert str(made) == "#1 append x@0 -> done · #2–#101 (read all after 3 -> done · head -> done) (50 times) · #102 close -> done"


def test_operations_that_never_ended_are_not_folded() -> None:
    made = History()
    for _ in range(4):
        made.begin("read x")
    assert str(made).count("(never ended)") == 4


def test_the_first_and_the_last_parts_are_shown() -> None:
    shown = str(history(*numbered(range(100))))
    assert shown.startswith("#1 append x@0 -> done · #2 append x@1 -> done · #3 append x@2 -> done · … 88 more … · #92 append x@91 -> done")
    assert shown.endswith("#100 append x@99 -> done")


def test_a_history_is_bounded() -> None:
    made = history("append x@0")
    for number in range(1_000_000):
        made.begin("read all after 1").outcome = str(number // 400_000)
    made.begin("close").outcome = "closed"
    assert len(made.entries) <= 2_200
    shown = str(made)
    assert shown == (
        "#1 append x@0 -> done · #2–#200 read all after 1 -> 0 (199 times) · … 997,802 more … · "
        "#998003–#1000001 read all after 1 -> 2 (1999 times) · #1000002 close -> closed"
    )
