"""Checks whether the home was moved or copied: MLflow's database contains absolute paths, of the old folder then."""

from collections.abc import Iterator

from rnnexp.health import mlflow_tables, sqlite_files
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.tracking.paths import artifact_address, local_path

CHECK = "moved"


def check(observed: Observation) -> Iterator[Finding]:
    """Yields the other homes in which MLflow's database expects the files of this home."""
    home = observed.home
    if not home.mlflow_db.exists():
        return
    for old in _old_roots(home):
        what = f"MLflow stores files in {old}, but this home is {home.root}"
        repair = "a copy of the database is made, then the paths are corrected"
        yield Finding(CHECK, home.mlflow_db.name, what, repair, lambda old=old: _correct_paths(home, old))  # type: ignore[misc]


def _old_roots(home: Home) -> list[str]:
    marker = f"/{home.artifacts.name}/"
    parts = [place.rpartition(marker) for place in mlflow_tables.experiment_places(home)]
    # An experiment without a folder here belongs to another program, which stores its files elsewhere on purpose.
    roots = {root for root, _, name in parts if root and (home.artifacts / name).is_dir()}
    return sorted(root for root in roots if local_path(root) not in (None, home.root))


def _correct_paths(home: Home, old: str) -> str:
    backup = sqlite_files.back_up(home.mlflow_db, "move")
    n_paths = mlflow_tables.replace_root(home, old, artifact_address(home.root))
    return f"{n_paths} paths are corrected; the old database is {backup.name}"
