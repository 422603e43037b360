"""Who holds a lock, where the system says it (Linux)."""

import contextlib
import os
from pathlib import Path

_LOCKS = Path("/proc/locks")


def holders(lock: Path) -> list[int]:
    """Returns the processes that hold a lock and have its file open; none where the system does not say it."""
    about = lock.stat()
    found = []
    with contextlib.suppress(OSError):
        for line in _LOCKS.read_text().splitlines():
            fields = line.split()
            if len(fields) < 8 or fields[1] != "FLOCK":
                continue
            pid, inode = int(fields[4]), fields[5].rpartition(":")[2]
            if pid > 0 and pid != os.getpid() and inode == str(about.st_ino) and _has_open(pid, about):
                found.append(pid)
    return sorted(set(found))


def _has_open(pid: int, about: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), about):
                    return True
    return False
