"""``publish`` and ``consume``: events of a store reach lines of JSON, and none is lost when a command is told to stop."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import anyio
import click
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.file import open_file_event_bus
from inventory_es.adapters.memory import MemoryEventBus
from inventory_es.adapters.system import SystemClock
from inventory_es.cli.app import run
from inventory_es.cli.watching import WatchedGroups
from inventory_es.ports.event_bus import GroupLag
from inventory_es.ports.toolkit.cloudevents import from_json
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from inventory_es.wiring import bus_opener
from tests.servers import valkey
from tests.servers.nats import running_nats
from tests.servers.valkey import running_valkey

SOURCE = ["--url", "file:stock", "--read-model", "rows.db"]
BUS = "file:bus"
PUBLISH = ["publish", *SOURCE, "--bus", BUS]
CONSUME = ["consume", "--bus", BUS, "--group", "g"]
PATIENCE = 60
SERVERS: Mapping[str, Callable[[], AbstractContextManager[valkey.Server]]] = {
    "redis": partial(running_valkey, valkey.DURABLE),
    "nats": running_nats,
}


def add(count: int) -> None:
    """Add stock so many times."""

    async def main() -> None:
        async with open_inventory("file:stock") as inventory:
            for _ in range(count):
                await inventory.add_stock("mug", "main", 1)

    anyio.run(main)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add(3)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def started(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "inventory_es", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        running.append(started(*arguments))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.communicate()


def test_a_store_is_published_to_its_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PUBLISH, "--once"]) == 0
    assert capsys.readouterr().out == "✓ relay has published the events up to position 3\n"
    add(1)
    assert run([*PUBLISH, "--once", "--json"]) == 0
    assert lines(capsys) == [{"name": "relay", "position": 4, "lag_events": 0}]
    assert run([*CONSUME, "--idle", "0.2"]) == 0
    found = lines(capsys)
    assert [(line["stream"], line["version"]) for line in found] == [("inventory-mug-main", version) for version in (1, 2, 3, 4)]
    assert list(found[0]) == [
        "stream",
        "version",
        "position",
        "event_id",
        "event_type",
        "schema_version",
        "recorded_at",
        "data",
        "metadata",
    ]
    assert found[0]["data"]["on_hand"] == 1  # type: ignore[index]  # a dict
    assert run([*CONSUME, "--idle", "0.2"]) == 0
    assert lines(capsys) == []


def test_a_count_ends_it_and_the_rest_comes_the_next_time(capsys: pytest.CaptureFixture[str]) -> None:
    run([*PUBLISH, "--once"])
    capsys.readouterr()
    assert run([*CONSUME, "--count", "2", "--cloudevents", "--source", "shop"]) == 0
    texts = capsys.readouterr().out.splitlines()
    assert [from_json(text.encode()).version for text in texts] == [1, 2]
    assert json.loads(texts[0])["source"] == "shop/inventory-mug-main"
    assert run([*CONSUME, "--idle", "0.2"]) == 0
    assert [line["version"] for line in lines(capsys)] == [3]


@pytest.mark.parametrize("form", [[], ["--cloudevents"]], ids=["stored", "cloudevents"])
def test_lines_are_ascii_whatever_the_output_can_show(form: list[str], process: Callable[..., "subprocess.Popen[str]"]) -> None:
    async def main() -> None:
        async with open_inventory("file:stock") as inventory:
            await inventory.add_stock("café 𝄞", "main", 1)

    anyio.run(main)
    run([*PUBLISH, "--once"])
    out, _ = process(*CONSUME, "--count", "4", *form).communicate(timeout=PATIENCE)
    assert out.isascii()
    assert json.loads(out.splitlines()[-1])["data"]["product_id"] == "café 𝄞"


@pytest.mark.parametrize("server", SERVERS)
def test_it_is_the_same_on_a_server(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with SERVERS[server]() as running:
        bus = ["--bus", f"{running.url}?shards=2"]
        assert run(["publish", *SOURCE, *bus, "--once"]) == 0
        assert capsys.readouterr().out == "✓ relay has published the events up to position 3\n"
        assert run(["consume", *bus, "--group", "g", "--count", "1"]) == 0
        assert run(["consume", *bus, "--group", "g", "--idle", "1"]) == 0
        assert [line["version"] for line in lines(capsys)] == [1, 2, 3]
        assert run(["parked", *bus, "--group", "g"]) == 0
        assert capsys.readouterr().out == "✓ nothing is parked\n"


@pytest.mark.parametrize("kind", ["file", *SERVERS])
def test_watch_shows_how_far_groups_of_a_bus_are_behind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        bus = BUS if kind == "file" else stack.enter_context(SERVERS[kind]()).url
        assert run(["publish", *SOURCE, "--bus", bus, "--once"]) == 0
        assert run(["consume", "--bus", bus, "--group", "g", "--count", "2"]) == 0
        watch = ["watch", "--url", "file:stock", "--bus", bus, "--group", "g", "--group", "[new]"]
        capsys.readouterr()
        assert run([*watch, "--json"]) == 0
        (shown,) = lines(capsys)
        assert shown["groups"] == [
            {"name": "g", "lag_events": 1, "is_exact": True},
            {"name": "[new]", "lag_events": 3, "is_exact": True},
        ]
        assert run([*watch, "--once"]) == 0
        words = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["…", "g", "1", "events", "behind,", "group"] in words
        assert ["…", "[new]", "3", "events", "behind,", "group"] in words
        assert run(["consume", "--bus", bus, "--group", "g", "--count", "1"]) == 0
        capsys.readouterr()
        assert run([*watch, "--once"]) == 0
        assert "✓ g" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["file", *SERVERS])
def test_a_lag_counts_what_is_not_acknowledged_up_to_a_bound(kind: str, backend: str) -> None:
    published = [recorded(stream_id(name), 1, number, EventLabels().event(name)) for number, name in enumerate("abcde", 1)]

    async def play(url: str) -> None:
        bus = await bus_opener(url, SystemClock())()
        assert isinstance(bus, GroupLag)
        await bus.publish(published)
        async with bus.subscribe("g") as deliveries:
            iterator = aiter(deliveries)
            held = [await anext(iterator) for _ in published]
            assert await bus.lag("g") == 5
            await held[1].ack()
            await held[3].ack()
            assert (await bus.lag("g"), await bus.lag("g", most=2)) == (3, 2)
            await held[0].ack()
            assert (await bus.lag("g"), await bus.lag("other"), await bus.lag("other", most=1)) == (2, 5, 1)
            await held[2].ack()
            await held[4].ack()
            assert await bus.lag("g") == 0
        for name, most in (("", 1), ("g", 0)):
            with pytest.raises(ValueError, match=r"group is named|limit"):
                await bus.lag(name, most=most)
        await bus.aclose()

    with ExitStack() as stack:
        anyio.run(play, BUS if kind == "file" else stack.enter_context(SERVERS[kind]()).url, backend=backend)


def test_watch_refuses_a_bus_that_tells_no_lag_and_half_of_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, problem in (
        (["--bus", BUS], "--bus and --group go together"),
        (["--group", "g"], "--bus and --group go together"),
        (["--bus", BUS, "--group", ""], "a group is named by a text"),
    ):
        assert run(["watch", "--url", "file:stock", "--json", *arguments]) == 2
        assert problem in " ".join(capsys.readouterr().err.split())
    with pytest.raises(click.UsageError, match="a MemoryEventBus does not tell how far a group is behind"):
        WatchedGroups(MemoryEventBus(clock=SystemClock()), ["g"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both_in_order_and_nothing_is_lost(
    number: signal.Signals, process: Callable[..., "subprocess.Popen[str]"], capsys: pytest.CaptureFixture[str]
) -> None:
    publishing = process(*PUBLISH)
    consuming = process(*CONSUME)
    assert consuming.stdout is not None
    assert [json.loads(consuming.stdout.readline())["version"] for _ in range(3)] == [1, 2, 3]
    for one in (consuming, publishing):
        one.send_signal(number)
    assert consuming.communicate(timeout=PATIENCE) == ("", "")
    assert publishing.communicate(timeout=PATIENCE) == ("✓ relay has published the events up to position 3\n", "")
    assert (publishing.returncode, consuming.returncode) == (0, 0)
    add(2)
    assert run([*PUBLISH, "--once"]) == 0
    capsys.readouterr()
    assert run([*CONSUME, "--idle", "0.2"]) == 0
    assert [line["version"] for line in lines(capsys)] == [4, 5]


def test_an_output_that_nobody_reads_ends_it_and_its_event_comes_again(
    process: Callable[..., "subprocess.Popen[str]"], capsys: pytest.CaptureFixture[str]
) -> None:
    consuming = process(*CONSUME)
    assert run([*PUBLISH, "--once"]) == 0
    assert consuming.stdout is not None
    assert [json.loads(consuming.stdout.readline())["version"] for _ in range(3)] == [1, 2, 3]
    consuming.stdout.close()
    add(1)
    assert run([*PUBLISH, "--once"]) == 0
    consuming.wait(PATIENCE)
    assert consuming.stderr is not None
    assert (consuming.returncode, consuming.stderr.read()) == (0, "")
    capsys.readouterr()
    assert run([*CONSUME, "--idle", "0.5"]) == 0
    assert [line["version"] for line in lines(capsys)] == [4]


def test_what_a_shell_cuts_off_is_no_traceback() -> None:
    run([*PUBLISH, "--once"])
    command = f"{sys.executable} -m inventory_es consume --bus {BUS} --group g | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False, env=shell_with_events())
    assert json.loads(done.stdout)["version"] == 1
    assert done.stderr == ""


def shell_with_events() -> dict[str, str]:
    """Return the environment, after many more events than a pipe has room for were published."""
    add(400)
    assert run([*PUBLISH, "--once"]) == 0
    return dict(os.environ)


def refuse(times: int) -> None:
    async def main() -> None:
        async with open_file_event_bus("bus", clock=SystemClock()) as bus, bus.subscribe("g") as deliveries:
            with anyio.fail_after(PATIENCE):
                async for delivery in deliveries:
                    await delivery.nack("the printer is out of paper")
                    if delivery.attempt == times:
                        break

    anyio.run(main)


def test_the_dead_letters_of_a_group_are_listed_and_delivered_again(capsys: pytest.CaptureFixture[str]) -> None:
    run([*PUBLISH, "--once"])
    refuse(5)
    capsys.readouterr()
    parked = ["parked", "--bus", BUS, "--group", "g"]
    assert run(parked) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == "✗ g: 1 event of inventory-mug-main, from version 1 on"
    assert second == "  StockAddedEvent: the printer is out of paper"
    assert run([*parked, "--json"]) == 1
    (row,) = lines(capsys)
    assert (row["name"], row["version"], row["error"], row["deliveries"]) == ("g", 1, "the printer is out of paper", 5)
    assert run([*parked, "--retry", "inventory-other-main"]) == 1
    assert capsys.readouterr().out == "✗ g: nothing of inventory-other-main is parked\n"
    assert run([*parked, "--retry", "inventory-mug-main"]) == 0
    assert capsys.readouterr().out == "✓ g: 1 event of inventory-mug-main delivered again\n"
    assert run(parked) == 0
    capsys.readouterr()
    assert run([*CONSUME, "--idle", "0.2"]) == 0
    assert sorted(line["version"] for line in lines(capsys)) == [1, 2, 3]  # type: ignore[type-var]  # numbers


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["consume", "--bus", "memory:", "--group", "g"], "a bus in memory ends with the command"),
        (
            ["consume", "--bus", "smoke://u:s3cret@host", "--group", "g"],
            "is no event bus: known are amqp:, amqps:, file:, kafka:, memory:, nats:",
        ),
        (["consume", "--bus", BUS, "--group", ""], "a group is named by a text of 1 to 128 characters"),
        (["consume", "--bus", BUS, "--group", "g", "--source", ""], "--source is empty"),
        ([*PUBLISH, "--name", "No name"], "name must be a lower-case ASCII identifier"),
        (["parked", "--bus", BUS], "give --url and --read-model for dead letters of projections, or --bus and --group"),
        (["parked", "--url", "file:stock"], "give --url and --read-model for dead letters of projections, or --bus and --group"),
        (["parked", "ledger", "--bus", BUS, "--group", "g"], "with no NAME and not with --drop"),
        (["parked", "--bus", BUS, "--group", "g", "--drop", "inventory-mug-main"], "a bus keeps its dead letters"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_without_a_password(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "s3cret" not in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_server_that_is_away_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("redis://127.0.0.1:1", "nats://127.0.0.1:1?timeout=0.5"):
        assert run(["consume", "--bus", url, "--group", "g"]) == 3
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
