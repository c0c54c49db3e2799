"""The Django project of the docs under gunicorn, and its commands: processes of their own in a folder."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.hosts.shop_server import PATIENCE, ROOT, running, wait_until_ready
from tests.servers.postgresql import free_port

PROJECT = "docs.examples.shop_django"
THREADS = ("--worker-class", "gthread", "--threads", "16", "--preload")
GREENLETS = ("--worker-class", "gevent")
WORKERS: Mapping[str, tuple[str, ...]] = {
    "threads, preloaded": THREADS,
    "greenlets": GREENLETS,
    "greenlets, preloaded": (*GREENLETS, "--preload"),
}


def manage(folder: Path, *arguments: str) -> None:
    """Run a command of the project to its end."""
    done = subprocess.run(
        [sys.executable, "-m", f"{PROJECT}.manage", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def following(folder: Path, part: str = "all", *, environment: Mapping[str, str] = {}) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run the command ``follow``."""
    return running(folder, f"follow-{part}", f"{PROJECT}.manage", "follow", part, environment=environment)


@contextmanager
def django_server(
    folder: Path, *options: str, environment: Mapping[str, str] = {}, path: str = "/health/ready"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run gunicorn, and give its URL once a path of it answers, and its process."""
    port = free_port()
    command = ("gunicorn", f"{PROJECT}.wsgi", "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "10", "--no-control-socket", *options)
    with running(folder, "web", *command, environment=environment) as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "web.log", path)
        yield f"http://127.0.0.1:{port}", process
