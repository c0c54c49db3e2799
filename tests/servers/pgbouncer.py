"""PgBouncer in transaction mode for tests, from the path: on a free port of the loopback, as ``nobody`` where the tests run as root."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.postgresql import PATIENCE, USER, Server, free_port, give_to_server, make_folder

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_file = {root}/users
pool_mode = transaction
default_pool_size = 3
server_idle_timeout = 1
ignore_startup_parameters = extra_float_digits
{settings}
"""


@contextmanager
def pooler(server: Server, settings: str = "auth_type = trust", *, files: Mapping[str, Path] = {}) -> Iterator[str]:
    """Run a pooler before a server, and yield the URL of the database ``postgres`` through it. It has fewer connections than clients.

    Args:
        server: the server.
        settings: further lines of its configuration.
        files: copied into its folder, where it starts, under these names.
    """
    assert PGBOUNCER is not None
    root, port = make_folder(), free_port()
    try:
        for name, file in files.items():
            shutil.copy(file, root / name)
        (root / "users").write_text('"postgres" ""\n')
        (root / "ini").write_text(_SETTINGS.format(server=server.port, port=port, root=root, settings=settings))
        give_to_server(root)
        with (root / "log").open("ab") as log:
            process = subprocess.Popen(
                [PGBOUNCER, root / "ini"], cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, user=USER
            )
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            give_up = time.monotonic() + PATIENCE
            while not _listens(port):
                assert process.poll() is None, (root / "log").read_text()
                assert time.monotonic() < give_up, (root / "log").read_text()
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    time.sleep(0.01)
    return False
