"""Chaos on the PostgreSQL store: ``python -m tests.chaos.postgresql --rounds N``.

Each campaign breaks something under load, once a round. At its end, acknowledged events are stored, versions and positions have no gap,
the feed that was followed equals the feed, and nothing is unknown once the same events were sent again.

After a failover to an asynchronous replica, acknowledged events are gone. Then every writer is told that another server took over, and
every follower that had read one of them that its feed was rewound.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import LiteralString
from uuid import UUID, uuid4

import anyio
import attrs
import psycopg

from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.application.following.subscription import Subscription
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventMark, NewEvent, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, FeedRewoundError, StoreClosedError, StoreUnavailableError
from tests.servers.postgresql import Server, free_port, replica, server
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
    taken_over: int = 0
    rewound: int = 0
    stop: threading.Event = attrs.field(factory=threading.Event)
    is_written: threading.Event = attrs.field(factory=threading.Event)
    problems: list[BaseException] = attrs.field(factory=list)

    def wait_for(self, appends: int) -> None:
        """Wait until so many more events are acknowledged."""
        least = len(self.acknowledged) + appends * EVENTS
        self.wait_until(lambda: len(self.acknowledged) >= least, "the writers stand still")

    def wait_beyond(self, figure: Callable[["Account"], int], seen: int, problem: str) -> None:
        """Wait until a figure has grown, with a bound."""
        self.wait_until(lambda: figure(self) > seen, problem)

    def wait_until(self, is_so: Callable[[], bool], problem: str) -> None:
        """Wait until something is so, with a bound."""
        give_up = time.monotonic() + _PATIENCE
        while not is_so():
            if self.problems:
                raise self.problems[0]
            assert time.monotonic() < give_up, problem
            self.stop.wait(0.001)


def write(url: str, name: str, account: Account) -> None:
    """Append to a stream of its own until the end, and send what is unknown again until it is known."""
    stream, version = StreamId("chaos", name), 0
    with closing(opened(url, account)) as store:
        while not account.stop.is_set():
            sent = StreamWrite(stream, version, [new_event() for _ in range(EVENTS)])
            result = send(store, sent, account)
            account.found += result.replayed
            account.acknowledged += [event.event_id for event in sent.events]
            version += EVENTS


def opened(url: str, account: Account) -> PostgresqlStore:
    """Open the store, and again where a busy machine lets the server be late."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return PostgresqlStore(parse_place(url))
        except StoreUnavailableError:
            if time.monotonic() > give_up:
                raise
            account.away += 1
            account.stop.wait(0.005)


def send(store: PostgresqlStore, sent: StreamWrite, account: Account) -> AppendResult:
    """Send an append until it has an answer."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        (outcome,) = outcomes_of(store, sent)
        if isinstance(outcome, AppendOutcomeUnknownError):
            account.unknown += 1
        elif isinstance(outcome, StoreUnavailableError):
            account.away += 1
            account.stop.wait(0.005)
        elif isinstance(outcome, AppendResult):
            return outcome
        else:
            raise outcome
    raise AssertionError("an append has no answer after a minute")  # noqa: EM101  # the reason


def outcomes_of(store: PostgresqlStore, sent: StreamWrite) -> Sequence[AppendResult | Exception]:
    """Return the outcome of an append, which the store raises, or returns as that of its group alone."""
    try:
        return store.commit([[sent]])
    except (AppendOutcomeUnknownError, StoreUnavailableError) as problem:
        return [problem]


def write_on(url: str, name: str, account: Account) -> None:
    """Append as :func:`write` does, and open the store again where another server took over, perhaps without the newest events."""
    stream = StreamId("chaos", name)
    sent: StreamWrite | None = None
    while not account.stop.is_set():
        try:
            with closing(PostgresqlStore(parse_place(url))) as store:
                version = store.read_stream(stream, after=0, limit=1).version
                while not account.stop.is_set():
                    sent = sent or StreamWrite(stream, version, [new_event() for _ in range(EVENTS)])
                    send(store, sent, account)
                    account.acknowledged += [event.event_id for event in sent.events]
                    version, sent = sent.expected_version + EVENTS, None
        except StoreClosedError:
            account.taken_over += 1
        except ConcurrencyError:  # what was unknown is not there, nor what it was decided on
            sent = None
        except StoreUnavailableError:
            account.stop.wait(0.005)


async def follow_on(url: str, account: Account) -> None:
    """Follow the feed as a projection does: go on where another server took over, and begin again where it has another feed."""
    mark: EventMark | None = None
    while True:
        try:
            async with (
                open_postgresql_event_store(url) as store,
                Subscription(store, after=0 if mark is None else mark.position, mark=mark, name="chaos") as subscription,
            ):
                while True:
                    is_last = account.is_written.is_set()
                    batch = await subscription.next_within(0.05)
                    if batch is not None:
                        account.followed += [event.event_id for event in batch.events]
                        mark = batch.mark
                    elif is_last:
                        return
        except FeedRewoundError:
            account.rewound += 1
            account.followed.clear()
            mark = None
        except (StoreClosedError, StoreUnavailableError):
            account.stop.wait(0.005)


def follow(url: str, account: Account) -> None:
    """Read the feed as it grows."""
    after = 0
    with closing(opened(url, account)) as store:
        while True:
            is_last = account.is_written.is_set()
            try:
                page = store.read_all(after=after, limit=500)
            except StoreUnavailableError:
                continue
            account.followed += [event.event_id for event in page.events]
            after = page.next_after
            if is_last and page.is_end:
                return


def follow_on_in_a_loop(url: str, account: Account) -> None:
    """Run :func:`follow_on`."""
    anyio.run(follow_on, url, account)


@contextmanager
def under_load(
    url: str,
    write: Callable[[str, str, Account], None] = write,
    follow: Callable[[str, Account], None] = follow,
) -> Iterator[Account]:
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
        for thread in writers:
            thread.join()
        account.is_written.set()
        follower.join()
    if account.problems:
        raise account.problems[0]


def check(url: str, account: Account, *, may_lose: bool = False) -> Mapping[str, int]:
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
    assert may_lose or not lost, f"{len(lost)} acknowledged events are lost"
    assert account.followed == stored or not account.is_written.is_set(), "the follower has seen another feed"
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


def cut_or_freeze(one: Server, rounds: int) -> Mapping[str, int]:
    """Cut a connection, or let nothing pass it any more, at a request or at its answer."""
    ways = ("lose the connection", "freeze the connection")
    moments = ("before the commit", "after the commit", "in the next read")
    known = [f"{way} {moment}" for moment in moments for way in ways if (way, moment) != (ways[0], moments[1])]
    with Proxy(one.port, one.restart) as proxy:
        url = f"{one.url}?schema=frozen&timeout=1"
        with under_load(url.replace(f":{one.port}/", f":{proxy.port}/")) as account:
            for number in range(rounds):
                assert proxy.interfere(known[number % len(known)])
                account.wait_for(2 * WRITERS)
        return check(url, account)


def cancel_the_wait_for_a_replica(one: Server, rounds: int) -> Mapping[str, int]:
    """Cancel, or terminate, a backend whose commit waits for its replica: the server warns, and the writer must not hear success."""
    url = f"{one.url}?schema=cancelled"
    with under_load(url) as account:
        for number in range(rounds):
            seen = account.unknown
            with waiting_for_a_replica(one):
                end_a_wait(one, "cancel" if number % 2 == 0 else "terminate")
                account.wait_beyond(lambda seen_by: seen_by.unknown, seen, "a commit that nobody waited for is acknowledged")
            account.wait_for(2 * WRITERS)
    figures = check(url, account)
    assert figures["unknown"] >= rounds
    return figures


@contextmanager
def waiting_for_a_replica(one: Server) -> Iterator[None]:
    """Let commits wait for a replica that is not there."""
    with closing(psycopg.connect(one.url, autocommit=True)) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def end_a_wait(one: Server, how: str) -> None:
    """Cancel or terminate one backend that waits for a replica."""
    with closing(psycopg.connect(one.url, autocommit=True)) as connection:
        waiting: LiteralString = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1"
        give_up = time.monotonic() + _PATIENCE
        while not (found := connection.execute(waiting).fetchall()):
            assert time.monotonic() < give_up, "nobody waits for the replica"
        connection.execute(f"SELECT pg_{how}_backend({int(found[0][0])})".encode())


def fail_over(one: Server, rounds: int, *, is_synchronous: bool) -> Mapping[str, int]:
    """Kill a primary and let its replica take over; the next replica is that one's. An asynchronous one is cut off before."""
    ports = [free_port() for _ in range(rounds + 2)]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    url = f"postgresql://postgres@{hosts}/postgres?schema=failover"
    with ExitStack() as running:
        primary = running.enter_context(server(one.settings, port=ports[0]))
        standby = running.enter_context(replica(primary, port=ports[1]))
        if is_synchronous:
            for member in (primary, standby):
                set_up(member, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            load = under_load(f"{url}&durability=machine")
        else:
            load = under_load(url, write_on, follow_on_in_a_loop)
        with load as account:
            for port in ports[2:]:
                account.wait_for(5)
                if not is_synchronous:
                    last = set_up(standby, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'", _REPLAYED)
                    account.wait_beyond(lambda seen_by: len(seen_by.followed), last, "the follower stands still")
                    account.wait_for(5)
                seen = account.rewound
                primary.kill()
                set_up(standby, "SELECT pg_promote()")
                primary, standby = standby, running.enter_context(replica(standby, port=port))
                if not is_synchronous:
                    account.wait_beyond(lambda seen_by: seen_by.rewound, seen, "a follower goes on behind events that are gone")
                account.wait_for(5)
        figures = check(url, account, may_lose=not is_synchronous)
    assert is_synchronous or figures["lost"], "nothing was lost, so nothing is proven"
    return {**figures, "taken over": account.taken_over, "rewound": account.rewound}


_REPLAYED: LiteralString = "SELECT coalesce(max(position), 0) FROM failover.events"


def set_up(one: Server, *statements: LiteralString) -> int:
    """Execute statements, let the server read its settings again, and return the number that the last one found."""
    found = 0
    with closing(psycopg.connect(one.url, autocommit=True)) as connection:
        connection.execute("SET synchronous_commit = local")
        for statement in statements:
            cursor = connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")
            if cursor.description:
                found = int(cursor.fetchall()[0][0])
    return found


def stop_the_client_in_its_turn(one: Server, rounds: int) -> Mapping[str, int]:
    """Stop a process in its turn over a stream. Others want turns over the same stream, and go on; so does it, when it is woken."""
    url = f"{one.url}?schema=stopped"
    account = Account()
    with closing(PostgresqlStore(parse_place(url))) as store:
        append_in_turn(store, account)
        command = [sys.executable, "-m", "tests.chaos.postgresql", "--stops", url, str(rounds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            for _ in range(rounds):
                _, status = os.waitpid(client.pid, os.WUNTRACED)
                assert os.WIFSTOPPED(status), "the client has ended"
                for _ in range(3):
                    append_in_turn(store, account)
                client.send_signal(signal.SIGCONT)
            account.acknowledged += map(UUID, client.stdout.read().split())
        assert client.returncode == 0
    return check(url, account)


def stop_in_turns(url: str, rounds: int) -> None:
    """Stop this process in each of its turns, and print what was acknowledged."""
    account = Account()
    with closing(PostgresqlStore(parse_place(url))) as store:
        for _ in range(rounds):
            append_in_turn(store, account, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    print(*account.acknowledged)


def append_in_turn(store: PostgresqlStore, account: Account, in_turn: Callable[[], object] = lambda: None) -> None:
    """Take a turn over the hot stream, read its version, and append, until nobody was faster."""
    stream = StreamId("chaos", "hot")
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        store.take_turn([stream])
        version = store.read_stream(stream, after=0, limit=1).version
        in_turn()
        sent = StreamWrite(stream, version, [new_event() for _ in range(EVENTS)])
        try:
            send(store, sent, account)
        except ConcurrencyError:
            in_turn = Account  # once is enough
        else:
            account.acknowledged += [event.event_id for event in sent.events]
            return
        finally:
            store.give_turn_back()
    raise AssertionError("a turn after another did not help")  # noqa: EM101  # the reason


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
    "connection cut or frozen": cut_or_freeze,
    "wait for the replica cancelled": cancel_the_wait_for_a_replica,
    "client stopped in its turn": stop_the_client_in_its_turn,
    "failover, synchronous": partial(fail_over, is_synchronous=True),
    "failover, asynchronous": partial(fail_over, is_synchronous=False),
}


def main() -> None:
    """Run every campaign, and print its figures as a line of JSON."""
    parser = argparse.ArgumentParser(description="Break PostgreSQL under load.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--client", nargs=2, metavar=("URL", "STREAM"))
    parser.add_argument("--stops", nargs=2, metavar=("URL", "ROUNDS"))
    given = parser.parse_args()
    if given.client:
        be_a_client(*given.client)
    if given.stops:
        stop_in_turns(given.stops[0], int(given.stops[1]))
        return
    with server({"fsync": "on"}) as one:
        for name, campaign in CAMPAIGNS.items():
            started = time.monotonic()
            figures = campaign(one, given.rounds)
            seconds = round(time.monotonic() - started, 1)
            print(json.dumps({"campaign": name, "rounds": given.rounds, **figures, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
