"""Runs cases in a process that may crash, hang or be killed: reads a line for each case, and writes one.

    python -m tests.fuzz.child TARGET SEED FOLDER     then the number of a case on each line of standard input

The answer is a JSON object: `accepted`, and `fault` if a property does not hold.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz import inputs, targets

MAX_BYTES = 4_000_000_000
"""Largest address space beyond that which the libraries reserve at their start."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
)
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect")


class Watch:
    """Records what a case changes outside its folder, and what it starts; Python reports both before they happen."""

    def __init__(self, sandbox: Path) -> None:
        self.sandbox = os.path.realpath(sandbox)
        self.seen: list[str] = []
        self.active = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.active:
            return
        if event in _STARTS:
            self.seen.append(f"{event}{arguments[:2]!r:.200}")
        elif event in _CHANGES or (event == "open" and self._is_write(arguments)):
            folder = _folder(arguments) if event in ("os.remove", "os.rmdir") else Path.cwd()
            for path in arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]:
                if isinstance(path, str | bytes | os.PathLike) and not self._is_inside(folder / os.fsdecode(path)):
                    self.seen.append(f"{event} {path!r:.200}")

    @staticmethod
    def _is_write(arguments: tuple[object, ...]) -> bool:
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & _WRITES)

    def _is_inside(self, path: Path) -> bool:
        name = os.path.normpath(path)
        return name.startswith(self.sandbox + os.sep) or name in (self.sandbox, os.devnull)


def _folder(arguments: tuple[object, ...]) -> Path:
    """Returns the folder that a removal is relative to; `shutil.rmtree` names it by its descriptor."""
    return Path(f"/proc/self/fd/{arguments[1]}").readlink() if arguments[1] != -1 else Path.cwd()


def main() -> None:
    """Answers until standard input ends."""
    target, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if target in ("texts", "scored"):
        import pandas  # noqa: F401 - before the time of the first case runs
        import pyarrow.parquet  # noqa: F401
    elif target == "model":
        inputs.make(target, seed, 0)  # imports TensorFlow and builds the model
    reserved = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (reserved + MAX_BYTES, reserved + MAX_BYTES))
    sandbox = folder / "sandbox"
    tempfile.tempdir = str(sandbox)
    watch = Watch(sandbox)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        case = inputs.make(target, seed, int(line))
        shutil.rmtree(sandbox, ignore_errors=True)
        sandbox.mkdir(parents=True)
        accepted, fault = False, ""
        watch.seen.clear()
        watch.active = True
        try:
            accepted = targets.run(case, sandbox)
        except BaseException:
            fault = traceback.format_exc()
        watch.active = False
        if not fault and watch.seen:
            fault = f"outside the folder: {watch.seen[:3]}"
        answers.write(json.dumps({"accepted": accepted, "fault": fault}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
