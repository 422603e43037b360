"""What must hold, whatever strikes: checked after each supervisor and at the end of a sweep."""

from typing import Any

import optuna

from rnnexp.config.sweep import SweepConfig
from rnnexp.disk import WRITING
from rnnexp.storage.metadata import ATTEMPTS, N_CRASHES, SUMMARY
from rnnexp.storage.store import StudyStore
from rnnexp.study import retention
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Finished
from rnnexp.trial.states import RUN_STATUS, State
from tests.simulation.mlflow_fake import FakeRun, FakeServer
from tests.simulation.stores import SimStorage
from tests.simulation.trials import metrics_of
from tests.simulation.world import Violation, World

_ORPHANS_END_S = 5.0


def require(holds: bool, complaint: str) -> None:
    """Raises a `Violation` where something does not hold."""
    if not holds:
        raise Violation(complaint)


class TrialSnapshot:
    """What was seen of a sweep so far, and what must therefore hold."""

    def __init__(self, world: World, storage: SimStorage, server: FakeServer) -> None:
        self._world, self._storage, self._server = world, storage, server
        self._finished: dict[int, tuple[Any, ...]] = {}

    def _trials(self) -> list[Any]:
        return self._storage.get_all_trials(0, deepcopy=False) if self._storage._studies else []

    def state_of(self, number: int) -> str:
        """Returns Optuna's state of a trial."""
        return str(self._trials()[number].state.name)

    def standing_of(self, number: int) -> tuple[str, int]:
        """Returns Optuna's state of a trial, and how many of its retries are spent."""
        trial = self._trials()[number]
        return trial.state.name, trial.user_attrs.get(N_CRASHES, 0)

    @property
    def n_finished(self) -> int:
        """The trials that have ended for good."""
        return sum(trial.state.is_finished() for trial in self._trials())

    def after_a_generation(self, outcome: Any, config: SweepConfig) -> None:
        """Checks what holds when a supervisor has gone.

        Args:
            outcome: its own word; None where it was killed, or could not write.
            config: what it ran.
        """
        trials = self._trials()
        for trial in trials:
            if trial.state.is_finished():
                now = (trial.state, trial.values, trial.params, trial.user_attrs.get(SUMMARY))
                before = self._finished.setdefault(trial.number, now)
                require(before == now, f"trial {trial.number} had finished as {before}, is {now}")
        require(len(trials) <= config.n_trials, f"{len(trials)} trials, {config.n_trials} were asked for")
        if outcome is None:
            return
        left = [process.number for process in self._world.processes if not process.orphaned]
        require(not left, "a supervisor has ended and its trials have not")
        running = [trial.number for trial in trials if trial.state.name == "RUNNING"]
        require(not running, f"trials {running} are RUNNING, and nobody's")
        if not outcome.unsent:
            shown = [trial.number for trial in trials for run in self._server.of_trial(trial.number) if self._runs(run)]
            require(not shown, f"MLflow shows trials {shown} RUNNING, and nobody runs them")
        complete = outcome.signal is not None or outcome.out_of_time or outcome.halted
        require(bool(complete) or self.n_finished >= config.n_trials, "it has ended, and the study is not complete")

    def at_the_end(self, config: SweepConfig) -> None:
        """Checks what holds when the study is complete and MLflow was told."""
        require(not self._world.processes, "a process has not ended")
        trials = self._trials()
        require(len(trials) == self.n_finished == config.n_trials, f"{self.n_finished} of {config.n_trials} finished")
        for trial in trials:
            self._check_settled(trial, config)
            self._check_record(trial, config)
            self._check_run(trial)
        self._check_points(trials, config)
        self._check_retention(trials, config)

    def _folder(self, number: int) -> Any:
        return self._world.folder.trial(number)

    def _check_settled(self, trial: Any, config: SweepConfig) -> None:
        number, befell = trial.number, self._world.befell[trial.number]
        n_crashes, died = trial.user_attrs.get(N_CRASHES, 0), befell.count("died")
        require(n_crashes <= config.limits.retries, f"trial {number} was retried {n_crashes} times")
        require(n_crashes <= died, f"trial {number}: {n_crashes} retries are spent, {died} n_crashes happened")
        happened = events.read(self._folder(number).events)
        if any(isinstance(event, Finished) for event in happened):
            require(trial.state.name != State.FAIL, f"trial {number} had a result, and is FAIL: {trial.user_attrs}")
        if trial.state.name == State.FAIL:
            word = "failed" in befell or "unfit" in befell
            spent = died > n_crashes == config.limits.retries
            require(word or spent, f"trial {number} is FAIL without cause: {befell}, {trial.user_attrs}")

    def _check_record(self, trial: Any, config: SweepConfig) -> None:
        """The curve is whole, and what an uninterrupted trial would have."""
        number, happened = trial.number, events.read(self._folder(trial.number).events)
        said = [event for event in happened if isinstance(event, EpochEnded)]
        numbers = [event.epoch for event in said]
        require(numbers == list(range(1, len(said) + 1)), f"trial {number}: its record has the epochs {numbers}")
        settings = config.base.with_settings(trial.params)
        for event in said:
            require(event.metrics == metrics_of(settings, event.epoch), f"trial {number}, epoch {event.epoch} differs")
        closed = [event for event in happened if isinstance(event, AttemptEnded)]
        last = closed[-1].state if closed else "not at all"
        require(last == trial.state.name, f"trial {number}: its record is closed as {last}")
        if trial.state.name != State.FAIL:
            self._check_value(trial, settings, said, config)

    def _check_value(self, trial: Any, settings: Any, said: list[EpochEnded], config: SweepConfig) -> None:
        pick = max if config.objective.direction == "maximize" else min
        metric, number = config.objective.metric, trial.number
        values = [metrics_of(settings, event.epoch)[metric] for event in said]
        require(trial.value == pick(values), f"trial {number}: its value is {trial.value}, of {values}")
        summary = trial.user_attrs[SUMMARY]
        require(summary["best_epoch"] == values.index(pick(values)) + 1, f"trial {number}: {summary} of {values}")
        require(summary["metrics"][metric] == trial.value, f"trial {number}: {summary}, its value is {trial.value}")
        if trial.state.name == State.COMPLETE:
            early = settings.train.patience is not None
            require(len(said) == settings.train.epochs or early, f"trial {number} is COMPLETE after {len(said)} epochs")

    def _check_run(self, trial: Any) -> None:
        number, state = trial.number, State(trial.state.name)
        own = Cursor.load(self._folder(number).tracking).run_id
        runs = [run for run in self._server.of_trial(number) if not run.too_late or run.run_id == own]
        happened = events.read(self._folder(number).events)
        require(len(runs) == 1, f"trial {number} has {len(runs)} runs")
        (run,) = runs
        cursor = Cursor.load(self._folder(number).tracking)
        require((cursor.run_id, cursor.sent) == (run.run_id, len(happened)), f"trial {number}: {cursor}")
        shown = (run.status, run.tags["rnnexp.state"], run.tags["rnnexp.attempts"])
        wanted = (RUN_STATUS[state], state.value, str(trial.user_attrs.get(ATTEMPTS, 0)))
        require(shown == wanted, f"trial {number}: MLflow shows {shown}, Optuna {wanted}")
        reason = trial.user_attrs[SUMMARY]["reason"]
        require(run.tags.get("rnnexp.reason", "") == reason, f"trial {number}: reason {reason!r}, run {run.tags}")
        for name, value in trial.params.items():
            require(run.params.get(name) == str(value), f"trial {number}: MLflow has {name} {run.params.get(name)}")
        said = [event for event in happened if isinstance(event, EpochEnded)]
        for name in said[0].metrics if said else ():
            history = sorted((step, value) for key, value, _, step in run.metrics if key == name)
            curve = [(event.epoch, event.metrics[name]) for event in said]
            require(history == curve, f"trial {number}: MLflow has the {name} {history}, its record {curve}")
        metric = self._world.plan.config.objective.metric
        if state is not State.FAIL:
            latest = max((when, value) for key, value, when, _ in run.metrics if key == f"best_{metric}")
            require(latest[1] == trial.value, f"trial {number}: MLflow's best is {latest[1]}, Optuna's {trial.value}")
        kept = "checkpoints/best.keras" in run.artifacts
        require(
            kept == self._folder(number).best.exists(),
            f"trial {number}: its checkpoint is {'' if kept else 'not '}in MLflow, and the folder differs",
        )

    def _check_points(self, trials: list[Any], config: SweepConfig) -> None:
        points = [tuple(sorted(trial.params.items())) for trial in trials]
        require(len(set(points)) == len(points), f"points repeat: {points}")
        if config.sampler.name == "random":
            study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
            undisturbed = StudyStore(study, config)
            wanted = [undisturbed.ask() for _ in trials]
            for trial, asked in zip(trials, wanted, strict=True):
                assert asked is not None
                require(trial.params == asked.settings, f"trial {trial.number} is {trial.params}, not {asked.settings}")

    def _check_retention(self, trials: list[Any], config: SweepConfig) -> None:
        values = {trial.number: trial.value for trial in trials if trial.value is not None}
        ended = {trial.number: trial.datetime_complete for trial in trials if trial.value is not None}
        newest = set([number for number in self._storage.ended if number in values][-1:])
        maximize, keep = config.objective.direction == "maximize", config.keep.checkpoints
        best = set(values) - set(retention.to_evict(values, maximize, keep, None))
        kept = {trial.number for trial in trials if self._folder(trial.number).best.exists()}
        if self._world.injected["clock jump"] and values:
            # Which trial is the newest is told by the wall clock at a restart.
            newest |= {max(ended, key=lambda number: ended[number])}
            require(best <= kept <= best | newest, f"checkpoints {kept}, best {best}, newest {newest}")
        else:
            require(kept == best | newest, f"checkpoints {kept}, best {best}, newest {newest}")
        for trial in trials:
            folder = self._folder(trial.number)
            left = [path.name for place in (folder.root, folder.best.parent) for path in place.glob(f"{WRITING}*")]
            require(not left, f"trial {trial.number}: half-written {left}")
            require(not folder.state.exists(), f"trial {trial.number} keeps its mid-trial checkpoint")

    def _runs(self, run: FakeRun) -> bool:
        """Tells whether a run is shown RUNNING; a late double goes when its trial's own run is closed next."""
        own = Cursor.load(self._folder(int(run.tags["rnnexp.trial"])).tracking).run_id
        return run.status == "RUNNING" and own in (None, run.run_id)
