"""Which runs, logged models and model versions in MLflow belong to one study of one home.

A server may be used by several homes, whose studies may have the same name, and a copied home has studies with the
same identity. So a run is identified by the study's identity and the home's. Runs of earlier versions have no tag of a
home: they belong to the study whose cursors name them, or whose identity they have, unless this home is a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnexp import home_id
from rnnexp.home import Home, StudyFolder
from rnnexp.home_id import HomeId
from rnnexp.trial.cursor import OWN, Cursor

STUDY, STUDY_ID, HOME, TRIAL = "rnnexp.study", "rnnexp.study_id", "rnnexp.home", "rnnexp.trial"


@dataclass(frozen=True)
class Ownership:
    """The identity of one study in one MLflow.

    Attributes:
        study: the study's name.
        identity: distinguishes the study from a deleted study of the same name.
        store: identifies the MLflow in the cursors.
        home: distinguishes the study from one of another home.
    """

    study: str
    identity: str
    store: str = OWN
    home: HomeId = field(default_factory=HomeId)

    @classmethod
    def of(cls, home: Home, study: str, identity: str) -> "Ownership":
        """Returns the identity of a study in the MLflow that the home uses now. Writes nothing."""
        return cls(study, identity, home.tracking_server or OWN, home_id.peek(home))

    @property
    def tags(self) -> dict[str, str]:
        """The tags of everything that the study writes."""
        home = {HOME: self.home.value} if self.home.value else {}
        return {STUDY: self.study, STUDY_ID: self.identity} | home

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Tells by its tags whether something in MLflow belongs to the study."""
        if tags.get(STUDY_ID) != self.identity:
            return False
        # Before studies had an identity, their name was used, which studies of other homes have too.
        is_unique = self.store == OWN or self.identity != self.study
        return self.is_of_home(tags) and (HOME in tags or is_unique)

    def is_of_home(self, tags: Mapping[str, str]) -> bool:
        """Tells whether something may belong to this home: it has its tag, or none and this home is no copy."""
        owner = tags.get(HOME)
        if self.store == OWN:  # a copied home has a copy of the database
            return owner is None or owner in (self.home.value, *self.home.former)
        return owner == self.home.value if owner is not None else not self.home.is_copy

    def owns_named(self, tags: Mapping[str, str]) -> bool:
        """Tells by its tags whether a run belongs to the study, if a cursor of the study names it."""
        return self.store == OWN or self.is_of_home(tags)  # the identity of a home may have been lost

    def counts(self, cursor: Cursor) -> bool:
        """Tells whether a cursor counts the events of a run that belongs to the study in this MLflow."""
        if cursor.store != self.store:
            return False
        if self.store == OWN:
            return True
        return cursor.home == self.home.value if cursor.home else not self.home.is_copy

    def run_ids(self, folder: StudyFolder) -> set[str]:
        """Returns the runs that the cursors of the study's trials name."""
        cursors = [Cursor.load(folder.trial(number).tracking) for number in folder.numbers()]
        return {cursor.run_id for cursor in cursors if cursor.run_id is not None and self.counts(cursor)}
