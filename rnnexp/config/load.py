"""Reads a sweep file and reports all its faults at once: where, what was received, what was expected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rnnexp import space as spaces
from rnnexp.config import validation_errors
from rnnexp.config.files import load_commented
from rnnexp.config.objectives import Objective, read_constraints, read_objectives
from rnnexp.config.sweep import Budget, EngineConfig, Keep, Limits, Pruner, Sampler, SweepConfig
from rnnexp.config.trial import SECTIONS, TrialConfig, check_setting, setting_names
from rnnexp.errors import ConfigError, did_you_mean, short, shown

_OTHER_ROWS = "trials on different texts cannot be ranked; create one study for each value"
NOT_SEARCHED = {
    "train.monitor": "it is always the metric of the objective",
    "data.fallback": "it is decided once, when the study starts",
    **dict.fromkeys(("data.name", "data.path", "data.text", "data.label", "data.group"), _OTHER_ROWS),
    **dict.fromkeys(("data.split", "data.validation_split", "data.seed"), _OTHER_ROWS),
}
"""Settings that a search space cannot contain, and the reason."""

_PARTS: dict[str, TypeAdapter[Any]] = {
    "sampler": TypeAdapter(Sampler),
    "pruner": TypeAdapter(Pruner),
    "budget": TypeAdapter(Budget),
    "limits": TypeAdapter(Limits),
    "keep": TypeAdapter(Keep),
    "engine": TypeAdapter(EngineConfig),
}


def load_sweep(path: Path, assignments: Mapping[str, Any] | None = None) -> SweepConfig:
    """Reads and checks a sweep file.

    Args:
        path: the YAML file.
        assignments: values from `--set` and other flags, by the dotted name of a setting (`model.units`; it is removed
            from the search space) or of another part of the sweep file (`budget.trials`, `study`).

    Raises:
        UserError: if the file cannot be read.
        ConfigError: with all faults of the file.
    """
    values, comment = load_commented(path)
    values.setdefault("question", comment)
    return check_sweep(values, str(path), assignments)


def check_sweep(values: dict[str, Any], source: str, assignments: Mapping[str, Any] | None = None) -> SweepConfig:
    """Checks the content of a sweep file.

    Args:
        values: the content.
        source: where it is from, for messages.
        assignments: as for `load_sweep`.

    Raises:
        ConfigError: with all faults.
    """
    reader = _Reader(values)
    reader.assign(assignments or {})
    config = reader.read()
    if reader.faults or config is None:
        raise ConfigError(source, reader.faults)
    return config


class _Reader:
    """Reads the values of one file and collects their faults."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.faults: list[str] = []
        self.settings = setting_names()

    def assign(self, assignments: Mapping[str, Any]) -> None:
        for name, value in assignments.items():
            head, _, key = name.partition(".")
            if head == "objective" and isinstance(self.values.get(head), list):
                self.faults.append(f"--set {short(name)}: the file has a list of objectives; change it there")
            elif (head in _PARTS or head == "objective") and key:
                self._put(self.values, head, key, value)
            elif name == "study":
                self.values["study"] = value
            elif name in self.settings:
                base = self.values.setdefault("base", {}) or {}
                self.values["base"] = base
                if isinstance(base, dict):
                    self._put(base, head, key, value)
                self._pin(name)
            else:
                parts = [f"{part}.…" for part in ("objective", *_PARTS)]
                self.faults.append(f"--set {short(name)}: unknown setting{did_you_mean(name, self.settings + parts)}")

    @staticmethod
    def _put(values: dict[str, Any], head: str, key: str, value: Any) -> None:
        part = values.get(head) or {}
        if isinstance(part, dict):
            values[head] = {**part, key: value}

    def _pin(self, name: str) -> None:
        """Removes a setting that has a fixed value from the search space and from the first trials."""
        tries = self.values.get("try")
        for part in [self.values.get("space"), *(tries if isinstance(tries, list) else [])]:
            if isinstance(part, dict):
                part.pop(name, None)

    def read(self) -> SweepConfig | None:
        known = ["study", "question", "base", "try", "space", "constraints", "objective", *_PARTS]
        for key in self.values:
            if key not in known:
                self.faults.append(f"{short(key)}: unknown setting{did_you_mean(key, known)}")
        parts = {name: self._part(name, adapter) for name, adapter in _PARTS.items() if name in self.values}
        parts |= self._objectives(parts.get("pruner"))
        base = self._base(parts.get("objective"))
        n_faults = len(self.faults)
        space = self._space(base or TrialConfig())
        # Rows of `try` cannot be checked against a space that has faults.
        tries = self._tries(space if len(self.faults) == n_faults else None)
        self._check_study_name()
        question = self.values.get("question")
        if question is not None and not isinstance(question, str):
            self.faults.append(f"question: got {shown(question)}, expected a text")
        self._check_budget(parts, space)
        if self.faults or base is None:
            return None
        try:
            return SweepConfig.model_validate(
                {"study": self.values["study"], "question": question, "base": base, "try": tries, "space": space}
                | {name: part for name, part in parts.items() if part is not None}
            )
        except ValidationError as error:
            self.faults += validation_errors.lines(error)
            return None

    def _objectives(self, pruner: Any) -> dict[str, Any]:
        """Returns what ranks the trials, under the names of the configuration's fields."""
        main, further = read_objectives(self.values.get("objective"), self.faults)
        if further and pruner is not None and pruner.name != "none":
            self.faults.append(
                f"pruner: got {pruner.name}, expected none: Optuna cannot prune with several objectives; leave it out"
            )
        constraints = read_constraints(self.values.get("constraints"), self.faults)
        return {"objective": main, "further_objectives": further, "constraints": constraints}

    def _part(self, name: str, adapter: TypeAdapter[Any]) -> Any:
        try:
            value = self._without_pause(self.values[name]) if name == "pruner" else self.values[name]
            return adapter.validate_python({} if value is None else value)
        except ValidationError as error:
            names = [f"{name}.{field}" for field in _fields(adapter)]
            self.faults += validation_errors.lines(error, name, names, within_union=name in ("sampler", "pruner"))
            return None

    def _without_pause(self, pruner: Any) -> Any:
        """Reports `pause` for a pruner that cannot pause trials; returns the pruner's values without it."""
        kind = pruner.get("name") if isinstance(pruner, dict) and "pause" in pruner else None
        if kind not in ("none", "median"):
            return pruner
        self.faults.append(
            f"pruner.pause: the pruner {kind} has no rungs at which a trial could resume; use successive_halving or "
            "hyperband, or leave it out"
        )
        return {key: value for key, value in pruner.items() if key != "pause"}

    def _check_study_name(self) -> None:
        try:
            SweepConfig(study=self.values.get("study", ""))
        except ValidationError:
            got = shown(self.values["study"]) if "study" in self.values else "nothing"
            self.faults.append(
                f"study: got {got}, expected a name of letters, digits, '.', '_' and '-' "
                "that begins with a letter or digit"
            )

    def _base(self, objective: Objective | None) -> TrialConfig | None:
        values = self.values.get("base") or {}
        if not isinstance(values, dict):
            self.faults.append(f"base: got {shown(values)}, expected the sections {', '.join(SECTIONS)}")
            return None
        monitor = objective.metric if objective else "val_accuracy"
        train = values.get("train") or {}
        if isinstance(train, dict):
            if train.get("monitor", monitor) != monitor and (objective or "objective" not in self.values):
                self.faults.append(
                    f"base.train.monitor: got {shown(train['monitor'])}, expected the metric of the objective, "
                    f"{monitor}; leave it out"
                )
            values = {**values, "train": {**train, "monitor": monitor}}
        try:
            return TrialConfig.model_validate(values)
        except ValidationError as error:
            known = [f"base.{name}" for name in [*self.settings, *SECTIONS]]
            self.faults += validation_errors.lines(error, "base", known)
            return None

    def _space(self, base: TrialConfig) -> dict[str, Any]:
        values = self.values.get("space") or {}
        if not isinstance(values, dict):
            self.faults.append(f"space: got {shown(values)}, expected settings and their distributions")
            return {}
        adapter: TypeAdapter[Any] = TypeAdapter(spaces.Distribution)
        space: dict[str, Any] = {}
        for name, value in values.items():
            place = f"space.{name}"
            if name not in self.settings:
                self.faults.append(f"space: {short(name)}: unknown setting{did_you_mean(name, self.settings)}")
                continue
            if name in NOT_SEARCHED and not (name == "data.seed" and self._every_trial_is_given()):
                self.faults.append(f"{place}: cannot be searched: {NOT_SEARCHED[name]}")
                continue
            try:
                distribution = adapter.validate_python(value)
            except ValidationError as error:
                self.faults += validation_errors.lines(error, place, _keys(place, value), within_union=True)
                continue
            space[name] = distribution
            for extreme in distribution.extremes():
                condition = {control: allowed[0] for control, allowed in distribution.when.items() if allowed}
                problem = check_setting(_with(base, condition), name, extreme)
                if problem:
                    self.faults.append(f"{place}: {shown(extreme)} is not allowed: {problem}")
        threshold = space.get("clip.threshold")
        if threshold and not threshold.when and "clip.kind" not in space and base.clip.kind == "none":
            self.faults.append(
                "space.clip.threshold: has no effect, because clip.kind is none; set clip.kind or add it to space"
            )
        self._check_decay(space, base)
        self._check_conditions(space, base)
        return space

    def _every_trial_is_given(self) -> bool:
        """Tells whether `try` gives each trial a seed of the split: `certify` compares on seeds that all share."""
        budget, tries = self.values.get("budget"), self.values.get("try")
        n_trials = budget.get("trials") if isinstance(budget, dict) else None
        return (
            isinstance(n_trials, int)
            and isinstance(tries, list)
            and n_trials <= len(tries)
            and all(isinstance(row, dict) and "data.seed" in row for row in tries)
        )

    def _check_decay(self, space: dict[str, Any], base: TrialConfig) -> None:
        """Only adamw has a weight decay: the space must not give one to a trial with another optimizer."""
        if "train.weight_decay" not in space:
            return
        optimizer = space.get("train.optimizer")
        possible = space["train.weight_decay"].when.get(
            "train.optimizer", optimizer.choice if isinstance(optimizer, spaces.Choice) else (base.train.optimizer,)
        )
        others = [str(name) for name in possible if name != "adamw"]
        if others:
            self.faults.append(
                f"space.train.weight_decay: got {', '.join(others)} as train.optimizer, which has none; use adamw, "
                "or add when: {train.optimizer: adamw}"
            )

    def _check_conditions(self, space: dict[str, Any], base: TrialConfig) -> None:
        for name, distribution in space.items():
            for control, allowed in distribution.when.items():
                place = f"space.{name}.when.{short(control)}"
                if not allowed:
                    self.faults.append(f"{place}: got no value, so {name} never applies; list at least one")
                if control not in self.settings:
                    self.faults.append(f"{place}: unknown setting{did_you_mean(control, self.settings)}")
                    continue
                for value in allowed:
                    possible = space[control].holds(value) if control in space else True
                    if not possible:
                        self.faults.append(
                            f"{place}: got {shown(value)}, which {control} never has; it is {short(space[control])}"
                        )
                    elif control not in space and (problem := check_setting(base, control, value)):
                        self.faults.append(f"{place}: {problem}")
        try:
            spaces.ordered(space)
        except ValueError as error:
            self.faults.append(f"space: {error}")

    def _tries(self, space: dict[str, Any] | None) -> list[dict[str, Any]]:
        rows = self.values.get("try") or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.faults.append("try: expected a list of settings, as in - {model.cell: lstm, model.units: 64}")
            return []
        for index, row in enumerate(rows):
            for name, value in row.items():
                place = f"try.{index}.{short(name)}"
                if name not in self.settings:
                    self.faults.append(f"{place}: unknown setting{did_you_mean(name, self.settings)}")
                elif space is None:
                    continue
                elif name not in space:
                    self.faults.append(f"{place}: not in the search space; add it to space, or move it to base")
                elif not space[name].holds(value):
                    self.faults.append(f"{place}: got {shown(value)}, expected {short(space[name])}")
        return rows

    def _check_budget(self, parts: dict[str, Any], space: dict[str, Any]) -> None:
        sampler, budget = parts.get("sampler"), parts.get("budget")
        if sampler is not None and sampler.name == "grid":
            for name, distribution in space.items():
                if distribution.grid() is None:
                    self.faults.append(
                        f"space.{name}: got {short(distribution)}; a grid needs a choice, an int without log, or "
                        f"a step, and at most {spaces.MAX_GRID:,} values"
                    )
        elif ("budget" not in self.values or budget is not None) and (budget is None or budget.trials is None):
            self.faults.append("budget.trials: missing; set the number of trials of the study")


def _with(base: TrialConfig, settings: dict[str, Any]) -> TrialConfig:
    """Returns the base with the settings of a condition, so that a conditional setting is checked where it applies."""
    try:
        return base.with_settings(settings)
    except ValidationError:
        return base


def _fields(adapter: TypeAdapter[Any]) -> list[str]:
    schema = adapter.json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({field for part in parts for field in part.get("properties", {})})


def _keys(place: str, value: Any) -> list[str]:
    kind = next((kind for kind in ("choice", "int", "float") if isinstance(value, dict) and kind in value), "choice")
    extra = [] if kind == "choice" else ["log", "step"]
    return [f"{place}.{key}" for key in [kind, "when", *extra]]
