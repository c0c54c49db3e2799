"""The domain kit: scenarios, strategies, a state machine, and the properties of every history.

Names are loaded on first use, because only the strategies and the machine need hypothesis (extra ``testing``).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from inventory_es.testing.optional import refuse

if TYPE_CHECKING:
    from inventory_es.testing.domain.agreement import Agreement, check_decision, check_memory
    from inventory_es.testing.domain.codec_check import check_codec
    from inventory_es.testing.domain.command_generator import CommandGenerator, random_program
    from inventory_es.testing.domain.features import FEATURES, features_of
    from inventory_es.testing.domain.history import HISTORY_PROPERTIES, HistoryProperty, PropertyError, Violation, check_history, violations
    from inventory_es.testing.domain.machine import InventoryMachine
    from inventory_es.testing.domain.model import Model, Verdict
    from inventory_es.testing.domain.probe import behaviour
    from inventory_es.testing.domain.program import Call, Program, Record, play
    from inventory_es.testing.domain.program_properties import PROGRAM_PROPERTIES, ProgramProperty, check_program
    from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler
    from inventory_es.testing.domain.rules import RULES, Facts, Refusal, Rule, Stock
    from inventory_es.testing.domain.scenarios import SHELF, START, Scenario, ScenarioError, like, scenario
    from inventory_es.testing.domain.service_check import check_service
    from inventory_es.testing.domain.strategies import (
        commands,
        commands_for,
        events,
        histories,
        identifiers,
        instants,
        inventory_ids,
        programs,
        quantities,
        references,
        reservation_refs,
        stream_ids,
        times_for,
        times_to_live,
    )

_HOMES = {
    "agreement": ("Agreement", "check_decision", "check_memory"),
    "codec_check": ("check_codec",),
    "command_generator": ("CommandGenerator", "random_program"),
    "features": ("FEATURES", "features_of"),
    "history": ("HISTORY_PROPERTIES", "HistoryProperty", "PropertyError", "Violation", "check_history", "violations"),
    "machine": ("InventoryMachine",),
    "model": ("Model", "Verdict"),
    "probe": ("behaviour",),
    "program": ("Call", "Program", "Record", "play"),
    "program_properties": ("PROGRAM_PROPERTIES", "ProgramProperty", "check_program"),
    "reference_handler": ("Answer", "ReferenceHandler"),
    "rules": ("RULES", "Facts", "Refusal", "Rule", "Stock"),
    "scenarios": ("SHELF", "START", "Scenario", "ScenarioError", "like", "scenario"),
    "service_check": ("check_service",),
    "strategies": (
        "commands",
        "commands_for",
        "events",
        "histories",
        "identifiers",
        "instants",
        "inventory_ids",
        "programs",
        "quantities",
        "references",
        "reservation_refs",
        "stream_ids",
        "times_for",
        "times_to_live",
    ),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "FEATURES",
    "HISTORY_PROPERTIES",
    "PROGRAM_PROPERTIES",
    "RULES",
    "SHELF",
    "START",
    "Agreement",
    "Answer",
    "Call",
    "CommandGenerator",
    "Facts",
    "HistoryProperty",
    "InventoryMachine",
    "Model",
    "Program",
    "ProgramProperty",
    "PropertyError",
    "Record",
    "ReferenceHandler",
    "Refusal",
    "Rule",
    "Scenario",
    "ScenarioError",
    "Stock",
    "Verdict",
    "Violation",
    "behaviour",
    "check_codec",
    "check_decision",
    "check_history",
    "check_memory",
    "check_program",
    "check_service",
    "commands",
    "commands_for",
    "events",
    "features_of",
    "histories",
    "identifiers",
    "instants",
    "inventory_ids",
    "like",
    "play",
    "programs",
    "quantities",
    "random_program",
    "references",
    "reservation_refs",
    "scenario",
    "stream_ids",
    "times_for",
    "times_to_live",
    "violations",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        value: object = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "hypothesis":
            raise
        refuse(f"{__name__}.{name}", "hypothesis")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
