"""A wrapper of a port leaves nothing out, whatever protocol or method is added."""

import inspect
from typing import Any

import pytest

from inventory_es import ports
from inventory_es.ports.toolkit import forwarding

EXPORTED = [getattr(ports, name) for name in ports.__all__]
PROTOCOLS = {value for value in EXPORTED if inspect.isclass(value) and getattr(value, "_is_runtime_protocol", False)}
NO_BACKENDS = {"BatchCodec", "KnownGoodCodec", "SnapshotCodec", "SteadyClock"}


def members(protocol: type[Any]) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


@pytest.mark.parametrize("protocol", forwarding._ASKED, ids=lambda protocol: protocol.__name__)
def test_every_member_is_asked_or_handed_through(protocol: type[Any]) -> None:
    assert {*forwarding._ASKED[protocol], *forwarding._PASSED.get(protocol, ())} == members(protocol)


def test_every_protocol_that_can_be_told_at_run_time_is_forwarded() -> None:
    assert {protocol.__name__ for protocol in PROTOCOLS} <= {protocol.__name__ for protocol in forwarding._ASKED} | NO_BACKENDS
