import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rnnexp.config import names
from rnnexp.config.files import parse_assignment
from rnnexp.config.trial import ClipConfig, DataConfig, TrialConfig, check_setting, load_trial, setting_names
from rnnexp.errors import ConfigError, UserError

_WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
_SHARES = st.floats(0, 1, exclude_max=True)
_METRICS = st.sampled_from(list(names.METRICS))

_DATA = st.one_of(
    st.fixed_dictionaries({"name": st.sampled_from(names.data_sets()), "fallback": st.sampled_from([None, "reviews"])}),
    st.fixed_dictionaries({"path": st.just("own/texts.csv"), "text": _WORDS, "label": _WORDS}),
)
_CONFIGS = st.fixed_dictionaries(
    {
        "data": _DATA,
        "model": st.fixed_dictionaries(
            {
                "cell": st.sampled_from(names.cells()),
                "units": st.integers(1, 10**6),
                "bidirectional": st.booleans(),
                "dropout": _SHARES,
            }
        ),
        "train": st.fixed_dictionaries(
            {
                "learning_rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
                "patience": st.none() | st.integers(1, 50),
                "monitor": _METRICS,
                "checkpoint_metric": st.none() | _METRICS,
            }
        ),
        "clip": st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["none", "value", "norm", "global_norm"]),
                "threshold": st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
            }
        ),
    }
).map(TrialConfig.model_validate)


def _file(folder: Path, text: str) -> Path:
    path = folder / "trial.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_every_setting_has_its_documented_default() -> None:
    config = load_trial(None, {})
    assert config == TrialConfig()
    assert config.settings() == {
        "data.path": None,
        "data.name": "imdb",
        "data.text": "text",
        "data.label": "label",
        "data.group": None,
        "data.vocab_size": 10_000,
        "data.maxlen": 400,
        "data.split": "stratified",
        "data.validation_split": 0.2,
        "data.train_samples": None,
        "data.padding": "bucketed",
        "data.seed": 0,
        "data.fallback": None,
        "model.cell": "lstm",
        "model.units": 64,
        "model.embedding_dim": 64,
        "model.layers": 1,
        "model.bidirectional": False,
        "model.pooling": "last",
        "model.dropout": 0.0,
        "model.recurrent_dropout": 0.0,
        "train.optimizer": "adam",
        "train.learning_rate": 0.001,
        "train.weight_decay": None,
        "train.batch_size": 128,
        "train.epochs": 5,
        "train.patience": None,
        "train.monitor": "val_accuracy",
        "train.checkpoint_metric": None,
        "train.precision": "float32",
        "train.seed": 0,
        "clip.kind": "none",
        "clip.threshold": None,
    }


@settings(max_examples=50, deadline=None)
@given(config=_CONFIGS)
def test_a_config_is_the_same_after_yaml_conversion(
    tmp_path_factory: pytest.TempPathFactory, config: TrialConfig
) -> None:
    path = _file(tmp_path_factory.getbasetemp(), config.to_yaml())
    assert load_trial(path, {}) == config


@pytest.mark.parametrize("word", ["1e3", "1_0E-5", "+1.5e2", "yes", "null", "~", "007", "2020-01-01", "12:30", "#a"])
def test_a_column_name_that_looks_like_another_type_stays_a_string(tmp_path: Path, word: str) -> None:
    config = TrialConfig(data=DataConfig(path="own/texts.csv", text=word))
    assert load_trial(_file(tmp_path, config.to_yaml()), {}).data.text == word


@settings(max_examples=50, deadline=None)
@given(config=_CONFIGS)
def test_a_config_is_determined_by_its_settings(config: TrialConfig) -> None:
    assert list(config.settings()) == setting_names()
    assert TrialConfig(data=DataConfig(path="own/texts.csv")).with_settings(config.settings()) == config


def test_with_settings_changes_only_the_named_settings() -> None:
    base = TrialConfig()
    changed = base.with_settings({"model.units": 8, "train.seed": 3})
    different = {name for name, value in changed.settings().items() if value != base.settings()[name]}
    assert different == {"model.units", "train.seed"}
    assert base == TrialConfig()


def test_a_config_is_immutable() -> None:
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        TrialConfig().model.units = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ({}, None),
        ({"kind": "none", "threshold": 5.0}, None),
        ({"kind": "value"}, 1.0),
        ({"kind": "norm", "threshold": None}, 1.0),
        ({"kind": "global_norm", "threshold": 0.25}, 0.25),
    ],
)
def test_the_clip_threshold_is_one_by_default_and_none_without_clipping(
    values: dict[str, object], threshold: float | None
) -> None:
    assert ClipConfig.model_validate(values).threshold == threshold


def test_changing_the_clip_kind_adjusts_the_threshold() -> None:
    on = TrialConfig().with_settings({"clip.kind": "norm"})
    assert on.clip.threshold == 1.0
    assert on.with_settings({"clip.kind": "none"}).clip.threshold is None


def test_the_best_epoch_is_selected_by_the_monitor_by_default() -> None:
    assert load_trial(None, {"train.monitor": "val_loss"}).train.best_metric == "val_loss"
    assert load_trial(None, {"train.checkpoint_metric": "val_loss"}).train.best_metric == "val_loss"
    assert load_trial(None, {}).train.best_metric == "val_accuracy"


def test_the_default_name_of_an_own_file_is_its_file_name() -> None:
    assert load_trial(None, {"data.path": "folder/tweets.v2.csv"}).data.name == "tweets.v2"
    assert load_trial(None, {"data.path": "folder/tweets.csv", "data.name": "mine"}).data.name == "mine"


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", "/etc/b"])
def test_a_path_is_not_a_valid_data_set_name(name: str) -> None:
    """The name becomes the name of a folder in the home."""
    with pytest.raises(ConfigError, match=r"data\.name"):
        load_trial(None, {"data.path": "texts.csv", "data.name": name})


def test_assignments_override_the_file(tmp_path: Path) -> None:
    path = _file(tmp_path, "model: {units: 8, layers: 2}\n")
    model = load_trial(path, {"model.units": 16}).model
    assert (model.units, model.layers) == (16, 2)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_trial(_file(tmp_path, ""), {}) == TrialConfig()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {unit: 8}", "model.unit: unknown setting; did you mean model.units?"),
        ("modle: {units: 8}", "modle: unknown setting; did you mean model?"),
        ("model: 8", "model: got 8, expected a mapping of settings"),
        ("model: {units: many}", "model.units: got 'many', expected an integer"),
        ("model: {units: 8.0}", "model.units: got 8.0, expected an integer"),
        ("model: {units: true}", "model.units: got True, expected an integer"),
        ("model: {units: 0}", "model.units: got 0, expected greater than or equal to 1"),
        ("model: {bidirectional: 1}", "model.bidirectional: got 1, expected a boolean"),
        ("model: {cell: lstmm}", "model.cell: got 'lstmm'; did you mean lstm?"),
        ("model: {cell: [lstm]}", "model.cell: got ['lstm']"),
        ("model: {pooling: avg}", "model.pooling: got 'avg', expected 'last', 'mean', 'max' or 'attention'"),
        ("model: {dropout: 1}", "model.dropout: got 1, expected less than 1"),
        ("data: {name: imbd}", "did you mean imdb?"),
        ("data: {path: imdb.csv}", "'imdb' is a built-in data set; give your file"),
        ("data: {vocab_size: 3}", "data.vocab_size: got 3, expected greater than or equal to 4"),
        ("train: {learning_rate: .nan}", "train.learning_rate: got nan, expected a finite number"),
        ("train: {monitor: val_acuracy}", "train.monitor: got 'val_acuracy', which no trial reports; did you mean"),
        ("train: {checkpoint_metric: f1}", "train.checkpoint_metric: got 'f1', which no trial reports; expected one"),
        ("train: {checkpoint_metric: [val_loss]}", "train.checkpoint_metric: got ['val_loss']"),
        ("clip: {kind: norm, threshold: -1}", "clip.threshold: got -1, expected greater than 0"),
        ("train: {weight_decay: 0.1}", "train: weight_decay: got 0.1 with optimizer: adam, which has none; leave it"),
        ("train: {optimizer: adamw, weight_decay: -1}", "train.weight_decay: got -1, expected greater than or equal"),
        ("data: {name: reviews, split: by_film}", "data: split: got by_film for reviews, expected imdb, whose films"),
        (
            "data: {path: a.csv, split: by_film}",
            "split: got by_film for a, expected imdb, whose films are known; use",
        ),
        ("data: {group: author}", "data: group: got 'author' for the built-in data set imdb, which has no columns; l"),
        ("data: {path: a.csv, group: author, split: tail}", "data: group: got 'author' with split: tail, which cuts"),
        ("data: {path: a.csv, group: ''}", "data.group: got '', expected"),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    path = _file(tmp_path, text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_trial(path, {})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert expected in line


def test_all_faults_of_file_and_assignments_come_at_once(tmp_path: Path) -> None:
    path = _file(tmp_path, "model: {unit: 8, layers: 0}\ntrain: {epochs: none}\n")
    with pytest.raises(ConfigError) as caught:
        load_trial(path, {"clip.knd": "norm", "train.batch_size": 0})
    places = [fault.split(": ")[0] for fault in caught.value.faults]
    assert sorted(places) == ["--set clip.knd", "model.layers", "model.unit", "train.batch_size", "train.epochs"]
    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml: no such file"):
        load_trial(tmp_path / "gone.yaml", {})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("model.units=64", "model.units", 64),
        ("train.learning_rate=1e-3", "train.learning_rate", 0.001),
        (" model.cell =gru", "model.cell", "gru"),
        ("model.bidirectional=true", "model.bidirectional", True),
        ("train.patience=null", "train.patience", None),
        ("data.text=a=b", "data.text", "a=b"),
    ],
)
def test_an_assignment_is_a_name_and_a_yaml_value(text: str, name: str, value: object) -> None:
    assert parse_assignment(text) == (name, value)


@pytest.mark.parametrize("text", ["model.units", "=5", "", "model.units=[1"])
def test_an_invalid_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_assignment(text)


def test_one_settings_value_is_checked_against_a_base() -> None:
    assert check_setting(TrialConfig(), "model.units", 8) is None
    assert check_setting(TrialConfig(), "model.units", 0) == "got 0, expected greater than or equal to 1"


def test_another_optimizer_than_adamw_keeps_no_decay_by_accident() -> None:
    adamw = TrialConfig().with_settings({"train.optimizer": "adamw"})
    assert adamw.train.weight_decay is None, "the default of Keras, as in earlier versions"
    assert adamw.with_settings({"train.optimizer": "adam"}).train.weight_decay is None
    assert adamw.with_settings({"train.weight_decay": 0.1}).train.weight_decay == 0.1


def test_the_films_of_imdb_and_a_column_of_an_own_file_are_groups() -> None:
    assert not DataConfig().keeps_groups
    assert DataConfig(split="by_film").keeps_groups
    assert DataConfig(path="a.csv", group="author").keeps_groups
