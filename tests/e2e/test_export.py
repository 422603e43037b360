"""A bundle is checked when it is written, refused if it was changed, and accepts raw text."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import SWEEP, Ran, one_line, rnnexp, sweep, tree
from tests.e2e.contents import open_client

pytestmark = pytest.mark.tensorflow


def test_a_bundle_contains_all_that_the_model_needs(bundle: Path, ran: Ran) -> None:
    names = set(tree(bundle))
    assert {"manifest.json", "config.yaml", "vocabulary.txt", "model.keras", "saved_model/saved_model.pb"} <= names
    manifest = json.loads((bundle / "manifest.json").read_text())
    best = max(ran.json("trials", "small"), key=lambda row: (row["value"], -row["number"]))
    assert (manifest["study"], manifest["trial"], manifest["run_id"]) == ("small", best["number"], best["run_id"])
    assert manifest["metrics"] == best["metrics"]
    assert manifest["labels"] == ["negative", "positive"]
    assert set(manifest["versions"]) == {"python", "rnnexp", "keras", "tensorflow", "numpy", "onnx", "onnxruntime"}
    assert list(manifest["measured"]) == ["keras", "saved_model", "onnx"]
    for name, path in (("keras", "model.keras"), ("onnx", "model.onnx")):
        measured = manifest["measured"][name]
        assert measured["bytes"] == (bundle / path).stat().st_size
        assert 0.5 < measured["accuracy"] <= 1
        assert 0 < measured["one_text_ms"] < measured["batch_of_64_ms"]


def test_the_model_card_is_in_the_bundle_and_in_mlflow(bundle: Path, ran: Ran) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    text = (bundle / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Model card: small, trial {manifest['trial']}\n")
    assert "README.md" in manifest["files"], "its hash is checked like those of the other files"
    client = open_client(ran.home)
    artifacts = {item.path for item in client.list_artifacts(manifest["run_id"])}
    assert "model_card.html" in artifacts


def test_an_export_prints_no_log_of_a_library(ran: Ran, tmp_path: Path) -> None:
    done = rnnexp("export", "small", "--to", str(tmp_path / "best"), "--format", "keras", "--home", str(ran.home))
    assert (done.returncode, done.stderr) == (0, "")


def test_it_labels_texts_from_arguments_and_standard_input(bundle: Path) -> None:
    done = rnnexp("predict", str(bundle), "The plot was superb.", "The cast was dull.", "")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3
    piped = rnnexp("predict", str(bundle), "--json", stdin="The plot was superb.\nThe cast was dull.\n")
    found = json.loads(piped.stdout)
    assert [one["text"] for one in found] == ["The plot was superb.", "The cast was dull."]
    for one in found:
        assert one["probability"] == pytest.approx(one["probabilities"][one["label"]])


def test_the_saved_model_gives_the_probabilities_of_the_keras_model(bundle: Path) -> None:
    """The SavedModel runs without rnnexp, on texts that are difficult to tokenize."""
    texts = [
        "",
        "  ",
        "The PLOT—was\tsuperb!!",
        "İstanbul ΣΑΣ naïve café",
        "a" * 500,
        "dull dull\u3000dull\xa0good",
        "it's",
    ]
    texts += ["the acting was never dull , although the plot was " + "very " * n + "tedious" for n in (1, 80)]
    code = (
        "import sys; sys.modules['rnnexp'] = None\n"
        "import json, tensorflow as tf\n"
        f"serve = tf.saved_model.load({str(bundle / 'saved_model')!r}).signatures['serving_default']\n"
        f"print(json.dumps(serve(texts=tf.constant({texts!r}))['probabilities'].numpy().tolist()))"
    )
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    rows = json.loads(alone.stdout.splitlines()[-1])
    found = json.loads(rnnexp("predict", str(bundle), "--json", *texts).stdout)
    for text, row, one in zip(texts, rows, found, strict=True):
        assert row == pytest.approx(list(one["probabilities"].values()), abs=1e-5), text


def test_each_evaluation_on_the_test_part_is_counted(bundle: Path, ran: Ran) -> None:
    validated = ran.json("evaluate", str(bundle), "--split", "validation")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert validated["accuracy"] == pytest.approx(manifest["metrics"]["val_accuracy"], abs=1e-9)
    assert validated["loss"] == pytest.approx(manifest["metrics"]["val_loss"], abs=1e-5)
    assert validated["openings"] is None
    first = ran.json("evaluate", str(bundle))
    assert (first["split"], first["openings"]) == ("test", 1)
    assert ran.json("evaluate", str(bundle))["openings"] == 2


def test_a_changed_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    words = (copy / "vocabulary.txt").read_text().splitlines()
    (copy / "vocabulary.txt").write_text("\n".join([words[1], words[0], *words[2:]]) + "\n")
    one_line(rnnexp("predict", str(copy), "good"), "vocabulary.txt was changed since the export")
    one_line(rnnexp("predict", str(tmp_path / "none"), "good"), "not a bundle", "rnnexp export STUDY --to DIR")


def test_an_export_that_is_not_the_trained_model_fails_and_leaves_nothing(ran: Ran, tmp_path: Path) -> None:
    """The recorded probabilities belong to another model, which the check must detect."""
    home = tmp_path / "home"
    shutil.copytree(ran.home, home)
    best = min(ran.json("trials", "small"), key=lambda row: (-row["value"], row["number"]))
    held_out = home / "work" / "small" / "trials" / f"{best['number']:05d}" / "held_out.npz"
    with np.load(held_out) as arrays:
        rows, probabilities = arrays["rows"], arrays["probabilities"]
    np.savez(held_out, rows=rows, probabilities=probabilities[::-1])
    done = rnnexp("export", "small", "--to", str(tmp_path / "out" / "best"), "--home", str(home))
    assert done.returncode == 1
    assert "the export is not the trained model" in done.stderr
    assert tree(tmp_path / "out") == []


def test_wrong_arguments(ran: Ran, tmp_path: Path) -> None:
    home = ("--home", str(ran.home))
    to = ("--to", str(tmp_path / "best"))
    one_line(rnnexp("export", "smal", *to, *home), "no study smal", "did you mean small?")
    one_line(rnnexp("export", "small", "--trial", "9", *to, *home), "has no trial 9")
    folders = [ran.home / "work" / "small" / "trials" / f"{number:05d}" for number in range(3)]
    evicted = next(
        number for number, folder in enumerate(folders) if not (folder / "checkpoints" / "best.keras").exists()
    )
    one_line(rnnexp("export", "small", "--trial", str(evicted), *to, *home), "its checkpoint is not kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    one_line(rnnexp("export", "small", "--to", str(tmp_path / "full"), *home), "exists and is not a bundle")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_an_export_that_fails_at_the_end_of_a_sweep_is_a_failure_of_its_own(tmp_path: Path) -> None:
    """The report and the study's own run are written all the same, and the same command tries the export again."""
    ran = sweep(tmp_path, SWEEP)
    client = open_client(ran.home)
    best = min(ran.json("trials", "small"), key=lambda row: (-row["value"], row["number"]))
    held_out = ran.home / "work" / "small" / "trials" / f"{best['number']:05d}" / "held_out.npz"
    whole = held_out.read_bytes()
    with np.load(held_out) as arrays:
        rows, probabilities = arrays["rows"], arrays["probabilities"]
    np.savez(held_out, rows=rows, probabilities=probabilities[::-1])
    client.delete_registered_model_alias("small", "best")
    (ran.home / "work" / "small" / "report.html").unlink()
    failed = rnnexp("sweep", str(ran.file), "--home", str(ran.home))
    assert failed.returncode == 1, failed.stdout
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert "the export is not the trained model" in failed.stderr
    assert "MLflow has the trials' runs" not in failed.stdout
    assert (ran.home / "work" / "small" / "report.html").exists()
    held_out.write_bytes(whole)
    again = rnnexp("sweep", str(ran.file), "--home", str(ran.home))
    assert again.returncode == 0, again.stderr
    assert client.get_model_version_by_alias("small", "best").tags["rnnexp.run_id"] == best["run_id"]


def test_labels_and_texts_cannot_control_the_terminal(bundle: Path) -> None:
    text = "good\x1b]0;owned\x07\x9b2J\u202e"
    done = rnnexp("predict", str(bundle), text)
    assert done.returncode == 0, done.stderr
    assert not set("\x1b\x07\x9b\u202e") & set(done.stdout)
    assert r"good\x1b]0;owned\x07\x9b2J\u202e" in done.stdout
    printed = rnnexp("predict", str(bundle), text, "--json").stdout
    assert not set("\x1b\x07\x9b\u202e") & set(printed)
    assert json.loads(printed)[0]["text"] == text
