"""Compares a study in Optuna with the folders in the home, before a supervisor opens it.

A folder that Optuna does not know contains results of another study, or of one that Optuna has lost. A supervisor would
take them for results of its own trials.
"""

from collections.abc import Collection

from rnnexp.errors import StudyError
from rnnexp.home import Home

_DEFAULT = "default"
"""The name of the experiment that MLflow creates itself, in lower case."""


def check_new_study(home: Home, name: str, known: Collection[str]) -> None:
    """Checks that a study which Optuna does not have can be created.

    Args:
        home: holds the folders.
        name: the study's name.
        known: the names of the studies that Optuna has.

    Raises:
        StudyError: if the name is reserved, if a study with files under the same name exists, or if its deletion was
            interrupted.
    """
    if home.study(name).deleted.exists():
        raise StudyError(
            f"study {name}: its deletion was interrupted; run `rnnexp doctor --repair` to finish it, then start the "
            "study again"
        )
    if name in known:
        return
    if name.casefold() == _DEFAULT:
        raise StudyError(
            f"study {name}: MLflow's default experiment has this name, and other programs write to it; choose another "
            "name with --study"
        )
    folders = [path.name for path in home.work.iterdir()] if home.work.is_dir() else []
    similar = sorted({other for other in (*known, *folders) if other.casefold() == name.casefold()} - {name})
    if similar:
        raise StudyError(
            f"study {name}: study {similar[0]} exists, and some file systems do not distinguish the two names; choose "
            "another name with --study"
        )
    folder = home.study(name)
    if folder.numbers():
        raise StudyError(
            f"study {name}: Optuna does not know it, but {folder.trials} has {len(folder.numbers())} trials, whose "
            "results would become those of the new study; rebuild it with `rnnexp doctor --repair`, delete it with "
            f"`rnnexp delete {name}`, or choose another name with --study"
        )


def check_trial_folders(home: Home, name: str, n_trials: int) -> None:
    """Checks that no folder is in the way of the next trials.

    Args:
        home: holds the folders.
        name: the study's name.
        n_trials: how many trials Optuna has.

    Raises:
        StudyError: if the study's folder has trials that Optuna does not know.
    """
    unknown = [number for number in home.study(name).numbers() if number >= n_trials]
    if unknown:
        raise StudyError(
            f"study {name}: its folder has trial {unknown[0]}, but Optuna knows only {n_trials} trials; add it with "
            "`rnnexp doctor --repair`, or choose another name with --study"
        )
