"""Wrong input gives exit code 2, leaves nothing behind, and prints one line per fault.

The line says where, what was received, what was expected and what to do.
"""

import io
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from rnnexp.home import Home
from rnnexp.storage import metadata
from rnnexp.storage.database import open_storage
from tests.e2e.conftest import SWEEP, Ran, one_line, rnnexp, tree

pytestmark = pytest.mark.integration  # starts a process for each input


def refused(tmp_path: Path, text: str | bytes, *words: str, **environment: str) -> None:
    """Sweeps a file that must be refused, in a home that must not be created."""
    file = tmp_path / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = tree(tmp_path)
    one_line(rnnexp("sweep", str(file), "--home", str(tmp_path / "home"), **environment), *words)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model.units: {int: [4, 16]}", "model.unit: {int: [4, 16]}", ["space: model.unit: unknown", "model.units?"]),
        ("[4, 16]", "[16, 4]", ["space.model.units", "[16, 4]", "lower one first"]),
        ("epochs: 2", "epoch: 2", ["base.train.epoch: unknown setting", "base.train.epochs?"]),
        ("epochs: 2", "epochs: two", ["base.train.epochs: got 'two', expected an integer"]),
        (
            "study: small",
            "study: small\nobjective: {metric: val_f1}",
            ["objective.metric", "val_f1", "no trial reports"],
        ),
        ("gru]", "grue]", ["space.model.cell", "grue", "did you mean gru?"]),
        ("trials: 3", "trials: 0", ["budget.trials: got 0, expected greater than or equal to 1"]),
        ("study: small", "study: train", ["study: 'train' is reserved", "`rnnexp train`"]),
        ("base:", "base: [", ["not valid YAML", "line"]),
    ],
)
def test_a_wrong_sweep_file(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SWEEP
    refused(tmp_path, SWEEP.replace(old, new, 1), "bad.yaml", *words)


def test_a_missing_sweep_file(tmp_path: Path) -> None:
    one_line(rnnexp("sweep", str(tmp_path / "none.yaml")), "none.yaml: no such file")
    one_line(rnnexp("validate", str(tmp_path / "none.yaml")), "none.yaml: no such file")


def test_a_sweep_file_that_is_not_utf8(tmp_path: Path) -> None:
    refused(tmp_path, SWEEP.encode() + b"# caf\xe9\n", "not UTF-8")


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        SWEEP.replace("epochs: 2", "epoch: 2").replace("[4, 16]", "[16, 4]").replace("trials: 3", "trial: 3")
    )
    done = rnnexp("validate", str(file))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) >= 3
    assert all(line.startswith(f"{file}: ") for line in done.stderr.splitlines())


def csv_sweep(tmp_path: Path, content: str | bytes, **data: Any) -> str:
    """Writes a CSV file; returns a sweep over it."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = ", ".join(f"{key}: {value}" for key, value in {"path": path, **data}.items())
    return SWEEP.replace("{name: reviews, train_samples: 600, maxlen: 60}", f"{{{settings}}}")


ROWS = "".join(f"a good thing,{index % 2}\n" for index in range(20))


@pytest.mark.tensorflow  # the forkserver imports it while the data are read
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"txt,label\n{ROWS}", ["mine.csv: no column 'text'", "did you mean txt?"]),
        ("", ["mine.csv: empty"]),
        ("text,label\n", ["mine.csv: no rows"]),
        ("text,label\n" + "a,1\n" * 20, ["mine.csv: one label only, '1'"]),
        (b"text,label\n\xff\xfe,1\n", ["mine.csv: not UTF-8"]),
        (f"text,label\n{ROWS}bad,\n", ["mine.csv: column 'label' is empty in 1 of 21 rows", "row 21"]),
        ("text,label\ngood,1\nbad,0\n", ["mine.csv: label '0' has 1 row, expected at least 3"]),
    ],
)
def test_a_wrong_data_file(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    refused(tmp_path, csv_sweep(tmp_path, content), *words)


@pytest.mark.tensorflow  # the forkserver imports it while the data are read
def test_a_missing_data_file(tmp_path: Path) -> None:
    text = csv_sweep(tmp_path, "")
    (tmp_path / "mine.csv").unlink()
    refused(tmp_path, text, "mine.csv: no such file")


class _Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return (os.system, ("touch malicious_code_ran",))


def imdb(tmp_path: Path, damage: str) -> Path:
    """Writes a folder with an `imdb.npz` that must be refused."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "imdb_word_index.json").write_text('{"the": 1, "and": 2}')
    x, y = np.empty(2, dtype=object), np.array([0, 1])
    x[:] = [[1, 2], [2, 1]]
    arrays: dict[str, Any] = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    np.savez(folder / "imdb.npz", **arrays)
    whole = (folder / "imdb.npz").read_bytes()
    if damage == "truncated":
        (folder / "imdb.npz").write_bytes(whole[: len(whole) // 2])
    if damage == "words":
        x[0] = ["the", "and"]
        np.savez(folder / "imdb.npz", **arrays)
    if damage == "code":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        with zipfile.ZipFile(folder / "imdb.npz", "w") as archive:
            for name in arrays:
                archive.writestr(f"{name}.npy", header.getvalue() + pickle.dumps(_Malicious()))
    return folder


@pytest.mark.tensorflow  # the forkserver imports it while the data are read
@pytest.mark.parametrize(
    ("damage", "words"), [("truncated", "damaged"), ("words", "not a list of whole numbers"), ("code", "refused")]
)
def test_a_damaged_or_malicious_imdb_file(tmp_path: Path, damage: str, words: str) -> None:
    folder = imdb(tmp_path, damage)
    text = SWEEP.replace("{name: reviews, train_samples: 600, maxlen: 60}", "{name: imdb}")
    refused(tmp_path, text, "imdb.npz", words, RNNEXP_DATA=str(folder))
    assert not Path("malicious_code_ran").exists()


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    (tmp_path / "file").write_text("not a folder")
    done = rnnexp("sweep", str(tmp_path / "s.yaml"), "--home", str(tmp_path / "file" / "home"))
    one_line(done, "the home folder cannot be written", "--home or RNNEXP_HOME")


def test_wrong_arguments(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    one_line(rnnexp("trials", "none", *home), "no study none", "rnnexp sweep FILE")
    one_line(rnnexp("sweep", "s.yaml", "--set", "model.units"), "--set", "'model.units'", "name=value")
    one_line(rnnexp("train", "--set", "model.unit=3", *home), "model.unit: unknown setting", "model.units?")
    one_line(rnnexp("data", "get", "imbd", *home), "imbd", "did you mean imdb?")
    one_line(rnnexp("ui", *home), "no runs yet")
    assert rnnexp("swep").returncode == 2
    assert tree(tmp_path) == []


@pytest.mark.tensorflow
def test_a_study_resumed_with_a_changed_file(ran: Ran, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(ran.home, home)
    file = tmp_path / "s.yaml"
    file.write_text(ran.file.read_text().replace("epochs: 2", "epochs: 3"))
    before = rnnexp("trials", "small", "--json", "--home", str(home)).stdout
    done = rnnexp("sweep", str(file), "--home", str(home))
    one_line(done, "study small was started with other settings", "train.epochs: was 2, is 3", "--study NAME")
    assert rnnexp("trials", "small", "--json", "--home", str(home)).stdout == before


@pytest.mark.tensorflow
def test_if_the_data_are_missing_the_named_fallback_is_used_and_reported(tmp_path: Path) -> None:
    text = SWEEP.replace("{name: reviews, train_samples: 600,", "{name: imdb, fallback: reviews, train_samples: 600,")
    (tmp_path / "s.yaml").write_text(text)
    nowhere = {"RNNEXP_DATA": "", "KERAS_HOME": str(tmp_path / "keras"), "https_proxy": "http://127.0.0.1:9"}
    home = ("--home", str(tmp_path / "home"))
    done = rnnexp("sweep", str(tmp_path / "s.yaml"), "--trials", "1", *home, **nowhere)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert "imdb: the data are not available" in first
    assert "generated reviews" in first
    assert "data reviews" in done.stdout
    shown = rnnexp("show", "small", "0", "--json", *home)
    assert '"data.name": "reviews"' in shown.stdout
    (tmp_path / "t.yaml").write_text(text.replace("fallback: reviews, ", "").replace("study: small", "study: two"))
    one_line(
        rnnexp("sweep", str(tmp_path / "t.yaml"), *home, **nowhere), "imdb: the data are not available", "RNNEXP_DATA"
    )


def test_a_bug_is_one_line_and_a_saved_report(tmp_path: Path) -> None:
    """The study is one that no version of the program has written."""
    study = optuna.create_study(storage=open_storage(Home.open(tmp_path)), study_name="s")
    study.set_user_attr(metadata.DEFINITION, ["not a definition"])
    done = rnnexp("studies", "--home", str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("a bug in rnnexp: ")
    (saved,) = (tmp_path / "logs").iterdir()
    text = saved.read_text()
    assert "Traceback" in text
    assert "optuna: 5." in text
