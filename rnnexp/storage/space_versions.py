"""The versions of a study's search space.

A study may resume with a wider space: a wider range, or more choices. The change is stored as a new version, and the
earlier trials are rewritten to match it, so that the sampler can use them. It may also resume with more entries at the
end of `try`. Any other change of the study's definition is refused.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from pydantic import TypeAdapter

from rnnexp.config.sweep import SweepConfig, differences, with_defaults
from rnnexp.errors import StudyError
from rnnexp.space import Distribution, Space, widening
from rnnexp.storage import metadata, sampling
from rnnexp.storage.metadata import SpaceVersion

_MAX_LISTED = 6
"""Changes that an error message lists."""


def apply_new_definition(
    storage: optuna.storages.RDBStorage, study: optuna.Study, definition: dict[str, Any], config: SweepConfig
) -> None:
    """Stores a changed definition of a study, and rewrites its trials for the new search space.

    Args:
        storage: Optuna's database.
        study: the stored study; load it again afterwards.
        definition: the new one, as `metadata.build_definition` returns it.
        config: the sweep from which the new definition was built.

    Raises:
        StudyError: if more changed than ranges and choices that are wider and a longer `try`; nothing is stored then.
    """
    stored = with_defaults(metadata.definition(study), config)
    given = definition["try"][: len(stored["try"])]  # entries that were added at the end run next
    other_changes = differences({**stored, "space": {}}, {**definition, "space": {}, "try": given})
    wider, faults = _compare(stored["space"], config.space)
    if other_changes or faults:
        raise StudyError(_refusal(config.study, [*other_changes, *faults]))
    attributes: dict[str, Any] = {metadata.DEFINITION: definition}
    if wider:  # otherwise only the program is newer: it has settings that the stored definition lacks
        attributes[metadata.SPACE_VERSIONS] = _with_next_version(study, wider)
    _rewrite(storage, study._study_id, config.space, attributes)


def _refusal(name: str, changes: list[str]) -> str:
    listed = "; ".join(changes[:_MAX_LISTED]) + ("; …" if len(changes) > _MAX_LISTED else "")
    return (
        f"study {name} was started with other settings: {listed}; undo the change to resume the study (only wider "
        "ranges, additional choices, and entries at the end of try are accepted), or start another study with "
        "--study NAME"
    )


def _compare(old: Mapping[str, Any], new: Space) -> tuple[list[str], list[str]]:
    """Compares two search spaces.

    Args:
        old: the stored space, as plain values.
        new: the space of the sweep file.

    Returns:
        What is wider, and what prevents the study from resuming; one line each.
    """
    wider, faults = [], []
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            faults.append(f"{name}: was {'searched, is fixed' if name in old else 'fixed, is searched'}")
            continue
        before = TypeAdapter(Distribution).validate_python(old[name])
        fault = widening(before, new[name])
        if fault is not None:
            faults.append(f"{name}: was {before}, is {new[name]} ({fault})")
        elif str(before) != str(new[name]):
            wider.append(f"{name}: {before} → {new[name]}")
    return wider, faults


def _with_next_version(study: optuna.Study, wider: list[str]) -> list[dict[str, Any]]:
    """Returns all versions in the form in which they are stored, with a new one that lists what is wider."""
    known = metadata.space_versions(study)
    n_trials = len(study.get_trials(deepcopy=False))
    return [asdict(version) for version in (*known, SpaceVersion(len(known) + 2, n_trials, time.time(), tuple(wider)))]


def _rewrite(storage: optuna.storages.RDBStorage, study_id: int, space: Space, attributes: Mapping[str, Any]) -> None:
    """Gives all trials of a study the distributions of the new space, and sets attributes, in one transaction.

    Optuna refuses a categorical setting whose choices changed, and stores a value as its index among the choices. So
    both the distribution and the index are rewritten. Each trial keeps its values.

    Args:
        storage: Optuna's database.
        study_id: the study's id in it.
        space: the new search space, at least as wide as the old one.
        attributes: user attributes of the study to set.
    """
    with _create_scoped_session(storage.scoped_session) as session:
        rows = (
            session.query(models.TrialParamModel)
            .join(models.TrialModel, models.TrialModel.trial_id == models.TrialParamModel.trial_id)
            .filter(models.TrialModel.study_id == study_id)
        )
        for row in rows:
            old = optuna.distributions.json_to_distribution(row.distribution_json)
            new = sampling.distribution(space[row.param_name])
            row.param_value = new.to_internal_repr(old.to_external_repr(row.param_value))
            row.distribution_json = optuna.distributions.distribution_to_json(new)
        study = models.StudyModel.find_or_raise_by_id(study_id, session)
        for key, value in attributes.items():
            stored = models.StudyUserAttributeModel.find_by_study_and_key(study, key, session)
            if stored is None:
                session.add(models.StudyUserAttributeModel(study_id=study_id, key=key, value_json=json.dumps(value)))
            else:
                stored.value_json = json.dumps(value)
