"""The shop service of the docs as processes of their own: on a free port of the loopback, ended by process id."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from tests.servers.postgresql import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds for a process to start or to stop."""


@contextmanager
def running(folder: Path, name: str, *command: str, environment: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module in a folder. Its log is ``NAME.log``; at the end it is told to stop, and has to."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
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


def shop_process(folder: Path, *arguments: str, environment: Mapping[str, str] = {}) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run the service's command in a folder."""
    return running(folder, "-".join(arguments[:1]), "docs.examples.shop_service.run", *arguments, environment=environment)


@contextmanager
def shop_server(folder: Path, part: str = "all", *options: str, environment: Mapping[str, str] = {}) -> Iterator[str]:
    """Run a server, and give its URL once it is ready."""
    url = f"http://127.0.0.1:{free_port()}"
    arguments: Sequence[str] = (part, "--port", url.rpartition(":")[2], *options)
    with shop_process(folder, *arguments, environment=environment) as process:
        wait_until_ready(url, process, folder / f"{part}.log")
        yield url


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, path: str = "/health/ready") -> None:
    """Wait until a server answers, and has its stores."""
    give_up = time.monotonic() + PATIENCE
    while not is_ready(f"{url}{path}"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < give_up, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def is_ready(url: str) -> bool:
    """Return True if a server answers, and has its stores."""
    try:
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False
