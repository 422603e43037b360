"""The invariants: they must hold after each supervisor and at the end of a sweep, whatever faults are injected."""

import math
from typing import Any

import optuna

from rnnexp import space as spaces
from rnnexp.config.sweep import SweepConfig
from rnnexp.disk import WRITING
from rnnexp.storage import promotion
from rnnexp.storage.drawing import UsedSettings
from rnnexp.storage.metadata import ATTEMPTS, N_CRASHES, PAUSED, SUMMARY
from rnnexp.storage.store import StudyStore
from rnnexp.study import retention
from rnnexp.trial import checkpoint, events
from rnnexp.trial.answer import Answer
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Finished
from rnnexp.trial.states import RUN_STATUS, State
from tests.simulation.mlflow_fake import FakeRun, FakeServer
from tests.simulation.sim_storage import SimStorage
from tests.simulation.sim_training import epoch_of_archive, metrics_of, seconds_of
from tests.simulation.world import Violation, World


def require(condition: bool, message: str) -> None:
    """Raises a `Violation` if a condition is false."""
    if not condition:
        raise Violation(message)


def n_points(config: SweepConfig) -> float:
    """Returns how many different settings in effect the search space has."""
    if any(setting.values() is None for setting in config.space.values()):
        return math.inf
    used, count = UsedSettings(config.space), 0
    fixed = config.base.settings()
    for settings in spaces.combinations(config.space, fixed, lambda name: config.space[name].values() or ()):
        trial = config.base.with_settings(settings)
        count += trial not in used
        used.add(trial)
    return count


def n_expected(config: SweepConfig) -> int:
    """Returns how many trials the study has at its end: no two have the same settings."""
    return int(min(config.n_trials, n_points(config)))


class InvariantChecker:
    """Checks the invariants of one sweep. Remembers the finished trials, which must never change."""

    def __init__(self, world: World, storage: SimStorage, server: FakeServer) -> None:
        self._world, self._storage, self._server = world, storage, server
        self._finished: dict[int, tuple[Any, ...]] = {}

    def _trials(self) -> list[Any]:
        return self._storage.get_all_trials(0, deepcopy=False) if self._storage._studies else []

    def state_of(self, number: int) -> str:
        """Returns a trial's state in Optuna."""
        return str(self._trials()[number].state.name)

    def retries_of(self, number: int) -> tuple[str, int]:
        """Returns a trial's state in Optuna, and how many retries it has used."""
        trial = self._trials()[number]
        return trial.state.name, trial.user_attrs.get(N_CRASHES, 0)

    def is_finished(self, number: int) -> bool:
        """Tells whether a trial is in a final state; False if it does not exist in Optuna."""
        trials = self._trials()
        return number < len(trials) and trials[number].state.is_finished()

    @property
    def n_finished(self) -> int:
        """How many trials have finished."""
        return sum(trial.state.is_finished() for trial in self._trials())

    def check_after_generation(self, outcome: Any, config: SweepConfig) -> None:
        """Checks the invariants that hold when a supervisor has ended.

        Args:
            outcome: the supervisor's outcome; None if it was killed, or if a write failed.
            config: the sweep file that it ran.
        """
        trials = self._trials()
        for trial in trials:
            self._check_paused(trial)
            if trial.state.is_finished():
                now = (trial.state, trial.values, trial.params, trial.user_attrs.get(SUMMARY))
                before = self._finished.setdefault(trial.number, now)
                require(before == now, f"finished trial {trial.number} has changed from {before} to {now}")
        require(len(trials) <= config.n_trials, f"{len(trials)} trials exceed the budget of {config.n_trials}")
        if outcome is None:
            return
        alive = [process.number for process in self._world.processes if not process.orphaned]
        require(not alive, f"the supervisor has ended, but trials {alive} run")
        running = [trial.number for trial in trials if trial.state.name == "RUNNING"]
        require(not running, f"the supervisor has ended, but trials {running} are RUNNING in Optuna")
        if not outcome.unsent:
            stale = [
                trial.number
                for trial in trials
                for run in self._server.of_trial(trial.number)
                if self._is_shown_running(run)
            ]
            require(not stale, f"the supervisor has ended, but trials {stale} are RUNNING in MLflow")
        if "consecutive trials failed" in outcome.halt_reason:
            n_failed, limit = sum(trial.state.name == State.FAIL for trial in trials), config.limits
            require(n_failed >= (limit.consecutive_failures or 0), f"{n_failed} failed trials have ended the sweep")
        stopped_early = outcome.signal is not None or outcome.out_of_time or outcome.halt_reason
        complete = self.n_finished >= n_expected(config)
        if outcome.space_is_used:
            require(len(trials) == n_points(config), f"the search space is not used up by {len(trials)} trials")
        require(bool(stopped_early) or complete, "the supervisor has ended without a reason, and trials are missing")

    def check_at_end(self, config: SweepConfig) -> None:
        """Checks the invariants that hold when the study is complete and MLflow has all events."""
        require(not self._world.processes, "a process has not ended")
        trials = self._trials()
        expected = n_expected(config)
        require(len(trials) == self.n_finished == expected, f"{self.n_finished} of {expected} finished")
        for trial in trials:
            self._check_failure(trial, config)
            self._check_record(trial, config)
            self._check_run(trial)
        self._check_settings(trials, config)
        self._check_retention(trials, config)
        if not self._world.injected["larger budget"]:
            self._check_promotion(trials, config)

    def _check_paused(self, trial: Any) -> None:
        """Checks that a paused trial has what it needs to resume, or to end with the result of its best epoch."""
        number, reason = trial.number, trial.user_attrs.get(PAUSED)
        if trial.state.name != State.WAITING or not reason or number in self._world.lost_models:
            return
        epoch = max(trial.intermediate_values)
        require(reason.startswith(f"paused after epoch {epoch}, "), f"trial {number} after epoch {epoch}: {reason}")
        folder = self._folder(number)
        require(folder.state.exists(), f"trial {number} is paused without a checkpoint")
        require(not checkpoint.model_fault(folder), f"trial {number} is paused without its model")
        recorded = [event.epoch for event in events.read(folder.events) if isinstance(event, EpochEnded)]
        require(
            max(recorded) == epoch, f"trial {number} is paused after epoch {epoch}, its record ends with {recorded}"
        )

    def _rungs(self, config: SweepConfig) -> promotion.Promotion | None:
        """Returns the rungs of a study that pauses trials, from all reports in Optuna."""
        maximize = config.objective.direction == "maximize"
        rungs = promotion.build(config.pruner, "s", config.base.train.epochs, maximize=maximize)
        for trial in self._trials() if rungs is not None else ():
            for epoch, value in trial.intermediate_values.items():
                rungs.add(trial.number, epoch, value)
        return rungs

    def check_start(self, number: int, config: SweepConfig) -> None:
        """Checks that a trial that was paused is admitted by its rung at its first start since then."""
        rungs, trials = self._rungs(config), self._trials()
        trial_events = events.read(self._folder(number).events)
        n_attempts = max((event.attempts for event in trial_events if isinstance(event, AttemptEnded)), default=0)
        is_first = trials[number].user_attrs[ATTEMPTS] == n_attempts + 1
        if rungs is not None and is_first and events.pause_reason(trial_events):
            # A small search space may be used up before the budget; the rungs then close earlier.
            closing = len(trials) >= config.n_trials or "clip.kind" in config.space
            is_admitted = rungs.next({number}, closing=closing) == number
            is_lost = number in self._world.lost_models
            require(is_admitted or is_lost, f"trial {number} resumes, but its rung does not admit it")

    def check_answer(self, number: int, answer: Answer, config: SweepConfig) -> None:
        """Checks that a trial is paused only where its rung does not admit it."""
        rungs, trials = self._rungs(config), self._trials()
        if rungs is not None and answer is Answer.PAUSE:
            epoch = max(trials[number].intermediate_values)
            must_pause = rungs.must_pause(number, epoch, closing=len(trials) >= config.n_trials)
            require(must_pause, f"trial {number} is paused after epoch {epoch}, but its rung admits it")

    def _check_promotion(self, trials: list[Any], config: SweepConfig) -> None:
        """Checks that no trial was left paused although its rung admits it."""
        rungs = self._rungs(config)
        if rungs is None:
            return
        pruned = {trial.number for trial in trials if trial.user_attrs[SUMMARY]["reason"].startswith("pruned")}
        left = rungs.next(pruned, closing=True)
        require(left is None, f"trial {left} was never resumed, although its rung admits it")
        for number in pruned:
            epoch = max(trials[number].intermediate_values)
            require(rungs.must_pause(number, epoch, closing=True), f"trial {number} was paused after epoch {epoch}")

    def _folder(self, number: int) -> Any:
        return self._world.folder.trial(number)

    def _check_failure(self, trial: Any, config: SweepConfig) -> None:
        """Checks that the used retries and the state FAIL are justified by the injected faults."""
        number, causes = trial.number, self._world.causes[trial.number]
        n_retries, n_crashes = trial.user_attrs.get(N_CRASHES, 0), causes.count("crash")
        require(n_retries <= config.limits.retries, f"trial {number} has used {n_retries} retries")
        require(n_retries <= n_crashes, f"trial {number} has used {n_retries} retries for {n_crashes} crashes")
        trial_events = events.read(self._folder(number).events)
        if any(isinstance(event, Finished) for event in trial_events) and number not in self._world.lost_models:
            require(trial.state.name != State.FAIL, f"trial {number} had a result, but is FAIL: {trial.user_attrs}")
        if trial.state.name == State.FAIL:
            is_final = "failure" in causes or "data error" in causes
            no_retry_left = n_crashes > n_retries == config.limits.retries
            require(is_final or no_retry_left, f"trial {number} is FAIL without a cause: {causes}, {trial.user_attrs}")

    def _check_record(self, trial: Any, config: SweepConfig) -> None:
        """Checks that the curve is complete and equal to the one of an uninterrupted trial."""
        number, trial_events = trial.number, events.read(self._folder(trial.number).events)
        curve = [event for event in trial_events if isinstance(event, EpochEnded)]
        numbers = [event.epoch for event in curve]
        require(numbers == list(range(1, len(curve) + 1)), f"trial {number}: its record has the epochs {numbers}")
        settings = config.base.with_settings(trial.params)
        for event in curve:
            require(event.metrics == metrics_of(settings, event.epoch), f"trial {number}: epoch {event.epoch} differs")
        closed = [event for event in trial_events if isinstance(event, AttemptEnded)]
        last = closed[-1].state if closed else "nothing"
        require(last == trial.state.name, f"trial {number} is {trial.state.name}, its record is closed as {last}")
        if trial.state.name == State.PRUNED and trial.value is None:
            require(not curve and self._world.has_diverged(number, 1), f"trial {number} has no value and is PRUNED")
        elif trial.state.name != State.FAIL:
            self._check_value(trial, settings, curve, config)
            self._check_model(number, trial.user_attrs[SUMMARY]["best_epoch"])

    def _check_value(self, trial: Any, settings: Any, curve: list[EpochEnded], config: SweepConfig) -> None:
        best_of = max if config.objective.direction == "maximize" else min
        metric, number = config.objective.metric, trial.number
        values = [metrics_of(settings, event.epoch)[metric] for event in curve]
        require(trial.value == best_of(values), f"trial {number}: its value is {trial.value}, not the best of {values}")
        summary = trial.user_attrs[SUMMARY]
        best_epoch = values.index(best_of(values)) + 1
        require(summary["best_epoch"] == best_epoch, f"trial {number}: {summary} does not fit {values}")
        require(summary["metrics"][metric] == trial.value, f"trial {number}: {summary}, its value is {trial.value}")
        if trial.state.name == State.COMPLETE:
            has_diverged = self._world.has_diverged(number, len(curve) + 1)
            is_said = "diverged" in summary["reason"]
            require(has_diverged == is_said, f"trial {number} has {'' if has_diverged else 'not '}diverged: {summary}")
            may_stop_early = settings.train.patience is not None or has_diverged
            require(
                len(curve) == settings.train.epochs or may_stop_early,
                f"trial {number} is COMPLETE after {len(curve)} epochs",
            )

    def _check_model(self, number: int, best_epoch: int) -> None:
        """Checks that the model of a trial is intact, and that it is the one of its best epoch."""
        folder = self._folder(number)
        if folder.best.exists():
            fault = checkpoint.model_fault(folder)
            require(not fault, f"trial {number}: {fault}")
            for path in (folder.best, folder.held_out):
                epoch = epoch_of_archive(path)
                require(epoch == best_epoch, f"trial {number}: {path.name} is of epoch {epoch}, not {best_epoch}")

    def _check_run(self, trial: Any) -> None:
        """Checks that MLflow has exactly one run of the trial, with everything that its record has."""
        number, state = trial.number, State(trial.state.name)
        cursor = Cursor.load(self._folder(number).tracking)
        runs = [run for run in self._server.of_trial(number) if not run.too_late or run.run_id == cursor.run_id]
        trial_events = events.read(self._folder(number).events)
        require(len(runs) == 1, f"trial {number} has {len(runs)} runs in MLflow")
        (run,) = runs
        require((cursor.run_id, cursor.sent) == (run.run_id, len(trial_events)), f"trial {number}: {cursor}")
        shown = (run.status, run.tags["rnnexp.state"], run.tags["rnnexp.attempts"])
        expected = (RUN_STATUS[state], state.value, str(trial.user_attrs.get(ATTEMPTS, 0)))
        require(shown == expected, f"trial {number}: MLflow has {shown}, Optuna has {expected}")
        reason = trial.user_attrs[SUMMARY]["reason"]
        require(run.tags.get("rnnexp.reason", "") == reason, f"trial {number}: reason {reason!r}, run {run.tags}")
        in_effect = self._world.plan.config.base.with_settings(trial.params).settings()
        for name in trial.params:
            shown_value = run.params.get(name)
            require(shown_value == str(in_effect[name]), f"trial {number}: MLflow has {name} {shown_value}")
        curve = [event for event in trial_events if isinstance(event, EpochEnded)]
        for name in curve[0].metrics if curve else ():
            logged = sorted((step, value) for key, value, _, step in run.metrics if key == name)
            recorded = [(event.epoch, event.metrics[name]) for event in curve]
            require(logged == recorded, f"trial {number}: MLflow has {name} {logged}, the record has {recorded}")
        metric = self._world.plan.config.objective.metric
        if trial.value is not None:
            logged_best = sorted((when, value) for key, value, when, _ in run.metrics if key == f"best_{metric}")
            latest = logged_best[-1][1] if logged_best else None
            require(latest == trial.value, f"trial {number}: the best value is {latest} in MLflow, not {trial.value}")
        is_logged = "checkpoints/best.keras" in run.artifacts
        require(
            is_logged == self._folder(number).best.exists(),
            f"trial {number}: its model is {'' if is_logged else 'not '}in MLflow, but not so in its folder",
        )

    def _check_settings(self, trials: list[Any], config: SweepConfig) -> None:
        """Checks that no two trials have equal settings in effect, which trials started first, and what was drawn."""
        used = UsedSettings(config.space)
        for trial in trials:
            settings = config.base.with_settings(trial.params)
            require(settings not in used, f"trial {trial.number} has the settings of another one: {trial.params}")
            used.add(settings)
        if config.sampler.name == "grid":
            seconds = [seconds_of(config.base.with_settings(trial.params)) for trial in trials[len(config.tries) :]]
            require(seconds == sorted(seconds, reverse=True), f"the longest trial did not start first: {seconds}")
        if config.sampler.name == "random":
            study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
            undisturbed = StudyStore(study, config, seconds=seconds_of)
            requests = [undisturbed.ask() for _ in trials]
            for trial, request in zip(trials, requests, strict=True):
                assert request is not None
                require(
                    trial.params == request.settings,
                    f"trial {trial.number} has {trial.params}, expected {request.settings}",
                )

    def _check_retention(self, trials: list[Any], config: SweepConfig) -> None:
        values = {trial.number: trial.value for trial in trials if trial.value is not None}
        ended = {trial.number: trial.datetime_complete for trial in trials if trial.value is not None}
        newest = set([number for number in self._storage.finished_in_order if number in values][-1:])
        sign = -1 if config.objective.direction == "maximize" else 1
        ranked = sorted(values, key=lambda number: (sign * values[number], number))
        best = set(values) - set(retention.to_evict(ranked, config.keep.checkpoints))
        kept = {trial.number for trial in trials if self._folder(trial.number).best.exists()}
        message = f"models are kept of {kept}; the best are {best}, the newest {newest}"
        if self._world.injected["clock jump"] and values:
            # After a restart, the newest trial is determined by the wall clock.
            newest |= {max(ended, key=lambda number: ended[number])}
            require(best <= kept <= best | newest, message)
        else:
            require(kept == best | newest, message)
        for trial in trials:
            folder = self._folder(trial.number)
            partial = [path.name for place in (folder.root, folder.best.parent) for path in place.glob(f"{WRITING}*")]
            require(not partial, f"trial {trial.number}: partly written files {partial} are left")
            require(not folder.state.exists(), f"trial {trial.number}: its mid-trial checkpoint is left")

    def _is_shown_running(self, run: FakeRun) -> bool:
        """Tells whether a run is RUNNING. A late duplicate is ignored: it is deleted when the trial's run is closed."""
        own = Cursor.load(self._folder(int(run.tags["rnnexp.trial"])).tracking).run_id
        return run.status == "RUNNING" and own in (None, run.run_id)
