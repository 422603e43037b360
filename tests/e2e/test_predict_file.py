"""`predict --file` on a bundle: broken rows by number, constant memory, wrong input in one line."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import one_line, rnnexp

pytestmark = pytest.mark.tensorflow


def _texts(path: Path, n_rows: int) -> Path:
    text = "the plot was never dull and the cast was superb " * 20
    with path.open("w", encoding="utf-8") as file:
        file.write("id,body\n")
        file.writelines(f'{row},"{row} {text}"\n' for row in range(1, n_rows + 1))
    return path


def test_a_file_is_labelled_and_broken_rows_are_told(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"id,body\na,the plot was superb\nb,caf\xe9\nc,x,y\nd,the cast was dull\n")
    to = tmp_path / "scored.csv"
    options = ("--file", str(path), "--text", "body", "--keep", "id", "--out", str(to))
    done = rnnexp("predict", str(bundle), *options)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{path}: row 2: not UTF-8; left out",
        f"{path}: row 3: got 3 fields, expected 2; quote texts that contain the separator; left out",
    ]
    assert "2 texts labelled" in done.stdout
    assert "2 rows of reviews.csv could not be read" in done.stdout
    with to.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["id"], row["body"]) for row in rows] == [
        ("1", "a", "the plot was superb"),
        ("4", "d", "the cast was dull"),
    ]
    alone = rnnexp("predict", str(bundle), "the plot was superb").stdout.split()
    assert alone[:2] == [rows[0]["label"], f"{float(rows[0]['probability']):.3f}"]


def test_memory_does_not_grow_with_the_file(bundle: Path, tmp_path: Path) -> None:
    def peak_mb(n_rows: int) -> float:
        path = _texts(tmp_path / f"{n_rows}.csv", n_rows)
        code = (
            "import resource, sys\nfrom rnnexp.cli import main\ncode = main(sys.argv[1:])\n"
            "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = [
            "predict",
            str(bundle),
            "--file",
            str(path),
            "--text",
            "body",
            "--out",
            str(tmp_path / "out.jsonl"),
        ]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        code_text, peak = done.stdout.split()[-2:]
        assert code_text == "0", done.stderr
        return int(peak) / (1024 if sys.platform == "linux" else 1 << 20)

    assert peak_mb(30_000) < peak_mb(4_000) + 15  # the file has 30 MB


def test_wrong_input_is_one_line_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    path = _texts(tmp_path / "reviews.csv", 3)
    file, out = ("--file", str(path)), ("--out", str(tmp_path / "out.csv"))
    for arguments, words in (
        ((*file, *out), "no column 'text'; expected one of body, id; name yours with --text"),
        ((*file, *out, "--text", "bdy"), "did you mean body?"),
        ((*file, "--text", "body"), "needs --out RESULT"),
        ((*file, "--text", "body", "--out", str(tmp_path / "out.xls")), "expected a file that ends in .csv"),
        ((*file, *out, "--json"), "use --out RESULT.jsonl"),
        ((*out, "a text"), "name it with --file"),
        (("a text", *file, *out), "got texts and --file"),
        (("--file", str(tmp_path / "none.csv"), *out), "no such file"),
    ):
        one_line(rnnexp("predict", str(bundle), *arguments), words)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]
