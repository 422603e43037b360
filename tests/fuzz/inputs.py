"""Makes the case of a number: a valid input of a target, which is then changed."""

import csv
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.case import Case
from tests.fuzz.mutations import change_bytes, change_text, change_value, change_yaml, value
from tests.fuzz.npz_inputs import npz_case

_SWEEPS = Path(__file__).parents[2] / "sweeps"

_TRIAL = {
    "data": {"name": "reviews", "maxlen": 60, "vocab_size": 500, "train_samples": 100},
    "model": {"cell": "gru", "units": 4, "embedding_dim": 4, "pooling": "mean", "bidirectional": True},
    "train": {"epochs": 2, "learning_rate": 0.01, "checkpoint_metric": "val_loss"},
    "clip": {"kind": "norm", "threshold": 2.0},
}
_SWEEP = {
    "study": "small",
    "objective": {"metric": "val_loss"},
    "sampler": {"name": "tpe", "seed": 3},
    "pruner": {"name": "median", "n_startup_trials": 2},
    "budget": {"trials": 5, "timeout_s": 60},
    "base": {"data": {"name": "reviews"}, "train": {"epochs": 2}},
    "try": [{"model.cell": "gru", "model.units": 8}],
    "space": {
        "model.cell": {"choice": ["gru", "lstm"]},
        "model.units": {"int": [4, 64], "log": True},
        "train.learning_rate": {"float": [0.001, 0.1], "log": True},
        "model.dropout": {"float": [0, 0.5], "step": 0.1},
        "clip.kind": {"choice": ["none", "norm"]},
        "clip.threshold": {"float": [0.1, 10], "when": {"clip.kind": ["norm"]}},
    },
    "limits": {"trial_s": 100, "retries": 1},
    "keep": {"checkpoints": 2},
}


def _yaml(random: Random, tree: Any, texts: list[str]) -> bytes:
    """Returns a changed YAML file: of changed values, or of changed text."""
    kind = random.randrange(8)
    if kind <= 3:
        return yaml.dump(change_value(random, tree), Dumper=_AliasDumper, allow_unicode=True).encode()
    if kind <= 5:
        return change_yaml(random, random.choice(texts)).encode("utf-8", "surrogatepass")
    return (change_text if kind == 6 else change_bytes)(random, random.choice(texts).encode())


class _AliasDumper(yaml.SafeDumper):
    """Writes each value out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@cache
def _sweep_texts() -> list[str]:
    shipped = [path.read_text(encoding="utf-8") for path in sorted(_SWEEPS.glob("*.yaml"))]
    return [*shipped, yaml.safe_dump(_SWEEP)]


def _sweep(random: Random) -> Case:
    files = {"in.yaml": _yaml(random, _SWEEP, _sweep_texts())}
    return Case("sweep", files, {"set": _assignments(random)})


def _trial(random: Random) -> Case:
    files = {"in.yaml": _yaml(random, _TRIAL, [yaml.safe_dump(_TRIAL)])}
    return Case("trial", files, {"set": _assignments(random)})


def _assignments(random: Random) -> list[str]:
    names = (
        "model.units",
        "model.cell",
        "data.path",
        "budget.trials",
        "study",
        "clip.kind",
        "x",
        "",
        "space.model.units",
    )
    if random.random() < 0.7:
        return []
    text = yaml.safe_dump(value(random), default_flow_style=True).removesuffix("...\n").strip()
    return [f"{random.choice(names)}={change_yaml(random, text) if random.random() < 0.3 else text}"]


_WORDS = (
    *("good", "bad", "Film", "don't", "été", "日本", "\U0001f600", "a-b"),
    *("<br />", "x" * 300, "\x85", "\u2028", "NA", "null"),
    *("", " ", ",", '"', "\t", "\n", "\r\n", "\x00", "1e5", "=1+1", "\ufeff", "\x1b[31m", "'"),
)  # fmt: skip


def _texts(random: Random) -> Case:
    kind = random.choice(("csv", "tsv", "jsonl", "parquet"))
    rows = [_row(random) for _ in range(random.choice((0, 6, 12, 12, 40, 40, 40, 200)))]
    content = {"csv": _csv, "tsv": _csv, "jsonl": _json_lines, "parquet": _parquet}[kind](random, rows, kind)
    if kind != "parquet" and random.random() < 0.4:
        content = change_text(random, content)
    if random.random() < (0.7 if kind == "parquet" else 0.1):
        content = change_bytes(random, content)
    data: dict[str, Any] = {"split": random.choice(("stratified", "stratified", "tail"))}
    if random.random() < 0.2:
        data |= random.choice(
            (
                {"text": "id"},
                {"label": "text"},
                {"text": "none"},
                {"validation_split": 0.001},
                {"validation_split": 0.99},
                {"train_samples": 3},
            )
        )
    return Case("texts", {f"in.{kind}": content}, {"data": data, "n_rows": random.choice((1, 2, 7, 5000))})


def _row(random: Random) -> dict[str, Any]:
    words = random.choices(_WORDS[:8], k=random.randrange(1, 12))
    if random.random() < 0.05:
        words = random.choices(_WORDS, k=random.randrange(9))
    label: Any = random.choice(("a", "b"))
    if random.random() < 0.01:
        label = random.choice((None, "", " ", "c", 1, 1.0, True, "a\nb", *_WORDS))
    return {"id": random.randrange(100), "text": " ".join(words), "label": label}


def _csv(random: Random, rows: list[dict[str, Any]], kind: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(
        out,
        ["id", "text", "label"],
        delimiter="\t" if kind == "tsv" else ",",
        lineterminator=random.choice(("\n", "\r\n", "\r")),
        quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    )
    writer.writeheader()
    writer.writerows(rows)
    return (random.choice(("", "", "\ufeff")) + out.getvalue()).encode("utf-8", "surrogatepass")


def _json_lines(random: Random, rows: list[dict[str, Any]], kind: str) -> bytes:
    lines = []
    for row in rows:
        changed = change_value(random, row) if random.random() < 0.02 else row
        lines.append(json.dumps(changed, default=str, ensure_ascii=random.random() < 0.5))
    if random.random() < 0.05:
        lines.insert(0, random.choice(("[" * 90_000, '{"text":' * 90_000, "1" * 5000, "NaN", "[]", '"\\ud800"')))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _parquet(random: Random, rows: list[dict[str, Any]], kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {name: [None if row[name] is None else str(row[name]) for row in rows] for name in ("id", "text", "label")}
    )
    if random.random() < 0.3:
        types = (pa.binary(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
        at = random.randrange(3)
        table = table.set_column(at, table.column_names[at], table.column(at).cast(random.choice(types)))
    if random.random() < 0.1:
        table = table.set_column(
            1, "text", pa.array([random.choice(([1], [], None)) for _ in rows], pa.list_(pa.int64()))
        )
    if random.random() < 0.1:
        table = table.rename_columns(
            random.choice((["text", "text", "label"], ["a", "b", "c"], ["id", "text.x", "label"]))
        )
    out = io.BytesIO()
    codec = random.choice(("none", "snappy", "zstd", "gzip"))
    pq.write_table(table, out, compression=codec, row_group_size=random.choice((3, 100)))
    return out.getvalue()


def _bundle(random: Random, model: bytes = b"PK", target: str = "bundle") -> Case:
    trial = yaml.safe_dump({**_TRIAL, "data": {**_TRIAL["data"], "vocab_size": 50, "maxlen": 12}})
    files = {
        "bundle/config.yaml": trial.encode(),
        "bundle/vocabulary.txt": b"good\nbad\nfilm\n",
        "bundle/model.keras": model,
    }
    manifest: Any = {
        "bundle": 1,
        "study": "small",
        "trial": 0,
        "metrics": {"val_accuracy": 0.9},
        "labels": ["negative", "positive"],
        "formats": ["keras"],
        "data": {"name": "reviews", "digest": "0" * 16, "split": "0" * 16, "n_train": 9, "n_validation": 3},
    }
    name = random.choice(("bundle/config.yaml", "bundle/vocabulary.txt", "bundle/model.keras", "bundle/model.keras"))
    kind = random.randrange(6)
    if target == "model" and random.random() < 0.7:
        name, kind = "bundle/model.keras", 0
    if kind <= 1:
        files[name] = _change_archive(random, model) if name.endswith("keras") else change_bytes(random, files[name])
    elif kind == 2:
        files["bundle/config.yaml"] = _yaml(random, yaml.safe_load(trial), [trial])
    elif kind == 3:
        manifest = change_value(random, manifest)
    digests = {path.removeprefix("bundle/"): hashlib.sha256(content).hexdigest() for path, content in files.items()}
    if isinstance(manifest, dict):
        manifest["files"] = digests
        if kind == 4:
            names = (
                "../secret",
                "/etc/passwd",
                "model.keras/x",
                "",
                ".",
                "a\nb",
                "x" * 3000,
                "\x00",
                "config.yaml/../../secret",
            )
            digests[random.choice(names)] = random.choice(("", "0" * 64, digests["config.yaml"]))
            manifest = change_value(random, manifest) if random.random() < 0.3 else manifest
    text = json.dumps(manifest, default=str, skipkeys=True)
    content = change_bytes(random, text.encode()) if random.random() < 0.1 else text.encode()
    if random.random() < 0.05:
        content = random.choice((b"[" * 100_000, b"1", b"null", b'{"files": 5}', b"\xff", b'{"files": {}}'))
    return Case(target, {**files, "bundle/manifest.json": content, "secret": b"secret"})


def _change_archive(random: Random, content: bytes) -> bytes:
    """Returns a `.keras` file with changed bytes, or whose parts were changed, renamed or removed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile:
        return change_bytes(random, content)
    kind = random.randrange(5)
    if kind == 0:
        return change_bytes(random, content)
    name = random.choice(list(parts))
    if kind == 1:
        parts[random.choice(("../../escaped", "/tmp/escaped", "assets/../../escaped", "x"))] = parts.pop(name)
    elif kind == 2 and name.endswith(".json"):
        parts[name] = json.dumps(change_value(random, json.loads(parts[name])), default=str, skipkeys=True).encode()
    elif kind == 3:
        del parts[name]
    else:
        parts[name] = change_bytes(random, parts[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()


def _scored(random: Random) -> Case:
    """A file whose texts are labelled: broken rows are told, so only what is wrong with the whole file is refused."""
    files = _texts(random).files
    column = random.choice(("text", "text", "text", "label", "none"))
    keep = random.choice(([], [], ["label"], ["none"], ["text"]))
    return Case("scored", files, {"columns": [column, *keep], "out": random.choice((".csv", ".jsonl", ".parquet"))})


_BODIES: tuple[Any, ...] = (
    {"texts": ["good", "bad"]},
    {"text": "good"},
    {"inputs": ["good", "bad"]},
    {"instances": [["good"]]},
    {"dataframe_split": {"columns": ["text"], "data": [["good"], ["bad"]]}},
    {"dataframe_records": [{"text": "good"}]},
)


def _request(random: Random) -> Case:
    body = random.choice(_BODIES)
    if random.random() < 0.5:
        body = change_value(random, body)
    content = json.dumps(body, default=str).encode()
    if random.random() < 0.5:
        content = random.choice((change_bytes, change_text))(random, content)
    if random.random() < 0.15:
        content = b"text\n" + change_text(random, b'good\n"bad, really"\n')
    kinds = ("application/json", "application/json", "application/json; charset=utf-8", "text/csv", "text/plain", "")
    options = {"path": random.choice(("predict", "invocations")), "content_type": random.choice(kinds)}
    return Case("request", {"body": content}, options)


@cache
def _model() -> bytes:
    """Returns a small `.keras` file; imports TensorFlow."""
    from rnnexp.config.trial import TrialConfig
    from rnnexp.data.task import Task
    from rnnexp.model.build import build

    config = TrialConfig.model_validate({**_TRIAL, "data": {**_TRIAL["data"], "vocab_size": 50, "maxlen": 12}})
    task = Task(("negative", "positive"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        build(config, task.n_outputs, task.activation).save(path)
        return path.read_bytes()


MAKERS: dict[str, Callable[[Random], Case]] = {
    "sweep": _sweep,
    "trial": _trial,
    "texts": _texts,
    "scored": _scored,
    "request": _request,
    "npz": npz_case,
    "bundle": _bundle,
    "model": lambda random: _bundle(random, _model(), "model"),
}
"""The targets, and the function that makes a case of each."""


def make(target: str, seed: int, number: int) -> Case:
    """Returns the case of a number; it is always the same."""
    return MAKERS[target](Random(f"{seed} {target} {number}"))
