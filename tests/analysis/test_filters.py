"""Conditions on trials, columns by their names, groups and differences: what `compare` selects and shows."""

import pytest

from rnnexp.analysis import filters
from rnnexp.analysis.groups import groups
from rnnexp.errors import UserError
from rnnexp.trial.states import State
from tests.storage.rows import study_view, trial_row

STUDY = study_view(
    trial_row(0, State.COMPLETE, 0.90, model__cell="lstm", model__units=64, model__bidirectional=True),
    trial_row(1, State.COMPLETE, 0.80, model__cell="gru", model__units=32, model__bidirectional=False),
    trial_row(2, State.PRUNED, 0.70, model__cell="lstm", model__units=16, clip__threshold=2.5),
    trial_row(3, State.FAIL, None, model__cell="gru", model__units=128),
)


def selected(condition: str) -> list[int]:
    parsed = filters.parse(condition, filters.columns(STUDY))
    return [row.number for row in STUDY.trials if parsed.matches(row)]


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("model.cell=lstm", [0, 2]),
        ("cell = 'lstm' and value>0.85", [0]),
        ("model.cell==lstm AND value >= 0.7", [0, 2]),
        ("value<0.75 or units=128", [2, 3]),
        ("cell=gru and units<=32 or state=PRUNED", [1, 2]),
        ("bidirectional=true", [0]),
        ("clip.threshold>1", [2]),
        ("clip.threshold=none", [0, 1, 3]),
        ("clip.threshold!=2.5", [0, 1, 3]),
        ("val_accuracy>=0.8", [0, 1]),
        ("trial!=0", [1, 2, 3]),
        ("value>abc", []),
        ('reason="pruned after epoch 2"', [2]),
    ],
)
def test_a_condition_selects_trials(condition: str, numbers: list[int]) -> None:
    assert selected(condition) == numbers


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("modl.cell=lstm", r"--where: 'modl\.cell' is no column; did you mean model\.cell\?"),
        ("value", r"--where: got 'value', expected COLUMN OPERATOR VALUE"),
        ("", r"--where: got nothing"),
        ("value>0.8 and", r"--where: got nothing, expected"),
        ("value>0.8 xor cell=lstm", r"got 'xor cell=lstm' after a comparison"),
        ("value>0.8 cell=lstm", r"after a comparison"),
        ("value~0.8", r"expected COLUMN"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(condition: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        selected(condition)
    assert "\n" not in str(raised.value)


def test_a_name_without_its_section_must_be_clear() -> None:
    assert filters.column("units", ["model.units", "value"], "--columns") == "model.units"
    with pytest.raises(UserError, match=r"--columns: 'seed' is not clear: train\.seed, data\.seed"):
        filters.column("seed", ["train.seed", "data.seed"], "--columns")


def test_groups_have_best_median_and_count() -> None:
    lstm, gru = groups(STUDY, STUDY.ranked, ["model.cell"])
    assert (lstm.key, lstm.n_trials, lstm.n_pruned, lstm.best, lstm.best_trial) == (("lstm",), 2, 1, 0.9, 0)
    assert lstm.median == pytest.approx(0.8)
    assert (gru.key, gru.n_trials) == (("gru",), 1)
    minimized = study_view(*STUDY.trials, direction="minimize")
    assert [group.best for group in groups(minimized, minimized.ranked, ["model.cell"])] == [0.7, 0.8]
