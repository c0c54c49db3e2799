"""A server of SQS for tests, from the package ``moto``: on a free port of the loopback, ended by process id.

It takes any credentials. Its queues are in its memory, so a stop loses them. Unlike the service, it deletes by a handle that has expired.
"""

import atexit
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.servers import valkey

_PROGRAM = """
import functools, secrets, sys, time
from moto.core import responses
from moto.moto_api import _internal
from moto.moto_server.werkzeug_app import create_backend_app
from moto.sqs import models
from werkzeug.serving import WSGIRequestHandler, run_simple

models.unix_time = time.time  # it is asked for each message of a queue with each request
models.unix_time_millis = lambda: time.time() * 1000
models.camelcase_to_underscores = functools.cache(models.camelcase_to_underscores)
models.generate_receipt_handle = lambda: secrets.token_urlsafe(140)  # it draws each character by itself, here and there
_internal.mock_random.get_random_string = lambda length=20, **_: secrets.token_hex(length)[:length]
responses.method_names_from_class = functools.cache(responses.method_names_from_class)
WSGIRequestHandler.protocol_version = "HTTP/1.1"  # keeps connections, as the service does
WSGIRequestHandler.log = lambda *_: None
run_simple("127.0.0.1", int(sys.argv[1]), create_backend_app("sqs"), threaded=True)
"""  # the package's own program looks for its service anew with each request
_URL = "INVENTORY_ES_TEST_SQS"
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "of-a-test", "AWS_SECRET_ACCESS_KEY": "of-a-test", "AWS_EC2_METADATA_DISABLED": "true"}


class Server(valkey.Server):
    """One server, and the folder of its log."""

    @property
    def endpoint(self) -> str:
        """The URL of the server for the driver."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of a bus on the server."""
        return f"sqs://us-east-1?endpoint={self.endpoint}"

    def command(self) -> Sequence[str | Path]:
        """Return the program with its arguments."""
        return [sys.executable, "-c", _PROGRAM, f"{self.port}"]

    def _serves(self) -> bool:
        """Return True if the server listens."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        time.sleep(0.01)
        return False


@contextmanager
def running_sqs() -> Iterator[Server]:
    """Run a server, and let the driver find credentials for it in the environment."""
    root = Path(tempfile.mkdtemp(prefix="inventory-es-sqs-"))
    before = {name: os.environ.get(name) for name in _CREDENTIALS}
    os.environ.update(_CREDENTIALS)
    server = Server(root, {})
    try:
        yield server.start()
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
        shutil.rmtree(root, ignore_errors=True)


@cache
def shared_sqs() -> Server:
    """Return the server of this process, running. Its start takes two seconds, so its tests have prefixes of their own."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(running_sqs())


@contextmanager
def own_sqs() -> Iterator[Server]:
    """Let this process and those that it starts find the server by :func:`url_of`."""
    server = shared_sqs()
    os.environ[_URL] = server.url
    try:
        yield server
    finally:
        del os.environ[_URL]


def url_of(prefix: str) -> str:
    """Return the URL of :func:`own_sqs` for queues of a prefix."""
    return f"{os.environ[_URL]}&prefix={prefix}"
