"""Recognises network file systems. On them, files cannot be shared in memory, which SQLite's write-ahead log needs."""

import re
from pathlib import Path

_TABLE = Path("/proc/self/mounts")
"""The mounted file systems, one a line: source, folder, type, options. Only Linux has it."""

_NETWORK = re.compile(
    "9p|afs|beegfs|ceph|cifs|cvmfs|glusterfs|gpfs|lustre|ncpfs|nfs4?|orangefs|panfs|pvfs2|smb3|smbfs|virtiofs|wekafs"
    r"|fuse\.(beegfs|blobfuse2?|ceph|cvmfs2?|davfs|gcsfuse|glusterfs|goofys|grpcfuse|juicefs|mount-s3|osxfs|rclone"
    "|s3fs|smbnetfs|sshfs)"
)


def network_file_system(path: Path, table: Path | None = None) -> str | None:
    """Returns the type of the network file system that a file is on, or None if it is on none.

    Args:
        path: it need not exist yet.
        table: the list of mounted file systems; None for this machine's. If it cannot be read, the answer is None.
    """
    try:
        lines = (table or _TABLE).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real, found, n_parts = path.resolve(), "", 0
    for line in lines:
        fields = line.split(" ")
        folder = Path(_unescaped(fields[1])) if len(fields) > 2 else None
        # Of two mounts on one folder the later one hides the earlier one.
        if folder is not None and real.is_relative_to(folder) and len(folder.parts) >= n_parts:
            found, n_parts = fields[2], len(folder.parts)
    return found if _NETWORK.fullmatch(found) else None


def _unescaped(folder: str) -> str:
    """Returns a folder of the table: spaces, tabs, newlines and backslashes are written there as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), folder)
