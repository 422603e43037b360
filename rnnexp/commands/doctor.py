"""`rnnexp doctor`: diagnose and repair this machine's set-up and this home."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rnnexp.engine import devices
from rnnexp.engine.devices import Devices
from rnnexp.health import checks, servers, studies
from rnnexp.health.checks import RepairOutcome
from rnnexp.health.machine import Machine, check_devices, machine, slower_gpus
from rnnexp.health.usage import Usage, usage
from rnnexp.home import Home
from rnnexp.terminal import tables


def run(args: argparse.Namespace) -> int:
    """Prints the problems, with `--repair` repairs them if possible; returns 1 if a problem is left."""
    home = Home.at(args.home)
    if home.tracking_note:
        print(home.tracking_note, file=sys.stderr)
    measured = None if args.no_devices else _measure_devices(home, quiet=args.json)
    found: list[RepairOutcome] = []
    for outcome in _outcomes(home, measured, repair=args.repair):
        found.append(outcome)
        if not args.json:
            _print_outcome(outcome)
    about, space = machine(measured), usage(home)
    left = [outcome for outcome in found if outcome.done is None]
    if args.json:
        print(json.dumps(_plain(about, space, studies.running(home), found), indent=1))
    else:
        _show(home, about, space, found, repairing=args.repair)
    return 1 if left else 0


def _measure_devices(home: Home, *, quiet: bool) -> Devices:
    """Times the devices; saves the result if it can decide where trials run."""
    console = tables.console()
    if quiet or not console.is_terminal:
        found = devices.measure()
    else:
        with console.status("timing a training step on each device"):
            found = devices.measure()
    if devices.gpu_is_possible() and found.step_ms and home.root.is_dir():
        devices.save(home.devices, found)
    return found


def _outcomes(home: Home, measured: Devices | None, *, repair: bool) -> Iterator[RepairOutcome]:
    if measured is not None:
        yield from (RepairOutcome(finding) for finding in check_devices(measured))
    yield from checks.repair(home) if repair else (RepairOutcome(finding) for finding in checks.find_problems(home))


def _print_outcome(outcome: RepairOutcome) -> None:
    """Prints one line per finding."""
    console, finding = tables.console(), outcome.finding
    line = f"{finding.where}: {finding.what}"
    if outcome.done is not None:
        console.print(f"repaired  {line} → {outcome.done}", style="green", soft_wrap=True)
    elif outcome.failure is not None:
        console.print(f"problem   {line}; the repair failed: {outcome.failure}", style="red", soft_wrap=True)
    else:
        hint = f" (--repair: {finding.repair})" if finding.repair else ""
        console.print(f"problem   {line}{hint}", style="red", soft_wrap=True)


def _show(home: Home, about: Machine, space: Usage, found: list[RepairOutcome], *, repairing: bool) -> None:
    console, busy = tables.console(), studies.running(home)
    if found:
        console.print()
    console.print(tables.pairs([*_machine_rows(about), *_server_rows(home), *_disk_rows(home, space)]))
    for line in slower_gpus(about.devices) if about.devices else []:
        console.print(line, style="yellow", soft_wrap=True)
    if busy:
        console.print(f"not checked, because they are running: {', '.join(busy)}", soft_wrap=True)
    console.print()
    left = [outcome.finding for outcome in found if outcome.done is None]
    n_repaired = len(found) - len(left)
    if not found:
        console.print("no problems found", style="green")
    elif not left:
        console.print(f"{tables.count(n_repaired, 'problem')} repaired, none left", style="green")
    else:
        repairable = [finding for finding in left if finding.fix is not None]
        freed = sum(finding.frees_bytes for finding in repairable)
        frees = f" and frees {_bytes(freed)}" if freed else ""
        offer = f"; --repair fixes {len(repairable)}{frees}" if repairable and not repairing else ""
        repaired = f"{tables.count(n_repaired, 'problem')} repaired, " if n_repaired else ""
        verb = "left" if repairing else "found"
        console.print(f"{repaired}{tables.count(len(left), 'problem')} {verb}{offer}", style="red")


def _machine_rows(about: Machine) -> list[tuple[str, str]]:
    rows = [
        ("system", about.system),
        ("python", about.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in about.packages.items())),
        ("cores", f"{about.cores}{f', {about.memory_gb} GB of memory free' if about.memory_gb is not None else ''}"),
    ]
    if about.devices is not None:
        timed = [f"{name} {ms:.1f} ms per small training step" for name, ms in about.devices.step_ms.items()]
        rows.append(("devices", ", ".join(timed) or "none can train"))
    where = {name: place or "not here, will be downloaded" for name, place in about.data.items()}
    rows.append(("data", ", ".join(f"{name}: {place}" for name, place in where.items())))
    return rows


def _server_rows(home: Home) -> list[tuple[str, str]]:
    return [
        (server.role, f"{server.address}: {', '.join(server.facts) or 'cannot be used'}")
        for server in servers.servers(home)
    ]


def _disk_rows(home: Home, space: Usage) -> list[tuple[str, str]]:
    rows = [("home", f"{home.root}: {_bytes(space.total)} used, {_bytes(space.free)} free on the disk")]
    for name in sorted({*space.work, *space.artifacts}):
        parts = (("work", space.work.get(name, 0)), ("artifacts", space.artifacts.get(name, 0)))
        rows.append((f"  {name}", ", ".join(f"{kind} {_bytes(size)}" for kind, size in parts)))
    others = {"cache": space.cache, "databases": space.databases, "database backups": space.copies}
    rows += [(f"  {kind}", _bytes(size)) for kind, size in others.items() if size]
    if space.set_aside:
        where = home.work / "*" / "trials" / "*" / "set-aside"
        rows.append(("  set aside", f"{_bytes(space.set_aside)} of models, part of the work; remove them from {where}"))
    return rows


def _bytes(n: int) -> str:
    """Formats bytes as 12 kB, 3.4 MB or 1.2 GB."""
    if n < 10**6:
        return f"{n / 1000:.0f} kB"
    return f"{n / 10**6:.1f} MB" if n < 10**9 else f"{n / 10**9:.1f} GB"


def _plain(about: Machine, space: Usage, busy: list[str], found: list[RepairOutcome]) -> dict[str, Any]:
    slower = slower_gpus(about.devices) if about.devices else []
    frees = sum(outcome.finding.frees_bytes for outcome in found if outcome.finding.fix and outcome.done is None)
    return {
        "machine": {**asdict(about), "slower_gpus": slower},
        "disk": {**asdict(space), "total": space.total, "repair_frees": frees},
        "running": busy,
        "findings": [
            {
                "check": outcome.finding.check,
                "where": outcome.finding.where,
                "what": outcome.finding.what,
                "repair": outcome.finding.repair,
                "frees_bytes": outcome.finding.frees_bytes,
                "repaired": outcome.done is not None,
                "done": outcome.done,
                "failure": outcome.failure,
            }
            for outcome in found
        ],
    }
