"""What is stored about studies and trials beside Optuna's own columns.

In Optuna's database this is user attributes; their keys are listed here. A study's metadata is also written to its
folder (`study.json`), so that `rebuild` can restore the study when the database is lost.
"""

import json
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rnnexp import disk, home_id
from rnnexp.errors import StudyError
from rnnexp.home import Home

if TYPE_CHECKING:
    import optuna

    from rnnexp.config.sweep import SweepConfig

DEFINITION, IDENTITY, BUDGET, HOME = "rnnexp:definition", "rnnexp:identity", "rnnexp:about", "rnnexp:home"
SPACE_VERSIONS = "rnnexp:lineage"
"""Keys of a study's attributes. The names of older versions stay, so that existing homes can be read."""

ATTEMPTS, N_CRASHES, SUMMARY, PAUSED = "rnnexp:attempts", "rnnexp:deaths", "rnnexp:summary", "rnnexp:paused"
"""Keys of a trial's attributes: number of attempts, number of crashes, what `events.summary` returns, and why the trial
is paused (null once it has resumed)."""


@dataclass(frozen=True)
class StudyHome:
    """The home that has the files of a study's trials. A database for several machines says so for each study.

    Attributes:
        id: the identity of the home.
        host: the machine from which the study was started last.
        path: the folder of the home there.
    """

    id: str
    host: str
    path: str

    def __str__(self) -> str:
        return f"home {self.path} on {self.host}" if self.id else "no home: another program has created it"


class StudyRecord(Protocol):
    """A study with its attributes: Optuna's object, or `bulk_reader.StoredStudy`."""

    @property
    def study_name(self) -> str: ...

    @property
    def user_attrs(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SpaceVersion:
    """A search space that is wider than the version before it.

    Attributes:
        version: from 2; a study starts with version 1.
        from_trial: the first trial that was drawn from it.
        time: when it was added, in seconds since 1970.
        changes: what is wider, one line each.
    """

    version: int
    from_trial: int
    time: float
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return f"version {self.version} of the search space, from trial {self.from_trial}: {'; '.join(self.changes)}"


@dataclass(frozen=True)
class StudyMetadata:
    """What a rebuild needs beside the sweep file and the trials' folders.

    Attributes:
        identity: distinguishes the study from earlier and later ones of the same name.
        data_digest: digest of the data that the base settings name.
        space_versions: the later versions of the search space, as plain values.
    """

    identity: str
    data_digest: str
    space_versions: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> "StudyMetadata | None":
        """Loads the file; None if it is missing or damaged."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(values["identity"]), str(values["data_digest"]), list(values["lineage"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> str:
        """Returns the content of the file."""
        return json.dumps({"identity": self.identity, "data_digest": self.data_digest, "lineage": self.space_versions})


def new_identity() -> str:
    """Returns an identity for a new study."""
    return uuid.uuid4().hex


def build_definition(config: "SweepConfig", data_digest: str) -> dict[str, Any]:
    """Returns what must not change while a study lasts, in the form in which it is stored."""
    plain: dict[str, Any] = json.loads(json.dumps(config.definition() | {"data_digest": data_digest}))
    return plain


def definition(study: StudyRecord) -> dict[str, Any]:
    """Returns the stored definition of a study; empty if the study has none yet."""
    stored: dict[str, Any] = study.user_attrs.get(DEFINITION, {})
    return stored


def identity(study: StudyRecord) -> str:
    """Returns what distinguishes a study from earlier and later ones of the same name."""
    return str(study.user_attrs.get(IDENTITY, study.study_name))


def n_trials(study: StudyRecord) -> int | None:
    """Returns the budget of a study, as set at its last start."""
    stored: int | None = study.user_attrs.get(BUDGET, {}).get("n_trials")
    return stored


def space_versions(study: StudyRecord) -> tuple[SpaceVersion, ...]:
    """Returns the versions of a study's search space from 2 on; empty if the space never changed."""
    stored = study.user_attrs.get(SPACE_VERSIONS, [])
    return tuple(SpaceVersion(**{**values, "changes": tuple(values["changes"])}) for values in stored)


def write_definition(
    study: "optuna.Study", identity: str, definition: dict[str, Any], space_versions: list[dict[str, Any]]
) -> None:
    """Writes the attributes of a new study that stay the same."""
    study.set_user_attr(IDENTITY, identity)
    study.set_user_attr(DEFINITION, definition)
    if space_versions:
        study.set_user_attr(SPACE_VERSIONS, space_versions)


def write_budget(study: "optuna.Study", n_trials: int) -> None:
    """Writes the budget, which each start of a study may change."""
    study.set_user_attr(BUDGET, {"n_trials": n_trials})


def other_home(home: Home, study: StudyRecord) -> StudyHome | None:
    """Returns the home that has the files of a study; None if it is this one."""
    if home.storage_server is None:
        return None
    stored = StudyHome(**study.user_attrs.get(HOME, {"id": "", "host": "", "path": ""}))
    return None if stored.id and stored.id == home_id.peek(home).value else stored


def claim_study(home: Home, study: "optuna.Study") -> None:
    """Records that the files of a study are in this home, if the database is for several machines.

    Raises:
        StudyError: if they are in another home.
    """
    if home.storage_server is None:
        return
    own = StudyHome(home_id.claim(home).value, socket.gethostname(), str(home.root))
    is_new = not study.user_attrs and not study.get_trials(deepcopy=False)
    other = other_home(home, study)
    if other is not None and not is_new:
        raise StudyError(
            f"study {study.study_name}: its trials are in {other}; run it from there, or choose another name with "
            "--study"
        )
    if study.user_attrs.get(HOME) != asdict(own):
        study.set_user_attr(HOME, asdict(own))


def save_metadata(home: Home, study: StudyRecord) -> None:
    """Copies a study's metadata from Optuna's database to the study's folder, if the copy differs."""
    path = home.study(study.study_name).about
    metadata = StudyMetadata(
        identity(study), str(definition(study).get("data_digest", "")), study.user_attrs.get(SPACE_VERSIONS, [])
    )
    if StudyMetadata.load(path) != metadata:
        disk.write_text(path, metadata.to_json())
