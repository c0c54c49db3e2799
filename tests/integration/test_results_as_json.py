"""Every answer of the service as JSON, in one call, and the version that a host may ask for."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any, cast

import anyio
import attrs
import pytest

import inventory_es
from inventory_es.application.context import command_context
from inventory_es.application.processes.orders import Orders
from inventory_es.application.processes.transfers import Transfers
from inventory_es.application.queries.projection_reader import QueryPage
from inventory_es.application.results import Result
from inventory_es.application.service import InventoryService
from inventory_es.testing.clock import ManualClock
from inventory_es.wiring import open_inventory
from tests.architecture.sources import ROOT, subclasses
from tests.integration.command_side import P, S


async def every_answer(service: InventoryService) -> list[Result]:
    with command_context(actor_id="ann", correlation_id="c", causation_id="m"):
        added = await service.add_stock(P, S, 20, reference="order:1")
    dated = await service.reserve(P, S, 1, ttl=timedelta(minutes=5), owner_id="ann")
    firm = await service.reserve(P, S, 1, ttl=None)
    counted = await service.record_count(P, S, 20, observed_version=3)
    await service.followers.catch_up(on_failure="stop")
    queries = service.queries
    stock = await queries.stock(P, S)
    assert stock is not None
    pages: list[QueryPage[Any]] = [
        await queries.product_inventory(P),
        await queries.store_inventory(S),
        await queries.low_stock(),
        await queries.ledger(P, S),
        await queries.open_reservations(),
        await queries.history(P, S),
    ]
    history = [entry async for entry in service.history(P, S)]
    explained = await service.explain(P, S)
    return [
        added, dated, firm, counted, await service.confirm(dated), await service.stock(P, S), await service.reservation(dated), explained,
        *explained.holds, *history, stock, *pages, *[row for page in pages for row in page.rows],
    ]  # fmt: skip


def test_every_answer_goes_into_json(backend: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:", clock=ManualClock(), read_models="memory:") as service:
            answers = await every_answer(service)
        concrete = {kind for kind in subclasses(Result) if kind.__name__ not in {"AsOf", "LowStockRow"}}
        assert concrete <= {type(answer) for answer in answers}
        for answer in answers:
            told = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
            assert set(told) == {field.name for field in attrs.fields(cast(Any, type(answer)))}
            assert "object at 0x" not in str(told)
            assert json.loads(json.dumps({"nested": [answer]}, default=lambda record: record.to_dict())) == {"nested": [told]}

    anyio.run(case, backend=backend)


def test_every_record_goes_into_json_as_an_attrs_record(backend: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:", clock=ManualClock(), read_models="memory:") as service:
            await service.add_stock(P, S, 20)
            order = await Orders(service).reserve("o", [(P, S, 30)], ttl=timedelta(minutes=5))
            moved = await Transfers(service).draft("t", [(P, 2)], source=S, destination="elsewhere")
            records: list[Any] = [order, moved, *await service.followers.status(), await service.stock(P, S)]
        for record in records:
            told = json.loads(json.dumps(attrs.asdict(record), default=str))
            assert set(told) == {field.name for field in attrs.fields(type(record))}

    anyio.run(case, backend=backend)


def test_the_version_needs_no_installed_metadata() -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import inventory_es; print(inventory_es.__version__, *sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    version, *modules = done.stdout.split()
    assert version == inventory_es.__version__
    assert "importlib.metadata" not in modules


def test_the_version_has_one_source() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", inventory_es.__version__)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert '[tool.hatch.version]\npath = "src/inventory_es/__init__.py"' in project
    assert inventory_es.__version__ not in project
    with pytest.raises(AttributeError):
        _ = inventory_es.version  # type: ignore[attr-defined]  # what is tested
