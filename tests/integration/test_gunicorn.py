"""Real workers of gunicorn, of every kind, share one store: exactly the stock is sold, and every buyer gets an answer."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inventory_es.sync import open_inventory

APP = """
import os
from datetime import timedelta
from inventory_es import InsufficientStockError
from inventory_es.sync import open_inventory

inventory = open_inventory(os.environ["STOCK"])
if "USED" in os.environ:
    inventory.stock("tea", "berlin")

def application(environ, start_response):
    try:
        inventory.reserve("tea", "berlin", 1, ttl=timedelta(minutes=15))
        start_response("200 OK", [])
    except InsufficientStockError:
        start_response("409 Conflict", [])
    return [b""]
"""
READY = """
def post_worker_init(worker):
    print("ready", flush=True)
"""
UNITS, BUYERS, WORKERS = 30, 50, 2
KINDS = {"sync": [], "gthread": ["--threads", "8"], "gevent": []}


@pytest.mark.parametrize("master", ["does not load it", "loads it", "uses it"])
@pytest.mark.parametrize("kind,scheme", [("sync", "file"), ("gthread", "file"), ("gevent", "file"), ("gevent", "sqlite")])
def test_two_workers_sell_exactly_the_stock(kind: str, master: str, scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}:{tmp_path / 'stock'}"
    with open_inventory(url) as inventory:
        inventory.add_stock("tea", "berlin", UNITS)
    tmp_path.joinpath("app.py").write_text(APP, encoding="utf-8")
    tmp_path.joinpath("ready.py").write_text(READY, encoding="utf-8")
    options = [
        "--config",
        "ready.py",
        "--workers",
        str(WORKERS),
        "--worker-class",
        kind,
        *KINDS[kind],
        *(["--preload"] if master != "does not load it" else []),
    ]
    environment = {**os.environ, "STOCK": url, **({"USED": "1"} if master == "uses it" else {})}
    with socket.create_server(("127.0.0.1", 0), backlog=BUYERS) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listening.fileno()}", *options, "app:application"]
        pass_fds = [listening.fileno()]
        pipe = subprocess.PIPE
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, pass_fds=pass_fds, stdout=pipe, stderr=pipe, text=True)

        def buy(_: int) -> int:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as refusal:
                return refusal.code

        try:
            assert server.stdout is not None
            ready = [server.stdout.readline() for _ in range(WORKERS)]  # a worker that is told to end before it is ready does not hear it
            with ThreadPoolExecutor(16) as buyers:
                answers = Counter(buyers.map(buy, range(BUYERS)))
        finally:
            server.terminate()
            _, said = server.communicate(timeout=60)
    assert ready == ["ready\n"] * WORKERS, said
    assert answers == {200: UNITS, 409: BUYERS - UNITS}, said
    with open_inventory(url) as inventory:
        level = inventory.stock("tea", "berlin")
    assert (level.reserved, level.available) == (UNITS, 0)
