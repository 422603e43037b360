"""Which models of a study are kept, and how the others are removed from the disk."""

import contextlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from rnnexp import locks
from rnnexp.disk import WRITING
from rnnexp.home import TrialFolder
from rnnexp.storage.ranking import Ranking, Score
from rnnexp.trial import events
from rnnexp.trial.events import Evicted


class Retention:
    """Selects the trials whose models are removed. Kept are the best few, the newest, and the best in each objective.

    Attributes:
        newest: the trial with a value that ended last.
    """

    def __init__(self, ranking: Ranking, n_best: int) -> None:
        """Args:
        ranking: of the study's trials.
        n_best: how many of the best are kept (`keep.checkpoints`).
        """
        self._ranking, self._n_best = ranking, n_best
        self._scores: dict[int, Score] = {}
        self.newest: int | None = None

    def add(self, number: int, score: Score) -> None:
        """Adds a trial that has a model."""
        self._scores[number] = score

    def discard(self, number: int) -> None:
        """Forgets a trial whose model was removed: enough other trials are better."""
        del self._scores[number]

    def to_evict(self) -> list[int]:
        """Returns the trials whose models must be removed."""
        others = {self.newest, *self._ranking.extremes(self._scores)}
        return to_evict(self._ranking.order(self._scores), self._n_best, others)


def to_evict(ranked: Sequence[int], keep: int, others: Container[int | None] = ()) -> list[int]:
    """Returns the trials whose models must be removed.

    Args:
        ranked: the trials that have a model, best first.
        keep: how many of the best are kept.
        others: trials that are kept, too.
    """
    return [number for number in ranked[keep:] if number not in others]


def evict(folder: TrialFolder, when: float) -> bool:
    """Removes a trial's model and the files that belong to it, unless the model was exported.

    Args:
        folder: the trial's.
        when: seconds since 1970.

    Returns:
        Whether the model was removed.
    """
    if not folder.best.exists():
        return False
    with locks.held(folder.retention_lock):
        if folder.exported.exists():
            return False
        remove_model(folder, when)
    return True


@contextlib.contextmanager
def exporting(folder: TrialFolder) -> Iterator[None]:
    """Marks a trial's model as exported during the export, so that a running sweep does not remove it meanwhile.

    Inside the block, the caller checks that the model exists: it may have been removed before. If the block raises, the
    mark is removed again, unless an earlier export has set it.
    """
    with locks.held(folder.retention_lock):
        was_marked = folder.exported.exists()
        folder.exported.touch()
    try:
        yield
    except BaseException:
        if not was_marked:
            folder.exported.unlink(missing_ok=True)
        raise
    folder.exported.touch()  # another export of this model may have failed meanwhile and removed the mark


def remove_model(folder: TrialFolder, when: float) -> None:
    """Removes the files of a trial's model, and records an `Evicted` event."""
    if not any(isinstance(event, Evicted) for event in events.read(folder.events)):
        # First the event: without it, a removed model could not be removed from MLflow after a crash.
        events.append(folder.events, Evicted(when))
    _remove(folder.held_out)
    _remove(folder.best)


def clean_up(folder: TrialFolder, *, keep_model: bool) -> None:
    """Removes the files that a finished trial does not need: its checkpoint and partly written files.

    Also completes an eviction that was interrupted.

    Args:
        folder: the trial's.
        keep_model: whether to keep the best model; a failed trial's is not kept.
    """
    _remove(folder.state)
    # The sender's thread may be writing its own files now; it writes them again until they are complete.
    written_by_sender = {f"{WRITING}{path.name}" for path in (folder.tracking, folder.history, folder.curves)}
    for directory in (folder.root, folder.best.parent):
        for path in directory.glob(f"{WRITING}*"):
            if path.name not in written_by_sender:
                _remove(path)
    if not keep_model:
        _remove_files_of_model(folder)
    elif any(isinstance(event, Evicted) for event in events.read(folder.events)):
        with locks.held(folder.retention_lock):
            if not folder.exported.exists():
                _remove_files_of_model(folder)


def _remove_files_of_model(folder: TrialFolder) -> None:
    _remove(folder.best)
    _remove(folder.held_out)


def _remove(path: Path) -> None:
    """Removes a file, if it exists and can be removed. An error must not end the sweep; each start tries again."""
    with contextlib.suppress(OSError):
        path.unlink()
