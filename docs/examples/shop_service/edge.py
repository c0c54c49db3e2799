"""The edge of the service: what a web framework leaves to others.

Paths whose ids have a slash or are no UTF-8, bodies without an end, clients that send a byte a minute, and the
ids that connect a request with its events.
"""

from collections.abc import Iterable
from urllib.parse import unquote
from uuid import uuid4

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inventory_es import command_context

from .problems import Problem, invalid_request

CORRELATION = b"x-correlation-id"
TRACE = b"traceparent"
CLIENT = b"x-client"


class Edge:
    """An ASGI application around another one.

    Args:
        app: the application.
        max_body: the most bytes of a body.
        patience: the most seconds in which a body must arrive.
        behind_gateway: True if all requests come from a gateway, which names the client in ``X-Client``. The
            client is the actor of the events then.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int = 256 * 1024,
        patience: float = 5.0,
        behind_gateway: bool = False,
    ) -> None:
        self._app = app
        self._max_body = max_body
        self._patience = patience
        self._behind_gateway = behind_gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request within the context that its headers name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict[bytes, bytes](scope["headers"])
        ids = {CORRELATION: headers.get(CORRELATION, str(uuid4()).encode())} | (
            {TRACE: headers[TRACE]} if TRACE in headers else {}
        )
        client = headers.get(CLIENT, b"").decode("latin-1") if self._behind_gateway else ""
        with command_context(
            actor_id=client or None,
            correlation_id=ids[CORRELATION].decode("latin-1"),
            traceparent=ids[TRACE].decode("latin-1") if TRACE in ids else None,
        ):
            try:
                inner = {**scope, "path": decoded_path(scope["raw_path"])}
                body = await self._body(headers, receive)
            except Problem as problem:
                response = problem.response()
                response.headers["Connection"] = "close"  # the rest of the body is not read
                await response(scope, receive, with_ids(send, ids.items()))
            else:
                await self._app(inner, replaying(body, receive), with_ids(send, ids.items()))

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the body, which is small and must come soon."""
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body:
            raise self._too_large()
        chunks: list[bytes] = []
        size, is_end = 0, False
        try:
            with anyio.fail_after(self._patience):
                while not is_end:
                    message = await receive()
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._max_body:
                        raise self._too_large()
                    is_end = not message.get("more_body", False)
        except TimeoutError:
            detail = f"The body did not arrive within {self._patience:g} s."
            raise Problem(408, "request_timeout", detail, retryable=True) from None
        return b"".join(chunks)

    def _too_large(self) -> Problem:
        return Problem(
            413, "body_too_large", f"A body has at most {self._max_body} bytes.", {"limit": self._max_body}
        )


def decoded_path(raw: bytes) -> str:
    """Return a path for the router, in which an encoded slash or percent sign stays encoded.

    The parameters decode the rest. A server's own path has ``%2F`` decoded before the routing, and U+FFFD for
    bytes that are no UTF-8.
    """
    kept = raw.split(b"?")[0].replace(b"%25", b"%2525").replace(b"%2f", b"%252F").replace(b"%2F", b"%252F")
    try:
        return unquote(kept.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise invalid_request([{"where": "path", "problem": "is no UTF-8"}]) from None


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body, and then what the client does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def with_ids(send: Send, ids: Iterable[tuple[bytes, bytes]]) -> Send:
    """Return a channel that adds the ids of the request to the answer."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *ids]}
        await send(message)

    return add
