"""`rnnexp verify`: train a trial again from its record, and compare."""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from rnnexp.analysis.configurations import seed_noise
from rnnexp.analysis.reproduction import DIVERGED, REPRODUCED, Reproduction, compare, setting_changes
from rnnexp.commands.show import find
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore, prepare
from rnnexp.engine.repetition import repeat
from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.terminal import tables
from rnnexp.trial import events, machine_type
from rnnexp.trial.events import EpochEnded, Started
from rnnexp.trial.machine_type import MachineType


def run(args: argparse.Namespace) -> int:
    """Prints whether the trial gives the same result again; returns 1 if it does not."""
    home = Home.at(args.home)
    study = view(home, args.study, with_runs=False)
    row = find(study, args.trial)
    if study.origin is not None:
        from rnnexp.tracking.fetch import fetch

        study = fetch(home, study, [row.number])
    folder = study.folder.trial(row.number)
    history = events.read(folder.events)
    recorded = events.epochs(history)
    if not recorded or not folder.config.exists():
        raise StudyError(f"verify: trial {row.number} of {study.name} is {row.state} and has no epoch to compare")
    started = next(event for event in history if isinstance(event, Started))
    config = load_trial(folder.config, {})
    store = prepare(config.data, Home.open(args.home))
    found = compare(
        recorded,
        _repeat(config, started, store, len(recorded), quiet=args.json),
        study.metric,
        int(started.data["n_validation"]),
        seed_noise(home, study),
        _changes(study, row, config, started, store),
        MachineType.of(started.plan).differences(machine_type.current()),
    )
    if args.json:
        print(json.dumps({"study": study.name, "trial": row.number, **dataclasses.asdict(found)}, indent=1))
    else:
        _print(study, row, found)
    return 1 if found.verdict == DIVERGED else 0


def _repeat(
    config: TrialConfig, started: Started, store: TokenStore, n_epochs: int, *, quiet: bool
) -> list[EpochEnded]:
    def show(event: EpochEnded) -> None:
        if not quiet:
            values = " ".join(f"{name} {event.metrics[name]:.4f}" for name in ("loss", "val_loss", "val_accuracy"))
            tables.console().print(f"epoch {event.epoch}/{n_epochs}: {values}")

    with tempfile.TemporaryDirectory(prefix="rnnexp-verify-") as temporary:
        return repeat(config, started.plan, store.root, Path(temporary), n_epochs, show)


def _changes(study: StudyView, row: TrialRow, config: TrialConfig, started: Started, store: TokenStore) -> list[str]:
    """Returns how settings and data differ from those with which the trial was trained."""
    given: dict[str, Any] = {**study.definition.get("base", {}), **row.settings}
    changes = setting_changes(config.settings(), {name: given[name] for name in given if name != "data.path"})
    if store.digest != started.data["digest"]:
        changes.append(f"data: the trial had those with digest {started.data['digest']}, now it is {store.digest}")
    return changes


def _print(study: StudyView, row: TrialRow, found: Reproduction) -> None:
    console, what = tables.console(), f"trial {row.number} of {study.name}"
    if found.verdict == REPRODUCED:
        console.print(f"{what}: reproduced; all metrics of {found.n_epochs} epochs are equal to the bit", style="green")
        return
    again = "no result" if found.repeated is None else f"{found.repeated:.4f}"
    noise = f"; noise explains {found.noise:.4f}: {found.whose}" if found.noise is not None else ""
    console.print(
        f"{what}: {found.verdict}; epoch {found.first_difference} is the first that differs; {study.metric} was "
        f"{found.recorded:.4f}, is {again}{noise}",
        style="red" if found.verdict == DIVERGED else "yellow",
        soft_wrap=True,
    )
    for cause in found.causes:
        console.print(f"  {cause}", soft_wrap=True)
    if not found.causes:
        console.print("  settings, data, versions and type of machine are the same", soft_wrap=True)
