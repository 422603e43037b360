"""Token stores on a node: each is fetched once, checked by its hashes, and shared by the slots of the node."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from rnnexp import disk, locks
from rnnexp.data.store import is_valid
from rnnexp.errors import DataError


def pack(store: Path) -> bytes:
    """Returns the files of a token store as one archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(store.iterdir()):
            archive.add(path, arcname=path.name, recursive=False)
    return content.getvalue()


class NodeCache:
    """The token stores of one node."""

    def __init__(self, root: Path) -> None:
        """Args:
        root: their folder; the slots of the node share it.
        """
        self._root = root
        self._checked: set[Path] = set()

    def get(self, store: Path, fetch: Callable[[], bytes]) -> Path:
        """Returns the folder of a store on this node.

        Args:
            store: its folder on the supervisor's machine; used if this node sees the same folder. Its name contains
                the digest of the data.
            fetch: returns the archive that `pack` has made; called if the store is not on this node.

        Raises:
            DataError: if what was fetched does not have its hashes.
        """
        root = self._root / store.name
        for found in (root, store):
            if found in self._checked or is_valid(found):
                self._checked.add(found)
                return found
        with locks.held(root.with_name(f"{root.name}.lock")):
            if not is_valid(root):
                with disk.replacing_folder(root) as work, tarfile.open(fileobj=io.BytesIO(fetch())) as archive:
                    archive.extractall(work, filter="data")
                if not is_valid(root):
                    raise DataError(f"{root.name}: the data that this machine received do not have their hashes")
        self._checked.add(root)
        return root
