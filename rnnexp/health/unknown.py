"""Studies' folders that Optuna does not know: deletions that were cut off, and studies that it has lost."""

import shutil
from collections.abc import Iterator

from rnnexp.health import studies
from rnnexp.health.databases import identity_in_mlflow
from rnnexp.health.finding import Finding
from rnnexp.health.usage import size
from rnnexp.home import Home
from rnnexp.storage import database as stores
from rnnexp.storage.rebuild import rebuild
from rnnexp.study import deletion

CHECK = "folders"


def check(home: Home) -> Iterator[Finding]:
    """Looks at the folders of all studies that nobody runs."""
    known, busy = set(stores.study_names(home)), set(studies.running(home))
    for name in studies.folders(home):
        folder = home.study(name)
        if name in busy:
            continue
        if folder.deleted.exists():
            frees = size(folder.root) + size(home.experiment_artifacts(name))
            what, repair = "its deletion was cut off", "it is finished"
            yield Finding(CHECK, f"study {name}", what, repair, lambda name=name: _delete(home, name), frees)  # type: ignore[misc]
        elif name not in known and folder.numbers():
            if folder.sweep.exists():
                what = "it has a folder, and Optuna does not know it"
                repair = "it is built anew from its folder; `rnnexp delete` removes it for good"
                fix = studies.held(home, name, lambda name=name: _rebuild(home, name))  # type: ignore[misc]
                yield Finding(CHECK, f"study {name}", what, repair, fix)
            else:
                what = (
                    f"Optuna does not know it, and its sweep file is gone; {folder.root} can be looked at and removed"
                )
                yield Finding(CHECK, f"study {name}", what)
        elif name in known and not folder.sweep.exists() and folder.numbers():
            yield Finding(CHECK, f"study {name}", "its sweep.yaml is gone; the next `rnnexp sweep` writes it again")
        elif name in known:
            yield from _unknown_trials(home, name)


def _unknown_trials(home: Home, name: str) -> Iterator[Finding]:
    """Trials that Optuna has lost, as where an older copy of its database was put back."""
    known = {seen.number for seen in studies.trials(home, name)}
    lost = [number for number in home.study(name).numbers() if number not in known]
    if lost:
        what = f"Optuna does not know its trials {', '.join(map(str, lost))}, which have folders"
        fix = studies.held(home, name, lambda: _rebuild(home, name))
        yield Finding(CHECK, f"study {name}", what, "they are added from their folders", fix)


def _delete(home: Home, name: str) -> str:
    deletion.delete(home, name)
    shutil.rmtree(home.study(name).root, ignore_errors=True)
    return "its deletion is finished"


def _rebuild(home: Home, name: str) -> str:
    return f"{rebuild(home, name, identity_in_mlflow(home, name))} trials are added from their folders"
