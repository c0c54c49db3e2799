"""The description of the shop service: every operation and every problem has an example that is true."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from docs.examples.shop_service import models
from docs.examples.shop_service.app import create_app
from docs.examples.shop_service.problems import MEDIA_TYPE, ProblemDetails
from docs.examples.shop_service.run import lifespan

SCHEMA: Mapping[str, Any] = create_app(lifespan).openapi()
OPERATIONS = {one["operationId"]: one for path in SCHEMA["paths"].values() for one in path.values()}
EXPECTED = """
stock_by_store stock receive_stock adjust_stock count_stock
reserve reservation extend confirm release commit
history stock_as_of stock_at_version explain
place_order order pay_order ship_order cancel_order resolve_order
draft_transfer transfer dispatch_transfer receive_transfer take_back_transfer write_off_transfer cancel_transfer
live ready followers
"""


def references(node: Any) -> Iterator[str]:
    """Yield every reference of a schema."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def target(reference: str) -> Mapping[str, Any]:
    """Return what a reference names."""
    found: Any = SCHEMA
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def has_example(schema: Mapping[str, Any]) -> bool:
    """Return True if a schema has an example, its own or that of what it names."""
    if "$ref" in schema:
        return has_example(target(schema["$ref"]))
    return bool(schema.get("examples")) or has_example(schema.get("items", {})) if schema else False


def test_the_operations_are_those_of_the_service() -> None:
    assert list(OPERATIONS) == EXPECTED.split()


def test_no_reference_dangles() -> None:
    found = set(references(SCHEMA))
    assert len(found) > 20
    for reference in found:
        assert target(reference)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_examples(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["description"].endswith(".")
    for parameter in operation.get("parameters", []):
        if parameter["required"]:
            assert has_example(parameter["schema"]), parameter["name"]
    if "requestBody" in operation:
        assert has_example(operation["requestBody"]["content"]["application/json"]["schema"])
    for status, response in operation["responses"].items():
        for media, content in response["content"].items():
            if int(status) < 400:
                assert has_example(content["schema"]), status
            else:
                assert media == MEDIA_TYPE
                for code, example in content["examples"].items():
                    problem = ProblemDetails.model_validate(example["value"], strict=True)
                    assert (problem.code, problem.status) == (code, int(status))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in {"live", "ready", "followers"}])
def test_every_write_documents_what_may_refuse_it(name: str) -> None:
    statuses = set(OPERATIONS[name]["responses"])
    if "requestBody" in OPERATIONS[name]:
        assert statuses >= {"408", "409", "413", "422", "503"}
    else:
        assert statuses >= {"422", "503"}


def test_every_example_of_a_model_is_true() -> None:
    kinds = [kind for kind in vars(models).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    with_example = [kind for kind in kinds if kind.model_config.get("json_schema_extra")]
    assert len(with_example) > 25
    for kind in with_example:
        models.example(kind)
