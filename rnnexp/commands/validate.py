"""`rnnexp validate`: check a sweep file and say what it would do."""

import argparse
from pathlib import Path

from rnnexp.config.files import parse_assignment
from rnnexp.config.load import load_sweep


def run(args: argparse.Namespace) -> int:
    """Prints one line for a sound file; faults are raised."""
    config = load_sweep(Path(args.file), dict(parse_assignment(text) for text in args.assignments))
    searched = ", ".join(config.space) or "nothing"
    print(
        f"{args.file}: sound; study {config.study}: {config.n_trials} trials of up to {config.base.train.epochs} "
        f"epochs, sampler {config.sampler.name}, pruner {config.pruner.name}; searches {searched}"
    )
    return 0
