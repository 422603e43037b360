"""The packages of the Docker image: pinned as for the tests, with hashes, without addresses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
_NOT_PINNED_ELSEWHERE = {"setuptools", "wheel"}
"""`pip freeze`, which writes constraints.txt, leaves them out."""


def _pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_each_package_has_the_version_of_the_tests_and_a_hash() -> None:
    text = (TOP / "docker" / "requirements.txt").read_text()
    pins, tested = _pins(text), _pins((TOP / "constraints.txt").read_text())
    assert {name: version for name, version in pins.items() if name not in _NOT_PINNED_ELSEWHERE} == {
        name: tested.get(name) for name in pins if name not in _NOT_PINNED_ELSEWHERE
    }
    assert {"tensorflow", "keras", "optuna", "mlflow", "numba", "setuptools"} <= set(pins)
    for block in re.split(r"\n(?=\S)", text.strip())[1:]:
        assert re.fullmatch(r"\S+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+", block), block
    assert "://" not in text


def test_the_base_image_can_be_named_by_its_digest() -> None:
    text = (TOP / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", text, re.MULTILINE)
    assert default in (TOP / "docker" / "compose.yaml").read_text()
    assert "--require-hashes" in text


def _run(reports: list[Path]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(TOP / "docker" / "pins.py"), *map(str, reports)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_reports_of_both_processors_are_joined(tmp_path: Path, version: str) -> None:
    reports = []
    for number, (name, digest) in enumerate((("1.2", "aa"), (version, "bb"))):
        wheel = {
            "metadata": {"name": "Some_Thing", "version": name},
            "download_info": {"archive_info": {"hashes": {"sha256": digest}}},
        }
        project = {"metadata": {"name": "rnnexp", "version": "0"}, "download_info": {"dir_info": {}}}
        reports.append(tmp_path / str(number))
        reports[-1].write_text(json.dumps({"install": [wheel, project]}))
    done = _run(reports)
    if version == "1.2":
        assert done.stdout.splitlines()[1:] == [
            "some-thing==1.2 \\",
            "    --hash=sha256:aa \\",
            "    --hash=sha256:bb",
        ]
    else:
        assert done.returncode == 1
        assert "some-thing: the reports name the versions 1.2, 1.3" in done.stderr
