"""The recognition of network file systems, by an injected table of mounts."""

from pathlib import Path

import pytest

from rnnexp.mounts import network_file_system

_TABLE = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/export /home nfs4 rw,vers=4.2 0 0
/dev/sdb /home/anna/local xfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
tmpfs /scratch tmpfs rw 0 0
server:/scratch /scratch nfs rw 0 0
server:/old /data nfs rw 0 0
/dev/sdc /data ext4 rw 0 0
anna@server: /mnt/ssh fuse.sshfs rw 0 0
archive /mnt/zip fuse.archivemount rw 0 0
10.0.0.1@tcp:/lustre /lustre lustre rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/srv/home/x", None),
        ("/home/anna/mlruns", "nfs4"),
        ("/home", "nfs4"),
        ("/homework/mlruns", None),
        ("/home/anna/local/mlruns", None),
        ("/mnt/my share/mlruns", "cifs"),
        ("/scratch/mlruns", "nfs"),
        ("/data/mlruns", None),
        ("/mnt/ssh/a/b/c", "fuse.sshfs"),
        ("/mnt/zip/mlruns", None),
        ("/lustre/mlruns", "lustre"),
    ],
)
def test_the_deepest_and_latest_mount_counts(tmp_path: Path, path: str, kind: str | None) -> None:
    table = tmp_path / "mounts"
    table.write_text(_TABLE)
    assert network_file_system(Path(path), table) == kind


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'far'} nfs rw 0 0\n")
    assert network_file_system(tmp_path / "link" / "mlruns", table) == "nfs"


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "none") is None
