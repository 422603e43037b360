"""`python -m tests.benchmarks.quality.record`: records learning curves, and goes on where it was ended.

    --kind rnnexp                a study of the program, two trials at once
    --kind plain                 the plain loop, one configuration after another: hours
    --kind plain --part values   its accuracies alone, two configurations at once; the machine may have other work
    --kind plain --part seconds  its seconds alone, scaled from some steps: minutes

The file `quality/KIND.json` in the state's folder is whole after every configuration.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.errors import StudyError
from tests.benchmarks.frame import STATE
from tests.benchmarks.quality.curves import KINDS, PARTS, WORKERS, Curve, Recording, about, draw

Train = Callable[[int, Mapping[str, Any]], Curve]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.quality.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--part", choices=PARTS, default="whole", help="of the plain loop's curves")
    parser.add_argument("--n", type=int, default=60, help="configurations")
    parser.add_argument("--epochs", type=int, default=8, help="of each; a later start with more trains anew")
    parser.add_argument("--state", type=Path, default=STATE, help="the recording stays below it, in quality/")
    parser.add_argument("--workers", type=int, default=WORKERS, help="trials of rnnexp, or accuracies alone, at once")
    parser.add_argument("--small", action="store_true", help="few reviews or steps; to see whether it runs")
    args = parser.parse_args()
    if args.kind == "rnnexp" and args.part != "whole":
        parser.error(f"--part {args.part}: rnnexp's curves are recorded whole")
    folder = args.state.absolute() / "quality"
    return record(args.kind, folder, args.n, args.epochs, args.workers, part=args.part, small=args.small)


def record(
    kind: str, folder: Path, n: int, epochs: int, workers: int, *, part: str = "whole", small: bool = False
) -> int:
    """Records what is not there yet; returns an exit code, 0 where nothing is left to record.

    Args:
        kind: `rnnexp` or `plain`.
        folder: gets `KIND.json`, and the program's home.
        n: configurations.
        epochs: of each.
        workers: trials of rnnexp at once; of the plain loop where its values alone are wanted.
        part: of the plain loop's curves.
        small: few reviews or steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}.json"
    settings = draw(n)
    recording = Recording.open(path, about(kind, epochs, workers if kind == "rnnexp" else 1, small=small))
    lacking = recording.lacking(settings, epochs, part)
    print(f"{kind}: {n - len(lacking)} of {n} configurations are recorded in {path}", flush=True)
    if not lacking:
        return 0
    if kind == "rnnexp":
        return _by_the_program(recording, path, settings, epochs, small=small)
    from tests.benchmarks.quality import plain_curves

    train = partial(plain_curves.record, epochs=epochs, part=part, small=small)
    if part != "values":
        one_by_one(recording, path, lacking, train)
        return 0
    spawning = multiprocessing.get_context("spawn")  # a fork would share what TensorFlow has started
    with ProcessPoolExecutor(workers, mp_context=spawning, initializer=plain_curves.use_one_thread) as pool:
        for curve in as_completed([pool.submit(train, number, each) for number, each in lacking.items()]):
            recording = _kept(recording, path, curve.result())
    return 0


def one_by_one(recording: Recording, path: Path, lacking: Mapping[int, Mapping[str, Any]], train: Train) -> Recording:
    """Trains what is lacking, and saves the recording after each; ended midway, it loses the running curve alone."""
    for number, settings in lacking.items():
        recording = _kept(recording, path, train(number, settings))
    return recording


def _kept(recording: Recording, path: Path, curve: Curve) -> Recording:
    """Saves the recording with one more curve, and says so."""
    recording = recording.with_curve(curve)
    recording.save(path)
    shown = " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in curve.settings.values())
    best = f"{max(curve.val_accuracy):.4f}" if curve.val_accuracy else "seconds only"
    taken = f"{curve.seconds[-1]:.1f} s an epoch" if curve.seconds else "values only"
    print(f"{time.strftime('%H:%M:%S')} {curve.number}: {shown}: {best}, {taken}", flush=True)
    return recording


def _by_the_program(
    recording: Recording, path: Path, settings: Sequence[Mapping[str, Any]], epochs: int, *, small: bool
) -> int:
    """Has a study train all configurations; its own resume is the recording's."""
    from tests.benchmarks.quality import program_curves

    wanted = program_curves.study(settings, epochs, small=small)
    starts = recording.about.setdefault("starts", {}).setdefault(wanted.study, [])
    starts.append(time.time())
    recording.save(path)  # when it was begun must be known even where nothing after this line is reached
    code = program_curves.run(wanted, path.parent, recording.about["workers"])
    try:
        study = program_curves.Study(path.parent, wanted.study, starts)
    except StudyError:
        return code  # it has said why it could not begin
    for curve in study.curves():
        recording = recording.with_curve(curve)
    recording.about["start_s"] = study.start_s() or recording.about.get("start_s", [])
    recording.save(path)
    return code


if __name__ == "__main__":
    sys.exit(main())
