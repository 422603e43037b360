"""The place of a bundle: which folder can become one, and how a finished bundle gets there."""

import os
import shutil
from pathlib import Path

from rnnexp import disk
from rnnexp.errors import UserError
from rnnexp.runtime import manifest


def folder_beside(to: Path) -> Path:
    """Creates an empty temporary folder next to the place of a bundle.

    Raises:
        UserError: if that is not possible.
    """
    try:
        return disk.folder_beside(to)
    except OSError as error:
        raise UserError(f"{to}: cannot be written ({error.strerror}); name another folder with --to") from None


def free_place(to: Path) -> Path:
    """Checks that a folder can become a bundle: it is missing, empty, or a bundle of an earlier export.

    Returns:
        The folder itself. If `to` is a symbolic link, that is the folder that it leads to: the link stays.

    Raises:
        UserError: if the folder has other content, or a symbolic link leads to itself.
    """
    folder = Path(os.path.realpath(to))
    if folder.is_symlink():
        raise UserError(f"{to}: is a symbolic link that leads to itself; name another folder with --to")
    try:
        disk.recover_folder(folder)
        is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        is_free = is_empty or manifest.is_bundle(folder)
    except OSError as error:
        raise UserError(f"{to}: cannot be read ({error.strerror}); name another folder with --to") from None
    if not is_free:
        raise UserError(f"{to}: exists and is not a bundle; name another folder with --to")
    return folder


def publish(work: Path, to: Path) -> None:
    """Moves a verified bundle to its final folder; replaces the bundle of an earlier export.

    Raises:
        UserError: if the folder cannot be replaced; the temporary folder is removed.
    """
    try:
        free_place(to)
        try:
            disk.replace_folder(work, to)
        except OSError as error:
            raise UserError(f"{to}: cannot be replaced ({error.strerror}); name another folder with --to") from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
