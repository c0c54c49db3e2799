"""Single bits of a SQLite store, flipped: what everybody then reads and writes is as before, or a documented error.

By hand, every bit of the file, or so many of them::

    python -m tests.integration.flipped_bits [COUNT]
"""

import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from inventory_es import HandlerSettings, InventoryService, open_inventory
from inventory_es.adapters.sqlite import verify
from inventory_es.errors import FaultError
from inventory_es.testing import ManualClock

PRODUCTS = ("tea", "milk", "coffee")
_PATIENCE = 20.0
FINE = {"right", "refused", "told by verify"}
Answers = dict[str, str]


async def write(path: Path) -> None:
    """Make a store with three products."""
    clock = ManualClock()
    async with open_inventory(f"sqlite:{path}", clock=clock) as inventory:
        for product in PRODUCTS:
            for number in range(6):
                await inventory.add_stock(product, "berlin", number + 3, command_id=f"{product}{number}")
            held = await inventory.reserve(product, "berlin", 2, reservation_id=f"held {product}", ttl=timedelta(days=9))
            clock.advance(timedelta(seconds=7))
            await inventory.commit(held, command_id=f"{product} sold")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


async def ask(path: Path, clock: ManualClock) -> Answers:
    """Ask everything, and write. An answer is a text, an error of the package its name; nothing else may come."""
    answers: Answers = {}
    settings = HandlerSettings(warm_inventories=0)
    try:
        async with open_inventory(f"sqlite:{path}", clock=clock, settings=settings) as inventory:
            for name, question in _questions(inventory).items():
                try:
                    answers[name] = repr(await question())
                except FaultError as error:
                    answers[name] = f"refused: {error.code}"
    except FaultError as error:
        answers["opening"] = f"refused: {error.code}"
    return answers


def _questions(inventory: InventoryService) -> dict[str, Callable[[], Awaitable[Any]]]:
    async def whole(items: Any) -> list[Any]:
        return [item async for item in items]

    async def history(product: str) -> list[Any]:
        return await whole(inventory.history(product, "berlin"))

    async def changed(result: Any) -> tuple[Any, ...]:
        outcome = await result
        return outcome.version, outcome.changed

    questions: dict[str, Callable[[], Awaitable[Any]]] = {}
    for product in (*PRODUCTS, "none"):
        questions[f"stock of {product}"] = partial(inventory.stock, product, "berlin")
        questions[f"history of {product}"] = partial(history, product)
        questions[f"explanation of {product}"] = partial(inventory.explain, product, "berlin")
    questions["feed"] = lambda: whole(inventory.feed())
    questions["streams"] = lambda: inventory.store.streams(limit=10)  # type: ignore[attr-defined]  # a StreamCatalogue
    questions["command"] = lambda: changed(inventory.add_stock("tea", "berlin", 1, command_id="late"))
    questions["command again"] = lambda: changed(inventory.add_stock("milk", "berlin", 4, command_id="milk1"))
    questions["command of a new product"] = lambda: changed(inventory.add_stock("sugar", "berlin", 1, command_id="new"))
    return questions


def verdict_of(content: bytes, at: int, bit: int, path: Path, truth: Answers, backend: str) -> str:
    """Flip a bit and ask: ``right``, ``refused``, ``told by verify``, or what is wrong."""
    flipped = bytearray(content)
    flipped[at] ^= 1 << bit
    _replace(path, bytes(flipped))
    try:
        answers = anyio.run(_in_time, path, backend=backend)
    except TimeoutError:
        return "endless"
    except Exception as error:  # noqa: BLE001  # whatever is not ours is what is looked for
        return f"raw {type(error).__name__}"
    wrong = [name for name, answer in answers.items() if not answer.startswith("refused") and answer != truth.get(name)]
    if wrong == ["command again"]:  # an entry is missing in the index of ids: nothing else knows that the id is there
        _replace(path, bytes(flipped))
        return "told by verify" if any(verify(path)) else "wrong and not told"
    if wrong:
        return f"wrong {wrong[0]}"
    return "refused" if answers != truth else "right"


def _replace(path: Path, content: bytes | bytearray) -> None:
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(content)


async def _in_time(path: Path) -> Answers:
    with anyio.fail_after(_PATIENCE):
        return await ask(path, ManualClock())


def flip(folder: Path, count: int | None, backend: str = "asyncio") -> Counter[str]:
    """Flip bits, one at a time, and count the verdicts.

    Args:
        folder: for the files; empty.
        count: how many, drawn by a seed from the bytes that are in use; ``None`` for every bit of the file.
        backend: the event loop.
    """
    original, path = folder / "original.db", folder / "flipped.db"
    anyio.run(write, original)
    content = original.read_bytes()
    path.write_bytes(content)
    truth = anyio.run(ask, path, ManualClock(), backend=backend)
    places = [(at, bit) for at in range(len(content)) if count is None or content[at] for bit in range(8)]
    verdicts: Counter[str] = Counter()
    for at, bit in places if count is None else random.Random(1).sample(places, count):
        verdict = verdict_of(content, at, bit, path, truth, backend)
        verdicts[verdict] += 1
        if verdict not in FINE:
            print(f"byte {at} (page {at // 4096 + 1}), bit {bit}: {verdict}")
    return verdicts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(dict(flip(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else None)))
