"""The socket that the server listens on: how it is opened, and how it stops to take connections without losing one."""

import contextlib
import ctypes
import socket
import struct
import sys

_SO_ATTACH_FILTER = 26
"""Of Linux."""
_FLAGS, _SYN = 13, 0x02
"""The offset of the flags in a TCP header, and the flag of a packet that opens a connection."""

# The instructions of a packet filter: load a byte; jump if it has a bit; return how many bytes to keep.
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_DROP_NEW = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)


def prepare(listener: socket.socket) -> None:
    """Sets what accepted connections inherit."""
    # asyncio sets this only for sockets that name their protocol; without it each answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def refuse_new(listener: socket.socket) -> None:
    """Lets no new connection begin, while those that have begun can still be accepted.

    If a socket is closed, the system resets the connections that it has completed and the program has not accepted yet:
    their requests would be lost. So on Linux a packet filter first drops the packets that open a connection; the client
    sends them again, and is refused when the socket is closed. Elsewhere the socket is closed without that.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_NEW)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(_DROP_NEW), ctypes.addressof(buffer))
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
