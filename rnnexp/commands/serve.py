"""`rnnexp serve`: answer requests over HTTP with the model of a bundle."""

import argparse
import os
import re
import socket
from pathlib import Path

from rnnexp import addresses
from rnnexp.commands.host import page, resolve
from rnnexp.engine.local import n_cores
from rnnexp.errors import UserError
from rnnexp.export import predictor
from rnnexp.export.bundle import Bundle
from rnnexp.terminal.escapes import visible

TOKEN = "RNNEXP_SERVE_TOKEN"
_MIN_TOKEN = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def run(args: argparse.Namespace) -> int:
    """Prints the address and serves until Ctrl-C or SIGTERM; requests that were accepted are answered first."""
    with _listener(args.host, args.port) as listener:
        is_local = addresses.is_loopback(args.host)
        token = _token(args.host, is_local)
        bundle = Bundle.open(Path(args.bundle))
        model = predictor.load(bundle)
        from rnnexp.serve import server

        address = page(args.host, listener.getsockname()[1])
        about = f"{bundle.manifest.get('study')}, trial {bundle.manifest.get('trial')}"
        kind = "ONNX Runtime" if predictor.uses_onnx(bundle) else "TensorFlow"

        def started() -> None:
            secured = "" if token is None else f"; requests need the token of {TOKEN}"
            print(visible(f"{about}, with {kind}: {address}/docs (Ctrl-C stops it){secured}"), flush=True)

        code, state = server.serve(
            listener,
            model,
            bundle.manifest,
            n_cores() if predictor.uses_onnx(bundle) else 1,  # Keras uses all cores for one batch
            token,
            names=tuple(dict.fromkeys((*_LOOPBACK, args.host.lower()))) if is_local else None,
            started=started,
        )
        print(f"stopped after {state.n_answered:,} answers to {state.n_received:,} requests", flush=True)
        return code


def _token(host: str, is_local: bool) -> str | None:
    token = os.environ.get(TOKEN) or None
    if token is None and not is_local:
        raise UserError(
            f"--host {host}: other machines reach this address, so requests need a token: set {TOKEN} to {_MIN_TOKEN} "
            "or more characters, or use --host 127.0.0.1"
        )
    if token is not None and re.fullmatch(f"[!-~]{{{_MIN_TOKEN},}}", token) is None:
        raise UserError(f"{TOKEN}: expected {_MIN_TOKEN} or more ASCII characters without spaces")
    return token


def _listener(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; a port in use is reported before the model is loaded."""
    family, address = resolve(host, port)
    try:
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UserError(f"--port {port}: cannot be used on {host} ({reason}); choose a free port") from None
