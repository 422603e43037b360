"""One trial's settings: all that `data`, `model` and `trial` ever see of an experiment."""

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
from rnnexp.errors import ConfigError, did_you_mean

Value = bool | int | float | str | None
"""What one setting can be."""

_DATA_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"

SECTIONS = ("data", "model", "train", "clip")


def _known_cell(name: object) -> object:
    if not isinstance(name, str) or name not in names.cells():
        raise ValueError(f"got {name!r}{did_you_mean(str(name), names.cells())}")
    return name


def _known_metric(name: object) -> object:
    if name is not None and (not isinstance(name, str) or name not in names.METRICS):
        raise ValueError(f"got {name!r}, which no trial reports{did_you_mean(str(name), names.METRICS)}")
    return name


def _names_schema(kind: str) -> Any:
    return lambda schema: schema.update(enum=list(getattr(names, kind)()))


Cell = Annotated[str, BeforeValidator(_known_cell), Field(json_schema_extra=_names_schema("cells"))]
Metric = Annotated[str, BeforeValidator(_known_metric), Field(json_schema_extra={"enum": [*names.METRICS]})]


class Section(BaseModel):
    """A frozen part of a configuration that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which texts, and how they are cut and parted."""

    path: str | None = Field(None, description="your own file: .csv, .tsv, .jsonl or .parquet")
    name: str = Field("imdb", description="a built-in data set, or a label for your own file")
    text: str = Field("text", description="your file's column with the texts")
    label: str = Field("label", description="your file's column with the labels")
    vocab_size: int = Field(10_000, ge=4, description="ids kept, the three reserved ones among them")
    maxlen: int = Field(400, ge=1, description="words kept of each review: the last ones")
    split: Literal["stratified", "tail"] = Field(
        "stratified", description="the validation part: drawn from each class by seed, or the last rows"
    )
    validation_split: float = Field(0.2, gt=0, lt=1, description="share of the training rows held out")
    train_samples: int | None = Field(None, ge=1, description="train on so many reviews only")
    padding: Literal["bucketed", "fixed"] = Field(
        "bucketed",
        description="batches of similar length, padded right; or every review padded left to maxlen",
    )
    seed: int = Field(0, ge=0, description="draws the split, and generated reviews")
    fallback: Literal["reviews"] | None = Field(
        None, description="generated reviews instead, where the data cannot be had"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_a_file(cls, values: Any) -> Any:
        """A file is found from any folder later; one without a name is named after itself."""
        if isinstance(values, dict) and isinstance(values.get("path"), str):
            values = {**values, "path": str(Path(values["path"]).expanduser().absolute())}
        if isinstance(values, dict) and values.get("path") and "name" not in values:
            return {
                **values,
                "name": re.sub(r"[^A-Za-z0-9._-]+", "-", Path(str(values["path"])).stem).strip("-.") or "own",
            }
        return values

    @field_validator("name")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        if not re.fullmatch(_DATA_NAME, name):
            raise ValueError(f"got {name!r}, expected a name of letters, digits, '.', '_' and '-'")
        path = info.data.get("path")
        if path is None and name not in names.data_sets():
            hint = did_you_mean(name, names.data_sets())
            raise ValueError(
                f"got {name!r}, which is no built-in data set{hint} A file of your own goes under data.path"
            )
        if path is not None and name in names.data_sets():
            raise ValueError(f"{name!r} is a built-in data set; give your file {path} another name")
        return name


class ModelConfig(Section):
    """The network between the tokens and the answer."""

    cell: Cell = Field("lstm", description="the recurrent cell")
    units: int = Field(64, ge=1, description="hidden units H of each layer and direction")
    embedding_dim: int = Field(64, ge=1, description="width E of the word vectors")
    layers: int = Field(1, ge=1, le=16, description="recurrent layers, one on another")
    bidirectional: bool = Field(False, description="read each review in both directions")
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last", description="how the states of a review become one vector"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share dropped after the embedding and before the head")
    recurrent_dropout: float = Field(0.0, ge=0, lt=1, description="share of the state dropped at each step")


class TrainConfig(Section):
    """How the network is fitted."""

    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"] = Field("adam", description="the update rule")
    learning_rate: float = Field(1e-3, gt=0, description="step size, constant")
    batch_size: int = Field(128, ge=1, description="reviews a step")
    epochs: int = Field(5, ge=1, description="passes over the training part, at most")
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without a better monitor")
    monitor: Metric = Field("val_accuracy", description="what patience watches; a study's objective")
    checkpoint_metric: Metric | None = Field(None, description="what names the best epoch; the monitor where not given")
    seed: int = Field(0, ge=0, description="draws initial weights, dropout and the order of batches")

    @property
    def best_metric(self) -> str:
        """The metric that names the best epoch."""
        return self.checkpoint_metric or self.monitor


class ClipConfig(Section):
    """What bounds the gradients; the threshold is 1 where it is needed and not given."""

    kind: Literal["none", "value", "norm", "global_norm"] = Field(
        "none", description="bound each entry, each variable's norm, or the norm of all"
    )
    threshold: float | None = Field(None, gt=0, description="the bound; without meaning for none")

    @model_validator(mode="before")
    @classmethod
    def _threshold_where_it_has_a_meaning(cls, values: Any) -> Any:
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
        """Returns every setting under its dotted name."""
        return {
            f"{section}.{key}": value for section, values in self.model_dump().items() for key, value in values.items()
        }

    def with_settings(self, settings: Mapping[str, Value]) -> "TrialConfig":
        """Returns a copy in which the named settings have other values.

        Raises:
            pydantic.ValidationError: if a value or a combination is refused.
        """
        values = self.model_dump()
        for name, value in settings.items():
            section, _, key = name.partition(".")
            values.setdefault(section, {})[key] = value
        return TrialConfig.model_validate(values)

    def to_yaml(self) -> str:
        """Returns the file that `rnnexp train` takes."""
        return dump(self.model_dump())


def setting_names() -> list[str]:
    """Returns every dotted name, in the order of the configuration."""
    return list(TrialConfig().settings())


_MEANINGLESS_WITHOUT: dict[str, dict[str, Value]] = {"clip.threshold": {"clip.kind": "norm"}}
"""Settings that some values of others switch off; they are checked where they count."""


def check_setting(base: TrialConfig, name: str, value: Any) -> str | None:
    """Returns what is wrong with one setting's value, or None."""
    try:
        base.with_settings({**_MEANINGLESS_WITHOUT.get(name, {}), name: value})
    except ValidationError as error:
        return "; ".join(line.split(": ", 1)[-1] for line in validation_errors.lines(error))
    return None


def load_trial(path: Path | None, assignments: Mapping[str, Any]) -> TrialConfig:
    """Builds one run's settings from a file, or from the defaults, and `--set` assignments.

    Raises:
        UserError: if the file cannot be read.
        ConfigError: with every fault of the file and the assignments.
    """
    source = str(path) if path else "--set"
    values: dict[str, Any] = load_mapping(path) if path else {}
    known = setting_names()
    problems = [
        f"--set {name}: unknown setting{did_you_mean(name, known)}" for name in assignments if name not in known
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
