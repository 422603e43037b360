"""Starts servers and sends requests to them."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass
class Server:
    """A running server."""

    process: "subprocess.Popen[str]"
    port: int

    def send(
        self,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Sends one request on a connection of its own; returns status, JSON and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return exchange(connection, path, body, headers, method)
        finally:
            connection.close()

    def raw(self, content: bytes, timeout_s: float = 20) -> bytes:
        """Sends bytes and returns the head of the answer; nothing if the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(content)
            found = b""
            while b"\r\n\r\n" not in found and (part := connection.recv(65536)):
                found += part
            return found


def exchange(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, Any, dict[str, str]]:
    """Sends one request on a connection."""
    connection.request(method or ("GET" if body is None else "POST"), path, body, JSON if headers is None else headers)
    answer = connection.getresponse()
    content = answer.read()
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return answer.status, json.loads(content) if is_json else content.decode(), dict(answer.headers)


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """Runs the server with a fake model."""
    command = [sys.executable, "-m", "tests.serve.fake_server", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def texts(*values: str) -> str:
    """Returns a body of `/predict`."""
    return json.dumps({"texts": values})
