"""Deletes what MLflow has of a study: its runs, its models, and the experiment if nothing else is in it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rnnexp.config.names import CERTIFICATION
from rnnexp.home import Home
from rnnexp.tracking.client import DEFAULT_EXPERIMENT, connect
from rnnexp.tracking.ownership import Ownership

_ALL = 3
"""MLflow's `ViewType.ALL`: the active and the deleted runs."""
_PAGE_SIZE = 1000
_DELETED = "rnnexp.deleted"
"""The tag of a run whose study was deleted. MLflow keeps the run, marked as deleted, until `mlflow gc`."""


@dataclass(frozen=True)
class DeletedRecords:
    """What was deleted in MLflow.

    Attributes:
        run_ids: the study's runs.
        model_ids: the models that its runs have logged.
        n_others: the runs and models of others in the study's experiment, which stay; traces count as one.
        n_other_versions: the versions of others of the registered model, which stay.
    """

    run_ids: frozenset[str] = frozenset()
    model_ids: frozenset[str] = frozenset()
    n_others: int = 0
    n_other_versions: int = 0


def delete_experiment(home: Home, ownership: Ownership, known: frozenset[str] = frozenset()) -> DeletedRecords:
    """Deletes the study's runs, models and versions; the experiment and the registered model only if nothing is left.

    A server may have runs of other homes or programs in the same experiment. MLflow only marks an experiment as
    deleted. It is therefore renamed first, so that a new study can use the name.

    Args:
        home: names the MLflow.
        ownership: identifies what belongs to the study by its tags.
        known: runs that belong to the study unless they have the tag of another home.
    """
    client = connect(home)
    experiment = client.get_experiment_by_name(ownership.study)
    own: dict[str, Any] = {}
    others: list[Any] = []
    if experiment is not None:
        for run in _runs(client, experiment.experiment_id):
            is_known = run.info.run_id in known and ownership.owns_named(run.data.tags)
            if ownership.owns(run.data.tags) or is_known:
                own[run.info.run_id] = run
            elif not _is_deleted_for_good(run):
                others.append(run)
    n_other_versions = _delete_versions(client, ownership, own)
    _delete_versions_of(client, ownership.study.removesuffix(CERTIFICATION), own)
    if experiment is None:
        return DeletedRecords(n_other_versions=n_other_versions)
    own_models, other_models = _models(client, experiment.experiment_id, own)
    for model_id in own_models:
        client.delete_logged_model(model_id)
    n_others = len(others) + len(other_models) + _has_traces(client, experiment.experiment_id)
    if not n_others and experiment.experiment_id != DEFAULT_EXPERIMENT:
        n_others = _delete_empty_experiment(client, experiment, ownership.study, own)
    if n_others or experiment.experiment_id == DEFAULT_EXPERIMENT:
        _delete_runs(client, own)
    return DeletedRecords(frozenset(own), frozenset(own_models), n_others, n_other_versions)


def _delete_empty_experiment(client: Any, experiment: Any, study: str, own: dict[str, Any]) -> int:
    """Deletes an empty experiment; returns the number of runs of others that were created in the meantime."""
    identity = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(identity)  # only an active one can be renamed
    # From here on, another home finds no experiment of this name and creates its own.
    client.rename_experiment(identity, f"{study} (deleted {identity})")
    late = [run for run in _runs(client, identity) if run.info.run_id not in own and not _is_deleted_for_good(run)]
    if late:
        with contextlib.suppress(Exception):  # another home may have created an experiment of this name
            client.rename_experiment(identity, study)
        return len(late)
    client.delete_experiment(identity)
    return 0


def _delete_runs(client: Any, own: dict[str, Any]) -> None:
    """Deletes the study's runs. The tag tells other homes that nobody will restore them."""
    for run_id, run in own.items():
        if run.info.lifecycle_stage == "active":
            client.set_tag(run_id, _DELETED, "true")
            client.delete_run(run_id)


def _is_deleted_for_good(run: Any) -> bool:
    return run.info.lifecycle_stage != "active" and _DELETED in run.data.tags


def _delete_versions(client: Any, ownership: Ownership, own_runs: dict[str, Any]) -> int:
    """Deletes the study's versions of the registered model; returns the number of the versions that stay."""
    own: list[Any] = []
    others: list[Any] = []
    for version in versions(client, ownership.study):
        is_own = ownership.owns(version.tags) or (
            ownership.is_of_home(version.tags)
            and (version.run_id in own_runs or version.tags.get("rnnexp.run_id") in own_runs)
        )
        (own if is_own else others).append(version)
    for version in own:
        client.delete_model_version(ownership.study, version.version)
    if own and not others and not any(versions(client, ownership.study)):
        client.delete_registered_model(ownership.study)
    return len(others)


def _delete_versions_of(client: Any, study: str, own_runs: dict[str, Any]) -> None:
    """Deletes the versions of a certified study's registered model that are models of these runs."""
    for version in versions(client, study):
        if version.run_id in own_runs:
            client.delete_model_version(study, version.version)


def versions(client: Any, study: str) -> Iterator[Any]:
    """Yields all versions of the study's registered model."""
    yield from _pages(
        lambda token: client.search_model_versions(f"name = '{study}'", max_results=_PAGE_SIZE, page_token=token)
    )


def _runs(client: Any, experiment_id: str) -> Iterator[Any]:
    """Yields all runs of an experiment, with those that are marked as deleted."""
    yield from _pages(lambda token: client.search_runs([experiment_id], "", _ALL, _PAGE_SIZE, None, token))


def _models(client: Any, experiment_id: str, own_runs: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the ids of the models that the study's runs have logged, and those of the other models."""
    from mlflow.exceptions import MlflowException

    own: list[str] = []
    others: list[str] = []
    try:
        for model in _pages(lambda token: client.search_logged_models([experiment_id], page_token=token)):
            (own if model.source_run_id in own_runs else others).append(model.model_id)
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":  # an older server has no logged models
            raise
    return own, others


def _has_traces(client: Any, experiment_id: str) -> bool:
    """Tells whether an experiment has traces, which only other programs write."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.search_traces(locations=[experiment_id], max_results=1, include_spans=False))
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":  # an older server has no traces
            raise
        return False


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
