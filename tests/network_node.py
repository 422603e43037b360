"""A node of the test cluster behind a network of its own, which can be cut.

Linux only; needs the right to create networks.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MACHINE, NODE = "10.213.77.1", "10.213.77.2"
"""The addresses of this machine and of the node in their common network."""
_NAME, _BRIDGE, _OUTER, _INNER = "rnnexp-node", "rnnexp-br", "rnnexp-out", "rnnexp-in"


def _ip(*arguments: str, inside: bool = False) -> None:
    command = ["ip", *(("-n", _NAME) if inside else ()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PermissionError(f"{' '.join(command)}: {done.stderr.strip()}")


class Network:
    """A network namespace that a bridge connects to this machine.

    To cut it, the namespace's link is taken off the bridge: packets are lost both ways without an answer, and the
    addresses of both sides stay valid, as when a cable is pulled out of a switch.
    """

    def cut(self) -> None:
        _ip("link", "set", _OUTER, "nomaster")

    def heal(self) -> None:
        _ip("link", "set", _OUTER, "master", _BRIDGE)

    def has(self, pid: int) -> bool:
        """Tells whether a process is in the namespace."""
        try:
            return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path(f"/run/netns/{_NAME}").stat().st_ino
        except OSError:
            return False


@contextmanager
def network() -> Iterator[Network]:
    """Creates the network; removes it at the end of the block.

    Raises:
        PermissionError: if this user may not create networks.
    """
    if shutil.which("ip") is None:
        raise PermissionError("the command ip is not installed (Debian: apt-get install iproute2)")
    _remove()
    try:
        _ip("netns", "add", _NAME)
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("link", "add", _OUTER, "type", "veth", "peer", "name", _INNER)
        _ip("link", "set", _INNER, "netns", _NAME)
        _ip("address", "add", f"{MACHINE}/24", "dev", _BRIDGE)
        _ip("address", "add", f"{NODE}/24", "dev", _INNER, inside=True)
        for link in (_BRIDGE, _OUTER):
            _ip("link", "set", link, "up")
        for link in ("lo", _INNER):
            _ip("link", "set", link, "up", inside=True)
        _ip("link", "set", _OUTER, "master", _BRIDGE)
        yield Network()
    finally:
        _remove()


def _remove() -> None:
    for arguments in (("netns", "delete", _NAME), ("link", "delete", _OUTER), ("link", "delete", _BRIDGE)):
        with contextlib.suppress(PermissionError):
            _ip(*arguments)


class NetworkNode:
    """A Ray node in the namespace."""

    def __init__(self, address: str, store_bytes: int, log: Path) -> None:
        """Starts the node.

        Args:
            address: of the cluster.
            store_bytes: size of its object store.
            log: gets its output.
        """
        ray = Path(sys.executable).parent / "ray"
        # A folder of its own: in the one of the other nodes, Ray would take the node's address for this machine's.
        start = (
            f"mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && exec {ray} start --address={address} "
            f"--node-ip-address={NODE} --num-cpus=1 --object-store-memory={store_bytes} --disable-usage-stats --block"
        )
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", _NAME, "sh", "-c", start],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def wait_until_ended(self, timeout_s: float) -> bool:
        """Waits until the node has ended by itself; returns whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return not self.runs

    def kill(self) -> None:
        """Kills every process in the namespace."""
        deadline = time.monotonic() + 20
        while found := _processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes of the node do not end: {found}")
            time.sleep(0.1)
        self._process.wait()


def _processes() -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", _NAME], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]
