"""Reports what leads out of the home. The other checks skip it, so no repair writes or removes files elsewhere."""

from collections.abc import Iterator

from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.places import is_inside
from rnnexp.health.studies import Observation

CHECK = "places"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the folders of the home, of its studies and of their trials."""
    home = observed.home
    for folder in (home.work, home.artifacts, home.cache, home.logs):
        if folder.is_symlink() and not is_inside(home.root, folder):
            what = f"it is a symbolic link to {folder.resolve()}, outside this home; nothing in it is checked"
            yield Finding(CHECK, folder.name, what)
    if not home.work.is_dir() or not is_inside(home.root, home.work):
        return
    for path in sorted(home.work.iterdir()):
        if not path.is_dir() or studies.is_former_single_runs(home, path.name):
            continue
        if not studies.is_own(home, path.name):
            what = f"it is no folder of a study in this home (its name or a symbolic link is wrong); look at {path}"
            yield Finding(CHECK, f"work/{path.name}", f"{what}; nothing in it is checked")
            continue
        for number, link in observed.links_out(path.name).items():
            what = f"{link.name} is a symbolic link to {link.resolve()}, outside this home; the trial is not checked"
            yield Finding(CHECK, f"{path.name} trial {number}", what)
