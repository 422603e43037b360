"""The training of one trial in this process: how it ends, and how it continues after an interruption."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home, TrialFolder
from rnnexp.model.kernel.team import Team
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.checkpoint import model_epoch, model_fault
from rnnexp.trial.events import EpochEnded, Event, Failed, Finished, Paused, Started
from rnnexp.trial.plan import stored_or_chosen

pytestmark = pytest.mark.tensorflow

SETTINGS: dict[str, Any] = {
    "data.name": "reviews",
    "data.train_samples": 300,
    "model.cell": "gru",
    "model.units": 4,
    "model.embedding_dim": 4,
    "train.epochs": 4,
    "train.batch_size": 32,
    "train.checkpoint_metric": "val_loss",
}


class Trial:
    """One trial; each call of `run` is an attempt in this process."""

    def __init__(self, home: Home, root: Path, **settings: Any) -> None:
        root.mkdir()
        self.config = TrialConfig().with_settings({**SETTINGS, **settings})
        self.folder = TrialFolder(root)
        self.store = TokenStore.open(prepare(self.config.data, home).root)
        self._attempt = 0
        self.seen: list[Event] = []

    def run(
        self,
        answer: Callable[[EpochEnded], bool | Answer] = lambda event: True,
        heartbeat: Callable[[], bool] = lambda: True,
        team: Team | None = None,
    ) -> list[Event]:
        """Runs an attempt; returns its events. An answer of True continues, one of False ends the trial."""
        from rnnexp.trial.fit import fit

        self._attempt += 1
        self.seen = []

        def report(event: Event) -> Answer:
            if event not in events.read(self.folder.events):
                events.append(self.folder.events, event)
            self.seen.append(event)
            answered = answer(event) if isinstance(event, EpochEnded) else True
            return answered if isinstance(answered, Answer) else Answer.CONTINUE if answered else Answer.END

        plan = stored_or_chosen(self.folder.plan, self.config, 1)
        fit(self.config, self.store, self.folder, plan, self._attempt, report, heartbeat, team)
        return self.seen

    @property
    def epochs(self) -> list[int]:
        return [event.epoch for event in self.seen if isinstance(event, EpochEnded)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


@pytest.fixture
def trial(home: Home, tmp_path: Path) -> Trial:
    return Trial(home, tmp_path / "trial")


@pytest.fixture
def diverges(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, str]]:
    """The metric that is NaN in an epoch, by the epoch."""
    from rnnexp.trial import fit

    train, metrics, places = fit.Network.train, fit.Network.evaluate, {}
    epochs = {"n": 0}

    def nan_train(self: Any, *arguments: Any) -> dict[str, float]:
        epochs["n"] += 1
        name = places.get(epochs["n"])
        return train(self, *arguments) | ({name: math.nan} if name == "loss" else {})

    def nan_evaluate(self: Any, *arguments: Any) -> Any:
        values, probabilities = metrics(self, *arguments)
        return values | ({"loss": math.inf} if places.get(epochs["n"]) == "val_loss" else {}), probabilities

    monkeypatch.setattr(fit.Network, "train", nan_train)
    monkeypatch.setattr(fit.Network, "evaluate", nan_evaluate)
    yield places


def _result(seen: list[Event]) -> Finished:
    result = seen[-1]
    assert isinstance(result, Finished)
    return result


@pytest.mark.parametrize(("name", "value"), [("loss", "loss is nan"), ("val_loss", "val_loss is inf")])
def test_a_trial_that_diverges_ends_with_its_best_epoch(
    trial: Trial, diverges: dict[int, str], name: str, value: str
) -> None:
    diverges[4] = name
    result = _result(trial.run())
    assert trial.epochs == [1, 2, 3], "the epoch that diverged is not reported"
    assert result.ended == "diverged"
    assert result.reason == f"diverged at epoch 4: {value}; the result is epoch {result.best_epoch}"
    assert result.metrics == events.epochs(trial.seen)[result.best_epoch - 1].metrics
    assert not model_fault(trial.folder)
    assert model_epoch(trial.folder) == result.best_epoch
    json.dumps([json.loads(events.encode(event)) for event in trial.seen], allow_nan=False)


def test_a_trial_that_diverges_in_its_first_epoch_has_no_result(trial: Trial, diverges: dict[int, str]) -> None:
    diverges[1] = "loss"
    failed = trial.run()[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.reason) == ("diverged", "diverged at epoch 1: loss is nan")
    assert trial.epochs == []
    assert not trial.folder.best.exists()


def test_a_norm_that_overflows_is_no_divergence(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnexp.model import clipping

    read = clipping._Clipping.read_clipping
    monkeypatch.setattr(clipping._Clipping, "read_clipping", lambda self: read(self) | {"clip/grad_norm": math.inf})
    result = _result(trial.run())
    assert result.ended == "epochs"
    assert trial.epochs == [1, 2, 3, 4]
    json.dumps([json.loads(events.encode(event)) for event in trial.seen], allow_nan=False)


def test_a_stopped_trial_ends_after_its_batch_with_its_best_epoch(trial: Trial) -> None:
    n_batches = []

    def heartbeat() -> bool:
        n_batches.append(trial.epochs)
        return len(n_batches) < 3 or not trial.epochs or n_batches.count(trial.epochs) < 2

    result = _result(trial.run(heartbeat=heartbeat))
    assert trial.epochs == [1]
    assert (result.ended, result.reason, result.best_epoch) == ("stopped", "stopped by hand", 1)
    assert n_batches.count([1]) == 2, "it ends after the batch"
    assert model_epoch(trial.folder) == 1


def test_a_trial_that_is_stopped_in_its_first_epoch_has_no_result(trial: Trial) -> None:
    failed = trial.run(heartbeat=lambda: False)[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.reason) == ("stopped", "stopped by hand")
    assert not trial.folder.best.exists()


def test_a_stopped_trial_that_repeats_epochs_reaches_the_last_reported_one(trial: Trial) -> None:
    class Killed(Exception):
        pass

    def kill_after_3(event: EpochEnded) -> bool:
        if event.epoch == 3:
            raise Killed
        return True

    with pytest.raises(Killed):
        trial.run(kill_after_3)
    trial.folder.state.write_bytes(b"damaged")
    result = _result(trial.run(lambda event: event.epoch < 3, heartbeat=lambda: False))
    assert trial.epochs == [1, 2, 3]
    assert result.ended == "stopped"


@pytest.mark.parametrize("name", ["best", "held_out"])
@pytest.mark.parametrize("answer", [True, False])
def test_a_result_whose_model_was_lost_is_computed_again(trial: Trial, name: str, answer: bool) -> None:
    former = _result(trial.run(lambda event: answer or event.epoch < 3))
    assert former.ended == ("epochs" if answer else "pruned")
    last = trial.epochs[-1]
    probabilities = np.load(trial.folder.held_out)["probabilities"]
    getattr(trial.folder, name).unlink()
    result = _result(trial.run(lambda event: not answer))
    assert trial.epochs == list(range(1, last + 1))
    assert (result.ended, result.best_epoch, result.metrics) == (former.ended, former.best_epoch, former.metrics)
    assert not model_fault(trial.folder)
    np.testing.assert_array_equal(np.load(trial.folder.held_out)["probabilities"], probabilities)
    started = trial.seen[0]
    assert isinstance(started, Started)
    assert started.from_epoch == 0


def test_a_result_with_its_model_is_reported_again(trial: Trial) -> None:
    former = _result(trial.run())
    assert [type(event) for event in trial.run()] == [Started, Finished]
    assert trial.seen[-1] == former


def test_a_second_interruption_does_not_join_a_former_result_with_the_model_of_another_epoch(trial: Trial) -> None:
    class Killed(Exception):
        pass

    def kill(event: EpochEnded) -> bool:
        raise Killed

    former = _result(trial.run())
    trial.folder.best.unlink()
    with pytest.raises(Killed):
        trial.run(kill)
    result = _result(trial.run())
    assert trial.epochs == [1, 2, 3, 4]
    assert result.best_epoch == former.best_epoch == model_epoch(trial.folder)


def test_a_model_of_a_later_epoch_than_the_checkpoint_is_not_joined_with_the_result_of_an_earlier_one(
    home: Home, tmp_path: Path
) -> None:
    """The process was killed after it saved the model of an epoch and before it saved the checkpoint."""
    trial = Trial(home, tmp_path / "trial", **{"train.learning_rate": 0.03})  # it learns after its first epoch
    copies: dict[int, Path] = {}

    def copy(event: EpochEnded) -> bool:
        copies[event.epoch] = trial.folder.root / f"state-{event.epoch}"
        shutil.copyfile(trial.folder.state, copies[event.epoch])
        return True

    best = _result(trial.run(copy)).best_epoch
    assert best > 1
    shutil.copyfile(copies[best - 1], trial.folder.state)
    before = [event for event in events.read(trial.folder.events) if not isinstance(event, Finished)]
    kept = [event for event in before if not isinstance(event, EpochEnded) or event.epoch < best]
    trial.folder.events.write_text("".join(f"{events.encode(event)}\n" for event in kept))
    result = _result(trial.run(lambda event: False, heartbeat=lambda: False))
    assert trial.epochs == [best - 1, best]
    assert (result.best_epoch, result.ended) == (best, "stopped")
    assert model_epoch(trial.folder) == best


def test_a_paused_trial_resumes_to_the_result_of_one_that_was_not_paused(home: Home, tmp_path: Path) -> None:
    whole, paused = Trial(home, tmp_path / "whole"), Trial(home, tmp_path / "paused")
    expected = _result(whole.run())
    ends = paused.run(lambda event: Answer.PAUSE if event.epoch == 2 else Answer.CONTINUE)
    assert [type(event) for event in ends[-2:]] == [EpochEnded, Paused]
    assert paused.epochs == [1, 2]
    assert paused.folder.state.exists()
    assert not model_fault(paused.folder)
    result = _result(paused.run())
    assert paused.epochs == [2, 3, 4]
    assert (result.best_epoch, result.metrics) == (expected.best_epoch, expected.metrics)
    for name in ("rows", "probabilities"):
        np.testing.assert_array_equal(np.load(paused.folder.held_out)[name], np.load(whole.folder.held_out)[name])


def test_a_trial_is_not_paused_at_its_last_epoch(trial: Trial) -> None:
    assert _result(trial.run(lambda event: Answer.PAUSE if event.epoch == 4 else Answer.CONTINUE)).ended == "epochs"


def test_a_trial_whose_patience_is_used_up_is_complete_not_paused(home: Home, tmp_path: Path) -> None:
    trial = Trial(home, tmp_path / "trial", **{"train.patience": 1, "train.learning_rate": 1e-9})
    assert _result(trial.run(lambda event: Answer.PAUSE if event.epoch > 1 else Answer.CONTINUE)).ended == "patience"


def test_a_pause_waits_until_epochs_that_are_repeated_reach_the_last_reported_one(trial: Trial) -> None:
    trial.run(lambda event: Answer.PAUSE if event.epoch == 3 else Answer.CONTINUE)
    trial.folder.state.write_bytes(b"damaged")
    ends = trial.run(lambda event: Answer.PAUSE)
    assert trial.epochs == [1, 2, 3]
    assert isinstance(ends[-1], Paused)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_a_result_does_not_depend_on_the_threads_nor_on_a_change_in_mid_trial(
    home: Home, tmp_path: Path, cell: str
) -> None:
    settings = {
        "model.cell": cell,
        "model.units": 16,
        "model.dropout": 0.2 if cell == "gru" else 0.0,
        "train.batch_size": 128,
        "train.optimizer": "rmsprop",
        "clip.kind": "global_norm",
    }
    trials = [Trial(home, tmp_path / name, **settings) for name in ("one", "three", "changing")]
    team, sizes = Team(), [2, 1, 3, 1, 2]
    heartbeats = {"n": 0}

    def heartbeat() -> bool:
        heartbeats["n"] += 1
        team.resize(sizes[heartbeats["n"] % len(sizes)])
        return True

    trials[0].run(team=Team(1))
    trials[1].run(team=Team(3))
    trials[2].run(answer=lambda event: event.epoch < 2, team=team, heartbeat=heartbeat)  # interrupted
    trials[2].folder.events.unlink()  # with its result the second attempt would only report it again
    trials[2].run(team=team, heartbeat=heartbeat)
    assert heartbeats["n"] > 2 * len(sizes)
    states = []
    for each in trials:
        with np.load(each.folder.state) as state:
            states.append({name: state[name] for name in state.files if name != "about"})
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        for name, value in states[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)
    metrics = [[epoch.metrics for epoch in events.epochs(events.read(each.folder.events))] for each in trials]
    assert metrics[1] == metrics[0]
    assert metrics[2][-2:] == metrics[0][-2:]
