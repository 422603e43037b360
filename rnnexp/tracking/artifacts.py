"""Files of runs: deletes them, and refuses to write files of a server's run to a local path.

A server says where the files of its runs are. If it names a local path, MLflow's client writes and deletes files there,
on this machine. Such a path is of use only to a client on the server's machine, so it is refused.
"""

import shutil
from typing import Any
from urllib.parse import urlsplit

from rnnexp import addresses
from rnnexp.tracking.paths import local_path


class LocalPathError(Exception):
    """A server names a local path as the place of a run's files."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"the server stores files in {place}, which would be a path of this machine, so nothing is sent; start the "
            "server with --artifacts-destination, so that it receives files itself"
        )


def check_place(place: str, tracking_uri: str | None) -> None:
    """Checks the place of a run's files.

    Args:
        place: the address that MLflow has stored.
        tracking_uri: the address of the MLflow that names the place.

    Raises:
        LocalPathError: if a server names a local path.
    """
    scheme = urlsplit(place.strip()).scheme.lower()
    is_local = scheme in ("", "file") or len(scheme) == 1  # one letter: a drive
    if is_local and addresses.is_http(tracking_uri):
        raise LocalPathError(place)


def refuse_local_paths() -> None:
    """Makes MLflow's client check each place of files before it uses it."""
    from mlflow.store.artifact import artifact_repository_registry as registry

    for scheme in ("", "file"):
        registry._artifact_repository_registry.register(scheme, _open_local_repository)


def _open_local_repository(place: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    # The client always passes its address. MLflow opens the user's own files without one.
    check_place(place, tracking_uri)
    return LocalArtifactRepository(place, tracking_uri=tracking_uri, registry_uri=registry_uri)


def delete_artifacts(client: Any, run_id: str, path: str) -> None:
    """Deletes a folder of a run's artifacts, if it exists."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.get_run(run_id).info.artifact_uri
    repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    if any(item.path == path for item in repository.list_artifacts()):
        folder = local_path(uri)
        if folder is not None and "%" in str(folder):
            shutil.rmtree(folder / path)  # MLflow would decode the path again, and look in another folder
        else:
            repository.delete_artifacts(path)
