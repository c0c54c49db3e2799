"""One tree of errors: facts, a stable code, a sentence that helps, and a way through a pickle."""

import json
import pickle
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import pytest

from inventory_es.domain.errors import (
    ConflictError,
    FaultError,
    InvalidInputError,
    InventoryError,
    NotFoundError,
    PolicyRejectedError,
    RefusedError,
    RejectionError,
)
from inventory_es.domain.stream_id import StreamId
from tests.architecture.sources import source_files, subclasses

BRANCHES = (RejectionError, ConflictError, FaultError)
KINDS_OF_REJECTION = (InvalidInputError, NotFoundError, RefusedError)
REJECTIONS = sorted(set(subclasses(RejectionError)), key=lambda kind: kind.__name__)
ERRORS: list[type[InventoryError]] = sorted(set(subclasses(InventoryError)), key=lambda kind: kind.__name__)
PLAIN: dict[Any, Any] = {
    int: 3,
    str: "is what it says",
    bool: True,
    float: 1.5,
    datetime: datetime(2026, 1, 5, 9, tzinfo=UTC),
    timedelta: timedelta(seconds=90),
    UUID: UUID(int=7),
    StreamId: StreamId("inventory", "espresso", "berlin"),
    NoneType: None,
    Any: None,
}


# Errors that a host raises by hand, with facts of its own.
BY_HAND: dict[type, InventoryError] = {PolicyRejectedError: PolicyRejectedError("one_per_customer", limit=1)}


def name(kind: type) -> str:
    return kind.__name__


def example_of(annotation: Any) -> Any:
    """Any value of the annotated type: the facts of an error can be anything that its fields allow."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return example_of(arguments[0])
    if origin is tuple or annotation is tuple:
        return (example_of(arguments[0]),) if arguments else ()
    if origin is not None and arguments and not isinstance(arguments[0], str):
        is_mapping = len(arguments) == 2
        return {example_of(arguments[0]): example_of(arguments[1])} if is_mapping else (example_of(arguments[0]),)
    if arguments:
        return arguments[0]
    if issubclass(annotation, Enum):
        return next(iter(annotation))
    if issubclass(annotation, InventoryError):
        return example_error(next(kind for kind in ERRORS if issubclass(kind, annotation) and kind not in BRANCHES))
    if annotation.__name__ == "InventoryId":
        return annotation("espresso", "berlin")
    return annotation(**facts_of(annotation))


def facts_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    if kind in BY_HAND:
        return BY_HAND[kind].facts()
    return {field.alias: example_of(hints[field.name]) for field in attrs.fields(kind) if field.init} if attrs.has(kind) else {}


def example_error(kind: type[InventoryError]) -> InventoryError:
    error = BY_HAND.get(kind) or kind(**facts_of(kind))
    assert isinstance(error, InventoryError)
    return error


def test_codes_are_unique() -> None:
    everything: list[type[InventoryError]] = [InventoryError, *ERRORS]
    codes = Counter(kind.code for kind in everything)
    assert [code for code, count in codes.items() if count > 1] == []
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code)] == []


@pytest.mark.parametrize("kind", ERRORS, ids=name)
def test_it_hangs_on_one_branch(kind: type[InventoryError]) -> None:
    assert kind.__name__.endswith("Error")
    assert sum(issubclass(kind, branch) for branch in BRANCHES) == 1


@pytest.mark.parametrize("kind", REJECTIONS, ids=name)
def test_a_rejection_is_of_one_kind_that_a_host_maps_to_a_status(kind: type[RejectionError]) -> None:
    assert sum(issubclass(kind, one) for one in KINDS_OF_REJECTION) == 1
    assert issubclass(kind, ValueError) is issubclass(kind, InvalidInputError)


def test_nobody_raises_what_a_host_can_map_to_no_status() -> None:
    kinds = (RejectionError, *KINDS_OF_REJECTION)
    raised = re.compile(rf"raise ({'|'.join(kind.__name__ for kind in kinds)})\b")
    assert [path.name for path in source_files() if raised.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("kind", ERRORS, ids=name)
def test_it_survives_a_pickle(kind: type[InventoryError]) -> None:
    error = example_error(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy == error
    assert copy.facts() == error.facts()
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if facts_of(kind)], ids=name)
def test_message_is_a_sentence_for_a_person(kind: type[InventoryError]) -> None:
    message = str(example_error(kind))
    assert len(message.split()) >= 4
    assert "\n" not in message
    assert not message.endswith(".")
    assert "object at 0x" not in message


@pytest.mark.parametrize("kind", ERRORS, ids=name)
def test_it_goes_into_a_log_as_json(kind: type[InventoryError]) -> None:
    error = example_error(kind)
    told = json.loads(json.dumps(error.to_dict()))
    assert told["code"] == error.code
    assert told["message"] == str(error)
    assert told["retryable"] is error.retryable
    assert set(facts_of(kind)) <= set(told)


@pytest.mark.parametrize("kind", ERRORS, ids=name)
def test_it_compares_by_its_facts(kind: type[InventoryError]) -> None:
    assert example_error(kind) == example_error(kind)
    assert hash(example_error(kind)) == hash(example_error(kind))
    assert example_error(kind) != InventoryError()
