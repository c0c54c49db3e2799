"""``project`` and ``rebuild``: what they print, how they end, and that readers change over."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import attrs
import click
import pytest

from inventory_es import NewEvent, StreamId, StreamWrite
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.projections import stock_levels
from inventory_es.cli.app import run
from inventory_es.cli.commands.projections import ProjectionReport, _watch
from inventory_es.cli.interruptions import stop_when_told
from inventory_es.cli.projecting import Projecting, Workshop
from inventory_es.cli.rows import SHIPPED
from inventory_es.errors import ProjectionNotFoundError, StoreUnavailableError
from inventory_es.ports import ProjectionId
from inventory_es.sync import open_inventory

PROJECT = ["project", "--url", "file:stock", "--read-model", "rows.db"]
REBUILD = ["rebuild", "ledger", "--url", "file:stock", "--read-model", "rows.db"]
UNKNOWN = NewEvent(UUID(int=1), "StockTeleportedEvent", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store: three events of two products."""
    monkeypatch.chdir(tmp_path)
    with open_inventory("file:stock") as inventory:
        inventory.add_stock("mug", "main", 10)
        inventory.reserve("mug", "main", 2, ttl=None, reservation_id="order-1")
        inventory.add_stock("[bold]", "main", 1)
    return tmp_path


def append_unknown() -> None:
    """An event that no projection can read, in an inventory of its own."""
    from inventory_es import open_inventory as open_async

    async def append() -> None:
        async with open_async("file:stock") as inventory:
            await inventory.store.append([StreamWrite(StreamId("inventory", "x", "main"), 0, [UNKNOWN])])

    anyio.run(append)


def versions(name: str = "ledger") -> list[tuple[int, bool]]:
    """Each version of a projection, and whether it is active."""

    async def look() -> list[tuple[int, bool]]:
        async with open_sqlite_read_model("rows.db") as model:
            return [(one.projection_id.version, one.is_active) for one in await model.versions(name)]

    return anyio.run(look)


def test_project_once_brings_every_projection_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PROJECT, "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [[name, "1", "idle", "3", "none"] for name in SHIPPED]
    assert max(map(len, lines)) <= 80
    assert run([*PROJECT, "ledger", "--once", "--json"]) == 0
    (report,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()[-1:]]
    (status,) = report["projections"]
    assert status == {
        "name": "ledger",
        "version": 1,
        "active_version": 1,
        "state": "idle",
        "position": 3,
        "lag_events": 0,
        "lag_seconds": 0.0,
        "error": None,
    }


def test_an_event_that_can_not_be_projected_stops_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    append_unknown()
    assert run([*PROJECT, "ledger", "--once"]) == 1
    out = capsys.readouterr().out
    assert "stopped" in out
    assert "✗ ledger: event 1 of stream inventory-x-main at position 4 (StockTeleportedEvent): EventDecodeError" in out
    assert run([*PROJECT, "ledger", "--once", "--resume", "--json"]) == 1
    assert "EventDecodeError" in capsys.readouterr().out
    assert run([*PROJECT, "ledger", "--once", "--resume", "--on-failure", "park"]) == 0
    assert run([*REBUILD, "--json"]) == 1
    rebuilt = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (rebuilt["version"], rebuilt["active_version"], rebuilt["dropped"]) == (2, 1, [])
    assert "EventDecodeError" in rebuilt["error"]
    assert run(REBUILD) == 1
    assert "Readers ask version 1 as before" in capsys.readouterr().out
    assert versions() == [(1, True), (2, False)]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_project_runs_until_it_is_told_to_stop(told: signal.Signals) -> None:
    command = [sys.executable, "-m", "inventory_es", *PROJECT, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            statuses = json.loads(line)["projections"]
            if len(statuses) == len(SHIPPED) and all(one["position"] == 3 for one in statuses):
                break
        process.send_signal(told)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert {one["state"] for one in json.loads(out.splitlines()[-1])["projections"]} == {"idle"}


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("inventory_es.cli.commands.projections._PAUSE", 0)
    assert run([*PROJECT, "--once"]) == 0
    out = capsys.readouterr().out
    assert "events/s" in out
    assert run(REBUILD) == 0
    assert "rebuilding" in capsys.readouterr().err


def test_events_a_second_are_those_between_two_looks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = ProjectionId("ledger", 1)
    looks = iter([(10.0, 100), (10.5, 200), (10.5, 300)])

    async def look() -> list[ProjectionStatus]:
        time, position = next(looks, (0.0, 0))
        if position == 0:
            raise click.Abort
        monkeypatch.setattr("inventory_es.cli.commands.projections.current_time", lambda: time)
        told = {"state": "running", "position": position, "error": None, "owner": "o", "lag_events": 7, "lag_seconds": 3.0}
        return [ProjectionStatus(projection_id=ledger, active=ledger, **told)]  # type: ignore[arg-type]  # of as many types as fields

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("inventory_es.cli.commands.projections._PAUSE", 0)
    with pytest.raises(click.Abort):
        anyio.run(ProjectionReport(as_json=False).follow, look)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).split() for line in capsys.readouterr().out.splitlines() if "ledger" in line]
    assert frames[0] == ["ledger", "1", "running", "100", "7", "3", "s"]
    assert ["ledger", "1", "running", "200", "7", "3", "s", "200"] in frames
    assert frames[-1] == ["ledger", "1", "running", "300", "7", "3", "s", "200"]


def test_rebuild_changes_readers_over_and_drops_the_old_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(REBUILD) == 3
    assert "rows.db is no read model that this version can open: there is no such file" in capsys.readouterr().err
    assert run([*PROJECT, "--once"]) == 0
    capsys.readouterr()
    assert run(REBUILD) == 0
    out = capsys.readouterr().out
    assert out.startswith("✓ ledger version 2 is what readers ask now, in place of version 1: as of position 3, after ")
    assert versions() == [(2, True)]
    assert run([*REBUILD, "--json"]) == 0
    rebuilt = json.loads(capsys.readouterr().out)
    assert rebuilt.pop("seconds") >= 0
    assert rebuilt == {"name": "ledger", "version": 3, "active_version": 3, "position": 3, "dropped": [2], "error": None}
    assert run([*PROJECT, "--once"]) == 0
    assert versions() == [(3, True)]


def test_rebuild_goes_on_with_what_an_earlier_one_left(capsys: pytest.CaptureFixture[str]) -> None:
    async def begin() -> None:
        async with open_sqlite_read_model("rows.db") as model, MemoryEventStore() as store:
            await Workshop(feed=store, read_model=model, on_failure="stop").runner(ProjectionId("ledger", 5)).status()

    assert run([*PROJECT, "ledger", "--once"]) == 0
    anyio.run(begin)
    assert versions() == [(1, True), (5, False)]
    assert run(REBUILD) == 0
    assert versions() == [(5, True)]


def test_versions_that_nobody_follows_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def begin() -> None:
        async with open_sqlite_read_model("rows.db") as model, MemoryEventStore() as store:
            workshop = Workshop(feed=store, read_model=model, on_failure="stop")
            await workshop.runner(ProjectionId("ledger", 5)).status()
            await workshop.runner(ProjectionId("ledger", 1)).status()

    assert run([*PROJECT, "ledger", "--once"]) == 0
    assert run(REBUILD) == 0
    anyio.run(begin)
    capsys.readouterr()
    assert run([*PROJECT, "ledger", "--once"]) == 0
    out = capsys.readouterr().out
    assert "ledger: nobody follows version 1: readers ask version 2, and 'inventory-es rebuild ledger' drops the older ones" in out
    assert "ledger: nobody follows version 5: 'inventory-es rebuild ledger' goes on with it" in out
    assert run([*PROJECT, "ledger", "--once", "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out.splitlines()[-1])["projections"]
    assert (status["version"], status["unfollowed"]) == (2, [1, 5])


def test_a_host_goes_on_with_what_rebuild_has_built(capsys: pytest.CaptureFixture[str]) -> None:
    def stock(units: int) -> int:
        with open_inventory("file:stock", read_models="sqlite:rows.db") as inventory:
            inventory.add_stock("mug", "main", units)
            inventory.followers.catch_up(on_failure="stop")
            row = inventory.queries.stock("mug", "main")
            return 0 if row is None else row.on_hand

    assert stock(5) == 15
    assert run(["rebuild", "stock_levels", *REBUILD[2:]]) == 0
    assert stock(7) == 22


def test_rebuild_of_what_was_never_built_builds_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PROJECT, "stock_levels", "--once"]) == 0
    capsys.readouterr()
    assert run(REBUILD) == 0
    assert "ledger version 1 is what readers ask now: as of position 3" in capsys.readouterr().out


def test_what_another_process_has_rebuilt_meanwhile_is_left_to_it(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with MemoryEventStore() as store:
            workshops = [Workshop(feed=store, read_model=model, on_failure="stop") for _ in range(2)]
            other, runner = (workshop.runner(ProjectionId("ledger", 1)) for workshop in workshops)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other.run)

                async def is_running() -> bool:
                    return (await other.status()).state == "running"

                await until(is_running)
                tasks.start_soon(_watch, workshops[1], runner, lambda **_: None)
                with anyio.fail_after(30):
                    await runner.catch_up()
                assert await is_running()
                other.stop()
                tasks.cancel_scope.cancel()

    anyio.run(body, backend=backend)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([*PROJECT, "nonsense"], "there is no projection 'nonsense'; there are stock_levels, open_reservations, ledger"),
        (["rebuild", "--url", "file:stock", "--read-model", "rows.db"], "Missing argument 'NAME'"),
        (["project", "--url", "file:stock"], "Missing option '--read-model'"),
        ([*PROJECT, "--on-failure", "ignore"], "'ignore' is not one of 'stop', 'retry', 'park'"),
        (["project", "--url", "file:stock", "--read-model", "stock"], "is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["stock"]


def test_a_file_of_something_else_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "rows.db").write_text("something else that is longer than a header, and no database at all")
    assert run([*PROJECT, "--once"]) == 3
    assert "rows.db is no read model that this version can open: it is no SQLite database" in capsys.readouterr().err


def test_rows_of_another_store_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PROJECT, "--once"]) == 0
    with open_inventory("file:other") as inventory:
        inventory.add_stock("mug", "main", 10)
    capsys.readouterr()
    assert run(["project", "--url", "file:other", "--read-model", "rows.db", "--once"]) == 3
    err = capsys.readouterr().err
    assert "its checkpoint is at position 3, the feed ends at 1" in err
    assert err.count("\n") == 1


def test_rows_of_another_shape_are_told_with_the_way_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setitem(SHIPPED, "ledger", lambda version: attrs.evolve(stock_levels(), projection_id=ProjectionId("ledger", version)))
        assert run([*PROJECT, "--once"]) == 0
    capsys.readouterr()
    for command in (PROJECT, ["ledger", "mug", "main", "--read-model", "rows.db"], ["parked", *PROJECT[1:]]):
        assert run(command) == 3
        err = capsys.readouterr().err
        assert "ledger v1 is no projection that this version can open: this package shapes its rows in another way: " in err
        assert "'inventory-es rebuild ledger' builds them anew" in err
    assert run(REBUILD) == 0
    assert run([*PROJECT, "--once"]) == 0


# ── several projections at once ──────────────────────────────────────────────────────────────────────────────────────────


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(30):
        while not await condition():
            await anyio.lowlevel.checkpoint()


async def filled(store: MemoryEventStore) -> MemoryEventStore:
    from inventory_es import open_inventory as open_async

    async with open_async(store) as inventory:
        await inventory.add_stock("mug", "main", 10)
    return store


def test_a_version_that_readers_have_left_is_left_and_the_new_one_is_run(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with MemoryEventStore() as store:
            workshop = Workshop(feed=await filled(store), read_model=model, on_failure="stop")
            projecting = Projecting(workshop, ["ledger", "stock_levels"])

            async def runs(version: int) -> bool:
                statuses = {one.projection_id.name: one for one in await projecting.look()}
                found = statuses.get("ledger")
                return found is not None and (found.projection_id.version, found.state, found.lag_events) == (version, "running", 0)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: projecting.run(to_end=False))
                await until(lambda: runs(1))
                await Workshop(feed=store, read_model=model, on_failure="stop").runner(ProjectionId("ledger", 2)).catch_up()
                await until(lambda: runs(2))
                await model.drop(ProjectionId("ledger", 1))
                await Workshop(feed=store, read_model=model, on_failure="stop").runner(ProjectionId("ledger", 3)).catch_up()
                await model.drop(ProjectionId("ledger", 2))
                await until(lambda: runs(3))
                assert [one.projection_id.version for one in await model.versions("ledger")] == [3]
                projecting.stop()

    anyio.run(body, backend=backend)


def test_what_another_process_has_brought_to_the_end_is_not_waited_for(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with MemoryEventStore() as store:
            other = Projecting(Workshop(feed=await filled(store), read_model=model, on_failure="stop"), ["ledger"])
            projecting = Projecting(Workshop(feed=store, read_model=model, on_failure="stop"), ["ledger"])

            async def is_there() -> bool:
                return [one.lag_events for one in await other.look()] == [0]

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: other.run(to_end=False))
                await until(is_there)
                async with anyio.create_task_group() as looking:

                    async def look() -> None:
                        while True:
                            await projecting.look(to_end=True)
                            await anyio.lowlevel.checkpoint()

                    looking.start_soon(look)
                    with anyio.fail_after(30):
                        await projecting.run(to_end=True)
                    looking.cancel_scope.cancel()
                assert [one.lag_events for one in await projecting.look(to_end=True)] == [0]
                other.stop()

    anyio.run(body, backend=backend)


def test_told_to_stop_before_it_has_begun_it_does_not_begin(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            projecting = Projecting(Workshop(feed=store, read_model=MemoryReadModel(), on_failure="stop"), ["ledger"])
            projecting.stop()
            with anyio.fail_after(10):
                await projecting.run(to_end=False)
            assert await projecting.look() == []

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("error", [StoreUnavailableError(store="s", reason="away"), ProjectionNotFoundError(projection="ledger v1")])
def test_a_look_that_fails_shows_what_was_seen_before(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            projecting = Projecting(Workshop(feed=await filled(store), read_model=MemoryReadModel(), on_failure="stop"), ["ledger"])
            await projecting.run(to_end=True)
            seen = await projecting.look()

            async def fail(_runner: object) -> None:
                raise error

            monkeypatch.setattr("inventory_es.application.following.runner.ProjectionRunner.status", fail)
            assert await projecting.look() == seen != []

    anyio.run(body)


def test_the_first_signal_stops_and_the_second_interrupts(backend: str) -> None:
    stopped: list[int] = []

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told, lambda: stopped.append(1))
            await anyio.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: anyio.to_thread.run_sync(lambda: bool(stopped)))
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.RaisesGroup(click.Abort):
        anyio.run(body, backend=backend)
    assert stopped == [1]
