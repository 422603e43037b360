"""Optuna's dashboard on the studies of a home, for reading only.

`python -m rnnexp.storage.dashboard HOME ADDRESS PORT` starts it; ADDRESS is a numeric one.

The database is opened for reading, and requests that would change it are refused.
"""

import socket
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rnnexp.home import Home
from rnnexp.storage import read_only

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_REFUSAL = b'{"reason": "read-only: rnnexp sweep and rnnexp delete change studies"}'


def application(home: Home) -> Wsgi:
    """Returns the dashboard as a WSGI application that answers GET and HEAD only."""
    import optuna_dashboard

    dashboard: Wsgi = optuna_dashboard.wsgi(read_only.open_storage(home))

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] in ("GET", "HEAD"):
            return dashboard(environment, start)
        start("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(_REFUSAL)))])
        return [_REFUSAL]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        return


def main() -> None:
    """Serves until the process is ended."""
    home, host, port = Home.at(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    _Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with make_server(host, port, application(home), _Server, _Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
