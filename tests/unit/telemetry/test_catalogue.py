"""The catalogue against the code, the semantic conventions and the reference page."""

import ast
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import db_attributes, error_attributes
from opentelemetry.semconv.metrics import db_metrics

from inventory_es.telemetry import LOGS, METRICS, SPANS
from tests.architecture.sources import ROOT, relative, source_files

PAGE = ROOT / "docs" / "reference" / "telemetry.md"
OURS = re.compile(r"inventory_es(\.[a-z_]+)+|inventory_es")
UNBOUNDED = {"product.id", "store.id", "command.id", "correlation.id", "stream", "version", "position", "quantity"}
LEVEL_OF = {"exception": "error"}


def texts_of(*modules: object) -> set[object]:
    return {value for module in modules for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_names_that_are_not_ours_are_those_of_the_conventions() -> None:
    attributes = texts_of(db_attributes, error_attributes, messaging_attributes)
    names = texts_of(db_metrics, messaging_metrics)
    for metric in METRICS.values():
        assert OURS.fullmatch(metric.name) or metric.name in names, metric.name
    keys = {key for metric in METRICS.values() for key in metric.attributes} | {key for span in SPANS.values() for key in span.attributes}
    assert {key for key in keys if not OURS.fullmatch(key)} <= attributes


def test_no_attribute_of_a_metric_has_values_without_bound() -> None:
    keys = {key.removeprefix("inventory_es.") for metric in METRICS.values() for key in metric.attributes}
    assert keys & (UNBOUNDED | {"messaging.message.id"}) == set()


def test_a_histogram_has_rising_bounds_and_nothing_else_has_any() -> None:
    for metric in METRICS.values():
        assert bool(metric.bounds) == (metric.kind == "histogram"), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds)), metric.name
        assert metric.unit == "s" or re.fullmatch(r"\{[a-z]+\}", metric.unit), metric.name


def calls(path: Path) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Name, level and fields of each log event of a source file; of the fields, those that the call itself names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        level, logger, name = node.func.attr, ast.unparse(node.func.value), node.args[0]
        if not isinstance(name, ast.Constant):
            continue
        extra = next((one.value for one in node.keywords if one.arg == "extra"), None)
        if logger in {"_log", "_logger", "self._logger"}:
            keys = extra.keys if isinstance(extra, ast.Dict) else []
            yield str(name.value), LEVEL_OF.get(level, level), frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
        elif level == "_warn":
            yield str(name.value), "warning", frozenset({"stream", "reason"})


def test_the_code_logs_what_the_catalogue_lists() -> None:
    found: dict[str, set[str]] = {}
    for path in source_files():
        if path.parts[-2] in {"testing", "cli"}:
            continue
        for name, level, fields in calls(path):
            assert name in LOGS, f"{relative(path)} logs {name}, which the catalogue does not list"
            assert LOGS[name].level == level, name
            assert fields <= set(LOGS[name].fields), name
            found.setdefault(name, set()).update(fields)
    assert set(found) == set(LOGS)
    built = {"command_finished", "journal_recovered"}  # their fields come from a record
    assert {name: set(LOGS[name].fields) for name in found if name not in built} == {
        name: fields for name, fields in found.items() if name not in built
    }


def test_a_field_has_no_name_that_a_log_record_has() -> None:
    taken = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "timestamp", "level", "event", "logger"}
    assert {field for log in LOGS.values() for field in log.fields} & taken == set()


def rows(heading: str) -> Mapping[str, list[str]]:
    """The rows of the table under a heading of the reference page, by their first cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    return {first.strip("`"): [re.sub("`", "", one) for one in others] for first, *others in cells}


@pytest.mark.parametrize("heading", ["Metrics", "Spans", "Log events"])
def test_the_reference_lists_the_catalogue(heading: str) -> None:
    expected: Mapping[str, list[str]] = {
        "Metrics": {one.name: [one.kind, one.unit, ", ".join(one.attributes), one.description] for one in METRICS.values()},
        "Spans": {one.name: [one.kind, ", ".join(one.attributes), one.description] for one in SPANS.values()},
        "Log events": {one.event: [one.level, ", ".join(one.fields), one.description] for one in LOGS.values()},
    }[heading]
    assert rows(heading) == expected
