"""Rounds beside other users of the program: a second home on one server, and exports while models are removed."""

import shutil
from pathlib import Path

from rnnexp.errors import StudyError
from rnnexp.runtime.manifest import FORMATS
from rnnexp.storage.views import TrialRow
from rnnexp.trial.states import State
from tests.drill import check
from tests.drill.faults import KINDS, RoundType
from tests.drill.rounds import Result
from tests.drill.sweeps import EPOCHS, STUDY, SWEEP, NotSurvivedError, Sandbox, Sweep

N_TRIALS = 3
"""Budget of each home in the round with two homes; the reference run has more trials."""

_RETENTION_STUDY = "retention"
_RETENTION_SWEEP = SWEEP.replace(f"study: {STUDY}", f"study: {_RETENTION_STUDY}").replace(
    "checkpoints: 100", "checkpoints: 1"
)
_N_RETENTION_TRIALS = 10


def run_two_homes(sandbox: Sandbox) -> Result:
    """Two homes run studies of the same name on one server; then one is repaired and deleted while the other runs.

    The other home must keep all its runs.
    """
    result = Result(done=[kind for kind in KINDS if kind.round_type is RoundType.TWO_HOMES])
    homes = [_sweep(sandbox, name) for name in ("first", "second")]
    first, second = homes
    second.arguments[-1] = str(N_TRIALS + 2)  # it still runs while the commands below work on the first home
    try:
        for sweep in homes:
            sweep.start()
        first.run_to_completion()
        home = ["--home", str(first.sandbox.home)]
        _expect(result, first, ["doctor", "--repair", "--no-devices", *home])
        result.problems += [f"first home: {problem}" for problem in check.check_mlflow(first, first.view().trials)]
        _expect(result, first, ["delete", STUDY, "--yes", *home])
        second.run_to_completion()
        result.problems += check.check_finished_study(second, N_TRIALS + 2, EPOCHS)
        if not check.has_registered_model(second):
            result.problems.append("the registered model of the second home is gone")
    except NotSurvivedError as error:
        result.problems.append(str(error))
    finally:
        for sweep in homes:
            sweep.kill_all()
    return result


def _sweep(sandbox: Sandbox, name: str) -> Sweep:
    root = sandbox.root / name
    root.mkdir()
    home = root / "home"
    if (sandbox.home / "cache").is_dir():
        shutil.copytree(sandbox.home / "cache", home / "cache")
    return Sweep(Sandbox(root, home, sandbox.server), SWEEP, STUDY, "--trials", str(N_TRIALS))


def _expect(result: Result, sweep: Sweep, arguments: list[str], *codes: int) -> None:
    """Runs a command and checks its exit code, by default 0, and that it reports nothing on standard error."""
    done = sweep.run_command(*arguments)
    if done.returncode not in (codes or (0,)) or (not codes and done.stderr):
        result.problems.append(f"{arguments[0]}: exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")


def run_export_beside_retention(sandbox: Sandbox) -> Result:
    """Exports trials of a running sweep that keeps one model only.

    An export either gives a complete bundle, whose trial keeps its model, or is refused in one line.
    """
    result = Result(done=[kind for kind in KINDS if kind.round_type is RoundType.RETENTION])
    sweep = Sweep(sandbox, _RETENTION_SWEEP, _RETENTION_STUDY, "--trials", str(_N_RETENTION_TRIALS))
    exported: dict[int, Path] = {}
    try:
        sweep.start()
        while sweep.running:
            _export_newest(sweep, exported, result)
        if sweep.code != 0:
            result.problems.append(f"the sweep ended with exit code {sweep.code}: {sweep.last_lines}")
        if not exported:
            result.problems.append("no export succeeded")
        folder = sweep.home.study(_RETENTION_STUDY)
        for number, bundle in exported.items():
            if not folder.trial(number).best.exists():
                result.problems.append(f"trial {number} was exported, but its model was removed")
            _expect(result, sweep, ["predict", str(bundle), "good", "bad"])
        kept = [number for number in folder.numbers() if folder.trial(number).best.exists()]
        if len(set(kept) - set(exported)) > 2:  # the best one and the newest one
            result.problems.append(f"the models of trials {kept} are kept; exported were {sorted(exported)}")
    except NotSurvivedError as error:
        result.problems.append(str(error))
    finally:
        sweep.kill_all()
    return result


def _rows(sweep: Sweep) -> tuple[TrialRow, ...]:
    try:
        return sweep.view().trials
    except StudyError:  # the sweep has not created it yet
        return ()


def _export_newest(sweep: Sweep, exported: dict[int, Path], result: Result) -> None:
    """Exports the newest finished trial: the one whose model is removed next, unless it is the best."""
    rows = [row for row in _rows(sweep) if row.state is State.COMPLETE and row.number not in exported]
    if not rows:
        return
    number = rows[-1].number
    to = sweep.sandbox.root / f"bundle-{number}"
    home = ["--home", str(sweep.sandbox.home)]
    done = sweep.run_command(
        "export", _RETENTION_STUDY, "--trial", str(number), "--to", str(to), "--format", FORMATS[0], *home
    )
    if done.returncode == 0:
        exported[number] = to
    elif done.returncode != 2 or done.stderr.count("\n") != 1 or to.exists():
        result.problems.append(f"export of trial {number}: exit {done.returncode}: {done.stdout} {done.stderr}")
