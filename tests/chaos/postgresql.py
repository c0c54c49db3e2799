"""Chaos on the PostgreSQL store: ``python -m tests.chaos.postgresql --rounds N``.

Each campaign breaks something under load, once a round. At its end, acknowledged events are stored, versions and positions have no gap,
the feed that was followed equals the feed, and nothing is unknown once the same events were sent again.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import attrs

from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from tests.servers.postgresql import Server, server
from tests.servers.proxy import Proxy

WRITERS = 3
EVENTS = 4
"""Events of one append: a half one would show."""
_PATIENCE = 60.0


@attrs.define
class Account:
    """What the writers and the follower of a campaign have seen."""

    acknowledged: list[UUID] = attrs.field(factory=list)
    followed: list[UUID] = attrs.field(factory=list)
    unknown: int = 0
    away: int = 0
    found: int = 0
    stop: threading.Event = attrs.field(factory=threading.Event)
    problems: list[BaseException] = attrs.field(factory=list)

    def wait_for(self, appends: int) -> None:
        """Wait until so many more events are acknowledged."""
        least, give_up = len(self.acknowledged) + appends * EVENTS, time.monotonic() + _PATIENCE
        while len(self.acknowledged) < least:
            if self.problems:
                raise self.problems[0]
            assert time.monotonic() < give_up, "the writers stand still"
            self.stop.wait(0.001)


def write(url: str, name: str, account: Account) -> None:
    """Append to a stream of its own until the end, and send what is unknown again until it is known."""
    stream, version = StreamId("chaos", name), 0
    with closing(PostgresqlStore(parse_place(url))) as store:
        while not account.stop.is_set():
            sent = StreamWrite(stream, version, [new_event() for _ in range(EVENTS)])
            result = send(store, sent, account)
            account.found += result.replayed
            account.acknowledged += [event.event_id for event in sent.events]
            version += EVENTS


def send(store: PostgresqlStore, sent: StreamWrite, account: Account) -> AppendResult:
    """Send an append until it has an answer."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        try:
            (outcome,) = store.commit([[sent]])
        except AppendOutcomeUnknownError:
            account.unknown += 1
        except StoreUnavailableError:
            account.away += 1
            account.stop.wait(0.005)
        else:
            if isinstance(outcome, AppendResult):
                return outcome
            raise outcome
    raise AssertionError("an append has no answer after a minute")  # noqa: EM101  # the reason


def follow(url: str, account: Account) -> None:
    """Read the feed as it grows."""
    after = 0
    with closing(PostgresqlStore(parse_place(url))) as store:
        while True:
            is_last = account.stop.is_set()
            try:
                page = store.read_all(after=after, limit=500)
            except StoreUnavailableError:
                continue
            account.followed += [event.event_id for event in page.events]
            after = page.next_after
            if is_last and page.is_end:
                return


@contextmanager
def under_load(url: str) -> Iterator[Account]:
    """Run the writers and the follower for the block."""
    account = Account()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001  # raised in the main thread
            account.problems.append(problem)

    writers = [threading.Thread(target=guarded, args=(lambda name=f"w{n}": write(url, name, account),)) for n in range(WRITERS)]
    follower = threading.Thread(target=guarded, args=(lambda: follow(url, account),))
    for thread in (*writers, follower):
        thread.start()
    try:
        account.wait_for(20)
        yield account
        account.wait_for(20)
    finally:
        account.stop.set()
        for thread in (*writers, follower):
            thread.join()
    if account.problems:
        raise account.problems[0]


def check(url: str, account: Account) -> Mapping[str, int]:
    """Compare the account with the store, and return the figures."""
    with closing(PostgresqlStore(parse_place(url))) as store:
        stored: list[UUID] = []
        page = store.read_all(after=0, limit=1_000)
        while True:
            stored += [event.event_id for event in page.events]
            if page.is_end:
                break
            page = store.read_all(after=page.next_after, limit=1_000)
        heads = store.streams("", after=None, limit=1_000).heads
    assert len(set(stored)) == len(stored), "an event is there twice"
    assert sum(head.version for head in heads) == len(stored), "versions have a gap"
    assert [head for head in heads if head.version % EVENTS] == [], "an append is there half"
    lost = set(account.acknowledged) - set(stored)
    assert not lost, f"{len(lost)} acknowledged events are lost"
    assert account.followed == stored[: len(account.followed)], "the follower has seen another feed"
    figures = {"acknowledged": len(account.acknowledged), "lost": len(lost), "stored": len(stored), "followed": len(account.followed)}
    return {**figures, "unknown": account.unknown, "found": account.found, "away": account.away}


def kill_the_server(one: Server, rounds: int) -> Mapping[str, int]:
    """Kill every process of the server, and start it again."""
    url = f"{one.url}?schema=killed"
    with under_load(url) as account:
        for _ in range(rounds):
            one.restart()
            account.wait_for(5)
    return check(url, account)


def swallow_answers(one: Server, rounds: int) -> Mapping[str, int]:
    """Lose the answer of an append, or the request, or hold the request back and let it arrive late."""
    with Proxy(one.port, one.restart) as proxy:
        url = f"{one.url}?schema=swallowed&timeout=1"
        through = url.replace(f":{one.port}/", f":{proxy.port}/")
        ways = ("lose the connection after the commit", "lose the connection before the commit", "hold the next append back")
        with under_load(through) as account:
            for number in range(rounds):
                proxy.interfere(ways[number % len(ways)])
                account.wait_for(2 * WRITERS)
                proxy.interfere("let the held append arrive")
        return check(url, account)


def kill_the_client(one: Server, rounds: int) -> Mapping[str, int]:
    """Kill a process that writes. What it had printed was acknowledged."""
    url = f"{one.url}?schema=clients"
    account = Account()
    for number in range(rounds):
        command = [sys.executable, "-m", "tests.chaos.postgresql", "--client", url, f"c{number}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            for _ in range(10):
                account.acknowledged += map(UUID, client.stdout.readline().split())
            client.kill()
            whole_lines, _, _ = client.stdout.read().rpartition("\n")
            account.acknowledged += map(UUID, whole_lines.split())
    return check(url, account)


def be_a_client(url: str, name: str) -> None:
    """Append until killed, and print the ids of each acknowledged append."""
    account, version = Account(), 0
    store = PostgresqlStore(parse_place(url))
    while True:
        sent = StreamWrite(StreamId("chaos", name), version, [new_event() for _ in range(EVENTS)])
        send(store, sent, account)
        print(*[event.event_id for event in sent.events], flush=True)
        version += EVENTS


def new_event() -> NewEvent:
    """Return an event with an id of its own."""
    return NewEvent(uuid4(), "Chaos", 1, datetime.now(UTC), b'{"quantity":1}')


CAMPAIGNS: Mapping[str, Callable[[Server, int], Mapping[str, int]]] = {
    "kill -9 of the server": kill_the_server,
    "answers swallowed, requests lost or late": swallow_answers,
    "kill -9 of the client": kill_the_client,
}


def main() -> None:
    """Run every campaign, and print its figures as a line of JSON."""
    parser = argparse.ArgumentParser(description="Break PostgreSQL under load.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--client", nargs=2, metavar=("URL", "STREAM"))
    given = parser.parse_args()
    if given.client:
        be_a_client(*given.client)
    with server({"fsync": "on"}) as one:
        for name, campaign in CAMPAIGNS.items():
            started = time.monotonic()
            figures = campaign(one, given.rounds)
            seconds = round(time.monotonic() - started, 1)
            print(json.dumps({"campaign": name, "rounds": given.rounds, **figures, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
