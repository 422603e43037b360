"""Reports what leads out of the home. The other checks skip it, so no repair writes or removes files elsewhere."""

from collections.abc import Iterator

from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.places import is_inside, link_out_of
from rnnexp.home import Home

CHECK = "places"


def check(home: Home, _: str | None = None) -> Iterator[Finding]:
    """Checks the folders of the home, of its studies and of their trials."""
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
        for number in home.study(path.name).numbers():
            link = link_out_of(home, home.study(path.name).trial(number))
            if link is not None:
                what = (
                    f"{link.name} is a symbolic link to {link.resolve()}, outside this home; the trial is not checked"
                )
                yield Finding(CHECK, f"{path.name} trial {number}", what)
