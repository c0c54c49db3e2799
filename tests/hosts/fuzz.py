"""Requests made from the schema of the shop service, most of them wrong: ``python -m tests.hosts.fuzz --examples 40``.

Every answer must be one that the schema documents, in its form. Valid requests are accepted, others are refused, and nothing is a fault.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.hosts.shop_server import shop_server

_PATIENCE = 1_800
SETTINGS = """
[[operations]]
include-operation-id = "draft_transfer"  # the schema can't say that source and destination differ

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "409", "422"]
"""


LINE = {"product_id": "espresso-1kg", "quantity": 2}
GOODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "/products/espresso-1kg/stores/berlin/receipts": ("delivery-7", {"quantity": 1_000}),
    "/products/espresso-1kg/stores/berlin/reservations": ("cart-1001", {"quantity": 100}),
    "/orders": ("order-1001", {"lines": [{**LINE, "store_id": "berlin"}]}),
    "/transfers": ("transfer-7", {"source": "berlin", "destination": "hamburg", "lines": [LINE]}),
}
"""By path, what the examples of the schema name: without it most requests would meet nothing."""


def fuzz(url: str, folder: Path, *options: str) -> tuple[int, str]:
    """Send the requests, and return their number and the report.

    Raises:
        AssertionError: some answer was wrong; it has the report.
    """
    for path, (key, body) in GOODS.items():
        made = httpx.post(f"{url}{path}", json=body, headers={"Idempotency-Key": key}, timeout=60)
        assert made.status_code in {200, 201}, made.text
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        settings,
        "run",
        f"{url}/openapi.json",
        "--seed",
        "1",
    ]
    command += ["--no-color", "--generation-database", "none", *options]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    report = run.stdout + run.stderr
    counted = re.search(r"(\d+) generated, (\d+) passed", report)
    assert run.returncode == 0, report
    assert counted is not None, report
    assert counted[1] == counted[2], report
    return int(counted[1]), report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.fuzz")
    parser.add_argument("--examples", type=int, default=20, help="random requests per operation, besides those of the schema's edges")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, shop_server(Path(made)) as url:
        requests, report = fuzz(url, Path(made), "--max-examples", str(given.examples))
        print(report)
        print(f"{requests} requests, 0 failures")


if __name__ == "__main__":
    main()
