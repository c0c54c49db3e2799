"""A process ends when its main thread has ended, whatever follows the feed in threads of the host."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLLOWS = """
import sys, threading
from inventory_es.sync import open_inventory

inventory = open_inventory(sys.argv[1], read_models=sys.argv[2])
done = inventory.add_stock("tea", "berlin", 5)
thread = threading.Thread(target=inventory.followers.run, kwargs={"on_failure": "stop"}, daemon=False)
thread.start()
print(inventory.queries.stock("tea", "berlin", wait_for_position=done.position).on_hand, flush=True)
"""
LATE_WORK = """
def work():
    threading.main_thread().join()
    print(inventory.add_stock("tea", "berlin", 2).on_hand, flush=True)

threading.Thread(target=work).start()
"""
FORKS = """
import os
child = os.fork()
if child == 0:
    follower = threading.Thread(target=inventory.followers.run, kwargs={"on_failure": "stop"}, daemon=False)
    follower.start()
    done = inventory.add_stock("tea", "berlin", 1)
    print(inventory.stock("tea", "berlin").on_hand, flush=True)
else:
    assert os.waitpid(child, 0)[1] == 0
"""
STANDS_BY = """
from inventory_es.sync import open_inventory as open_another
another = open_another(sys.argv[1], read_models=sys.argv[2])
stands_by = threading.Thread(target=another.followers.catch_up, kwargs={"on_failure": "stop"}, daemon=False)
stands_by.start()
"""
FAILS = """
raise SystemExit(7)
"""


def run(program: str, place: Path, scheme: str) -> tuple[int, str]:
    """The exit code and what was printed. A process that does not end is an error."""
    urls = ["memory:", "memory:"] if scheme == "memory" else [f"{scheme}:{place / 'stock'}", f"sqlite:{place / 'rows.db'}"]
    done = subprocess.run([sys.executable, "-c", program, *urls], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("scheme", ["memory", "file", "sqlite"])
def test_a_follower_in_a_thread_that_is_no_daemon_does_not_keep_the_process_alive(scheme: str, tmp_path: Path) -> None:
    assert run(FOLLOWS, tmp_path, scheme) == (0, "5\n")


def test_threads_that_work_on_after_the_main_thread_still_have_the_service(tmp_path: Path) -> None:
    assert run(FOLLOWS + LATE_WORK, tmp_path, "sqlite") == (0, "5\n7\n")


def test_the_exit_code_stays(tmp_path: Path) -> None:
    assert run(FOLLOWS + FAILS, tmp_path, "memory") == (7, "5\n")


def test_what_stands_by_for_another_runner_ends_too(tmp_path: Path) -> None:
    assert run(FOLLOWS + STANDS_BY, tmp_path, "sqlite") == (0, "5\n")


def test_a_forked_child_with_a_follower_of_its_own_ends(tmp_path: Path) -> None:
    code, out = run(FOLLOWS + FORKS, tmp_path, "file")
    assert (code, out) == (0, "5\n6\n")
