"""`rnnexp validate`: check a sweep file."""

import argparse
from pathlib import Path

from rnnexp.config.files import parse_assignment
from rnnexp.config.load import load_sweep


def run(args: argparse.Namespace) -> int:
    """Prints a summary of a valid file; raises `ConfigError` with all faults of an invalid one."""
    config = load_sweep(Path(args.file), dict(parse_assignment(text) for text in args.assignments))
    searched = ", ".join(config.space) or "nothing"
    print(
        f"{args.file}: valid; study {config.study}: {config.n_trials} trials of up to {config.base.train.epochs} "
        f"epochs, sampler {config.sampler.name}, pruner {config.pruner.name}; searches {searched}"
    )
    return 0
