"""The server process: it listens, answers, and after a signal ends without losing a request that it has accepted."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rnnexp.runtime.encoding import TextModel
from rnnexp.serve import app
from rnnexp.serve.guard import Guard, State
from rnnexp.serve.limits import Limits
from rnnexp.serve.listener import prepare, refuse_new
from rnnexp.serve.workers import Workers

_SETTLE_S = 0.2
_FIRST_REQUEST_S = 10.0
"""How long a connection may take to send the head of its first request."""
_POLL_S = 0.05
_KEEP_ALIVE_S = 75
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def serve(
    listener: socket.socket,
    model: TextModel,
    manifest: dict[str, Any],
    n_threads: int,
    token: str | None,
    *,
    names: tuple[str, ...] | None,
    started: Callable[[], None],
    limits: Limits | None = None,
) -> tuple[int, State]:
    """Serves a model until SIGINT or SIGTERM.

    Args:
        listener: a bound socket.
        model: labels the texts.
        manifest: of the bundle.
        n_threads: requests that are worked on at the same time.
        token: that a request must have; None if it needs none.
        names: host names of requests that have no token; None for any.
        started: called when the server accepts requests.
        limits: of the requests.

    Returns:
        The exit code, and the state at the end.
    """
    accepted = limits or Limits()
    prepare(listener)
    state = State()
    inner = app.build(manifest, Workers(model, n_threads, accepted), accepted, state)
    config = uvicorn.Config(
        Guard(inner, state, accepted, token, names),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        http=_Connection,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        limit_concurrency=accepted.connections,
        timeout_graceful_shutdown=int(accepted.request_s) + 1,
    )
    server = _Server(config, state, listener, accepted.drain_s, started)
    server.run(sockets=[listener])
    return server.exit_code, state


class _Server(uvicorn.Server):
    """A server that drains: after a signal it accepts and answers for a while, but keeps no connection open.

    Clients that use a connection again are thus told to open a new one, and a balancer sees status 503 on `/health`,
    before connections are refused. A second signal ends it at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        listener: socket.socket,
        drain_s: float,
        started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._state, self._listener, self._drain_s, self._started = state, listener, drain_s, started
        self._draining: asyncio.Task[None] | None = None
        self.exit_code = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()  # before signals are handled
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.is_draining:
            os._exit(_EXIT_CODES[signal.Signals(sig)])  # a worker cannot be interrupted; there is nothing to tidy up
        self._state.is_draining = True
        self.exit_code = _EXIT_CODES[signal.Signals(sig)]
        self._loop.call_soon_threadsafe(self._start_draining)

    def _start_draining(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(self._drain_s)
        refuse_new(self._listener)
        await asyncio.sleep(_SETTLE_S)  # what has connected is accepted
        for server in self.servers:
            server.close()
        deadline = self._loop.time() + _FIRST_REQUEST_S
        while self._loop.time() < deadline and any(_is_new(one) for one in self.server_state.connections):
            await asyncio.sleep(_POLL_S)
        self.should_exit = True


def _is_new(connection: Any) -> bool:
    """Tells whether a connection has sent no request yet: one may be on its way."""
    return getattr(connection, "cycle", None) is None


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request does not come: idle ones would take the place of others.

    The time for the first request begins with the connection, that for each further one with its first byte; before
    that, the limit of a kept connection holds.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_limit()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._end_limit()
        elif before is not None and before.response_complete:
            self._start_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_limit()
        super().connection_lost(exc)

    def _start_limit(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(_FIRST_REQUEST_S, self.transport.close)

    def _end_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
