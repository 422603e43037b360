"""Stands before the application: checks host and token, and reads a body that is within the limits.

A body that is too large is refused by its announced length, before any of it is read.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rnnexp.serve.limits import Limits
from rnnexp.serve.texts import BAD_REQUEST, TOO_LARGE, RequestError

UNAUTHORIZED, SLOW, FORBIDDEN_HOST = 401, 408, 421
OPEN_PATHS = ("/health", "/ping", "/docs", "/openapi.json")
"""These need no token: they tell nothing about the model."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class State:
    """The state of the server.

    Attributes:
        is_draining: whether it is about to end; then each connection is closed after its answer.
        n_open: requests without an answer.
        n_answered: answers.
    """

    is_draining: bool = False
    n_open: int = 0
    n_answered: int = 0


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: Application, state: State, limits: Limits, token: str | None, *, is_local: bool) -> None:
        """Args:
        app: the application.
        state: of the server.
        limits: of a body.
        token: that a request must have; None if it needs none.
        is_local: whether the server listens on loopback only. Then, if it has no token, requests for other host
            names are refused: a page in the user's browser could send them.
        """
        self._app, self._state, self._limits, self._token, self._is_local = app, state, limits, token, is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        send = self._counting(send)
        self._state.n_open += 1
        try:
            return await self._answer(scope, receive, send)
        finally:
            self._state.n_open -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers)
            self._check_token(scope["path"], headers)
            self._check_length(headers)
            body = await self._body(receive)
        except RequestError as error:
            return await _send_error(send, error)
        except _GoneError:
            return None
        return await self._app(scope, _Replay(body, receive), send)

    def _counting(self, send: Send) -> Send:
        async def send_and_count(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._state.n_answered += 1
                if self._state.is_draining:
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        return send_and_count

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "").rsplit(":", 1)[0] if "]" not in headers.get("host", "") else "::1"
        if self._is_local and self._token is None and host.lower() not in LOOPBACK:
            raise RequestError(FORBIDDEN_HOST, "Host: expected localhost; this server listens on loopback only", _CLOSE)

    def _check_token(self, path: str, headers: dict[str, str]) -> None:
        if self._token is None or path in OPEN_PATHS:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        expected = self._token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
            raise RequestError(
                UNAUTHORIZED,
                "Authorization: expected Bearer and the server's token",
                {"WWW-Authenticate": "Bearer"} | _CLOSE,
            )

    def _check_length(self, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise RequestError(BAD_REQUEST, "Content-Length: expected a number", _CLOSE)
        if int(length) > self._limits.body_bytes:
            raise self._too_large()

    def _too_large(self) -> RequestError:
        return RequestError(TOO_LARGE, f"the body has more than {self._limits.body_bytes:,} bytes", _CLOSE)

    async def _body(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._limits.request_s):
                body = bytearray()
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    body += message.get("body", b"")
                    if len(body) > self._limits.body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise RequestError(SLOW, f"the body took longer than {self._limits.request_s:g} s", _CLOSE) from None


class _GoneError(Exception):
    """The client has closed the connection."""


class _Replay:
    """Gives the application a body that was read."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


_CLOSE = {"Connection": "close"}


async def _send_error(send: Send, error: RequestError) -> None:
    body = json.dumps({"error": str(error)}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
