"""Fuzzes every reader of files: `python -m tests.fuzz --minutes 20 --seed 0`.

Each case is made from the seed and its number; the same seed gives the same cases. For each, the program must end
without a traceback, a crash, a hang, a file outside its folder or much memory: with success, or with an error of one
line for each fault. A case for which this does not hold is written to `build/fuzz/`; `--again FILE` runs it once more.
"""

import argparse
import contextlib
import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import inputs, targets
from tests.fuzz.case import Case

_COMMAND = ("-m", "tests.fuzz.child")
_LIMIT_S = 30.0
_START_LIMIT_S = 180.0
_TURN_S = 30.0
"""Seconds of one target before the next one has its turn."""

_MAX_KEPT = 5
"""Number of cases that are written for each kind of fault."""


@dataclass
class Fuzzer:
    """Runs the cases of one target in a process, which it starts again when it ended.

    Attributes:
        target: a name in `targets.TARGETS`.
        seed: the seed of the cases.
        out: the folder for cases with a fault.
        number: the number of the next case.
        counts: how many cases were accepted, refused, and had a fault.
        faults: how many cases had each kind of fault.
    """

    target: str
    seed: int
    out: Path
    number: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def run(self, seconds: float, n_cases: int | None = None) -> None:
        """Runs cases for a time, or a number of them; the time begins when the process has started."""
        last = None if n_cases is None else self.number + n_cases
        until: float | None = None
        while self.number != last and (until is None or time.monotonic() < until):
            with tempfile.TemporaryDirectory(prefix="rnnexp-fuzz-") as folder, _child(self, Path(folder)) as child:
                until = until or time.monotonic() + seconds
                while self.number != last and time.monotonic() < until and self._run_one(child):
                    pass

    def _run_one(self, child: "_Child") -> bool:
        """Runs the next case; tells whether the process can run another one."""
        answer = child.ask(self.number)
        values = {"accepted": False, "fault": answer} if not answer.startswith("{") else json.loads(answer)
        kind = "faults" if values["fault"] else "accepted" if values["accepted"] else "refused"
        self.counts[kind] += 1
        if values["fault"]:
            self._keep(values["fault"])
        self.number += 1
        return answer.startswith("{")

    def _keep(self, fault: str) -> None:
        kind = re.sub(r"/\S*/sandbox", "…", fault.strip().split("\n")[-1])[:120] + _place(fault)
        self.faults[kind] += 1
        if self.faults[kind] <= _MAX_KEPT:
            self.out.mkdir(parents=True, exist_ok=True)
            name = f"{self.target}-{self.seed}-{self.number}"
            (self.out / f"{name}.json").write_text(inputs.make(self.target, self.seed, self.number).to_json())
            (self.out / f"{name}.txt").write_text(fault)


def _place(fault: str) -> str:
    """Returns the last line of this project in a traceback."""
    found = re.findall(r'File ".*?/(rnnexp/[^"]*)", line (\d+)', fault)
    return f" ({found[-1][0]}:{found[-1][1]})" if found else ""


@dataclass
class _Child:
    """A process that runs cases."""

    process: "subprocess.Popen[str]"
    lines: "queue.Queue[str]"

    def ask(self, number: int) -> str:
        """Returns the answer to a case, or a sentence that says why there is none."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
        try:
            return self.lines.get(timeout=_LIMIT_S) or f"the process ended with code {self.process.wait()}"
        except queue.Empty:
            return f"no answer after {_LIMIT_S:g} s"


@contextlib.contextmanager
def _child(fuzzer: Fuzzer, folder: Path) -> Iterator[_Child]:
    """Yields a process that has started; it is killed at the end."""
    command = [sys.executable, *_COMMAND, fuzzer.target, str(fuzzer.seed), str(folder)]
    lines: queue.Queue[str] = queue.Queue()
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=_ROOT
        ) as process,
    ):
        reader = threading.Thread(target=_forward, args=(process, lines), daemon=True)
        reader.start()
        try:
            if lines.get(timeout=_START_LIMIT_S) != "ready\n":
                raise RuntimeError(f"the process did not start: {(folder / 'log').read_text()[-2000:]}")
            yield _Child(process, lines)
        finally:
            process.kill()
            reader.join()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()


def _forward(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


_ROOT = Path(__file__).parents[2]


def main() -> int:
    """Fuzzes the targets in turn, and prints the counts; returns 1 if a case had a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each target")
    parser.add_argument("--cases", type=int, help="number of cases of each target, instead of a time")
    parser.add_argument("--target", action="append", choices=[*targets.TARGETS])
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "fuzz")
    parser.add_argument("--again", type=Path, help="run one case that was written")
    args = parser.parse_args()
    if args.again is not None:
        with tempfile.TemporaryDirectory() as folder:
            print("accepted" if targets.run(Case.from_json(args.again.read_text()), Path(folder)) else "refused")
        return 0
    names = args.target or [*targets.TARGETS]
    fuzzers = [Fuzzer(name, args.seed, args.out, args.first) for name in names]
    end = time.monotonic() + (args.minutes * 60 if args.cases is None else 1e9)
    while time.monotonic() < end:
        for fuzzer in fuzzers:
            fuzzer.run(1e9 if args.cases else min(_TURN_S, max(0.0, end - time.monotonic())), args.cases)
        _report(fuzzers)
        if args.cases is not None:
            break
    return int(any(fuzzer.faults for fuzzer in fuzzers))


def _report(fuzzers: list[Fuzzer]) -> None:
    for fuzzer in fuzzers:
        counts = ", ".join(f"{fuzzer.counts[name]} {name}" for name in ("accepted", "refused", "faults"))
        print(f"{fuzzer.target:8} {fuzzer.number:7,} cases: {counts}", flush=True)
        for kind, count in fuzzer.faults.most_common():
            print(f"    {count:5} × {kind}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
