from pathlib import Path

import pytest

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import fingerprint
from tests.config.loading import HEAD, faults_of, load

_SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", _SWEEPS, ids=lambda path: path.stem)
def test_the_shipped_sweeps_load(path: Path) -> None:
    config = load_sweep(path)
    assert config.study == path.stem
    assert config.n_trials >= 1
    assert config.space


def test_settings_that_are_not_in_the_file_have_their_default(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD)
    assert (config.objective.metric, config.objective.direction) == ("val_accuracy", "maximize")
    assert (config.sampler.name, config.pruner.name) == ("tpe", "none")
    assert (config.limits.retries, config.keep.checkpoints, config.n_trials) == (2, 5, 4)
    assert config.space == {}
    assert config.tries == ()


def test_the_direction_and_the_monitor_follow_from_the_metric(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD + "objective: {metric: val_loss}\n")
    assert config.objective.direction == "minimize"
    assert config.base.train.monitor == "val_loss"


# Each fragment has exactly one fault; the words say where and what to do.
_FAULTS = {
    "objective: {metric: val_acuracy}": "objective.metric: got 'val_acuracy', which no trial reports; did you mean",
    "objective: {metric: f1}": "objective.metric: got 'f1', which no trial reports; expected one of accuracy, loss",
    "objective: {metric: [val_loss]}": "objective.metric: got ['val_loss']",
    "objective: {metric: val_loss, direction: maximize}": "direction: got maximize for val_loss, expected minimize",
    "objective: {direction: up}": "objective.direction: got 'up', expected 'maximize' or 'minimize'",
    "objective: {metrik: loss}": "objective.metrik: unknown setting; did you mean objective.metric?",
    "objective: [val_loss]": "objective.0: got 'val_loss', expected a mapping of settings",
    "sampler: {name: tpee}": "sampler.name: got 'tpee'; did you mean tpe?",
    "sampler: {seed: 3}": "sampler: expected a mapping with a name",
    "sampler: tpe": "sampler: got 'tpe', expected a mapping",
    "sampler: {name: tpe, sed: 3}": "sampler.sed: unknown setting; did you mean sampler.seed?",
    "sampler: {name: random, seed: -1}": "sampler.seed: got -1, expected greater than or equal to 0",
    "pruner: {name: hyperbnd}": "pruner.name: got 'hyperbnd'; did you mean hyperband?",
    "pruner: {name: hyperband, reduction_factor: 1}": "pruner.reduction_factor: got 1, expected greater than or",
    "pruner: {name: median, warmup: 1}": "pruner.warmup: unknown setting",
    "pruner: {name: median, pause: true}": "pruner.pause: the pruner median has no rungs at which a trial could resume",
    "pruner: {name: none, pause: false}": "use successive_halving or hyperband, or leave it out",
    "pruner: {name: hyperband, pause: 2}": "pruner.pause: got 2, expected a boolean",
    "limits: {trial_s: 0}": "limits.trial_s: got 0, expected greater than 0",
    "limits: {memory_gb: lots}": "limits.memory_gb: got 'lots', expected a number",
    "limits: {retrys: 1}": "limits.retrys: unknown setting; did you mean limits.retries?",
    "limits: 0": "limits: got 0, expected a mapping",
    "limits: 5": "limits: got 5, expected a mapping",
    "keep: {checkpoints: 0}": "keep.checkpoints: got 0, expected greater than or equal to 1",
    "keep: []": "keep: got [], expected a mapping",
    "studdy: x": "studdy: unknown setting; did you mean study?",
    "5: x": "5: unknown setting; expected one of",
    "base: 5": "base: got 5, expected the sections data, model, train, clip",
    "base: {modle: {units: 3}}": "base.modle: unknown setting; did you mean base.model?",
    "base: {model: {unit: 3}}": "base.model.unit: unknown setting; did you mean base.model.units?",
    "base: {model: 3}": "base.model: got 3, expected a mapping of settings",
    "base: {train: 3}": "base.train: got 3, expected a mapping of settings",
    "base: {model: {units: 0}}": "base.model.units: got 0, expected greater than or equal to 1",
    "base: {train: {learning_rate: .inf}}": "base.train.learning_rate: got inf, expected a finite number",
    "base: {train: {monitor: val_loss}}": "base.train.monitor: got 'val_loss', expected the metric of the objective",
    "base: {train: {checkpoint_metric: [loss]}}": "base.train.checkpoint_metric: got ['loss']",
    "base: {data: {name: imbd}}": "did you mean imdb?",
    "space: 5": "space: got 5, expected settings and their distributions",
    "space: {model.unit: {int: [1, 2]}}": "space: model.unit: unknown setting; did you mean model.units?",
    "space: {units: {int: [1, 2]}}": "space: units: unknown setting; did you mean model.units?",
    "space: {train.monitor: {choice: [loss]}}": "space.train.monitor: cannot be searched: it is always the metric of",
    "space: {model.units: 5}": "space.model.units: expected exactly one of choice: [a, b], int: [low, high], float:",
    "space: {model.units: {int: [1, 2], choice: [1]}}": "space.model.units: expected exactly one of choice",
    "space: {model.units: {between: [1, 2]}}": "space.model.units: expected exactly one of choice",
    "space: {model.units: {int: [128, 16]}}": "space.model.units: got the bounds [128, 16], expected the lower one",
    "space: {model.dropout: {float: [0.5, 0.1]}}": "space.model.dropout: got the bounds [0.5, 0.1], expected the lower",
    "space: {model.units: {int: [16]}}": "space.model.units.int.1: missing",
    "space: {model.units: {int: [1.5, 16]}}": "space.model.units.int.0: got 1.5, expected an integer",
    "space: {model.units: {int: [0, 16]}}": "space.model.units: 0 is not allowed: got 0, expected greater than",
    "space: {model.layers: {int: [1, 99]}}": "space.model.layers: 99 is not allowed: got 99, expected less than",
    "space: {model.units: {int: [1, 16], stp: 2}}": "space.model.units.stp: unknown setting; did you mean space.model.",
    "space: {model.units: {int: [1, 16], step: 0}}": "space.model.units.step: got 0, expected greater than 0",
    "space: {model.units: {choice: []}}": "space.model.units.choice: got []",
    "space: {model.units: {choice: [4, 4]}}": "space.model.units.choice: 4 is listed twice",
    "space: {model.units: {choice: [4, many]}}": "space.model.units: 'many' is not allowed: got 'many', expected",
    "space: {model.units: {choice: [true]}}": "space.model.units: True is not allowed: got True, expected an int",
    "space: {model.cell: {choice: [lstmm]}}": "space.model.cell: 'lstmm' is not allowed: got 'lstmm'; did you",
    "space: {train.learning_rate: {float: [0, 1], log: true}}": "space.train.learning_rate: got the lower bound 0.0",
    "space: {train.learning_rate: {float: [0.1, 1], log: true, step: 0.1}}": "log and step cannot be combined",
    "space: {train.learning_rate: {float: [0.1, 9], log: true, step: 1}}": "log and step cannot be combined",
    "space: {clip.threshold: {float: [1, 2], when: {clip.knd: norm}}}": (
        "space.clip.threshold.when.clip.knd: unknown setting; did you mean clip.kind?"
    ),
    "space: {clip.threshold: {float: [1, 2], when: {clip.kind: nrm}}}": (
        "space.clip.threshold.when.clip.kind: got 'nrm', expected 'none', 'value', 'norm' or 'global_norm'"
    ),
    "space: {clip.kind: {choice: [none, value]}, clip.threshold: {float: [1, 2], when: {clip.kind: norm}}}": (
        "space.clip.threshold.when.clip.kind: got 'norm', which clip.kind never has; it is one of none, value"
    ),
    "space: {model.layers: {int: [1, 2]}, model.units: {choice: [1], when: {model.layers: 3}}}": (
        "space.model.units.when.model.layers: got 3, which model.layers never has; it is 1 to 2"
    ),
    "space: {model.bidirectional: {choice: [true]}, model.units: {choice: [8], when: {model.bidirectional: 1}}}": (
        "space.model.units.when.model.bidirectional: got 1, which model.bidirectional never has"
    ),
    "space: {clip.threshold: {float: [1, 2], when: norm}}": "space.clip.threshold.when: got 'norm', expected a mapping",
    "space: {clip.kind: {choice: [none, value]}, clip.threshold: {float: [-1, 2], when: {clip.kind: value}}}": (
        "space.clip.threshold: -1.0 is not allowed: got -1.0, expected greater than 0"
    ),
    "space: {clip.kind: {choice: [none, value]}, clip.threshold: {float: [-1, 2]}}": (
        "space.clip.threshold: -1.0 is not allowed"
    ),
    "space: {model.layers: {choice: [1], when: {train.seed: 1}}, train.seed: {choice: [1], when: {model.layers: 1}}}": (
        "space: model.layers, train.seed: the conditions (when) of these settings are circular"
    ),
    "space: {model.units: {choice: [1], when: {model.units: 1}}}": "model.units: the conditions (when)",
    "space: {data.seed: {choice: [1, 2]}}": "space.data.seed: cannot be searched: trials on different texts",
    "space: {clip.threshold: {float: [1, 2]}}": "space.clip.threshold: has no effect, because clip.kind is none",
    "space: {train.weight_decay: {float: [0.01, 1]}}": "space.train.weight_decay: got adam as train.optimizer, which",
    "space: {train.weight_decay: {float: [0.01, 1]}, train.optimizer: {choice: [adamw, sgd]}}": (
        "space.train.weight_decay: got sgd as train.optimizer, which has none; use adamw, or add when: {train.optimizer"
    ),
    "base: {train: {optimizer: adamw, weight_decay: 0.1}}\nspace: {train.optimizer: {choice: [adamw, sgd]}}": (
        "space.train.optimizer: 'sgd' is not allowed: weight_decay: got 0.1 with optimizer: sgd, which has none"
    ),
    "space: {data.group: {choice: [author]}}": "space.data.group: cannot be searched: trials on different texts",
    "try: 5": "try: expected a list of settings, as in - {model.cell: lstm, model.units: 64}",
    "try: [lstm]": "try: expected a list of settings",
    "try: [{model.unit: 5}]": "try.0.model.unit: unknown setting; did you mean model.units?",
    "try: [{model.units: 5}]": "try.0.model.units: not in the search space; add it to space, or move it to base",
}


@pytest.mark.parametrize(("fragment", "expected"), _FAULTS.items(), ids=_FAULTS)
def test_a_fault_is_one_line_with_its_place_and_a_correction(tmp_path: Path, fragment: str, expected: str) -> None:
    (fault,) = faults_of(tmp_path, HEAD + fragment + "\n")
    assert expected in fault


def test_a_setting_of_try_must_be_in_the_space(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        HEAD
        + "space: {model.units: {int: [1, 4]}, model.cell: {choice: [gru, lstm]}}\n"
        + "try: [{model.units: 4}, {model.units: 5}, {model.units: true}, {model.cell: simple_rnn}]\n",
    )
    assert faults == [
        "try.1.model.units: got 5, expected 1 to 4",
        "try.2.model.units: got True, expected 1 to 4",
        "try.3.model.cell: got 'simple_rnn', expected one of gru, lstm",
    ]


def test_all_faults_come_in_one_pass(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        """\
        study: two words
        objective: {metric: f1}
        sampler: {name: tpee}
        pruner: {name: median, n_warmup_steps: -1}
        budget: {trials: 0}
        base: {model: {unit: 3, layers: 0}, train: {epochs: 0}}
        try: [{model.cel: lstm}]
        space:
          model.unit: {int: [1, 2]}
          model.embedding_dim: {int: [64, 16]}
          clip.threshold: {float: [0.1, 1], when: {clip.knd: norm}}
        limits: {retries: -1}
        keep: {checkpoint: 1}
        extra: 1
        """,
    )
    places = {fault.split(": ")[0] if not fault.startswith("space: ") else fault[7:].split(": ")[0] for fault in faults}
    assert places == {
        "study", "objective.metric", "sampler.name", "pruner.n_warmup_steps", "budget.trials", "base.model.unit",
        "base.model.layers", "base.train.epochs", "try.0.model.cel", "model.unit", "space.model.embedding_dim",
        "space.clip.threshold.when.clip.knd", "limits.retries", "keep.checkpoint", "extra",
    }  # fmt: skip
    assert len(faults) == len(places)


@pytest.mark.parametrize("study", ["", "''", "two words", "5", "../up", ".hidden", "a/b", "null", f"{'x' * 81}"])
def test_the_name_of_a_study_must_be_a_valid_folder_name(tmp_path: Path, study: str) -> None:
    (fault,) = faults_of(tmp_path, f"study: {study}\nbudget: {{trials: 1}}\n")
    assert fault.startswith("study: got ")
    assert "expected a name of letters, digits" in fault


def test_the_errors_of_an_empty_file_name_the_required_settings(tmp_path: Path) -> None:
    study, budget = faults_of(tmp_path, "")
    assert study.startswith("study: got nothing, expected a name")
    assert budget.startswith("budget.trials: missing")


@pytest.mark.parametrize("budget", ["", "budget: {}\n", "budget: {timeout_s: 60}\n"])
def test_a_study_without_a_number_of_trials_is_refused(tmp_path: Path, budget: str) -> None:
    assert faults_of(tmp_path, "study: s\n" + budget) == [
        "budget.trials: missing; set the number of trials of the study"
    ]


def test_a_grid_needs_no_budget_but_a_finite_number_of_values(tmp_path: Path) -> None:
    grid = "study: s\nsampler: {name: grid}\n"
    assert load(tmp_path, grid + "space: {model.units: {int: [1, 3]}, train.seed: {choice: [1, 2]}}\n").n_trials == 6
    (fault,) = faults_of(
        tmp_path, grid + "space: {train.learning_rate: {float: [0.1, 1]}, train.seed: {choice: [1]}}\n"
    )
    assert fault == (
        "space.train.learning_rate: got 0.1 to 1.0; a grid needs a choice, an int without log, or a step, "
        "and at most 100,000 values"
    )


_SEARCH = (
    HEAD + "try: [{model.units: 32, model.cell: lstm}]\n"
    "space: {model.units: {int: [16, 64]}, model.cell: {choice: [gru, lstm]}}\n"
)


def test_set_removes_a_setting_from_the_search_space(tmp_path: Path) -> None:
    config = load(tmp_path, _SEARCH, {"model.units": 8})
    assert config.base.model.units == 8
    assert list(config.space) == ["model.cell"]
    assert config.tries == ({"model.cell": "lstm"},)


def test_set_changes_the_base_and_other_parts_of_the_sweep_file(tmp_path: Path) -> None:
    config = load(
        tmp_path, _SEARCH, {"train.epochs": 2, "budget.trials": 9, "study": "other", "objective.metric": "val_loss"}
    )
    assert (config.base.train.epochs, config.n_trials, config.study) == (2, 9, "other")
    assert config.base.train.monitor == "val_loss"
    assert list(config.space) == ["model.units", "model.cell"]


def test_set_of_a_setting_in_a_condition_gives_a_valid_sweep(tmp_path: Path) -> None:
    text = "study: s\nsampler: {name: grid}\n" + (
        "space: {clip.kind: {choice: [none, norm]}, clip.threshold: {choice: [1, 2], when: {clip.kind: norm}}}\n"
    )
    assert load(tmp_path, text).n_trials == 3
    assert load(tmp_path, text, {"clip.kind": "norm"}).n_trials == 2
    assert load(tmp_path, text, {"clip.kind": "none"}).n_trials == 1


def test_set_is_checked_like_the_file(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        _SEARCH,
        {"model.unit": 3, "budgt.trials": 1, "budget.trial": 2, "train.epochs": 0, "study": "x y"},
    )
    assert "--set model.unit: unknown setting; did you mean model.units?" in faults
    assert any(fault.startswith("--set budgt.trials: unknown setting; did you mean budget") for fault in faults)
    assert "budget.trial: unknown setting; did you mean budget.trials?" in faults
    assert "base.train.epochs: got 0, expected greater than or equal to 1" in faults
    assert any(fault.startswith("study: got 'x y'") for fault in faults)
    assert len(faults) == 5


@pytest.mark.parametrize("part", ["base: 5", "base: {model: 5}", "space: 5", "try: [5]", "try: 5"])
def test_set_on_a_faulty_file_still_shows_the_files_fault(tmp_path: Path, part: str) -> None:
    (fault,) = faults_of(tmp_path, HEAD + part + "\n", {"model.units": 8})
    assert fault.startswith(part.split(":")[0])


@pytest.mark.parametrize("path", _SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_with_all_defaults_written_is_the_same_study(tmp_path: Path, path: Path) -> None:
    config = load_sweep(path)
    again = load(tmp_path, config.to_yaml())
    assert again == config
    assert fingerprint(again.definition()) == fingerprint(config.definition())


@pytest.mark.parametrize(
    "text",
    [
        "base: {train: {optimizer: adamw}}\nspace: {train.weight_decay: {float: [0.01, 1]}}",
        "space: {train.optimizer: {choice: [adam, adamw]}, "
        "train.weight_decay: {float: [0.01, 1], when: {train.optimizer: adamw}}}",
    ],
)
def test_the_decay_of_adamw_can_be_searched(tmp_path: Path, text: str) -> None:
    assert "train.weight_decay" in load(tmp_path, f"{HEAD}{text}\n").space
