"""Which checkpoints stay: the best few of a study."""

from rnnexp.home import WRITING, TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import Evicted


def to_evict(values: dict[int, float], maximize: bool, keep: int) -> list[int]:
    """Returns the trials whose checkpoints go.

    Args:
        values: of each trial that has ended with one, by number.
        maximize: whether more is better.
        keep: how many stay; among equals the older ones.
    """
    ranked = sorted(values, key=lambda number: (-values[number] if maximize else values[number], number))
    return ranked[keep:]


def evict(folder: TrialFolder, when: float) -> bool:
    """Removes a trial's model and what belongs to it; tells whether there was one."""
    if not folder.best.exists():
        return False
    folder.best.unlink()
    folder.held_out.unlink(missing_ok=True)
    events.append(folder.events, Evicted(when))
    return True


def clean_up(folder: TrialFolder, *, keep_model: bool) -> None:
    """Removes what a trial that has ended for good needs no more: its mid-trial checkpoint, and what was half written.

    Args:
        folder: the trial's.
        keep_model: whether its best model may be wanted; a failed trial's is not.
    """
    for path in (folder.state, folder.state.with_suffix(".tmp"), folder.best.with_name(WRITING)):
        path.unlink(missing_ok=True)
    if not keep_model:
        folder.best.unlink(missing_ok=True)
        folder.held_out.unlink(missing_ok=True)
