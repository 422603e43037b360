"""The process that is connected to a Ray cluster; the supervisor speaks to it through a pipe.

Ray ends the process that is connected to a cluster when the cluster's head, or the part of Ray on this machine, is
lost. So this is not the supervisor's process: the supervisor sees the end of this one, and ends the study in order.
This process ends when the supervisor does, and the slots with it.
"""

import contextlib
import os
import secrets
import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnexp import disk, quiet
from rnnexp.engine import local, ray_slot
from rnnexp.engine.exchange import Command, Gone, NoAnswer, Reply, StartAttempt
from rnnexp.engine.node_cache import pack

_WAIT_S = 10.0
"""How long a slot waits for something to report before it replies."""
_WATCH_INTERVAL_S = 2.0
_N_THREADS = 4
"""Calls that a slot can answer at once: the one that waits, and newer ones, which end its waiting."""
_OBJECT_STORE_BYTES = 2**29
"""Of a Ray of its own: one token store, and the files of an epoch of each trial."""


@dataclass(frozen=True)
class Cluster:
    """How to connect.

    Attributes:
        address: of the cluster; None for a Ray of its own on this machine.
        cpus: cores of a node that each slot takes.
        gpus: GPUs of a node that each slot takes.
        memory_bytes: memory of a node that each slot takes; None to leave it out of account.
    """

    address: str | None
    cpus: int
    gpus: float
    memory_bytes: int | None


@dataclass(frozen=True)
class NewSlot:
    """Asks for a slot, which gets a number."""

    slot: int


@dataclass(frozen=True)
class Exchange:
    """Asks for a call of a slot's `exchange`; `StartAttempt.store_reference` is the key of a `Share`."""

    call: int
    slot: int
    commands: tuple[Command, ...]
    confirmed: int


@dataclass(frozen=True)
class Release:
    """Ends a slot."""

    slot: int


@dataclass(frozen=True)
class Share:
    """Makes a token store available to all nodes, under a key."""

    key: str
    store: Path


@dataclass(frozen=True)
class Nodes:
    """What the living nodes have, by Ray's names of the resources. The first such message says that it is connected."""

    resources: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Answered:
    """The reply to a call."""

    call: int
    reply: Reply | Gone | NoAnswer


@dataclass(frozen=True)
class Refused:
    """The connection is impossible, or does not work any more; the process ends.

    Attributes:
        kinds: the names of the exception and its causes.
        text: their messages.
    """

    kinds: str
    text: str

    @classmethod
    def of(cls, error: Exception) -> "Refused":
        """Returns an exception and its causes as a message."""
        errors = list(disk.chain(error))
        return cls(" ".join(type(each).__name__ for each in errors), "\n".join(str(each).strip() for each in errors))

    @property
    def first_line(self) -> str:
        """The first line of the message, or the exception's name."""
        return (self.text.strip().splitlines() or [self.kinds])[0][:200]


def main(pipe: Any, cluster: Cluster) -> None:
    """Connects, and serves the supervisor until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    try:
        ray = _connect(cluster)
    except Exception as error:  # Ray's own, gRPC's, or a plain RuntimeError
        pipe.send(Refused.of(error))
        return
    bridge = _Bridge(ray, pipe, cluster)
    try:
        bridge.serve()
    except (EOFError, OSError):  # the supervisor has closed the pipe, or has ended
        pass
    except Exception as error:
        bridge.send(Refused.of(error))
    with contextlib.suppress(Exception):  # the cluster may be lost; if this hangs, the supervisor kills this process
        ray.shutdown()
    os._exit(0)


def _connect(cluster: Cluster) -> Any:
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
    if cluster.address is None:
        _protect()  # before the import, at which Ray reads the environment
        options |= {
            "num_cpus": local.n_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    else:
        options["address"] = cluster.address
    import ray

    with contextlib.suppress(AttributeError):
        # Ray prints pages of a node's log when the node ends; there is no option for it.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
    with quiet.standard_error():  # Ray's log; what is wrong is in the exception
        ray.init(**options)
    return ray


def _protect() -> None:
    """Makes a Ray of its own accept only this process and what it starts, by a token that no file contains.

    Its processes get the priority of this one, as on the local engine.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


class _Bridge:
    def __init__(self, ray: Any, pipe: Any, cluster: Cluster) -> None:
        self._ray, self._pipe, self._cpus = ray, pipe, cluster.cpus
        self._sending = threading.Lock()
        self._actors: dict[int, Any] = {}
        self._references: dict[str, Any] = {}
        self._actor_class = ray.remote(
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
            memory=cluster.memory_bytes,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_N_THREADS,
        )(ray_slot.RaySlot)

    def serve(self) -> None:
        """Carries out the supervisor's requests until it closes the pipe."""
        self.send(self._nodes())
        threading.Thread(target=self._watch, name="nodes", daemon=True).start()
        while True:
            self._carry_out(self._pipe.recv())

    def send(self, message: Nodes | Answered | Refused) -> None:
        """Sends a message to the supervisor, unless it has closed the pipe."""
        with self._sending, contextlib.suppress(BrokenPipeError):
            self._pipe.send(message)

    def _nodes(self) -> Nodes:
        return Nodes(tuple(node["Resources"] for node in self._ray.nodes() if node["Alive"]))

    def _watch(self) -> None:
        """Reports the nodes again and again: a cluster without its head does not answer at all."""
        closed = threading.Event()
        while not closed.wait(_WATCH_INTERVAL_S):
            with contextlib.suppress(Exception):  # whatever it is, the time without a message tells
                self.send(self._nodes())

    def _carry_out(self, request: Any) -> None:
        if isinstance(request, NewSlot):
            self._actors[request.slot] = self._actor_class.remote(self._cpus, ray_slot.versions())
        elif isinstance(request, Share):
            # In a list, a reference is passed on as it is: only a node without the store gets its content.
            self._references[request.key] = [self._ray.put(pack(request.store))]
        elif isinstance(request, Release):
            with contextlib.suppress(Exception):  # it has ended
                self._ray.kill(self._actors[request.slot])
        elif isinstance(request, Exchange):
            commands = tuple(map(self._with_reference, request.commands))
            call = self._actors[request.slot].exchange.remote(commands, request.confirmed, _WAIT_S).future()
            call.add_done_callback(lambda done: self.send(Answered(request.call, self._reply(done))))

    def _with_reference(self, command: Command) -> Command:
        """Replaces the key of a token store by Ray's reference."""
        if not isinstance(command.action, StartAttempt):
            return command
        reference = self._references[command.action.store_reference]
        return replace(command, action=replace(command.action, store_reference=reference))

    def _reply(self, call: Future[Reply]) -> Reply | Gone | NoAnswer:
        errors = self._ray.exceptions
        try:
            return call.result()
        except errors.ActorDiedError as error:
            return Gone("its node was preempted" if error.preempted else _reason(error))
        except errors.RayTaskError as error:  # the slot itself has failed
            return Gone(f"its slot has ended ({error.cause})")
        except Exception:  # it is unavailable, or its reply is lost; the next call tells more
            return NoAnswer()


def _reason(error: Any) -> str:
    """Returns why an actor has ended, in one line."""
    lines = str(error).strip().splitlines()
    if error.actor_init_failed:
        return f"its slot cannot start ({lines[-1][:300]})"
    address = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("ip:")), "")
    node = f"node {address}" if address else "its node"
    if "node" in lines[-1].lower() and "died" in lines[-1].lower():
        return f"{node} is lost"
    return f"its slot on {node} has ended"
