"""A server under load: large bodies, many requests, slow ones, and its end."""

import http.client
import json
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.serve.clients import Server, exchange, running, texts

pytestmark = pytest.mark.integration


def _memory_mb(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process' memory in /proc")
@pytest.mark.parametrize("framing", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
def test_a_body_of_100_mb_is_refused_without_being_read(framing: str) -> None:
    with running() as server:
        assert server.send("/predict", texts("good"))[0] == 200
        before = _memory_mb(server)
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head.encode())
            n_sent, part, rest = 0, b"186a0\r\n" + b"x" * 100_000 + b"\r\n", b""
            connection.setblocking(False)
            answer, deadline = b"", time.monotonic() + 20
            while b"\r\n\r\n" not in answer and time.monotonic() < deadline:
                try:
                    answer += connection.recv(4096)
                except BlockingIOError:
                    try:
                        rest = rest or part
                        n_bytes = connection.send(rest)
                        n_sent, rest = n_sent + n_bytes, rest[n_bytes:]
                    except BlockingIOError:
                        time.sleep(0.01)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert n_sent < 20_000_000, "it is refused before it is sent"
        assert _memory_mb(server) < before + 8
        assert server.send("/health")[0] == 200


def test_a_full_queue_is_told_with_the_time_to_try_again() -> None:
    with running("--slow", "1.0", "--threads", "1", "--waiting", "2") as server:
        answers: list[tuple[int, object, dict[str, str]]] = []
        clients = [
            threading.Thread(target=lambda: answers.append(server.send("/predict", texts("slow")))) for _ in range(8)
        ]
        for client in clients:
            client.start()
        time.sleep(0.3)
        assert server.send("/health")[0] == 200, "the server answers meanwhile"
        for client in clients:
            client.join()
        assert Counter(status for status, *_ in answers) == {200: 3, 503: 5}
        refused = next(answer for answer in answers if answer[0] == 503)
        assert refused[1] == {"error": "the server is busy; send the request again later"}
        assert refused[2]["retry-after"] == "1"
        assert server.send("/predict", texts("good"))[0] == 200


def test_a_request_that_takes_too_long_is_given_up() -> None:
    with running("--slow", "2", "--request-s", "0.3") as server:
        status, answer, _ = server.send("/predict", texts("slow"))
        assert (status, answer) == (504, {"error": "no answer within 0.3 s; send fewer or shorter texts"})
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert server.send("/predict", texts("good"))[0] == 200


def test_a_connection_whose_next_request_does_not_come_is_closed() -> None:
    """Else a thousand of them lock everybody out, without a token."""
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running("--head-s", "0.5") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
            assert silent.recv(100) == b"", "the first request does not come"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as kept:
            for _ in range(3):
                kept.sendall(get)
                assert b'"status"' in _answer(kept)
                time.sleep(0.7)  # without a byte, the limit is another one
            kept.sendall(get[:1])
            assert kept.recv(100) == b"", "its second request begins and does not come"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            for place in range(0, len(get), 10):
                slow.sendall(get[place : place + 10])
                time.sleep(0.02)
            assert b'"status"' in _answer(slow)


def _answer(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"}"):
        found += connection.recv(4096)
    return found


class _Client(threading.Thread):
    """Sends requests without a pause until the server refuses connections; counts those that got no answer."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while True:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                try:
                    connection.connect()
                except OSError:
                    return
            try:
                status, answer, headers = exchange(connection, "/predict", texts("good", "bad"))
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            assert status != 200 or len(answer["predictions"]) == 2
            self.statuses[status] += 1
            if headers.get("connection") == "close":
                connection.close()
                connection = None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_accepted_request(number: signal.Signals) -> None:
    with running() as server:
        clients = [_Client(server.port) for _ in range(8)]
        slow: list[tuple[int, object, dict[str, str]]] = []
        for client in clients:
            client.start()
        time.sleep(1)
        waiting = threading.Thread(target=lambda: slow.append(server.send("/predict", texts("slow"))))
        waiting.start()
        time.sleep(0.1)
        server.process.send_signal(number)
        time.sleep(0.3)
        assert server.send("/health")[:2] == (503, {"status": "draining"})
        for client in (*clients, waiting):
            client.join(30)
        assert server.process.wait(30) == 128 + number
        assert [client.lost for client in clients] == [[]] * 8
        assert slow[0][0] == 200
        answered = sum(sum(client.statuses.values()) for client in clients)
        assert all(set(client.statuses) == {200} for client in clients)
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == f"answered {answered + 2} of {answered + 2}\n"


def test_a_second_signal_ends_the_server_at_once() -> None:
    with running("--slow", "20") as server:
        threading.Thread(target=lambda: _ignore(server), daemon=True).start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(15) == 130, "it does not wait for the request"


def _ignore(server: Server) -> None:
    try:
        server.send("/predict", texts("slow"))
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return
