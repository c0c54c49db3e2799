"""A platform such as Windows, without the calls that only Unix has: SQLite and the command line work, and ``file:`` says what to use.

Python itself keeps what it has loaded before the names are taken away; ``sys.platform`` stays, since other packages load DLLs by it.
"""

import subprocess
import sys
from pathlib import Path

import pytest

_BARE = """
import asyncio, concurrent.futures, ctypes, logging, multiprocessing, os, pkgutil, signal, sqlite3, subprocess, sys, tempfile
import anyio, attrs, cattrs, click, hypothesis, msgspec, rich.console, rich.progress, rich.table, rich.live, trio
import anyio._backends._asyncio, anyio._backends._trio, anyio.from_thread, anyio.to_thread

for name in (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "chroot", "fchmod", "fchown", "fdatasync", "fork",
    "forkpty", "geteuid", "getgid", "getpgid", "getuid", "killpg", "lchown", "mkfifo", "pread", "preadv", "pwrite", "pwritev",
    "register_at_fork", "sched_getaffinity", "sched_yield", "setgid", "setsid", "setuid", "sysconf", "uname", "wait", "wait3", "wait4",
):
    delattr(os, name)
for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "setitimer", "pthread_kill", "sigwait"):
    delattr(signal, name)
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None

def no_signals(*_):
    raise NotImplementedError

asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = no_signals
place = sys.argv[1]
"""


def run(program: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _BARE + program, str(place)], capture_output=True, text=True, timeout=180, check=False)


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    program = """
import importlib, inventory_es
for found in pkgutil.walk_packages(inventory_es.__path__, "inventory_es."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print("all")
"""
    ended = run(program, tmp_path)
    assert (ended.stdout, ended.stderr) == ("all\n", "")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sqlite_stores_read_models_and_snapshots_work(tmp_path: Path, backend: str) -> None:
    program = f"""
from inventory_es import open_inventory

async def main():
    url = "sqlite:" + place + "/s.db"
    async with open_inventory(url, read_models=url, snapshots=url) as inventory:
        await inventory.add_stock("tea", "berlin", 5)
        await inventory.followers.catch_up(on_failure="stop")
        print((await inventory.queries.stock("tea", "berlin")).on_hand)
    async with open_inventory(url) as inventory:
        print((await inventory.stock("tea", "berlin")).on_hand)

anyio.run(main, backend={backend!r})
"""
    ended = run(program, tmp_path)
    assert (ended.stdout, ended.stderr) == ("5\n5\n", "")


def test_the_synchronous_service_works(tmp_path: Path) -> None:
    program = """
from inventory_es.sync import open_inventory
for url in ("memory:", "sqlite:" + place + "/s.db"):
    with open_inventory(url) as inventory:
        print(inventory.add_stock("tea", "berlin", 5).version)
"""
    ended = run(program, tmp_path)
    assert (ended.stdout, ended.stderr) == ("1\n1\n", "")


def test_the_command_line_works(tmp_path: Path) -> None:
    program = """
from inventory_es.cli.app import run
from inventory_es.sync import open_inventory
url = "sqlite:" + place + "/s.db"
with open_inventory(url) as inventory:
    inventory.add_stock("tea", "berlin", 5)
for arguments in (
    ["demo"], ["stock", "tea", "berlin", "--url", url], ["streams", "--url", url], ["streams", "--url", "memory:"],
    ["history", "tea", "berlin", "--url", url], ["copy", url, "sqlite:" + place + "/copy.db"], ["watch", "--once", "--url", url],
    ["project", "--url", url, "--read-model", place + "/rows.db", "--once"],
    ["ledger", "tea", "berlin", "--read-model", place + "/rows.db"],
):
    code = run(arguments)
    assert code == 0, (arguments, code)
print("all")
"""
    ended = run(program, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("all\n")


def test_folders_say_what_to_use_instead(tmp_path: Path) -> None:
    program = """
from inventory_es import open_inventory
from inventory_es.adapters.file import open_file_cache, open_file_event_bus, open_file_event_store
from inventory_es.adapters.system import SystemClock
from inventory_es.cli.app import run
from inventory_es.errors import UnsupportedCapabilityError
from inventory_es.sync import open_inventory as open_sync

async def refuses(opening):
    try:
        async with opening():
            print("opened")
    except UnsupportedCapabilityError as refused:
        print(refused.retryable, refused)

async def main():
    await refuses(lambda: open_inventory("file:" + place + "/s"))
    await refuses(lambda: open_file_event_store(place + "/s"))
    await refuses(lambda: open_file_event_bus(place + "/b", clock=SystemClock()))
    await refuses(lambda: open_file_cache(place + "/c", clock=SystemClock()))

anyio.run(main)
try:
    open_sync("file:" + place + "/s").stock("tea", "berlin")
except UnsupportedCapabilityError as refused:
    print(refused.retryable, refused)
sys.exit(run(["streams", "--url", "file:" + place + "/s"]))
"""
    ended = run(program, tmp_path)
    said = f"the file system of {sys.platform} has no flock: use 'sqlite:', which works everywhere"
    assert ended.stdout.splitlines() == [f"False {said}"] * 5
    assert (ended.returncode, ended.stderr) == (3, f"inventory-es: {said}\n")
    assert not list(tmp_path.iterdir())
