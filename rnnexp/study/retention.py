"""Which checkpoints stay: the best few of a study."""

import contextlib
from pathlib import Path

from rnnexp.disk import WRITING
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import Evicted


def to_evict(values: dict[int, float], maximize: bool, keep: int, newest: int | None) -> list[int]:
    """Returns the trials whose checkpoints go.

    Args:
        values: of the trials whose checkpoints are there, by number.
        maximize: whether more is better.
        keep: how many of the best stay; among equals the older ones.
        newest: the trial that has ended last, which stays too.
    """
    ranked = sorted(values, key=lambda number: (-values[number] if maximize else values[number], number))
    return [number for number in ranked[keep:] if number != newest]


def evict(folder: TrialFolder, when: float) -> bool:
    """Removes a trial's model and what belongs to it, unless it was exported; tells whether it did."""
    if not folder.best.exists() or folder.exported.exists():
        return False
    give_up(folder, when)
    return True


def give_up(folder: TrialFolder, when: float) -> None:
    """Removes what there is of a trial's model, and records that it is not kept."""
    if not any(isinstance(event, Evicted) for event in events.read(folder.events)):
        events.append(folder.events, Evicted(when))  # first: what is gone cannot tell that MLflow was not told
    _removed(folder.held_out)
    _removed(folder.best)


def clean_up(folder: TrialFolder, *, keep_model: bool) -> None:
    """Removes what a trial that has ended for good needs no more: its mid-trial checkpoint, and what was half written.

    An eviction that was cut off is brought to its end.

    Args:
        folder: the trial's.
        keep_model: whether its best model may be wanted; a failed trial's is not.
    """
    _removed(folder.state)
    # The sender may just be writing its own; it writes them anew until they are whole.
    sent = {f"{WRITING}{path.name}" for path in (folder.tracking, folder.history, folder.curves)}
    for place in (folder.root, folder.best.parent):
        for path in place.glob(f"{WRITING}*"):
            if path.name not in sent:
                _removed(path)
    evicted = any(isinstance(event, Evicted) for event in events.read(folder.events)) and not folder.exported.exists()
    if evicted or not keep_model:
        _removed(folder.best)
        _removed(folder.held_out)


def _removed(path: Path) -> None:
    """Removes a file, if it can be; one that cannot is no reason to end a sweep, and every start tries again."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
