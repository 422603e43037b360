"""Resuming a study with a wider search space, and the changes that are refused."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter

from rnnexp.errors import StudyError
from rnnexp.space import Distribution, widening
from rnnexp.storage import sampling
from rnnexp.storage.database import open_storage
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # each test runs several studies

SWEEP = """
study: s
sampler: {name: tpe, seed: 3, n_startup_trials: 3}
budget: {trials: 6}
base: {data: {name: reviews}, train: {epochs: 2}}
space:
  model.cell: {choice: [gru, lstm]}
  model.units: {int: [8, 32], log: true}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.5, 2], log: true, when: {clip.kind: [norm]}}
"""
WIDER = (
    SWEEP.replace("[gru, lstm]", "[simple_rnn, lstm, gru]")
    .replace("[8, 32]", "[4, 128]")
    .replace("[0.5, 2]", "[0.1, 10]")
    .replace("trials: 6", "trials: 30")
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path)
    study.file.write_text(SWEEP)
    return study


def test_a_study_resumes_with_a_wider_space_and_keeps_its_trials(study: Study) -> None:
    study.run(FakeExecutor())
    before = study.view.trials
    study.file.write_text(WIDER)
    study.run(FakeExecutor())
    after = study.view.trials
    assert after[:6] == before, "an old trial keeps its settings and result"
    assert len(after) == 30
    assert {row.state for row in after} == {State.COMPLETE}
    new = after[6:]
    assert any(row.settings["model.cell"] == "simple_rnn" for row in new), "the new choice is drawn"
    assert any(not 8 <= row.settings["model.units"] <= 32 for row in new), (
        "values from the added part of the range are drawn"
    )
    loaded = optuna.load_study(study_name="s", storage=open_storage(study.home))
    current = {name: sampling.distribution(setting) for name, setting in study.config().space.items()}
    for trial in loaded.get_trials():
        for name, distribution in trial.distributions.items():
            assert distribution == current[name], "all trials have the distributions of the new space"


def test_each_change_of_the_space_is_stored_as_a_version(study: Study) -> None:
    study.run(FakeExecutor())
    assert study.view.space_versions == ()
    study.file.write_text(WIDER)
    study.run(FakeExecutor(), budget__trials=7)
    study.run(FakeExecutor(), budget__trials=8)
    (version,) = study.view.space_versions
    assert (version.version, version.from_trial) == (2, 6)
    assert version.changes == (
        "model.cell: one of gru, lstm → one of simple_rnn, lstm, gru",
        "model.units: 8 to 32 (log) → 4 to 128 (log)",
        "clip.threshold: 0.5 to 2.0 (log) → 0.1 to 10.0 (log)",
    )
    study.file.write_text(WIDER.replace("[4, 128]", "[4, 256]"))
    study.run(FakeExecutor(), budget__trials=9)
    assert [(version.version, version.from_trial) for version in study.view.space_versions] == [(2, 6), (3, 8)]


def test_interrupted_trials_of_the_narrower_space_resume_in_the_wider_space(study: Study) -> None:
    study.run(FakeExecutor(), signals={(1, 1): 2})
    waiting = {row.number: row.settings for row in study.view.trials if row.state is State.WAITING}
    assert waiting
    study.file.write_text(WIDER)
    study.run(FakeExecutor(), budget__trials=6)
    assert {number: study.view.trials[number].settings for number in waiting} == waiting
    assert study.states() == [State.COMPLETE] * 6


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[8, 32], log: true", "[8, 16], log: true", "model.units: was 8 to 32 (log), is 8 to 16 (log) (narrower)"),
        ("[8, 32], log: true", "[4, 64]", "drawn in another way"),
        ("[gru, lstm]", "[gru]", "model.cell: was one of gru, lstm, is one of gru (without lstm)"),
        ("log: true}\n  clip.kind", "log: true, when: {model.cell: gru}}\n  clip.kind", "another condition"),
        ("  model.units: {int: [8, 32], log: true}\n", "", "model.units: was searched, is fixed"),
        ("space:\n", "space:\n  model.dropout: {float: [0, 0.5]}\n", "model.dropout: was fixed, is searched"),
    ],
)
def test_any_other_change_is_refused_with_a_remedy(study: Study, before: str, after: str, message: str) -> None:
    study.run(FakeExecutor())
    rows = study.view.trials
    assert before in SWEEP
    study.file.write_text(SWEEP.replace(before, after))
    with pytest.raises(StudyError) as error:
        study.run(FakeExecutor())
    assert message in str(error.value)
    assert "--study NAME" in str(error.value)
    assert study.view.trials == rows
    study.file.write_text(SWEEP)
    study.run(FakeExecutor(), budget__trials=7)
    assert study.states() == [State.COMPLETE] * 7


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ({"int": [8, 32]}, {"int": [8, 32]}, None),
        ({"int": [8, 32]}, {"int": [1, 64]}, None),
        ({"int": [8, 32], "step": 8}, {"int": [0, 64], "step": 8}, None),
        ({"int": [8, 32], "step": 8}, {"int": [4, 64], "step": 8}, "with other steps"),
        ({"int": [8, 32]}, {"float": [1, 64]}, "another kind of distribution"),
        ({"float": [0.1, 1]}, {"float": [0.2, 2]}, "narrower"),
        ({"choice": [1, 2]}, {"choice": [2, 1, 3]}, None),
        ({"choice": [True, False]}, {"choice": [1, 0]}, "without True, False"),
    ],
)
def test_widening_returns_why_a_distribution_is_not_wider(
    old: dict[str, Any], new: dict[str, Any], fault: str | None
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Distribution)
    assert widening(adapter.validate_python(old), adapter.validate_python(new)) == fault


def test_a_study_of_an_older_program_version_resumes(study: Study) -> None:
    """A setting that the older version did not have counts as having its present default."""
    study.run(FakeExecutor())
    stored = optuna.load_study(study_name="s", storage=open_storage(study.home))
    definition = stored.user_attrs["rnnexp:definition"]
    for name in ("train.monitor", "model.pooling", "clip.threshold"):
        del definition["base"][name]
    del definition["sampler"]["n_startup_trials"]
    stored.set_user_attr("rnnexp:definition", definition)
    study.file.write_text(SWEEP.replace(", n_startup_trials: 3", ""))
    study.run(FakeExecutor(), budget__trials=7)
    assert study.states() == [State.COMPLETE] * 7
    study.file.write_text(SWEEP.replace("epochs: 2", "epochs: 2}, model: {pooling: max"))
    with pytest.raises(StudyError, match=r"model\.pooling: was last, is max"):
        study.run(FakeExecutor())


def test_entries_at_the_end_of_try_run_next_and_others_may_not_change(study: Study) -> None:
    entries = [f"  - {{model.cell: gru, model.units: {units}, clip.kind: none}}\n" for units in (8, 16, 32)]
    text = SWEEP.replace("sampler: {name: tpe, seed: 3, n_startup_trials: 3}", "sampler: {name: random, seed: 3}")
    study.file.write_text(f"{text}try:\n{''.join(entries[:2])}")
    study.run(FakeExecutor(), budget__trials=3)
    before = study.view.trials
    study.file.write_text(f"{text}try:\n{''.join(entries)}")
    study.run(FakeExecutor(), budget__trials=4)
    assert study.view.trials[:3] == before
    assert study.view.trials[3].settings["model.units"] == 32
    assert study.view.space_versions == (), "the space is the same"
    for changed in (entries[1:], entries[:1], [entries[1], entries[0], entries[2]]):
        study.file.write_text(f"{text}try:\n{''.join(changed)}")
        with pytest.raises(StudyError, match="try: was"):
            study.run(FakeExecutor(), budget__trials=5)
