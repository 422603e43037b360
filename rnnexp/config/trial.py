"""The settings of one trial. The packages `data`, `model` and `trial` see nothing else of a sweep file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rnnexp.config import names, validation_errors
from rnnexp.config.files import dump, load_mapping
from rnnexp.errors import ConfigError, did_you_mean, short, shown

Value = bool | int | float | str | None
"""The types that the value of a setting can have."""

_DATA_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"

SECTIONS = ("data", "model", "train", "clip")


def _bare(name: object) -> str:
    """Returns a name without quotes, to compare it with others."""
    return shown(name).strip("'")


def _known_cell(name: object) -> object:
    if not isinstance(name, str) or name not in names.cells():
        raise ValueError(f"got {shown(name)}{did_you_mean(_bare(name), names.cells())}")
    return name


def _known_metric(name: object) -> object:
    if name is not None and (not isinstance(name, str) or name not in names.METRICS):
        raise ValueError(f"got {shown(name)}, which no trial reports{did_you_mean(_bare(name), names.METRICS)}")
    return name


def _names_schema(kind: str) -> Any:
    return lambda schema: schema.update(enum=list(getattr(names, kind)()))


Cell = Annotated[str, BeforeValidator(_known_cell), Field(json_schema_extra=_names_schema("cells"))]
Metric = Annotated[str, BeforeValidator(_known_metric), Field(json_schema_extra={"enum": [*names.METRICS]})]


class Section(BaseModel):
    """A frozen part of a configuration; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """The texts, how they are split into training and validation part, and how they are cut and padded."""

    path: str | None = Field(
        None, description="path of your own file of texts: .csv, .tsv, .jsonl or .parquet; null for a built-in data set"
    )
    name: str = Field(
        "imdb",
        description="name of a built-in data set (`rnnexp data list`), or any name for your own file; default: "
        "its file name",
    )
    text: str = Field("text", description="name of the column with the texts, in your own file")
    label: str = Field("label", description="name of the column with the labels, in your own file")
    group: str | None = Field(
        None,
        min_length=1,
        description="name of a column of your own file, for example the author or the film; rows with the same value "
        "are all in one part; null: each row is drawn on its own",
    )
    vocab_size: int = Field(
        10_000,
        ge=4,
        description="size V of the vocabulary, including the reserved ids; less frequent words become unknown",
    )
    maxlen: int = Field(
        400, ge=1, description="largest number of tokens of a text; a longer text keeps its last tokens"
    )
    split: Literal["stratified", "tail", "by_film"] = Field(
        "stratified",
        description="how the held-out rows are chosen: stratified draws the same share of each class; "
        "tail takes the last rows; by_film, of imdb only, draws whole blocks of 50 neighbouring reviews, so that few "
        "films have reviews in both parts (approximate: the data set does not name the films)",
    )
    validation_split: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the rows that is held out for validation; of your own "
        "file, a test part of the same size is held out too",
    )
    train_samples: int | None = Field(
        None, ge=1, description="number of texts to train on; null for all of the training part"
    )
    padding: Literal["bucketed", "fixed"] = Field(
        "bucketed",
        description="bucketed: batches of texts of similar length, padded at the end; "
        "fixed: every text padded to maxlen at its beginning",
    )
    seed: int = Field(0, ge=0, description="seed of the split, of train_samples and of generated texts")
    fallback: Literal["reviews"] | None = Field(
        None, description="data set to use if the named one is not available: reviews are generated film reviews"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_a_file(cls, values: Any) -> Any:
        """Makes the path absolute, so that it is valid in any folder; the file's name is the default of `name`."""
        if isinstance(values, dict) and isinstance(values.get("path"), str):
            values = {**values, "path": str(Path(values["path"]).expanduser().absolute())}
        if isinstance(values, dict) and values.get("path") and "name" not in values:
            return {
                **values,
                "name": re.sub(r"[^A-Za-z0-9._-]+", "-", Path(str(values["path"])).stem).strip("-.") or "own",
            }
        return values

    @property
    def keeps_groups(self) -> bool:
        """Whether the rows are held out in groups: those of one film, or with one value of `group`."""
        return self.group is not None or self.split == "by_film"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        if not re.fullmatch(_DATA_NAME, name):
            raise ValueError(f"got {shown(name)}, expected a name of letters, digits, '.', '_' and '-'")
        path = info.data.get("path")
        if path is None and name not in names.data_sets():
            hint = did_you_mean(name, names.data_sets())
            raise ValueError(
                f"got {shown(name)}, which is not a built-in data set{hint} Name a file of your own in data.path"
            )
        if path is not None and name in names.data_sets():
            raise ValueError(f"{name!r} is a built-in data set; give your file {short(path)} another name")
        return name

    @model_validator(mode="after")
    def _groups_are_known(self) -> "DataConfig":
        if self.split == "by_film" and (self.path is not None or self.name != "imdb"):
            others = "data.group: COLUMN" if self.path is not None else "data.split: stratified"
            raise ValueError(f"split: got by_film for {self.name}, expected imdb, whose films are known; use {others}")
        if self.group is not None and self.path is None:
            raise ValueError(
                f"group: got {self.group!r} for the built-in data set {self.name}, which has no columns; leave it out, "
                "or name your own file in data.path"
            )
        if self.group is not None and self.split == "tail":
            raise ValueError(
                f"group: got {self.group!r} with split: tail, which cuts the last group in two; use split: stratified"
            )
        return self


class ModelConfig(Section):
    """The network: embedding, recurrent layers, pooling, head."""

    cell: Cell = Field("lstm", description="type of the recurrent cell")
    units: int = Field(64, ge=1, description="hidden units H of each recurrent layer and direction")
    embedding_dim: int = Field(64, ge=1, description="size E of the word embeddings")
    layers: int = Field(1, ge=1, le=16, description="number of stacked recurrent layers")
    bidirectional: bool = Field(False, description="whether each text is read in both directions")
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last", description="how the hidden states of a text are combined into one vector"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate after the embedding and before the head")
    recurrent_dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout rate of the recurrent state at each time step"
    )


class TrainConfig(Section):
    """How the network is trained."""

    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"] = Field("adam", description="Keras optimizer")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate; it is constant")
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="decoupled weight decay of adamw: each step subtracts this share, times the learning rate, from "
        "every weight; null: 0.004, the default of Keras; null with another optimizer",
    )
    batch_size: int = Field(128, ge=1, description="number of texts per training step")
    epochs: int = Field(5, ge=1, description="largest number of passes over the training part")
    patience: int | None = Field(
        None, ge=1, description="stop early after this many epochs in which train.monitor did not improve; null: never"
    )
    monitor: Metric = Field(
        "val_accuracy", description="metric that train.patience uses; in a study it is the metric of the objective"
    )
    checkpoint_metric: Metric | None = Field(
        None, description="metric that selects the best epoch; null: the same as train.monitor"
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32",
        description="type of the numbers in a training step; mixed_bfloat16: the layers up to the head compute in "
        "bfloat16, weights, gradients and evaluation stay float32; for GPUs that have bfloat16: on a CPU it is several "
        "times slower than float32",
    )
    seed: int = Field(0, ge=0, description="seed of the initial weights, of dropout and of the order of the batches")

    @model_validator(mode="after")
    def _decay_is_of_adamw(self) -> "TrainConfig":
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay: got {self.weight_decay:g} with optimizer: {self.optimizer}, which has none; leave it "
                "out, or use adamw"
            )
        return self

    @property
    def best_metric(self) -> str:
        """The metric that selects the best epoch."""
        return self.checkpoint_metric or self.monitor


class ClipConfig(Section):
    """Gradient clipping."""

    kind: Literal["none", "value", "norm", "global_norm"] = Field(
        "none",
        description="value clips each entry, norm the norm of each variable's gradient, "
        "global_norm the norm of all gradients together; none: no clipping",
    )
    threshold: float | None = Field(
        None, gt=0, description="largest value or norm; 1 if it is not given; null if clip.kind is none"
    )

    @model_validator(mode="before")
    @classmethod
    def _set_threshold(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("kind", "none") == "none":
                return {**values, "threshold": None}
            if values.get("threshold") is None:
                return {**values, "threshold": 1.0}
        return values


class TrialConfig(Section):
    """The settings of one trial, complete."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    clip: ClipConfig = ClipConfig()

    def settings(self) -> dict[str, Value]:
        """Returns every setting by its dotted name."""
        return {
            f"{section}.{key}": value for section, values in self.model_dump().items() for key, value in values.items()
        }

    def with_settings(self, settings: Mapping[str, Value]) -> "TrialConfig":
        """Returns a copy in which the named settings have other values.

        Raises:
            pydantic.ValidationError: if a value or a combination is not allowed.
        """
        values = self.model_dump()
        for name, value in settings.items():
            section, _, key = name.partition(".")
            values.setdefault(section, {})[key] = value
        return TrialConfig.model_validate(values)

    def to_yaml(self) -> str:
        """Returns the settings as the text of a file for `rnnexp train`."""
        return dump(self.model_dump())


def setting_names() -> list[str]:
    """Returns the dotted names of all settings, in the order of the configuration."""
    return list(TrialConfig().settings())


_APPLIES_WITH: dict[str, dict[str, Value]] = {
    "clip.threshold": {"clip.kind": "norm"},
    "train.weight_decay": {"train.optimizer": "adamw"},
}
"""Conditional settings, and values of other settings with which they apply; they are checked with those."""


def check_setting(base: TrialConfig, name: str, value: Any) -> str | None:
    """Returns why the value of a setting is not allowed, or None if it is."""
    try:
        base.with_settings({**_APPLIES_WITH.get(name, {}), name: value})
    except ValidationError as error:
        return "; ".join(line.split(": ", 1)[-1] for line in validation_errors.lines(error))
    return None


def load_trial(path: Path | None, assignments: Mapping[str, Any]) -> TrialConfig:
    """Builds the settings of one trial from a file, or from the defaults, and `--set` assignments.

    Raises:
        UserError: if the file cannot be read.
        ConfigError: with all faults of the file and the assignments.
    """
    source = str(path) if path else "--set"
    values: dict[str, Any] = load_mapping(path) if path else {}
    known = setting_names()
    problems = [
        f"--set {short(name)}: unknown setting{did_you_mean(name, known)}" for name in assignments if name not in known
    ]
    for name, value in assignments.items():
        section, _, key = name.partition(".")
        if name in known:
            current = values.get(section) or {}
            values[section] = {**current, key: value} if isinstance(current, dict) else current
    try:
        config = TrialConfig.model_validate(values)
    except ValidationError as error:
        problems += validation_errors.lines(error, known=known + list(SECTIONS))
    if problems:
        raise ConfigError(source, problems)
    return config
