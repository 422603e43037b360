"""The versions of a study's search space: wider ranges and further choices are taken in, and written down."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from pydantic import TypeAdapter

from rnnexp.space import Distribution, Space, widening
from rnnexp.storage import sampling

LINEAGE = "rnnexp:lineage"


@dataclass(frozen=True)
class SpaceVersion:
    """A search space that is wider than the one before.

    Attributes:
        version: from 2; a study begins with 1.
        from_trial: the first that was drawn from it.
        time: when it was taken in, in seconds since 1970.
        changes: what has become wider, a line each.
    """

    version: int
    from_trial: int
    time: float
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return f"version {self.version} of the search space, from trial {self.from_trial}: {'; '.join(self.changes)}"


def versions(study: optuna.Study) -> tuple[SpaceVersion, ...]:
    """Returns the later versions of a study's search space; none where it never changed."""
    stored = study.user_attrs.get(LINEAGE, [])
    return tuple(SpaceVersion(**{**values, "changes": tuple(values["changes"])}) for values in stored)


def changes(old: Mapping[str, Any], new: Space) -> tuple[list[str], list[str]]:
    """Compares two search spaces.

    Args:
        old: the stored space, as plain values.
        new: the one that is asked for.

    Returns:
        What has become wider, a line each; and what makes that impossible to go on with, a line each.
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


def append_space_version(study: optuna.Study, wider: list[str]) -> list[dict[str, Any]]:
    """Returns the lineage, as it is stored, with a version for what has become wider."""
    known = versions(study)
    n_trials = len(study.get_trials(deepcopy=False))
    return [asdict(one) for one in (*known, SpaceVersion(len(known) + 2, n_trials, time.time(), tuple(wider)))]


def rewrite(storage: optuna.storages.RDBStorage, study_id: int, space: Space, attributes: Mapping[str, Any]) -> None:
    """Gives all trials of a study the distributions of a wider space, in one transaction with what describes it.

    Optuna refuses a categorical setting whose choices have changed and keeps a value as its place among them; so both
    are written anew. Trials keep their values.

    Args:
        storage: Optuna's.
        study_id: the study's, in it.
        space: wider than the one before.
        attributes: of the study, replaced in the same transaction.
    """
    with _create_scoped_session(storage.scoped_session) as session:
        rows = (
            session.query(models.TrialParamModel)
            .join(models.TrialModel, models.TrialModel.trial_id == models.TrialParamModel.trial_id)
            .filter(models.TrialModel.study_id == study_id)
        )
        for row in rows:
            before = optuna.distributions.json_to_distribution(row.distribution_json)
            after = sampling.distribution(space[row.param_name])
            row.param_value = after.to_internal_repr(before.to_external_repr(row.param_value))
            row.distribution_json = optuna.distributions.distribution_to_json(after)
        study = models.StudyModel.find_or_raise_by_id(study_id, session)
        for key, value in attributes.items():
            found = models.StudyUserAttributeModel.find_by_study_and_key(study, key, session)
            if found is None:
                session.add(models.StudyUserAttributeModel(study_id=study_id, key=key, value_json=json.dumps(value)))
            else:
                found.value_json = json.dumps(value)
