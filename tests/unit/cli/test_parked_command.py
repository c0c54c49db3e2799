"""``parked``: what projections have set aside is listed, applied once it can be, or dropped."""

import json
from pathlib import Path

import anyio
import pytest

from inventory_es import StreamId, StreamWrite, open_inventory
from inventory_es.cli.app import run
from inventory_es.cli.commands import projections
from tests.unit.cli.test_projections_commands import UNKNOWN, append_unknown, place

__all__ = ["place"]

PLACES = ["--url", "file:stock", "--read-model", "rows.db"]
PARKED = ["parked", *PLACES]
STREAM = "inventory-x-main"


@pytest.fixture
def set_aside(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A read model with two parked events in each of two projections."""
    append_unknown()

    async def follow() -> None:
        async with open_inventory("file:stock") as inventory:
            known = (await inventory.store.read_stream(StreamId("inventory", "mug", "main"), limit=1)).events[0]
            event = type(UNKNOWN)(known.event_id, known.event_type, 1, known.recorded_at, known.data.replace(b'"mug"', b'"x"'))
            await inventory.store.append([StreamWrite(StreamId("inventory", "x", "main"), 1, [event])])

    anyio.run(follow)
    assert run(["project", "ledger", "daily_summary", *PLACES, "--once", "--on-failure", "park"]) == 0
    capsys.readouterr()


@pytest.mark.usefixtures("set_aside")
def test_what_is_parked_is_listed_by_stream_with_its_cause(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "_PAGE", 1)
    assert run(PARKED) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("✗")] == [
        f"✗ ledger: 2 events of {STREAM}, from version 1 on",
        f"✗ daily_summary: 2 events of {STREAM}, from version 1 on",
    ]
    assert lines[1].startswith("  StockTeleportedEvent: EventDecodeError: event 1 of stream inventory-x-main")
    assert run([*PARKED, "ledger", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["stream"], row["version"], row["event_type"]) for row in rows] == [
        ("ledger", STREAM, 1, "StockTeleportedEvent"),
        ("ledger", STREAM, 2, "StockAddedEvent"),
    ]


@pytest.mark.usefixtures("set_aside")
def test_what_still_fails_stays_and_what_is_dropped_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PARKED, "ledger", "--retry", STREAM]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "can't be decoded" in err
    assert run([*PARKED, "ledger", "--drop", STREAM]) == 0
    assert capsys.readouterr().out == f"✓ ledger: 2 events of {STREAM} dropped\n"
    assert run([*PARKED, "ledger", "--drop", STREAM]) == 1
    assert capsys.readouterr().out == f"✗ ledger: nothing of {STREAM} is parked\n"
    assert run([*PARKED, "ledger"]) == 0
    assert capsys.readouterr().out == "✓ nothing is parked\n"
    assert run([*PARKED, "daily_summary", "--drop", STREAM, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "daily_summary", "stream": STREAM, "dropped": 2}
    assert run(PARKED) == 0


@pytest.mark.usefixtures("set_aside")
def test_what_can_be_applied_at_last_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from inventory_es.adapters.serialization import JsonEventCodec

    decode = JsonEventCodec.decode

    def decode_all(codec: JsonEventCodec, recorded: object) -> object:
        event = recorded if recorded.event_type != "StockTeleportedEvent" else KNOWN[0]  # type: ignore[attr-defined]
        return decode(codec, event)  # type: ignore[arg-type]

    async def known() -> object:
        async with open_inventory("file:stock") as inventory:
            return (await inventory.store.read_stream(StreamId("inventory", "x", "main"), after=1, limit=1)).events[0]

    KNOWN = [anyio.run(known)]  # noqa: N806  # a constant of this test
    monkeypatch.setattr(JsonEventCodec, "decode", decode_all)
    assert run([*PARKED, "ledger", "--retry", STREAM, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "ledger", "stream": STREAM, "retried": 2}
    assert run(["ledger", "x", "main", "--read-model", "rows.db", "--json"]) == 0
    assert [json.loads(line)["version"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["--retry", STREAM], 2, "goes with the NAME of one projection"),
        (["ledger", "daily_summary", "--drop", STREAM], 2, "goes with the NAME of one projection"),
        (["ledger", "--drop", STREAM, "--retry", STREAM], 2, "one of them"),
        (["ledger", "--drop", "not a stream"], 2, "'not a stream' is "),
        (["nonsense"], 2, "there is no projection 'nonsense'"),
        ([], 3, "rows.db is no read model that this version can open: there is no such file"),
        (["ledger", "--drop", STREAM], 3, "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PARKED, *arguments]) == code
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert [path.name for path in place.iterdir()] == ["stock"]
