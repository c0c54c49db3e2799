"""The dashboard and the alert rules: they name metrics and labels that a scrape has, and Prometheus can read them."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from inventory_es.telemetry import METRICS
from inventory_es.telemetry.prometheus import prometheus_metrics, prometheus_name

DOCS = Path(__file__).parents[2] / "docs"
RULES = DOCS / "examples" / "prometheus_alerts.yml"
DASHBOARD: Mapping[str, Any] = json.loads((DOCS / "examples" / "grafana_dashboard.json").read_text(encoding="utf-8"))
RULE = re.compile(r"- alert: (\w+)\n +expr: (.+)\n")
NAME = re.compile(r"\b(?:inventory_es|db|messaging)_[a-z_]+")
SELECTOR = re.compile(r"\b((?:inventory_es|db|messaging)_[a-z_]+)\{([^}]*)\}")
GROUPING = re.compile(r"by \(([^)]*)\)")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
PROMTOOL = shutil.which("promtool")


def rules() -> Mapping[str, str]:
    """Return the expression of every alert, by its name."""
    return dict(RULE.findall(RULES.read_text(encoding="utf-8")))


def queries() -> Mapping[str, str]:
    """Return every query of a panel and every expression of a rule, by its place."""
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    return {**panels, **rules()}


def labels_by_sample() -> Mapping[str, set[str]]:
    """Return the labels of every sample that a scrape may have, by its name."""
    registry = CollectorRegistry()
    prometheus_metrics(registry)
    names = {family.name for family in registry.collect()}
    found: dict[str, set[str]] = {}
    for metric in METRICS.values():
        assert prometheus_name(metric) in names
        labels = {one.removeprefix("inventory_es.").replace(".", "_") for one in metric.attributes}
        for suffix in SUFFIXES[metric.kind]:
            found[prometheus_name(metric) + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


@pytest.mark.parametrize("place", queries())
def test_a_query_names_metrics_and_labels_that_are_there(place: str) -> None:
    query, known = queries()[place], labels_by_sample()
    names = set(NAME.findall(query)) - {"db_system_name"}
    assert names
    assert names <= set(known)
    for name, selector in SELECTOR.findall(query):
        assert set(re.findall(r"(\w+)=", selector)) <= known[name]
    for group in GROUPING.findall(query):
        assert {one.strip() for one in group.split(",")} <= set.intersection(*(known[name] for name in names))


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    assert {target["datasource"]["uid"] for one in panels for target in one["targets"]} == {"${datasource}"}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        is_apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert is_apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert max(one["gridPos"]["x"] + one["gridPos"]["w"] for one in panels) == 24


def test_the_page_explains_every_alert() -> None:
    page = (DOCS / "how-to" / "observe.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| `(Inventory\w+)` \|", page) == list(rules())


ALERTS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'inventory_es_projection_lag_seconds{{projection="ledger v1", instance="a"}}', values: '0 31x10'}}
      - {{series: 'inventory_es_projection_lag_seconds{{projection="ledger v1", instance="b"}}', values: '0x11'}}
      - {{series: 'inventory_es_dead_letters{{consumer="ledger v1"}}', values: '0x5 1x5'}}
      - {{series: 'inventory_es_command_errors_total{{command="ReserveStock", error_type="insufficient_stock"}}', values: '0+60x20'}}
      - {{series: 'inventory_es_command_errors_total{{command="AddStock", error_type="clock_jump"}}', values: '0x10 0+1x10'}}
      - {{series: 'inventory_es_command_duration_seconds_count{{command="ReserveStock", outcome="rejected"}}', values: '0+60x20'}}
      - {{series: 'inventory_es_command_duration_seconds_count{{command="ReserveStock", outcome="accepted"}}', values: '0+40x20'}}
    alert_rule_test:
      - {{eval_time: 1m, alertname: InventoryProjectionLag, exp_alerts: []}}
      - eval_time: 3m
        alertname: InventoryProjectionLag
        exp_alerts:
          - {{exp_labels: {{projection: ledger v1}}, exp_annotations: {{summary: ledger v1 is behind}}}}
      - {{eval_time: 5m, alertname: InventoryDeadLetters, exp_alerts: []}}
      - eval_time: 6m
        alertname: InventoryDeadLetters
        exp_alerts:
          - {{exp_labels: {{consumer: ledger v1}}, exp_annotations: {{summary: ledger v1 has dead letters}}}}
      - {{eval_time: 5m, alertname: InventoryOversellPressure, exp_alerts: []}}
      - eval_time: 12m
        alertname: InventoryOversellPressure
        exp_alerts:
          - {{exp_labels: {{}}, exp_annotations: {{summary: More than half of the reservations are refused}}}}
      - {{eval_time: 10m, alertname: InventoryClockSkew, exp_alerts: []}}
      - eval_time: 14m
        alertname: InventoryClockSkew
        exp_alerts:
          - {{exp_labels: {{error_type: clock_jump}}, exp_annotations: {{summary: The clock of a machine is wrong}}}}
      - {{eval_time: 12m, alertname: InventoryFaults, exp_alerts: []}}
"""


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="apt-get install prometheus")
def test_prometheus_reads_every_query_and_the_alerts_fire(tmp_path: Path) -> None:
    promtool("check", "rules", RULES)
    panels = {
        "groups": [{"name": "panels", "rules": [{"record": f"panel_{at}", "expr": one} for at, one in enumerate(queries().values())]}]
    }
    (tmp_path / "panels.yml").write_text(json.dumps(panels), encoding="utf-8")
    promtool("check", "rules", tmp_path / "panels.yml")
    (tmp_path / "alerts.yml").write_text(ALERTS.format(rules=RULES), encoding="utf-8")
    promtool("test", "rules", tmp_path / "alerts.yml")
