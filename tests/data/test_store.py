import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, digest_of_test_part, is_valid, known, prepare, resolve
from rnnexp.errors import DataError, DataUnavailableError
from rnnexp.home import Home

_BUILDER = """
import sys, time
from rnnexp.config.trial import DataConfig
from rnnexp.data import store
from rnnexp.home import Home

build = store._build
def slowly(*arguments):
    print("built", flush=True)
    time.sleep(0.3)
    build(*arguments)
store._build = slowly
import pandas  # before the start, as it is slow
home, path = Home.open(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(sum(map(len, map(store.prepare(DataConfig(path=path), home).token_ids, range(12)))), flush=True)
"""


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"one two three {n},{n % 2}\n" for n in range(12)), encoding="utf-8")
    return DataConfig(path=str(path))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def _content(store: TokenStore) -> list[list[int]]:
    return [store.token_ids(row).tolist() for row in range(store.n_pool + store.n_test)]


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_store_is_built_once_and_opened_again(config: DataConfig, home: Home) -> None:
    first = prepare(config, home)
    built = (first.root / "meta.json").stat()
    again = prepare(config, home)
    assert again == first == TokenStore.open(first.root)
    assert (again.root / "meta.json").stat().st_ino == built.st_ino
    assert first.root.parent == home.cache
    assert _entries(home.cache) == [first.root.name, f"{first.root.name}.lock"]


def test_settings_that_change_the_data_get_another_store(config: DataConfig, home: Home) -> None:
    first = prepare(config, home)
    assert prepare(config.model_copy(update={"maxlen": 2, "vocab_size": 5}), home).root == first.root
    assert prepare(config.model_copy(update={"seed": 1}), home).root != first.root
    Path(str(config.path)).write_text("text,label\n" + "a,1\nb,0\n" * 6, encoding="utf-8")
    changed = prepare(config, home)
    assert changed.root != first.root
    assert set(changed.vocabulary.words) == {"a", "b"}


def test_processes_that_start_together_share_one_store(config: DataConfig, home: Home) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _BUILDER, str(home.root), str(config.path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(output.count("built") for output in outputs) == 1
    assert [output[-1] for output in outputs] == [str(12 * 5)] * 3
    assert len(_entries(home.cache)) == 2


@pytest.mark.parametrize("name", ["tokens.npy", "offsets.npy", "labels.npy", "vocabulary.txt", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_a_damaged_store_is_built_again(config: DataConfig, home: Home, name: str, damage: str) -> None:
    sound = prepare(config, home)
    expected, words = _content(sound), sound.vocabulary.words
    file = sound.root / name
    content = file.read_bytes()
    if damage == "removed":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(content[:-4] + b"\x07\x07\x07\x07")
    again = prepare(config, home)
    assert again == sound
    assert _content(again) == expected
    assert again.vocabulary.words == words
    assert _entries(home.cache) == [sound.root.name, f"{sound.root.name}.lock"]


def test_wrong_input_leaves_nothing_in_the_home(config: DataConfig, home: Home) -> None:
    for change in ({"label": "stars"}, {"train_samples": 1000}, {"path": "gone.csv"}):
        with pytest.raises(DataError):
            prepare(config.model_copy(update=change), home)
    assert not home.root.exists()


def test_a_failed_build_leaves_no_partial_store(
    config: DataConfig, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(np, "save", _disk_full)
        with pytest.raises(OSError, match="No space left"):
            prepare(config, home)
    assert all(name.endswith(".lock") for name in _entries(home.cache))
    assert prepare(config, home).n_pool == 10


def _disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_texts_are_memory_mapped_and_read_only(config: DataConfig, home: Home) -> None:
    review = prepare(config, home).token_ids(3)
    base: object = review
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        review[0] = 9


def test_lengths_are_those_after_cutting(config: DataConfig, home: Home) -> None:
    store = prepare(config, home)
    assert store.lengths(np.array([0, 5]), maxlen=400).tolist() == [5, 5]
    assert store.lengths(np.array([0, 5]), maxlen=2).tolist() == [2, 2]


def test_the_test_rows_come_after_the_pool(config: DataConfig, home: Home) -> None:
    store = prepare(config, home)
    parts = store.split(config)
    rows = [*parts.train, *parts.validation, *store.test_rows]
    assert sorted(rows) == list(range(12))
    assert store.test_rows.tolist() == [10, 11]


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a token store"):
        TokenStore.open(tmp_path)
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="not a token store"):
        TokenStore.open(tmp_path)


def test_the_fallback_is_used_and_reported_if_the_data_are_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(_: DataConfig) -> str:
        raise DataUnavailableError("imdb: no network")

    monkeypatch.setattr("rnnexp.data.sets.imdb.identity", unavailable)
    config, line = resolve(DataConfig(fallback="reviews"))
    assert (config.name, config.fallback) == ("reviews", None)
    assert line is not None
    assert line.startswith("imdb: no network. Using generated reviews instead")
    assert resolve(DataConfig()) == (DataConfig(), None)


def test_the_fallback_is_not_used_if_the_data_are_available(config: DataConfig) -> None:
    settled, line = resolve(config.model_copy(update={"fallback": "reviews"}))
    assert settled == config
    assert line is None


def test_the_fallback_is_not_used_if_the_data_are_damaged(tmp_path: Path, config: DataConfig) -> None:
    with pytest.raises(DataError, match="no such file"):
        resolve(config.model_copy(update={"path": str(tmp_path / "gone.csv"), "fallback": "reviews"}))


def test_a_store_survives_a_move_of_its_home(config: DataConfig, home: Home, tmp_path: Path) -> None:
    expected = _content(prepare(config, home))
    shutil.move(home.root, tmp_path / "moved")
    moved = Home.open(tmp_path / "moved")
    (root,) = (entry for entry in moved.cache.iterdir() if entry.is_dir())
    assert _content(TokenStore.open(root)) == expected


def test_every_built_in_data_set_has_a_description() -> None:
    assert set(known()) == {"imdb", "reviews"}
    assert all(known().values())


def test_fewer_training_texts_are_the_same_test_part(config: DataConfig, home: Home) -> None:
    """Each use of the test part is counted by this digest."""
    for whole in (config, DataConfig(name="reviews")):
        some = whole.model_copy(update={"train_samples": 4, "vocab_size": 5, "maxlen": 3})
        assert digest_of_test_part(some) == digest_of_test_part(whole)
    parts = [prepare(config.model_copy(update={"train_samples": n}), home) for n in (None, 4)]
    assert parts[0].digest != parts[1].digest, "the vocabulary is another one"
    assert parts[0].label_ids[parts[0].test_rows].tolist() == parts[1].label_ids[parts[1].test_rows].tolist()


@pytest.mark.parametrize("change", [{"seed": 1}, {"validation_split": 0.3}, {"split": "tail"}, {"group": "text"}])
def test_other_test_parts_have_other_digests(config: DataConfig, change: dict[str, object]) -> None:
    other = DataConfig.model_validate(config.model_dump() | change)
    assert digest_of_test_part(other) != digest_of_test_part(config)


def test_a_store_without_groups_is_used_unless_the_split_needs_them(config: DataConfig, home: Home) -> None:
    """Homes of earlier versions have such stores."""
    grouped = DataConfig.model_validate(config.model_dump() | {"group": "text"})
    store = prepare(grouped, home)
    meta = json.loads((store.root / "meta.json").read_text())
    del meta["files"]["groups.npy"]
    (store.root / "groups.npy").unlink()
    (store.root / "meta.json").write_text(json.dumps(meta))
    assert is_valid(store.root)
    built = (store.root / "meta.json").stat().st_ino
    assert prepare(grouped, home).split(grouped).digest == store.split(grouped).digest
    assert (store.root / "meta.json").stat().st_ino != built
    (store.root / "groups.npy").write_bytes(b"damaged")
    assert not is_valid(store.root)
