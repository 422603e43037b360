"""Finds folders of studies that Optuna does not have: interrupted deletions, and studies lost from its database."""

from collections.abc import Iterator

from rnnexp.health import mlflow_tables, studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.health.usage import size
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, metadata
from rnnexp.storage.metadata import StudyMetadata
from rnnexp.storage.rebuild import rebuild
from rnnexp.study import deletion

CHECK = "folders"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the folders of all studies that no supervisor runs."""
    home = observed.home
    known = set(bulk_reader.study_names(home))
    for name in observed.idle_folders():
        folder = home.study(name)
        if folder.deleted.exists():
            frees = size(folder.root) + size(home.experiment_artifacts(name))
            what, repair = "its deletion was interrupted", "the deletion is completed"
            fix = studies.with_study_lock(home, name, lambda name=name: _delete(home, name))  # type: ignore[misc]
            yield Finding(CHECK, f"study {name}", what, repair, fix, frees)
        elif name in known and (fault := _fault_of_other(home, name)) is not None:
            if folder.numbers():
                yield Finding(CHECK, f"study {name}", fault)
        elif name not in known and folder.numbers():
            if folder.sweep.exists():
                what = "it has a folder, but Optuna does not know it"
                repair = "it is rebuilt from its folder; to delete it, use `rnnexp delete` afterwards"
                fix = studies.with_study_lock(home, name, lambda name=name: _rebuild(home, name))  # type: ignore[misc]
                yield Finding(CHECK, f"study {name}", what, repair, fix)
            else:
                what = (
                    f"Optuna does not know it, and it has no sweep.yaml; look at {folder.root} and remove it if it is "
                    "not needed"
                )
                yield Finding(CHECK, f"study {name}", what)
        elif name in known and not folder.sweep.exists() and folder.numbers():
            yield Finding(CHECK, f"study {name}", "its sweep.yaml is missing; the next `rnnexp sweep` writes it again")
        elif name in known:
            yield from _unknown_trials(observed, name)


def _fault_of_other(home: Home, name: str) -> str | None:
    """Returns what is wrong with a folder if the study of its name is one of another home; else None."""
    study, folder = bulk_reader.load_study(home, name), home.study(name)
    other = metadata.other_home(home, study)
    if other is None:
        return None
    saved = StudyMetadata.load(folder.about)
    if saved is not None and saved.identity != metadata.identity(study):
        return (
            f"the database has another study of this name, whose trials are in {other}; this folder is of an earlier "
            f"one: look at {folder.root} and remove it if it is not needed"
        )
    return f"according to the database, its trials are in {other}; keep {folder.root}, which has trials, too"


def _unknown_trials(observed: Observation, name: str) -> Iterator[Finding]:
    """Finds trials that Optuna has lost, for example because an older copy of its database was restored."""
    home, known = observed.home, {snapshot.number for snapshot in observed.trials(name)}
    lost = [number for number in home.study(name).numbers() if number not in known]
    if lost:
        what = f"Optuna does not know its trials {', '.join(map(str, lost))}, which have folders"
        fix = studies.with_study_lock(home, name, lambda: _rebuild(home, name))
        yield Finding(CHECK, f"study {name}", what, "they are added from their folders", fix)


def _delete(home: Home, name: str) -> str:
    deletion.delete_locked(home, name)
    return "the deletion is completed"


def _rebuild(home: Home, name: str) -> str:
    n_trials = rebuild(home, name, mlflow_tables.study_identity(home, name))
    return f"{n_trials} trials are added from their folders"
