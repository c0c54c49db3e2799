"""A RabbitMQ server for tests, from Debian's package: on free ports of the loopback, in a folder of its own, ended by process id.

Its start takes about ten seconds. So a test process starts one server, at the first use, and its tests have names of queues of their own.
"""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar, Self
from uuid import uuid4

import pytest

from tests.servers import valkey
from tests.servers.valkey import free_port

_MEMORY = Path("/dev/shm")  # where a sync costs nothing, and a killed process loses nothing
_INSTALLED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the package's command changes to another user
PROGRAM = str(_INSTALLED) if _INSTALLED.exists() else shutil.which("rabbitmq-server")
_EPMD = shutil.which("epmd")
_URL = "INVENTORY_ES_TEST_RABBITMQ"
_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
log.file = rabbit.log
log.file.level = warning
"""
_ERLANG = "+S 1:1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"  # one core, and none that spins

HAS_RABBITMQ = PROGRAM is not None and _EPMD is not None
HOW_TO_GET_IT = "apt-get install --no-install-recommends rabbitmq-server, and stop its service"
needs_rabbitmq = pytest.mark.skipif(not HAS_RABBITMQ, reason=HOW_TO_GET_IT)
"""A mark of tests that need the server."""


class Server(valkey.Server):
    """One server, the mapper of ports that Erlang needs, and their folder.

    Args:
        root: a folder of its own.
    """

    patience: ClassVar[float] = 120.0

    def __init__(self, root: Path) -> None:
        super().__init__(root, {})
        self._mapper_port, self._node_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> Self:
        """Start the server, and wait until it serves."""
        if self._mapper is None:
            assert _EPMD is not None
            command = [_EPMD, "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return super().start()

    def command(self) -> Sequence[str | Path]:
        """Write the configuration, and return the program with its arguments."""
        assert PROGRAM is not None
        (self.root / "rabbit.conf").write_text(_CONFIGURATION.format(port=self.port))
        (self.root / "plugins").write_text("[].\n")
        settings = {
            "HOME": self.root,  # has the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": self._mapper_port,
            "RABBITMQ_ALLOW_INPUT": 1,  # the program becomes the server, and does not wait for it
            "RABBITMQ_CONFIG_FILE": self.root / "rabbit.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": self._node_port,
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.root / "plugins",
            "RABBITMQ_LOG_BASE": self.root / "logs",
            "RABBITMQ_MNESIA_BASE": self.root / "data",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_PID_FILE": self.root / "pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_ERLANG} -kernel inet_dist_use_interface {{127,0,0,1}}",
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), PROGRAM, "-noinput"]

    def end(self) -> None:
        """Kill the server, whose data goes with its folder, and the mapper of ports."""
        if self.is_running:
            self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()

    def _serves(self) -> bool:
        """Return True if the server answers a client of another protocol with its own one."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as probe:
            probe.settimeout(1)
            probe.sendall(b"AMQP\x03\x09\x09\x09")
            if probe.recv(4) == b"AMQP":
                return True
        time.sleep(0.05)
        return False


@contextmanager
def running_rabbitmq(*, in_memory: bool = True) -> Iterator[Server]:
    """Run a server. Its folder goes with it."""
    root = Path(tempfile.mkdtemp(prefix="inventory-es-rabbitmq-", dir=_MEMORY if in_memory and _MEMORY.is_dir() else None))
    server = Server(root)
    try:
        yield server.start()
    finally:
        server.end()
        shutil.rmtree(root, ignore_errors=True)


@cache
def shared_rabbitmq() -> Server:
    """Return the server of this process, running."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(running_rabbitmq())


@contextmanager
def own_rabbitmq() -> Iterator[Server]:
    """Let this process and those that it starts find the server by :func:`url_of`."""
    server = shared_rabbitmq()
    os.environ[_URL] = server.url
    try:
        yield server
    finally:
        del os.environ[_URL]


def url_of(prefix: str) -> str:
    """Return the URL of :func:`own_rabbitmq` for queues of a prefix."""
    return f"{os.environ[_URL]}?prefix={prefix}"


@contextmanager
def own_prefix() -> Iterator[str]:
    """Yield the URL of the server with a prefix that nobody else has."""
    yield f"{shared_rabbitmq().url}?prefix=t{uuid4().hex}"
