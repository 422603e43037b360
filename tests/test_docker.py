"""The Docker images and the compose file: pinned packages, no default password, nothing that other machines reach."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).resolve().parents[1]
_NOT_PINNED_ELSEWHERE = {"setuptools", "wheel"}
"""`pip freeze`, which writes constraints.txt, leaves them out."""


def _pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


@pytest.mark.parametrize(
    ("file", "needed"),
    [
        ("requirements.txt", {"tensorflow", "keras", "optuna", "mlflow", "numba", "setuptools"}),
        ("requirements-cluster.txt", {"tensorflow", "ray", "psycopg", "psycopg-binary", "boto3", "flask-wtf"}),
        ("requirements-serve.txt", {"onnxruntime", "numpy", "fastapi", "uvicorn", "pydantic", "pyyaml", "psutil"}),
    ],
)
def test_each_package_has_the_version_of_the_tests_and_a_hash(file: str, needed: set[str]) -> None:
    text = (TOP / "docker" / file).read_text()
    pins, tested = _pins(text), _pins((TOP / "constraints.txt").read_text())
    assert {name: version for name, version in pins.items() if name not in _NOT_PINNED_ELSEWHERE} == {
        name: tested.get(name) for name in pins if name not in _NOT_PINNED_ELSEWHERE
    }
    assert needed <= set(pins)
    for block in re.split(r"\n(?=\S)", text.strip())[1:]:
        assert re.fullmatch(r"\S+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+", block), block
    assert "://" not in text


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((TOP / "docker" / "compose.yaml").read_text())["services"]
    return found


def test_no_service_can_be_reached_from_other_machines(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    cluster = {name: service for name, service in services.items() if service.get("profiles") == ["cluster"]}
    assert {name for name in services if "profiles" not in services[name]} == {"sweep", "ui"}
    for name, service in cluster.items():
        assert "cluster" in service.get("networks", []) or service.get("network_mode") == "none", name


def test_no_password_has_a_default(services: dict[str, Any]) -> None:
    secrets = [
        (name, value)
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY|STORAGE|STORE_URI|DATABASE", name)
    ]
    assert len(secrets) > 10
    for name, value in secrets:
        assert re.findall(r"\$\{\w+(.*?)\}", value), name
        assert set(re.findall(r"\$\{\w+(.*?)\}", value)) == {":-"}, f"{name} has a default"


def test_all_of_the_cluster_waits_for_the_passwords(services: dict[str, Any]) -> None:
    def waits(name: str) -> bool:
        after = services[name].get("depends_on", {})
        return name == "passwords" or any(waits(other) for other in after)

    assert all(waits(name) for name, service in services.items() if service.get("profiles") == ["cluster"])


@pytest.mark.parametrize(
    ("value", "code"), [("", 2), ("short", 2), ("with a space and length", 2), ("abcdefghijkl0123456789", 0)]
)
def test_the_check_of_the_passwords(services: dict[str, Any], value: str, code: int) -> None:
    service = services["passwords"]
    script = service["command"][-1].replace("$$", "$")
    environment = {"PATH": os.environ["PATH"], **dict.fromkeys(service["environment"], value)}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 0)
    assert value == "" or value not in done.stderr


def test_the_images_have_what_they_copy() -> None:
    ignored = (TOP / ".dockerignore").read_text()
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", (TOP / "docker" / "Dockerfile").read_text(), re.MULTILINE):
        for name in names.split():
            assert (TOP / name).exists()
            assert f"!{name}\n" in ignored, f"{name} is not in the build's context"


def test_the_batch_script_is_valid() -> None:
    script = TOP / "docker" / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    done = subprocess.run([str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "SWEEP-FILE" in done.stderr


def test_the_base_image_can_be_named_by_its_digest() -> None:
    text = (TOP / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - {"build", "base"} == {"${PYTHON_IMAGE}"}
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
