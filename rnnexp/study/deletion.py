"""Deletes a study permanently: its MLflow runs, its Optuna trials and its files. Cached data sets are kept."""

import contextlib
import shutil
from pathlib import Path

from rnnexp import addresses
from rnnexp.errors import WorkError
from rnnexp.home import Home, StudyFolder
from rnnexp.storage import metadata
from rnnexp.storage.bulk_reader import load_study, study_names
from rnnexp.storage.database import delete_study
from rnnexp.storage.metadata import StudyMetadata, StudyRecord
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.tracking.experiments import DeletedRecords, delete_experiment
from rnnexp.tracking.ownership import Ownership
from rnnexp.tracking.paths import is_record_id


def delete(home: Home, study: str) -> DeletedRecords:
    """Deletes the study from MLflow, then from Optuna, then its folder.

    A marker file in the study's folder records that the deletion has started, and is removed last. A deletion that
    failed or was killed can therefore be started again.

    Returns:
        What was deleted in MLflow, and what stays because it belongs to others.

    Raises:
        StudyError: if the study is running.
        WorkError: if the server does not answer, or files cannot be removed.
    """
    with hold_study_lock(home, study):
        return delete_locked(home, study)


def delete_locked(home: Home, study: str) -> DeletedRecords:
    """Deletes the study as `delete` does. The caller holds the study's lock.

    Since the deletion began, another home may have started a study of this name in the team's database. It stays.
    """
    folder = home.study(study)
    folder.deleted.touch()
    stored = _own_record(home, study)
    records = _delete_records(home, study, _identity(folder, stored))
    _remove_artifacts(home, study, records)
    if stored is not None:
        delete_study(home, study)
    _remove_folder(folder, study)
    return records


def _own_record(home: Home, study: str) -> StudyRecord | None:
    """Returns the study in Optuna's database; None if it is not there or belongs to another home."""
    if study not in study_names(home):
        return None
    stored = load_study(home, study)
    return stored if metadata.other_home(home, stored) is None else None


def _delete_records(home: Home, study: str, identity: str) -> DeletedRecords:
    if home.tracking_server is None and not home.mlflow_db.exists():
        return DeletedRecords()
    folder = home.study(study)
    ownership = Ownership.of(home, study, identity)
    known = frozenset(ownership.run_ids(folder))
    try:
        return delete_experiment(home, ownership, known)
    except Exception as error:
        if home.tracking_server is None:
            raise
        raise WorkError(
            f"delete {study}: MLflow's server {home.tracking_server} cannot be used ({addresses.one_line(error)}); "
            "only a part may be deleted, run the same command again"
        ) from None


def _identity(folder: StudyFolder, stored: StudyRecord | None) -> str:
    """Returns the study's identity; Optuna may have lost the study, or an earlier deletion may have removed it."""
    if stored is not None:
        return metadata.identity(stored)
    saved = StudyMetadata.load(folder.about)
    return saved.identity if saved is not None else ""


def _remove_artifacts(home: Home, study: str, records: DeletedRecords) -> None:
    """Removes the files of the study's runs; files of others that use the same experiment stay."""
    place = home.experiment_artifacts(study)
    if not records.n_others:
        shutil.rmtree(place, ignore_errors=True)
        return
    folders = [(place, record) for record in records.run_ids]
    folders += [(place / "models", record) for record in records.model_ids]
    for folder, record in folders:
        if is_record_id(record):  # a server has named it
            shutil.rmtree(folder / record, ignore_errors=True)


def _remove_folder(folder: StudyFolder, study: str) -> None:
    """Removes the study's folder; at the end the lock and then the marker, so that no part of it looks like a study."""
    last = (folder.lock, folder.deleted)
    for path in folder.root.iterdir():
        if path not in last:
            _remove(path, study)
    for path in last:
        _remove(path, study)
    with contextlib.suppress(OSError):  # another command may have begun a new study
        folder.root.rmdir()


def _remove(path: Path, study: str) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WorkError(
            f"delete {study}: {error.filename or path} cannot be removed ({error.strerror}); remove the cause, then "
            "run the same command again"
        ) from None
