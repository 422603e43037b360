"""Bugs that are planted into copies of the code, to check that the simulation finds them.

Each bug replaces one snippet of source text. If the code changes, the snippet must be adapted here.
"""

from dataclasses import dataclass

from tests.simulation.modules import Change, changed
from tests.simulation.sweep import simulate


@dataclass(frozen=True)
class Planted:
    """A planted bug.

    Attributes:
        bug: what is wrong.
        change: the change of the source that causes it.
        needs: rare kinds of fault that it needs; the search makes them frequent.
    """

    bug: str
    change: Change
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The search for a planted bug.

    Attributes:
        n_seeds: how many sweeps were simulated until it was found; None if it was not found.
        violation: the violated invariant.
    """

    n_seeds: int | None
    violation: str


_TELL = "        self._store.tell(number, outcome.state, value, summary)\n"
_CLOSE = (
    "        self._records.append(\n"
    "            number, events.AttemptEnded(self._clock.time(), outcome.state, reason, running.request.attempt)\n"
    "        )\n"
)
_SEND = "        batch.send(self._client, run_id)\n        self._sync()\n"
_SAVE = "        self._cursor(run_id, len(trial_events)).save(folder.tracking)\n"
_EVICT = """    if not any(isinstance(event, Evicted) for event in events.read(folder.events)):
        # First the event: without it, a removed model could not be removed from MLflow after a crash.
        events.append(folder.events, Evicted(when))
    _remove(folder.held_out)
    _remove(folder.best)
"""
_EVICT_AND_THEN_RECORD = """    _remove(folder.best)
    _remove(folder.held_out)
    events.append(folder.events, Evicted(when))
"""

_GIVE_UP = "            elif isinstance(reply, Gone | NoAnswer):\n                reply = Gone('it does not answer')\n"

BUGS = (
    Planted(
        "the record is closed before the outcome is written to Optuna", Change("settlement", _TELL, _CLOSE + _TELL)
    ),
    Planted("one trial too many runs", Change("supervisor", "len(self._running) <", "len(self._running) <=")),
    Planted(
        "a crash uses no retry",
        Change("settlement", "crashed=decision.action is FailureAction.RETRY", "crashed=False"),
    ),
    Planted(
        "an interruption uses a retry",
        Change("settlement", "crashed=decision.action is FailureAction.RETRY", "crashed=True"),
    ),
    Planted(
        "a pruned trial gets no answer",
        Change("supervisor", "        self._executor.answer(", "        prune or self._executor.answer("),
    ),
    Planted(
        "the budget counts only complete trials",
        Change("supervisor", "counts.total() < self._n_trials", "counts[State.COMPLETE] < self._n_trials"),
    ),
    Planted(
        "the outcome of a trial is written twice",
        Change("supervisor", "            if running.outcome is None:\n", "            if True:\n"),
    ),
    Planted(
        "a result is ignored if its message is lost",
        Change(
            "settlement",
            "result = running.result or self._records.pending_result(",
            "result = running.result and self._records.pending_result(",
        ),
    ),
    Planted(
        "the worst checkpoints are kept",
        Change("retention", "for number in ranked[keep:]", "for number in ranked[:-keep]"),
    ),
    Planted(
        "a dead supervisor's record is not closed",
        Change(
            "records", "if (trial_events or is_finished) and not events.is_closed(trial_events, state):", "if False:"
        ),
    ),
    Planted(
        "one stale trial stays RUNNING",
        Change("store", "    for trial in left:\n", "    for trial in left[1:]:\n"),
    ),
    Planted(
        "the draws of a trial depend on how many trials have finished",
        Change("store", "create_trial(len(self._states))", "create_trial(self.n_finished)"),
    ),
    Planted(
        "a draw is taken although another trial has its settings",
        Change("drawing", "if may_repeat or point.config not in self.used:", "if True:"),
    ),
    Planted(
        "a start does not know the settings of the earlier trials",
        Change("settings_source", "map(self._drawer.complete, trials)", "map(self._drawer.complete, ())"),
    ),
    Planted(
        "a trial that waits does not start when the search space is used up",
        Change(
            "supervisor",
            "if not self._may_draw and self._store.next_waiting() is None:",
            "if self._stopping.space_is_used or (not self._may_draw and self._store.next_waiting() is None):",
        ),
    ),
    Planted(
        "the short trials of a grid start first",
        Change("planned", "key=lambda each: -each.seconds", "key=lambda each: each.seconds"),
    ),
    Planted("the cursor is saved before the event is sent", Change("projection", _SEND + _SAVE, _SAVE + _SEND)),
    Planted(
        "a duplicate run that was created late is kept",
        Change("runs", "            if run.info.run_id != run_id:", "            if run.info.run_id == '':"),
    ),
    Planted(
        "a trial is forgotten if MLflow fails",
        Change(
            "sender",
            "            self._replay = None\n            if",
            "            self._waiting.clear()\n            if",
        ),
    ),
    Planted("a failed trial keeps its model", Change("records", "keep_model=keep_model)", "keep_model=True)")),
    Planted("a checkpoint is removed before the event is written", Change("retention", _EVICT, _EVICT_AND_THEN_RECORD)),
    Planted(
        "a finished trial keeps its mid-trial checkpoint",
        Change("retention", "    _remove(folder.state)\n", ""),
    ),
    Planted(
        "a trial is retried once too often", Change("failures", "n_crashes < max_retries", "n_crashes <= max_retries")
    ),
    Planted(
        "the heartbeat timeout counts from the start of the trial",
        Change("limits", "now - trial.last_heartbeat >", "now - trial.started_at >"),
    ),
    Planted(
        "a result is taken although its model is damaged",
        Change("records", "        if fault:\n", "        if False:\n"),
    ),
    Planted(
        "a start that the environment refuses uses a retry",
        Change("supervisor", "FailureKind.ENVIRONMENT, reason", "FailureKind.KILLED, reason"),
    ),
    Planted(
        "a process that ends before it trains uses a retry",
        Change("settlement", "has_trained=has_trained or not may_be_environment", "has_trained=True"),
    ),
    Planted(
        "a process that does not get the lock of its folder uses a retry",
        Change(
            "failures",
            'return Failure(FailureKind.ENVIRONMENT, "another',
            'return Failure(FailureKind.KILLED, "another',
        ),
        needs=("supervisor killed", "orphan hangs"),
    ),
    Planted(
        "a start that failed is tried again at once",
        Change("start_failures", "return now < self._paused_until", "return False"),
    ),
    Planted(
        "a stop request waits for the end of the epoch",
        Change("enforcement", "                self._executor.request_stop(number)\n", ""),
    ),
    Planted(
        "a trial that diverges in its first epoch counts as a failed one",
        Change("settlement", "elif outcome.state is State.FAIL and reason", "elif reason"),
    ),
    Planted(
        "a trial that diverges later than in its first epoch gets no reason",
        Change("settlement", "state, reason = State.COMPLETE, result.reason", 'state, reason = State.COMPLETE, ""'),
    ),
    Planted(
        "the record of one finished trial is not completed at a start",
        Change("recovery", "    for trial in finished:\n", "    for trial in finished[1:]:\n"),
    ),
    Planted(
        "a paused trial that resumes still counts as paused, and is resumed twice",
        Change("paused", "        del self.reasons[number]\n", ""),
    ),
    Planted(
        "a start forgets which trials have reached a rung, so that the paused ones are lost",
        Change("paused", "        for trial in trials:\n", "        for trial in ():\n"),
    ),
    Planted(
        "a start takes a paused trial for one that was interrupted",
        Change("paused", "trial.number: trial.user_attrs[PAUSED] for trial in unfinished", ""),
    ),
    Planted("a paused trial uses a retry", Change("store", "crashed=False", "crashed=True")),
    Planted(
        "one paused trial is not pruned when the budget is done",
        Change("supervisor", "sorted(self._store.paused.reasons)", "sorted(self._store.paused.reasons)[1:]"),
    ),
    Planted(
        "a paused trial that a rung admits later is not resumed",
        Change("promotion", "                if number in paused and", "                if number not in paused and"),
    ),
    Planted(
        "a paused trial is pruned although its model is damaged",
        Change("settlement", "        if fault:\n", "        if False:\n"),
    ),
    Planted("a batch is processed twice", Change("remote", "if batch.sequence != slot.confirmed + 1:", "if False:")),
    Planted(
        "a command is carried out twice",
        Change("slot_server", "if command.sequence == self._last_command + 1:", "if True:"),
    ),
    Planted(
        "a slot forgets batches that were not confirmed",
        Change("slot_server", "self._unconfirmed[0].sequence <= confirmed", "True"),
    ),
    Planted(
        "events that a process could not send stay on the node",
        Change(
            "remote",
            "(folder, batch.recorded)",
            "(folder, [each for each in batch.messages if each in batch.recorded])",
        ),
    ),
    Planted(
        "a lost slot uses a retry",
        Change("failures", "        FailureAction.MOVE,\n    ),\n", "        FailureAction.RETRY,\n    ),\n"),
    ),
    Planted(
        "a trial that was silent because its machine was lost uses a retry",
        Change("settlement", "FailureKind.HEARTBEAT_TIMEOUT and not isinstance(end, Exited):", "FailureKind.ERROR:"),
        needs=("node declared dead", "call lost", "trial hangs"),
    ),
    Planted(
        "a slot that does not answer is given up, although it may still run the trial",
        Change("remote", "            elif isinstance(reply, Gone):\n", _GIVE_UP),
    ),
)


def find(planted: Planted, max_seeds: int) -> Found:
    """Simulates sweeps with a planted bug, one seed after another, until an invariant is violated.

    Args:
        planted: the bug.
        max_seeds: how many seeds to try.
    """
    try:
        modules = changed(planted.change)
    except ValueError as error:
        raise ValueError(f"planted bug {planted.bug!r}: {error}") from None
    for seed in range(max_seeds):
        violation = simulate(seed, modules, favoured=planted.needs).violation
        if violation:
            return Found(seed + 1, violation)
    return Found(None, "")
