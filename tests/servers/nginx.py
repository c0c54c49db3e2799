"""nginx for tests, from the path, with the gateway of the shop service: on a free port of the loopback, ended by process id."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.postgresql import PATIENCE, free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
GATEWAY = Path(__file__).parents[2] / "docs" / "examples" / "shop_service" / "gateway"
WIDE = {"rate=100r/s": "rate=9000r/s", "rate=200r/s": "rate=9000r/s", "burst=200": "burst=9000", "burst=400": "burst=9000"}
"""Limits that no test meets by itself."""


class Gateway:
    """One nginx and its folder.

    Args:
        folder: the configuration; it gets the logs too.
        port: of the loopback.
        keys: by API key, the client and its scopes.
    """

    def __init__(self, folder: Path, port: int, keys: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = port
        self._write_keys(keys)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        assert NGINX is not None
        with (self.folder / "output.log").open("ab") as log:
            command: list[str | Path] = [NGINX, "-e", "error.log", "-p", f"{self.folder}/", "-c", "nginx.conf"]
            self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + PATIENCE
        while not self._listens():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up, self.log()

    def stop(self) -> None:
        """End the server after the requests in hand, and require that it ended well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        try:
            assert self._process.wait(PATIENCE) == 0, self.log()
        except subprocess.TimeoutExpired:
            self._process.terminate()  # the master ends its workers with it
            self._process.wait(PATIENCE)
            raise

    def reload_keys(self, keys: Mapping[str, str]) -> None:
        """Give the server other keys, as an operator does."""
        assert self._process is not None
        self._write_keys(keys)
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        """Return what the server has said of itself."""
        return "".join(path.read_text() for path in (self.folder / "output.log", self.folder / "error.log") if path.exists())

    def _write_keys(self, keys: Mapping[str, str]) -> None:
        (self.folder / "keys.map").write_text("".join(f'{key} "{client}";\n' for key, client in keys.items()))

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True
        time.sleep(0.01)
        return False


@contextmanager
def gateway(folder: Path, replicas: Sequence[int], keys: Mapping[str, str], limits: Mapping[str, str] = {}) -> Iterator[Gateway]:
    """Run the gateway of the docs before replicas.

    Args:
        folder: an empty one; it gets the folder ``gateway``.
        replicas: their ports on the loopback.
        keys: by API key, the client and its scopes.
        limits: texts in ``limits.conf``, and those that take their places.
    """
    root, port = folder / "gateway", free_port()
    shutil.copytree(GATEWAY, root)
    replace(root / "listen.conf", {"127.0.0.1:8080": f"127.0.0.1:{port}"})
    replace(root / "replicas.conf", {f"127.0.0.1:{8001 + at}": f"127.0.0.1:{replica}" for at, replica in enumerate(replicas)})
    replace(root / "limits.conf", limits)
    one = Gateway(root, port, keys)
    one.start()
    try:
        yield one
    finally:
        one.stop()


def replace(path: Path, texts: Mapping[str, str]) -> None:
    """Replace texts of a file, each of which must be there."""
    content = path.read_text()
    for old, new in texts.items():
        assert old in content, f"{path.name} has no {old!r}"
        content = content.replace(old, new)
    path.write_text(content)
