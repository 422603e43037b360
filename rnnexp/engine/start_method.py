"""How the processes of trials and of checks start: forked from a process that has imported TensorFlow, where possible.

This module imports nothing heavy, so that a command can start that process before its own imports.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

_PRELOAD = "rnnexp.trial.preload"


def context() -> tuple[BaseContext, bool]:
    """Returns the start method of processes, and whether they start with TensorFlow imported.

    Forking is unsafe on macOS once its frameworks are loaded, so there every process imports TensorFlow itself.
    """
    if sys.platform == "darwin":
        return multiprocessing.get_context("spawn"), False
    forkserver_context = multiprocessing.get_context("forkserver")
    forkserver_context.set_forkserver_preload([_PRELOAD])
    return forkserver_context, True


def warm_up() -> None:
    """Starts the forkserver, so that its imports run at the same time as those of this process."""
    if context()[1]:
        forkserver.ensure_running()


def cool_down() -> None:
    """Ends the forkserver at once; no process that it has forked may be in use any more.

    It would end with this process, but only after its imports, and TensorFlow's own end takes long, too. Until then, a
    program that reads this command's output to its end would wait.
    """
    server = forkserver._forkserver
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None:
        with contextlib.suppress(OSError):  # it has ended already
            os.kill(pid, signal.SIGKILL)
            server._stop()  # type: ignore[attr-defined]  # waits for its end, and lets the next process start another one
