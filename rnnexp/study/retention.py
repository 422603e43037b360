"""Which checkpoints stay: the best few of a study."""

from collections.abc import Iterable

from rnnexp.home import TrialFolder
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


def drop_states(folders: Iterable[TrialFolder]) -> None:
    """Removes the mid-trial checkpoints of trials that have ended for good."""
    for folder in folders:
        folder.state.unlink(missing_ok=True)
