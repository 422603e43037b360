"""A study that resumes on another type of machine says so."""

import json
from pathlib import Path

from rnnexp.commands.run_study import _plans
from rnnexp.config.trial import TrialConfig
from rnnexp.home import Home
from rnnexp.trial.plan import other_machine, stored_or_chosen
from rnnexp.trial.states import State
from tests.storage.rows import study_view, trial_row


def test_the_unfinished_trials_and_the_last_one_are_looked_at(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    states = [State.COMPLETE, State.WAITING, State.COMPLETE, State.COMPLETE]
    study = study_view(*(trial_row(number, state, 0.8) for number, state in enumerate(states)))
    folder = home.study(study.name)
    for number in range(4):
        folder.trial(number).root.mkdir(parents=True)
        stored_or_chosen(folder.trial(number).plan, TrialConfig(), 1)
    assert _plans(home, study) == [folder.trial(1).plan, folder.trial(3).plan]
    assert other_machine(_plans(home, study)) is None
    for number, is_noted in ((0, False), (1, True), (3, True)):
        plan = folder.trial(number).plan
        text = plan.read_text()
        plan.write_text(json.dumps(json.loads(text) | {"processor": "Other CPU"}))
        assert (other_machine(_plans(home, study)) is not None) == is_noted
        plan.write_text(text)
