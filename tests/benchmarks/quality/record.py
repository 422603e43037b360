"""Records learning curves; an interrupted recording is continued by the same command.

    --kind rnnexp                a study of rnnexp, two concurrent trials: half an hour
    --kind plain                 the plain loop's seconds, scaled from some steps: minutes
    --kind plain --part values   its accuracies, two configurations at once: hours; other load does not matter
    --kind plain --part whole    both from complete trials, one configuration after another: hours
    --ship                       copies both recordings to `recorded/`, from which everybody replays them

The file `quality/KIND.json` in the state folder is complete after every configuration. The seconds need a machine
without other load.
"""

import argparse
import dataclasses
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.errors import StudyError
from tests.benchmarks.harness import STATE
from tests.benchmarks.quality.curves import (
    KINDS,
    ONLY_FOR_THE_RECORDER,
    PARTS,
    SHIPPED,
    WORKERS,
    Curve,
    Recording,
    describe,
    draw_settings,
)

Train = Callable[[int, Mapping[str, Any]], Curve]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.quality.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--kind", choices=KINDS)
    action.add_argument("--ship", action="store_true", help=f"copy both recordings to {SHIPPED.name}/")
    parser.add_argument("--part", choices=PARTS, help="part of the plain loop's curves (seconds)")
    parser.add_argument("--n", type=int, default=60, help="number of configurations (%(default)s)")
    parser.add_argument(
        "--epochs",
        type=int,
        default=8,
        help="epochs of each configuration (%(default)s); if a later start has more, all are trained again",
    )
    parser.add_argument(
        "--state", type=Path, default=STATE, help="the recording is in its folder quality/ (%(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=WORKERS,
        help="concurrent trials of rnnexp, or processes of --part values (%(default)s)",
    )
    parser.add_argument("--small", action="store_true", help="few texts or steps, to check that it runs")
    args = parser.parse_args()
    if args.kind != "plain" and args.part not in (None, "whole"):
        parser.error(f"--part {args.part} needs --kind plain; curves of rnnexp are always recorded as a whole")
    folder = args.state.absolute() / "quality"
    if args.ship:
        ship(folder, SHIPPED, args.n, args.epochs)
        return 0
    if "RNNEXP_DATA" not in os.environ:
        parser.error("RNNEXP_DATA is not set; the curves are those of imdb.npz in the folder that it names")
    part = args.part or ("seconds" if args.kind == "plain" else "whole")
    if part != "values":
        _warn_of_load()
    return record(args.kind, folder, args.n, args.epochs, args.workers, part=part, small=args.small)


def _warn_of_load() -> None:
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the load average is {load:.1f}: other processes run, and they change the seconds", flush=True)


def ship(folder: Path, target: Path, n: int, epochs: int) -> None:
    """Copies both recordings to the folder of the recordings that are in the repository.

    Args:
        folder: the folder of the recordings.
        target: the folder for the copies.
        n: number of configurations.
        epochs: epochs of each configuration.

    Raises:
        SystemExit: if a recording is missing or incomplete, or if they are of different machines.
    """
    recordings = {}
    for kind in KINDS:
        path = folder / f"{kind}.json"
        if not path.exists():
            raise SystemExit(f"{path} is missing; record it with --kind {kind}")
        recordings[kind] = Recording.load(path)
        missing = recordings[kind].missing(draw_settings(n), epochs, "whole" if kind == "rnnexp" else "seconds")
        if missing:
            raise SystemExit(f"{path}: {len(missing)} of {n} configurations are missing; continue with --kind {kind}")
    machines = {kind: recording.about["machine"] for kind, recording in recordings.items()}
    if len(set(machines.values())) > 1:
        raise SystemExit(f"the recordings are of different machines: {machines}")
    target.mkdir(exist_ok=True)
    for kind, recording in recordings.items():
        about = {name: value for name, value in recording.about.items() if name not in ONLY_FOR_THE_RECORDER}
        dataclasses.replace(recording, about=about).save(target / f"{kind}.json")
        print(f"{target / kind}.json: {len(recording.curves)} curves")


def record(
    kind: str, folder: Path, n: int, epochs: int, workers: int, *, part: str = "whole", small: bool = False
) -> int:
    """Records what is missing; returns an exit code, which is 0 if the recording is complete.

    Args:
        kind: `rnnexp` or `plain`.
        folder: for `KIND.json` and the home of rnnexp.
        n: number of configurations.
        epochs: epochs of each configuration.
        workers: concurrent trials of rnnexp, or processes of the plain loop if only its values are recorded.
        part: part of the plain loop's curves, one of `curves.PARTS`.
        small: use few texts or steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}.json"
    settings = draw_settings(n)
    recording = Recording.open(path, describe(kind, epochs, workers if kind == "rnnexp" else 1, small=small))
    missing = recording.missing(settings, epochs, part)
    print(f"{kind}: {n - len(missing)} of {n} configurations are recorded in {path}", flush=True)
    if not missing:
        return 0
    if kind == "rnnexp":
        return _record_rnnexp(recording, path, settings, epochs, small=small)
    from tests.benchmarks.quality import plain_curves

    train = partial(plain_curves.record, epochs=epochs, part=part, small=small)
    if part != "values":
        record_sequentially(recording, path, missing, train)
        return 0
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads of TensorFlow
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=plain_curves.use_one_thread) as pool:
        for curve in as_completed([pool.submit(train, number, each) for number, each in missing.items()]):
            recording = _add_curve(recording, path, curve.result())
    return 0


def record_sequentially(
    recording: Recording, path: Path, missing: Mapping[int, Mapping[str, Any]], train: Train
) -> Recording:
    """Trains the missing configurations and saves the recording after each; an interruption loses one curve only."""
    for number, settings in missing.items():
        recording = _add_curve(recording, path, train(number, settings))
    return recording


def _add_curve(recording: Recording, path: Path, curve: Curve) -> Recording:
    """Saves the recording with one more curve and prints a line."""
    recording = recording.with_curve(curve)
    recording.save(path)
    shown = " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in curve.settings.values())
    best = f"{max(curve.val_accuracy):.4f}" if curve.val_accuracy else "seconds only"
    seconds = f"{curve.seconds[-1]:.1f} s per epoch" if curve.seconds else "values only"
    print(f"{time.strftime('%H:%M:%S')} {curve.number}: {shown}: {best}, {seconds}", flush=True)
    return recording


def _record_rnnexp(
    recording: Recording, path: Path, settings: Sequence[Mapping[str, Any]], epochs: int, *, small: bool
) -> int:
    """Trains all configurations in one study of rnnexp, which resumes after an interruption."""
    from tests.benchmarks.quality import program_curves

    config = program_curves.build_sweep(settings, epochs, small=small)
    starts = recording.about.setdefault("starts", {}).setdefault(config.study, [])
    starts.append(time.time())
    recording.save(path)  # saved now, because this process may be killed while the study runs
    code = program_curves.run(config, path.parent, recording.about["workers"])
    try:
        study = program_curves.RecordedStudy(path.parent, config.study, settings, starts)
    except StudyError:
        return code  # the program has printed why there is no study
    for curve in study.curves():
        recording = recording.with_curve(curve)
    recording.about["start_s"] = study.start_s() or recording.about.get("start_s", [])
    recording.save(path)
    n_missing = len(recording.missing(settings, epochs, "whole"))
    print(f"{len(settings) - n_missing} of {len(settings)} configurations are recorded", flush=True)
    return code or (1 if n_missing else 0)


if __name__ == "__main__":
    sys.exit(main())
