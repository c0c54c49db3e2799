"""The shop service of the docs as processes of their own: on a free port of the loopback, ended by process id."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers.postgresql import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds for a process to start or to stop."""


@contextmanager
def shop_process(folder: Path, *arguments: str, environment: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service's command in a folder. Its log is there; at the end it is told to stop, and has to."""
    with (folder / f"{'-'.join(arguments[:1])}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "docs.examples.shop_service.run", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def shop_server(folder: Path, part: str = "all", *options: str, environment: Mapping[str, str] = {}) -> Iterator[str]:
    """Run a server, and give its URL once it is ready."""
    url = f"http://127.0.0.1:{free_port()}"
    arguments: Sequence[str] = (part, "--port", url.rpartition(":")[2], *options)
    with shop_process(folder, *arguments, environment=environment) as process:
        wait_until_ready(url, process, folder / f"{part}.log")
        yield url


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server that was started is ready."""
    give_up = time.monotonic() + PATIENCE
    while not is_ready(url):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < give_up, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def is_ready(url: str) -> bool:
    """Return True if a server answers, and has its stores."""
    try:
        return httpx.get(f"{url}/health/ready", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False
