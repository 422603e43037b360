"""Prints the packages of the image with the hashes of their wheels, as pip's `--require-hashes` needs them.

    python docker/pins.py REPORT... > docker/requirements.txt

A report is what `pip install --dry-run --report FILE` writes: one for each processor. `make pins` writes both.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path


def requirements(reports: list[Path]) -> str:
    """Returns the content of the requirements file; the project itself, which has no wheel, is left out.

    Raises:
        ValueError: if two reports name different versions of a package.
    """
    versions: dict[str, set[str]] = defaultdict(set)
    hashes: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        for package in json.loads(report.read_text(encoding="utf-8"))["install"]:
            name = package["metadata"]["name"].lower().replace("_", "-")
            if "archive_info" in package["download_info"]:
                versions[name].add(package["metadata"]["version"])
                hashes[name].add(package["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = ["# The packages of the image, for Linux on x86-64 and aarch64 and Python 3.12. Written by `make pins`."]
    for name in sorted(versions):
        if len(versions[name]) > 1:
            raise ValueError(f"{name}: the reports name the versions {', '.join(sorted(versions[name]))}, expected one")
        digests = [f"    --hash=sha256:{digest}" for digest in sorted(hashes[name])]
        lines.append(" \\\n".join([f"{name}=={min(versions[name])}", *digests]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(requirements([Path(argument) for argument in sys.argv[1:]]))
