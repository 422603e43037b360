"""Bugs put into copies of the code, to see whether the simulation finds them. Each is one small textual change."""

from dataclasses import dataclass

from tests.simulation.modules import Change, changed
from tests.simulation.sweep import simulate


@dataclass(frozen=True)
class Planted:
    """A bug.

    Attributes:
        bug: what is wrong, in words.
        change: what makes it so.
    """

    bug: str
    change: Change


@dataclass(frozen=True)
class Found:
    """How a planted bug was found.

    Attributes:
        n_seeds: how many sweeps it took; None where they did not find it.
        violation: what the last one said.
    """

    n_seeds: int | None
    violation: str


_TELL = "        self._store.tell(number, state, value, events.summary(curve, value, reason))\n"
_CLOSE = (
    "        self._records.append(number, AttemptEnded(self._clock.time(), state, reason, running.asked.attempt))\n"
)
_SEND = "        batch.send(self._client, run_id)\n        self._sync()\n"
_SAVE = "        Cursor(run_id, len(happened), self._store).save(folder.tracking)\n"
_EVICTED = """    if not any(isinstance(event, Evicted) for event in events.read(folder.events)):
        events.append(folder.events, Evicted(when))  # first: what is gone cannot tell that MLflow was not told
    _removed(folder.held_out)
    _removed(folder.best)
"""
_EVICTED_LAST = """    _removed(folder.best)
    _removed(folder.held_out)
    events.append(folder.events, Evicted(when))
"""

BUGS = (
    Planted("Optuna is told after the record is closed", Change("supervisor", _TELL, _CLOSE + _TELL)),
    Planted("one trial too many is begun", Change("supervisor", "len(self._running) <", "len(self._running) <=")),
    Planted("a death spends no retry", Change("supervisor", "crashed=retried", "crashed=False")),
    Planted("an interruption spends a retry", Change("supervisor", "crashed=retried", "crashed=True")),
    Planted(
        "a trial that is pruned is not told so",
        Change("supervisor", "            self._executor.answer(", "            prune or self._executor.answer("),
    ),
    Planted(
        "the budget counts complete trials only",
        Change("supervisor", "counts.total() >= self._n_trials", "counts[State.COMPLETE] >= self._n_trials"),
    ),
    Planted(
        "a trial is told twice",
        Change("supervisor", "            if running.told is None:\n", "            if True:\n"),
    ),
    Planted(
        "a result whose message was lost is ignored",
        Change(
            "supervisor", "result = running.result or pending_result(", "result = running.result and pending_result("
        ),
    ),
    Planted(
        "the worst checkpoints are kept",
        Change("supervisor", 'direction == "maximize", self', 'direction == "minimize", self'),
    ),
    Planted(
        "the record of a dead supervisor's trial is not closed",
        Change("records", "if (happened or ended) and not is_closed(happened, state):", "if False:"),
    ),
    Planted(
        "taking over leaves a trial RUNNING",
        Change("store", "    for trial in left:\n", "    for trial in left[1:]:\n"),
    ),
    Planted(
        "a trial whose drawing was cut off is drawn as another",
        Change(
            "store",
            "sampling.sampler(self._config.sampler, number)",
            "sampling.sampler(self._config.sampler, len(self._states))",
        ),
    ),
    Planted("the cursor is saved before the event is sent", Change("projection", _SEND + _SAVE, _SAVE + _SEND)),
    Planted(
        "a run that was created late is left",
        Change("projection", "            if run.info.run_id != run_id:", "            if run.info.run_id == '':"),
    ),
    Planted(
        "what fails is forgotten",
        Change(
            "sender",
            "            self._replay = None\n            if",
            "            self._waiting.clear()\n            if",
        ),
    ),
    Planted("a failed trial keeps its model", Change("records", "keep_model=keep_model)", "keep_model=True)")),
    Planted("a checkpoint is removed before its record says so", Change("retention", _EVICTED, _EVICTED_LAST)),
    Planted(
        "the mid-trial checkpoint of a finished trial stays",
        Change("retention", "    _removed(folder.state)\n", ""),
    ),
)


def find(planted: Planted, most: int) -> Found:
    """Simulates sweeps with the bug, one seed after another, until one violates an invariant.

    Args:
        planted: the bug.
        most: how many seeds to try.
    """
    modules = changed(planted.change)
    for seed in range(most):
        violation = simulate(seed, modules).violation
        if violation:
            return Found(seed + 1, violation)
    return Found(None, "")
