"""The address that a command listens on, from its --host."""

import socket
from typing import Any

from rnnexp.errors import UserError, shown

LAST_PORT = 65_535


def resolve(host: str, port: int, first_port: int = 0) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Returns the family and the address of a socket that listens on a host; an empty host is every address.

    Args:
        host: an address or a name of this machine.
        port: to listen on.
        first_port: the lowest port that is allowed; 0 lets the system choose.

    Raises:
        UserError: if the host is neither an address nor a name, or no such port exists.
    """
    if not first_port <= port <= LAST_PORT:
        raise UserError(f"--port: got {port}, expected {first_port} to {LAST_PORT}")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"--host: got {shown(host)}, expected an address or a name of this machine") from None
    family, *_, address = found[0]
    return family, address


def page(host: str, port: int) -> str:
    """Returns the address for a browser; one of IPv6 is in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
