"""UUID version 7 texts: form, order, uniqueness over threads and fork."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from inventory_es.adapters.system import Uuid7Generator


def test_an_id_is_a_canonical_uuid_of_version_7_that_carries_the_time() -> None:
    before = time.time_ns() // 1_000_000
    text = Uuid7Generator().new_id()
    after = time.time_ns() // 1_000_000
    parsed = UUID(text)

    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, RFC_4122)
    assert before <= parsed.int >> 80 <= after


@pytest.mark.parametrize("times", [[5], [5, 5, 5], [5, 4, 3], [5, 6, 2, 9]], ids=["moving", "standing", "back", "jumping"])
def test_ids_increase_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch, times: list[int]) -> None:
    ids = Uuid7Generator()
    made: list[str] = []
    for milliseconds in times * 500:
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        made.append(ids.new_id())

    assert made == sorted(set(made))


def test_when_one_millisecond_is_used_up_the_next_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 7_000_000)
    monkeypatch.setattr(os, "urandom", lambda count: b"\xff" * count)
    ids = Uuid7Generator()
    first, second = UUID(ids.new_id()), UUID(ids.new_id())

    assert (first.int >> 80, second.int >> 80) == (7, 8)
    assert (second.version, second.variant) == (7, RFC_4122)


def test_threads_share_one_generator() -> None:
    ids = Uuid7Generator()
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda _: [ids.new_id() for _ in range(500)], range(8)))

    assert len({text for run in runs for text in run}) == 4_000
    assert all(run == sorted(run) for run in runs)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # of a test runner's own threads
def test_a_forked_child_makes_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 7_000_000)
    ids = Uuid7Generator()
    ids.new_id()
    reading, writing = os.pipe()
    with ids._lock:  # as if another thread were in the middle of making one
        child = os.fork()
        if child == 0:
            os.write(writing, ids.new_id().encode())
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 36).decode()
    os.close(reading)
    os.close(writing)

    assert UUID(theirs).version == 7
    assert UUID(theirs).int >> 80 == 7
    assert abs(UUID(theirs).int - UUID(ids.new_id()).int) > 1 << 40
