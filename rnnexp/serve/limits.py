"""The limits of the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the server accepts.

    Attributes:
        body_bytes: of a request.
        texts: of a request.
        characters: of a text.
        request_s: seconds that a request may take, from the end of its head to its answer.
        waiting: requests that wait for a free worker; further ones get status 503.
        connections: open at the same time.
        drain_s: after SIGTERM, seconds in which new connections are still accepted.
    """

    body_bytes: int = 1_000_000
    texts: int = 1_000
    characters: int = 10_000
    request_s: float = 30.0
    waiting: int = 64
    connections: int = 1_000
    drain_s: float = 1.0
