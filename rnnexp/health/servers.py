"""Checks the servers that the environment names: the PostgreSQL of the studies (RNNEXP_STORAGE) and MLflow's."""

from collections.abc import Iterator
from dataclasses import dataclass

from rnnexp.errors import StorageError
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage import maintenance, postgres
from rnnexp.tracking import server

CHECK = "servers"
STORAGE, MLFLOW = "storage", "MLflow"
_MAX_CLOCK_DIFFERENCE_S = 5.0


@dataclass(frozen=True)
class Server:
    """A server that the environment names.

    Attributes:
        role: what it is for.
        address: without credentials.
        facts: what is known of it, for the user.
        faults: one line for each.
        works: whether it can be used.
    """

    role: str
    address: str
    facts: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    works: bool = True


def check(observed: Observation) -> Iterator[Finding]:
    """Checks both servers. Without its storage, no other check can read the studies."""
    home = observed.home
    for found in servers(home):
        for fault in found.faults:
            yield Finding(CHECK, found.address, fault, blocks=not found.works and found.role == STORAGE)
        if not found.works:
            observed.unusable_servers.add(found.address)
        if not found.works and found.role == STORAGE:
            what = f"the studies are not checked, because {found.address} cannot be used"
            yield Finding(CHECK, home.optuna_db.name, what, unusable=True)


def servers(home: Home) -> list[Server]:
    """Returns the servers, as they are now."""
    found = []
    if home.storage_server is not None:
        found.append(_storage(home))
    if home.tracking_server is not None:
        found.append(_tracking(home.tracking_server))
    return found


def storage_works(home: Home) -> bool:
    """Tells whether the studies can be read, if they are in PostgreSQL."""
    return home.storage_server is None or _storage(home).works


def _storage(home: Home) -> Server:
    shown = str(home.storage_server)
    try:
        about = postgres.describe(home.storage_url)
    except StorageError as error:
        return Server(STORAGE, shown, faults=(str(error).removeprefix(f"storage {shown}: "),), works=False)
    latest, known = maintenance.schema_versions()
    faults, works = [], True
    if about.schema_version is not None and about.schema_version != latest:
        works = False
        advice = (
            "its owner can upgrade it with `optuna storage upgrade`, when no study runs and all machines have the new "
            "library"
            if about.schema_version in known
            else "install the library that wrote it"
        )
        faults.append(f"its tables have version {about.schema_version} instead of Optuna's {latest}; {advice}")
    if about.missing_right is not None:
        faults.append(f"the user {about.user} {about.missing_right}; studies can be read, but not run")
    faults += _clock_fault(about.clock_s)
    facts = (f"PostgreSQL {about.server_version}", f"user {about.user}", _clock(about.clock_s))
    return Server(STORAGE, shown, facts, tuple(faults), works)


def _tracking(address: str) -> Server:
    about = server.describe()
    if about.fault:
        return Server(MLFLOW, address, faults=(about.fault,), works=False)
    faults = _clock_fault(about.clock_s)
    if about.version.partition(".")[0] != about.version_here.partition(".")[0]:
        faults.append(
            f"it is MLflow {about.version}, this machine has {about.version_here}: the first number must be the same"
        )
    facts = [f"MLflow {about.version}", *([] if about.clock_s is None else [_clock(about.clock_s)])]
    return Server(MLFLOW, address, tuple(facts), tuple(faults))


def _clock(difference_s: float) -> str:
    return f"clock {difference_s:+.1f} s"


def _clock_fault(difference_s: float | None) -> list[str]:
    if difference_s is None or abs(difference_s) <= _MAX_CLOCK_DIFFERENCE_S:
        return []
    return [f"its clock differs from this machine's by {difference_s:+.0f} s; times in lists will be wrong"]
