"""Appends that may still take effect: until when, and what ends it."""

import pytest

from inventory_es.application.commands.idempotency import UnsettledAppends
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError

X, Y = StreamId("inventory", "x", "s"), StreamId("inventory", "y", "s")
PROBLEM = AppendOutcomeUnknownError(store="S", reason="no answer")


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def kept(within: float | None, time: Time, *, versions: dict[StreamId, int] | None = None) -> UnsettledAppends:
    appends = UnsettledAppends(within, time)
    writes = [StreamWrite(stream, version, ()) for stream, version in (versions or {X: 3}).items()]
    appends.add(writes, [(X, "c"), (X, "d")], PROBLEM)
    return appends


def test_a_store_that_settles_at_once_leaves_nothing() -> None:
    appends = UnsettledAppends(0.0, Time())
    assert appends.add([StreamWrite(X, 3, ())], [(X, "c")], PROBLEM) is PROBLEM
    assert not appends.appends


def test_it_may_take_effect_until_its_time_has_passed() -> None:
    time = Time()
    appends = kept(5.0, time)
    time.now = 104.9
    found = appends.find(X, "c")
    assert found is not None
    assert (found.until, found.problem.retry_after) == (105.0, 5.0)
    assert appends.find(X, "other") is appends.find(Y, "c") is None
    time.now = 105.0
    assert appends.find(X, "c", now=104.0) is not None, "a look-up that began before proves nothing"
    assert appends.find(X, "c") is None
    assert not appends.appends, "all its commands are settled with it"


def test_where_no_time_is_declared_only_its_stream_ends_it() -> None:
    time = Time()
    appends = kept(None, time)
    time.now = 1e12
    found = appends.find(X, "d")
    assert found is not None
    assert found.problem.retry_after is None
    appends.seen(X, 3)
    assert appends.find(X, "d") is found
    appends.seen(Y, 9)
    assert appends.find(X, "d") is found
    appends.seen(X, 4)
    assert not appends.appends


def test_any_of_its_streams_ends_it() -> None:
    appends = UnsettledAppends(None, Time())
    appends.add([StreamWrite(X, 3, ()), StreamWrite(Y, 7, ())], [(X, "c"), (Y, "d")], PROBLEM)
    appends.seen(Y, 8)
    assert appends.find(X, "c") is None
    assert not appends.appends


def test_a_later_one_of_the_same_command_takes_its_place() -> None:
    time = Time()
    appends = kept(5.0, time)
    time.now = 103.0
    appends.add([StreamWrite(X, 4, ())], [(X, "c")], PROBLEM)
    appends.seen(X, 4)
    found = appends.find(X, "c")
    assert found is not None
    assert found.until == 108.0
    assert appends.find(X, "d") is None


@pytest.mark.parametrize("retry_after, told", [(None, "with the same ids"), (5.0, "with the same ids; 5 s later, the answer is final")])
def test_the_error_says_when_an_answer_is_final(retry_after: float | None, told: str) -> None:
    error = AppendOutcomeUnknownError(store="S", reason="no answer", retry_after=retry_after)
    assert str(error).endswith(told)
    assert error.to_dict()["retry_after"] == retry_after
