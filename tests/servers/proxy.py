"""A proxy between an adapter and its server, which loses, holds back or changes what passes."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_CHUNK = 1 << 20
_FAREWELL = b"X\x00\x00\x00\x04"
WARNING = b"SWARNING\x00VWARNING\x00C01000\x00Mcanceling wait for synchronous replication due to user request\x00\x00"
"""The fields of the notice with which a server commits without its replica."""


class Passage:
    """One connection of a client, and that of the proxy to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.appends = False
        self.is_frozen = False
        self.before_the_answer: Callable[[bytes], bytes | None] | None = None

    def cut(self) -> None:
        """Close both sides."""
        for side in (self.client, self.server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A proxy on a free port of the loopback. What is armed befalls the next append, or the next read, once.

    Args:
        port: of the server.
        restart: kills the server and starts it again.
    """

    def __init__(self, port: int, restart: Callable[[], None]) -> None:
        self._target = port
        self._restart = restart
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed: tuple[bool, Callable[[Passage, bytes], bytes | None]] | None = None
        self._held: list[tuple[Passage, bytes]] = []
        self._passages: list[Passage] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Close every connection."""
        for passage in self._passages:
            passage.cut()

    def freeze(self) -> None:
        """Let nothing pass the connections that there are."""
        for passage in self._passages:
            passage.is_frozen = True

    def interfere(self, what: str) -> bool:
        """Arm one of the texts of ``EventStoreContract.interfere``; return False for one that is not known."""
        if what == "let the held append arrive":
            for passage, data in self._held:
                passage.server.sendall(data)
            self._held = []
            return True
        way = self._ways().get(what)
        if way is None:
            return False
        self._armed = "read" not in what, way
        return True

    def _ways(self) -> dict[str, Callable[[Passage, bytes], bytes | None]]:
        def lose(passage: Passage, _request: bytes) -> None:
            passage.cut()

        def lose_the_answer(passage: Passage, request: bytes) -> bytes:
            passage.before_the_answer = lambda _answer: passage.cut()
            return request

        def restart(passage: Passage, request: bytes) -> bytes:
            def end(_answer: bytes) -> None:
                self._restart()
                passage.cut()

            passage.before_the_answer = end
            return request

        def warn(passage: Passage, request: bytes) -> bytes:
            passage.before_the_answer = lambda answer: b"N" + (len(WARNING) + 4).to_bytes(4) + WARNING + answer
            return request

        def hold(passage: Passage, request: bytes) -> None:
            self._held.append((passage, request))

        def freeze(passage: Passage, _request: bytes) -> None:
            passage.is_frozen = True

        def freeze_the_answer(passage: Passage, request: bytes) -> bytes:
            passage.before_the_answer = lambda answer: freeze(passage, answer)
            return request

        return {
            "lose the connection before the commit": lose,
            "lose the connection after the commit": lose_the_answer,
            "shut down after the commit": restart,
            "warn that the replica was not waited for": warn,
            "lose the connection in the next read": lose,
            "hold the next append back": hold,
            "freeze the connection before the commit": freeze,
            "freeze the connection after the commit": freeze_the_answer,
            "freeze the connection in the next read": freeze,
        }

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passage = Passage(client, server)
            self._passages.append(passage)
            for pump in (self._requests, self._answers):
                threading.Thread(target=pump, args=(passage,), daemon=True).start()

    def _requests(self, passage: Passage) -> None:
        with suppress(OSError):
            while data := passage.client.recv(_CHUNK):
                if passage.is_frozen:
                    continue
                passage.appends = passage.appends or b"append_v1" in data
                armed = self._armed
                passed: bytes | None = data
                if armed is not None and armed[0] == passage.appends and data != _FAREWELL:
                    self._armed = None
                    passed = armed[1](passage, data)
                if self._holds(passage):  # its farewell, which would end the session before the held request arrives
                    return
                if passed is not None:
                    passage.server.sendall(passed)
        if not self._holds(passage):
            passage.cut()

    def _holds(self, passage: Passage) -> bool:
        return any(held is passage for held, _ in self._held)

    def _answers(self, passage: Passage) -> None:
        with suppress(OSError):
            while data := passage.server.recv(_CHUNK):
                change, passage.before_the_answer = passage.before_the_answer, None
                passed = data if change is None else change(data)
                if passage.is_frozen:
                    continue
                if passed is not None:
                    passage.client.sendall(passed)
        passage.cut()
