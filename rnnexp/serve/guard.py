"""Stands before the application: checks host and token, and reads a body that is within the limits.

A body that is much too large is refused by its announced length, before any of it is read.
"""

import asyncio
import contextlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rnnexp.serve.limits import Limits
from rnnexp.serve.texts import BAD_REQUEST, TOO_LARGE, RequestError

UNAUTHORIZED, SLOW, FORBIDDEN_HOST = 401, 408, 421
OPEN_PATHS = ("/health", "/ping", "/docs", "/openapi.json")
"""These need no token: they tell nothing about the model."""

_SLIGHTLY, _DISCARD_S = 4, 1.0
"""Up to so many times the limit, and for so many seconds, a body that is refused is read and discarded."""

DEADLINE = "rnnexp.deadline"
"""The key of a request's scope that says until when it must be answered, in the time of the event loop."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class State:
    """The state of the server.

    Attributes:
        is_draining: whether it is about to end; then each connection is closed after its answer.
        n_received: requests.
        n_answered: answers.
    """

    is_draining: bool = False
    n_received: int = 0
    n_answered: int = 0


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self, app: Application, state: State, limits: Limits, token: str | None, names: tuple[str, ...] | None
    ) -> None:
        """Args:
        app: the application.
        state: of the server.
        limits: of a body.
        token: that a request must have; None if it needs none.
        names: if the server has no token, requests for other host names than these are refused: a page in the user's
            browser could send them. None for any name.
        """
        self._app, self._state, self._limits, self._token, self._names = app, state, limits, token, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        send = self._counting(send)
        self._state.n_received += 1
        scope[DEADLINE] = asyncio.get_running_loop().time() + self._limits.request_s
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers)
            self._check_token(scope["path"], headers)
            await self._check_length(headers, receive)
            body = await self._body(receive, scope[DEADLINE])
        except RequestError as error:
            return await _send_error(send, error)
        except _GoneError:
            self._state.n_received -= 1
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
        host = re.sub(r":\d*$", "", headers.get("host", "")).strip("[]").lower()
        if self._token is None and self._names is not None and host not in self._names:
            raise RequestError(
                FORBIDDEN_HOST,
                f"Host: expected {' or '.join(self._names)}; this server listens on loopback only",
                _CLOSE,
            )

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

    async def _check_length(self, headers: dict[str, str], receive: Receive) -> None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise RequestError(BAD_REQUEST, "Content-Length: expected a number", _CLOSE)
        if int(length) > self._limits.body_bytes:
            if int(length) <= _SLIGHTLY * self._limits.body_bytes and "expect" not in headers:
                await self._discard(receive)
            raise self._too_large()

    async def _discard(self, receive: Receive) -> None:
        """Reads on for a moment: a client that sends its body to the end before it reads sees the answer then."""
        n_bytes, more = 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while more and n_bytes <= _SLIGHTLY * self._limits.body_bytes:
                    message = await receive()
                    n_bytes += len(message.get("body", b""))
                    more = message.get("more_body", False)

    def _too_large(self) -> RequestError:
        return RequestError(TOO_LARGE, f"the body has more than {self._limits.body_bytes:,} bytes", _CLOSE)

    async def _body(self, receive: Receive, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                body = bytearray()
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    body += message.get("body", b"")
                    if len(body) > self._limits.body_bytes:
                        await self._discard(receive)
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
