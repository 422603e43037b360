"""A server with a model of two words that can be slow: `python -m tests.serve.fake_server OPTIONS`."""

import argparse
import socket
import sys
import time
from typing import Any

import numpy as np

from rnnexp.data.text import Vocabulary
from rnnexp.runtime.encoding import TextModel
from rnnexp.runtime.manifest import TextInput
from rnnexp.serve import server
from rnnexp.serve.limits import Limits
from rnnexp.serve.server import serve

SLOW_WORD = "slow"
"""A text with this word takes `--slow` seconds."""


def model(slow_s: float) -> TextModel:
    """Says yes to a text that contains the word good."""

    def run(tokens: Any) -> Any:
        if (tokens == 5).any():
            time.sleep(slow_s)
        positive = np.where((tokens == 4).any(axis=1), 0.75, 0.25).astype(np.float32)
        return np.stack([1 - positive, positive], axis=1)

    return TextModel(("no", "yes"), Vocabulary(("good", SLOW_WORD)), TextInput(10, 20, "bucketed"), run)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow", type=float, default=0.3)
    parser.add_argument("--token")
    parser.add_argument("--remote", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--waiting", type=int, default=64)
    parser.add_argument("--head-s", type=float, default=10.0, help="the time for the head of a request")
    parser.add_argument("--request-s", type=float, default=30.0)
    args = parser.parse_args()
    server._FIRST_REQUEST_S = args.head_s
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    limits = Limits(waiting=args.waiting, request_s=args.request_s)
    manifest = {"study": "fake", "trial": 3, "labels": ["no", "yes"], "secret": "not to be told"}

    def started() -> None:
        print(listener.getsockname()[1], flush=True)

    code, state = serve(
        listener,
        model(args.slow),
        manifest,
        args.threads,
        args.token,
        names=None if args.remote else ("localhost", "127.0.0.1", "::1"),
        started=started,
        limits=limits,
    )
    print(f"answered {state.n_answered} of {state.n_received}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
