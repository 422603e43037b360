import textwrap
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.files import dump, parse, parse_assignment
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig, fingerprint
from rnnexp.errors import ConfigError, UserError

_HEAD = "study: cells\nbudget: {trials: 4}\n"
_SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


def _load(folder: Path, text: str, assignments: dict[str, Any] | None = None) -> SweepConfig:
    path = folder / "sweep.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_sweep(path, assignments)


def _faults(folder: Path, text: str, assignments: dict[str, Any] | None = None) -> list[str]:
    """Returns the faults of a file; each must be one line that names the file."""
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, assignments)
    source = f"{folder / 'sweep.yaml'}: "
    lines = str(caught.value).splitlines()
    assert all(line.startswith(source) for line in lines)
    faults = [line.removeprefix(source) for line in lines]
    assert faults == list(caught.value.faults)
    return faults


@pytest.mark.parametrize("path", _SWEEPS, ids=lambda path: path.stem)
def test_the_shipped_sweeps_load(path: Path) -> None:
    config = load_sweep(path)
    assert config.study == path.stem
    assert config.n_trials >= 1
    assert config.space


def test_settings_that_are_not_in_the_file_have_their_default(tmp_path: Path) -> None:
    config = _load(tmp_path, _HEAD)
    assert (config.objective.metric, config.objective.direction) == ("val_accuracy", "maximize")
    assert (config.sampler.name, config.pruner.name) == ("tpe", "none")
    assert (config.limits.retries, config.keep.checkpoints, config.n_trials) == (2, 5, 4)
    assert config.space == {}
    assert config.tries == ()


def test_the_direction_and_the_monitor_follow_from_the_metric(tmp_path: Path) -> None:
    config = _load(tmp_path, _HEAD + "objective: {metric: val_loss}\n")
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
    "objective: [val_loss]": "objective: got ['val_loss'], expected a mapping of settings",
    "sampler: {name: tpee}": "sampler.name: got 'tpee'; did you mean tpe?",
    "sampler: {seed: 3}": "sampler: expected a mapping with a name",
    "sampler: tpe": "sampler: got 'tpe', expected a mapping",
    "sampler: {name: tpe, sed: 3}": "sampler.sed: unknown setting; did you mean sampler.seed?",
    "sampler: {name: random, seed: -1}": "sampler.seed: got -1, expected greater than or equal to 0",
    "pruner: {name: hyperbnd}": "pruner.name: got 'hyperbnd'; did you mean hyperband?",
    "pruner: {name: hyperband, reduction_factor: 1}": "pruner.reduction_factor: got 1, expected greater than or",
    "pruner: {name: median, warmup: 1}": "pruner.warmup: unknown setting",
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
    (fault,) = _faults(tmp_path, _HEAD + fragment + "\n")
    assert expected in fault


def test_a_setting_of_try_must_be_in_the_space(tmp_path: Path) -> None:
    faults = _faults(
        tmp_path,
        _HEAD
        + "space: {model.units: {int: [1, 4]}, model.cell: {choice: [gru, lstm]}}\n"
        + "try: [{model.units: 4}, {model.units: 5}, {model.units: true}, {model.cell: simple_rnn}]\n",
    )
    assert faults == [
        "try.1.model.units: got 5, expected 1 to 4",
        "try.2.model.units: got True, expected 1 to 4",
        "try.3.model.cell: got 'simple_rnn', expected one of gru, lstm",
    ]


def test_all_faults_come_in_one_pass(tmp_path: Path) -> None:
    faults = _faults(
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
    (fault,) = _faults(tmp_path, f"study: {study}\nbudget: {{trials: 1}}\n")
    assert fault.startswith("study: got ")
    assert "expected a name of letters, digits" in fault


def test_the_errors_of_an_empty_file_name_the_required_settings(tmp_path: Path) -> None:
    study, budget = _faults(tmp_path, "")
    assert study.startswith("study: got nothing, expected a name")
    assert budget.startswith("budget.trials: missing")


@pytest.mark.parametrize("budget", ["", "budget: {}\n", "budget: {timeout_s: 60}\n"])
def test_a_study_without_a_number_of_trials_is_refused(tmp_path: Path, budget: str) -> None:
    assert _faults(tmp_path, "study: s\n" + budget) == ["budget.trials: missing; set the number of trials of the study"]


def test_a_grid_needs_no_budget_but_a_finite_number_of_values(tmp_path: Path) -> None:
    grid = "study: s\nsampler: {name: grid}\n"
    assert _load(tmp_path, grid + "space: {model.units: {int: [1, 3]}, train.seed: {choice: [1, 2]}}\n").n_trials == 6
    (fault,) = _faults(tmp_path, grid + "space: {train.learning_rate: {float: [0.1, 1]}, train.seed: {choice: [1]}}\n")
    assert fault == (
        "space.train.learning_rate: got 0.1 to 1.0; a grid needs a choice, an int without log, or a step, "
        "and at most 100,000 values"
    )


def test_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, _HEAD + "base: {model: {units: 8,\n    units: 16}}\n")
    assert fault == "line 4, column 5: not valid YAML: duplicate key 'units'"


def test_a_number_with_an_exponent_needs_no_decimal_point(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        _HEAD + "base: {train: {learning_rate: 1e-3}}\n"
        "space: {train.learning_rate: {float: [1e-4, 5E-1]}, model.dropout: {choice: [1e-1, .5]}}\n",
    )
    assert config.base.train.learning_rate == 0.001
    assert config.space["train.learning_rate"].extremes() == (0.0001, 0.5)
    assert config.space["model.dropout"].extremes() == (0.1, 0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "space:\n  model.units: &width {int: [16, 64]}\n  model.embedding_dim: *width\n",
            "line 4, column 16: the anchor &width is not supported; write the values out",
        ),
        ("base: *width\n", "line 3, column 7: the alias *width is not supported; write the values out"),
        ("base: {&a model: {}}\n", "line 3, column 8: the anchor &a is not supported; write the values out"),
        (
            "base:\n  <<: {model: {units: 8}}\n",
            "line 4, column 3: the merge key << is not supported; write the values out",
        ),
        ("base: !!map &a {}\n", "line 3, column 7: the anchor &a is not supported; write the values out"),
        (f"base: &{'a' * 5000} 5\n", f"line 3, column 7: the anchor &{'a' * 76}... is not supported"),
    ],
)
def test_anchors_aliases_and_merge_keys_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    (fault,) = _faults(tmp_path, _HEAD + text)
    assert fault.startswith(expected[:90])


def test_aliases_of_aliases_are_not_expanded(tmp_path: Path) -> None:
    """Each of the 40 levels repeats the one before ten times: expanded, the file has 10**40 values."""
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 40))
    (fault,) = _faults(tmp_path, f"{_HEAD}space:\n  l0: &l0 [1]\n{levels}")
    assert fault.startswith("line 4, column 7: the anchor &l0 is not supported")
    merges = "".join(f"  l{n}: &l{n}\n    <<: [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 40))
    (fault,) = _faults(tmp_path, f"{_HEAD}space:\n  l0: &l0 {{a: 1}}\n{merges}")
    assert "the anchor &l0 is not supported" in fault


def test_the_value_of_a_flag_may_contain_no_alias() -> None:
    with pytest.raises(ConfigError, match=r"^--set model.units: line 1, column 2: the anchor &a is not supported"):
        parse_assignment("model.units=[&a 5, *a]")


def test_a_star_or_an_ampersand_in_a_text_is_no_alias(tmp_path: Path) -> None:
    config = _load(tmp_path, _HEAD + "base: {data: {path: 'a.csv', text: '*text', label: this & that}}\n")
    assert (config.base.data.text, config.base.data.label) == ("*text", "this & that")


def test_a_written_file_has_no_alias() -> None:
    row = [1, 2]
    assert parse(dump({"a": row, "b": row}), "written") == {"a": row, "b": row}


_HUGE = "x" * 100_000
_MANY = ", ".join(str(number) for number in range(20_000))


@pytest.mark.parametrize(
    "fragment",
    [
        f"base: {{model: {{cell: {_HUGE}}}}}",
        f"base: {{model: {{units: {_HUGE}}}}}",
        f"base: {{model: {{{_HUGE}: 1}}}}",
        f"base: {{{_HUGE}: 1}}",
        f"{_HUGE}: 1",
        f"base: [{_MANY}]",
        f"space: [{_MANY}]",
        f"objective: {{metric: [{_MANY}]}}",
        f"objective: {{metric: {_HUGE}}}",
        f"sampler: {{name: {_HUGE}}}",
        f"space: {{{_HUGE}: 1}}",
        f"space: {{model.units: {{choice: [1, {_HUGE}, {_HUGE}]}}}}",
        f"space: {{model.units: {{choice: [1, {_HUGE}]}}}}",
        f"space: {{model.units: {{int: [1, 2], when: {{{_HUGE}: 1}}}}}}",
        f"space: {{model.units: {{int: [1, 2], when: {{clip.kind: {_HUGE}}}}}}}",
        f"space: {{train.seed: {{choice: [{_MANY}]}}}}\ntry: [{{train.seed: -1}}]",
        f"try: [{{{_HUGE}: 1}}]",
        f"base: {{data: {{name: {_HUGE}}}}}",
        f"base: {{data: {{name: {'?' * 100_000}}}}}",
        f"base: {{train: {{monitor: {_HUGE}}}}}",
        f"base: {{? {_HUGE} : 1, ? {_HUGE} : 2}}",
    ],
    ids=lambda fragment: fragment[:40],
)
def test_a_message_does_not_repeat_a_long_value(tmp_path: Path, fragment: str) -> None:
    for fault in _faults(tmp_path, f"{_HEAD}{fragment}\n"):
        assert len(fault) < 1500


def test_a_name_of_several_lines_stays_on_one_line(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, _HEAD + '"a\\nb\\e[2J": 1\n')
    assert fault.startswith(r"a\nb\x1b[2J: unknown setting")


def test_a_file_with_very_many_faults_is_reported_in_part(tmp_path: Path) -> None:
    faults = _faults(tmp_path, _HEAD + "".join(f"key{number}: 1\n" for number in range(500)))
    assert len(faults) == 51
    assert faults[-1] == "and 450 more faults"


@pytest.mark.parametrize("digits", ["0x" + "f" * 5000, "9" * 200, "9" * 5000, "0b" + "1" * 9000, "1" + ":59" * 2000])
@pytest.mark.parametrize(
    "place", ["base: {{model: {{units: {}}}}}", "? {}\n: 1", "study: {}", "space: {{model.units: {{int: [1, {}]}}}}"]
)
def test_a_number_of_very_many_digits_is_refused(tmp_path: Path, digits: str, place: str) -> None:
    (fault,) = _faults(tmp_path, f"budget: {{trials: 1}}\n{place.format(digits)}\n")
    assert "number is too large" in fault or "Exceeds the limit" in fault


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, _HEAD + "# note\n" * 50_000)
    assert fault == "has more than 256,000 bytes; a file of settings is much smaller"


def test_a_grid_of_too_many_values_is_refused(tmp_path: Path) -> None:
    grid = "sampler: {name: grid}\nspace: "
    (fault,) = _faults(tmp_path, f"{_HEAD}{grid}{{train.seed: {{int: [1, 1000000000000]}}}}\n")
    assert fault.endswith("or a step, and at most 100,000 values")
    assert _faults(tmp_path, f"{_HEAD}{grid}{{model.dropout: {{float: [0, 0.5], step: 1e-9}}}}\n")
    for step in ("1e-300", "1e-17"):
        (fault,) = _faults(tmp_path, f"{_HEAD}{grid}{{model.dropout: {{float: [0, 0.5], step: {step}}}}}\n")
        assert "too small for the bounds [0.0, 0.5]" in fault


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"study: caf\xe9\n", "not UTF-8 (byte 10); save it as UTF-8"),
        (b"study: [1\n", "line 2, column 1: not valid YAML"),
        (b"study: !!python/object/apply:os.getcwd []\n", "line 1, column 8: not valid YAML"),
        (b"a: {[1]: 2}\n", "not valid YAML: found unhashable key"),
        (b"study: 2024-99-99\n", "not valid YAML"),
        (b"study: \x00\n", "not valid YAML"),
        (b"- a\n- b\n", "got a list, expected a mapping of settings"),
        (b"words\n", "got a str, expected a mapping of settings"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML: but found another document"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    (fault,) = caught.value.faults
    assert expected in fault
    assert str(caught.value) == f"{path}: {fault}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml: no such file; sweep files are in sweeps/"):
        load_sweep(tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_sweep(tmp_path)


_SEARCH = (
    _HEAD + "try: [{model.units: 32, model.cell: lstm}]\n"
    "space: {model.units: {int: [16, 64]}, model.cell: {choice: [gru, lstm]}}\n"
)


def test_set_removes_a_setting_from_the_search_space(tmp_path: Path) -> None:
    config = _load(tmp_path, _SEARCH, {"model.units": 8})
    assert config.base.model.units == 8
    assert list(config.space) == ["model.cell"]
    assert config.tries == ({"model.cell": "lstm"},)


def test_set_changes_the_base_and_other_parts_of_the_sweep_file(tmp_path: Path) -> None:
    config = _load(
        tmp_path, _SEARCH, {"train.epochs": 2, "budget.trials": 9, "study": "other", "objective.metric": "val_loss"}
    )
    assert (config.base.train.epochs, config.n_trials, config.study) == (2, 9, "other")
    assert config.base.train.monitor == "val_loss"
    assert list(config.space) == ["model.units", "model.cell"]


def test_set_of_a_setting_in_a_condition_gives_a_valid_sweep(tmp_path: Path) -> None:
    text = "study: s\nsampler: {name: grid}\n" + (
        "space: {clip.kind: {choice: [none, norm]}, clip.threshold: {choice: [1, 2], when: {clip.kind: norm}}}\n"
    )
    assert _load(tmp_path, text).n_trials == 3
    assert _load(tmp_path, text, {"clip.kind": "norm"}).n_trials == 2
    assert _load(tmp_path, text, {"clip.kind": "none"}).n_trials == 1


def test_set_is_checked_like_the_file(tmp_path: Path) -> None:
    faults = _faults(
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
    (fault,) = _faults(tmp_path, _HEAD + part + "\n", {"model.units": 8})
    assert fault.startswith(part.split(":")[0])


@pytest.mark.parametrize("path", _SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_with_all_defaults_written_is_the_same_study(tmp_path: Path, path: Path) -> None:
    config = load_sweep(path)
    again = _load(tmp_path, config.to_yaml())
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
    assert "train.weight_decay" in _load(tmp_path, f"{_HEAD}{text}\n").space
