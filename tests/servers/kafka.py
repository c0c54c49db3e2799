"""Kafka servers for tests, from the wheel ``noida-db``: on a free port of the loopback, in a folder of their own, ended by process id.

It speaks Kafka's protocol with groups and transactions, and is no test of durability: a kill may take what it acknowledged just before.
"""

import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.servers import valkey
from tests.servers.proxy import Passage, Proxy

_MEMORY = Path("/dev/shm")
_URL = "INVENTORY_ES_TEST_KAFKA"
_FETCH, _COMMIT_IN_A_TRANSACTION = b"\x00\x01", b"\x00\x1c"
_CHUNK = 1 << 16  # a thread that waits holds that many bytes


class KafkaProxy(Proxy):
    """A proxy that says its own port where the server says its own, and lets a consumer wait for entries as Kafka does.

    The server answers a fetch at once even if there is nothing, so that every consumer would keep a core busy. An answer that is as long
    as the one before has brought nothing, and waits here.

    Args:
        port: of the server.
        pause: the seconds for which such an answer waits.

    Attributes:
        change: of the answer to the next commits of offsets in a transaction, if it is not ``None``.
    """

    def __init__(self, port: int, pause: float = 0.01) -> None:
        self._fetching: set[Passage] = set()
        self._commits: dict[Passage, set[bytes]] = {}
        self._pause = pause
        self.change: Callable[[bytes], bytes] | None = None
        super().__init__(port, lambda: None)

    def _requests(self, passage: Passage) -> None:
        with suppress(OSError):
            while data := passage.client.recv(_CHUNK):
                (self._fetching.add if data[4:6] == _FETCH else self._fetching.discard)(passage)
                if self.change is not None:
                    commits = {frame[8:12] for frame in _frames(data) if frame[4:6] == _COMMIT_IN_A_TRANSACTION}
                    self._commits.setdefault(passage, set()).update(commits)
                if not passage.is_frozen:
                    passage.server.sendall(data)
        _end(passage)

    def _answers(self, passage: Passage) -> None:
        theirs, ours = (b"127.0.0.1" + port.to_bytes(4) for port in (self._target, self.port))
        before = 0
        with suppress(OSError):
            while data := passage.server.recv(_CHUNK):
                if len(data) == before and passage in self._fetching:
                    time.sleep(self._pause)  # the server's part, which it leaves out
                before = len(data)
                passed = b"".join(map(partial(self._changed, passage), _frames(data))) if self._commits.get(passage) else data
                if not passage.is_frozen:
                    passage.client.sendall(passed.replace(theirs, ours))
        _end(passage)

    def _changed(self, passage: Passage, answer: bytes) -> bytes:
        """Change the answer to a commit, which has the number of its request: others may be on their way at the same time."""
        number, change = answer[4:8], self.change
        if change is None or number not in self._commits[passage]:
            return answer
        self._commits[passage].discard(number)
        return change(answer)


def _frames(data: bytes) -> Iterator[bytes]:
    while data:
        end = 4 + int.from_bytes(data[:4])
        yield data[:end]
        data = data[end:]


def _end(passage: Passage) -> None:
    passage.cut()  # wakes the other thread
    for side in (passage.client, passage.server):
        side.close()


class Server(valkey.Server):
    """One server and its folder, behind a proxy."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, {})
        self.proxy: KafkaProxy = KafkaProxy(self.port)

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"kafka://127.0.0.1:{self.proxy.port}"

    def command(self) -> Sequence[str | Path]:
        """Return the program with its arguments."""
        return [program(), "start", "--data-dir", self.root / "data", "--only", "kafka", "--kafka-port", f"{self.port}"]

    def end(self) -> None:
        """End the server and its proxy."""
        with self.proxy:
            self.stop()

    def _serves(self) -> bool:
        """Return True if the server listens."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        time.sleep(0.01)
        return False


@contextmanager
def running_kafka() -> Iterator[Server]:
    """Run a server. Its folder goes with it."""
    root = Path(tempfile.mkdtemp(prefix="inventory-es-kafka-", dir=_MEMORY if _MEMORY.is_dir() else None))
    server = Server(root)
    try:
        yield server.start()
    finally:
        server.end()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def own_kafka() -> Iterator[Server]:
    """Run a server whose URL this process and those that it starts find by :func:`url_of`."""
    with running_kafka() as server:
        os.environ[_URL] = server.url
        try:
            yield server
        finally:
            del os.environ[_URL]


def url_of(prefix: str) -> str:
    """Return the URL of :func:`own_kafka` for topics of a prefix."""
    return f"{os.environ[_URL]}?prefix={prefix}"


def program() -> Path:
    """Return the path of the server's program."""
    found = importlib.util.find_spec("noida_db")
    if found is None or found.origin is None:
        msg = "the test servers need the dependency group `test`: pip install --group test"
        raise AssertionError(msg)
    path = Path(found.origin).parent / "noida-db"
    path.chmod(0o755)
    return path
