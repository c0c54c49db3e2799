"""The doors of the domain kit: every name is there, and only what needs hypothesis loads it."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

DOOR = import_module("inventory_es.testing.domain")
NEEDS_HYPOTHESIS = {
    "InventoryMachine", "commands", "commands_for", "events", "histories", "identifiers", "instants", "inventory_ids", "programs",
    "quantities", "references", "reservation_refs", "stream_ids", "times_for", "times_to_live",
}  # fmt: skip


def test_every_name_is_what_it_says() -> None:
    for name in DOOR.__all__:
        import_module(f"{DOOR.__name__}.{DOOR._HOME_OF[name].rsplit('.', 1)[-1]}")
        assert not isinstance(getattr(DOOR, name), ModuleType), f"{name} is hidden by a module of that name"
    assert set(DOOR.__all__) == set(DOOR._HOME_OF) <= set(dir(DOOR))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(DOOR, "nothing")  # noqa: B009  # what is asked for is not there


def test_only_strategies_and_the_machine_need_hypothesis() -> None:
    script = (
        "import sys, inventory_es.testing.domain as door\n"
        f"for name in sorted(set(door.__all__) - {NEEDS_HYPOTHESIS!r}): getattr(door, name)\n"
        "assert not {'hypothesis', 'pytest'} & set(sys.modules), 'loaded too much'\n"
        f"for name in sorted({NEEDS_HYPOTHESIS!r}): getattr(door, name)\n"
        "assert 'hypothesis' in sys.modules\n"
    )
    loading = subprocess.run([sys.executable, "-c", script], check=False, timeout=60, capture_output=True, text=True)
    assert (loading.returncode, loading.stderr) == (0, "")
