import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.config.trial import DataConfig
from rnnexp.data.splits import hold_out
from rnnexp.data.store import TokenStore, prepare, resolve
from rnnexp.errors import DataError, DataUnavailableError
from rnnexp.home import Home

_GROUPS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=12)), min_size=2, max_size=40
)  # the classes of the rows of each group


def _rows(made: list[tuple[list[int]]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and groups of the rows, in random order."""
    labels = np.concatenate([np.array(classes, np.int32) for (classes,) in made])
    groups = np.repeat(np.arange(len(made), dtype=np.int32), [len(classes) for (classes,) in made])
    order = np.random.default_rng(seed).permutation(len(labels))
    return labels[order], groups[order]


def _numbers_per_class(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=3)


@settings(max_examples=200, deadline=None)
@given(made=_GROUPS, share=st.floats(0.05, 0.6), seed=st.integers(0, 99))
def test_no_group_is_in_both_parts(made: list[tuple[list[int]]], share: float, seed: int) -> None:
    labels, groups = _rows(made, seed)
    try:
        kept, held = hold_out(labels, share, "stratified", seed, "x", groups)
    except DataError as error:
        assert "no group can be held out" in str(error)
        for group in np.unique(groups):
            others = labels[groups != group]
            assert set(labels[groups == group]) - set(others), f"group {group} could be held out"
        return
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held)
    assert kept.tolist() == sorted(kept)
    assert held.tolist() == sorted(held)
    assert not set(groups[kept]) & set(groups[held])
    assert set(labels[kept]) == set(labels), "every class stays in the training part"
    again = hold_out(labels, share, "stratified", seed, "x", groups)
    assert (again[0].tolist(), again[1].tolist()) == (kept.tolist(), held.tolist())
    renamed = hold_out(labels, share, "stratified", seed, "x", groups * 7 + 3)
    assert renamed[1].tolist() == held.tolist(), "only the grouping counts, not the numbers"


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=30, max_size=80),
    n_classes=st.integers(2, 3),
    share=st.floats(0.1, 0.5),
    seed=st.integers(0, 99),
)
def test_groups_of_one_class_give_each_class_its_share(
    sizes: list[int], n_classes: int, share: float, seed: int
) -> None:
    made = [([index % n_classes] * size,) for index, size in enumerate(sizes)]
    labels, groups = _rows(made, seed)
    _, held = hold_out(labels, share, "stratified", seed, "x", groups)
    missed = _numbers_per_class(labels[held]) - share * _numbers_per_class(labels)
    assert np.abs(missed).max() <= max(sizes), "within one group"


@settings(max_examples=50, deadline=None)
@given(made=st.lists(st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=5)), min_size=60), seed=st.integers(0))
def test_mixed_groups_give_about_the_wanted_share(made: list[tuple[list[int]]], seed: int) -> None:
    labels, groups = _rows(made, 0)
    if len(set(labels)) < 2 or min(np.bincount(labels)) < 20:
        return
    _, held = hold_out(labels, 0.2, "stratified", seed, "x", groups)
    assert abs(len(held) - 0.2 * len(labels)) <= 10
    assert np.abs(np.bincount(labels[held], minlength=2) - 0.2 * np.bincount(labels)).max() <= 10


def test_the_seed_draws_the_groups_and_all_are_drawn_equally_often() -> None:
    labels, groups = np.tile(np.array([0, 1], np.int32), 100), np.repeat(np.arange(50, dtype=np.int32), 4)
    n_times = np.zeros(50)
    for seed in range(300):
        _, held = hold_out(labels, 0.2, "stratified", seed, "x", groups)
        assert len(held) == 40
        n_times[np.unique(groups[held])] += 1
    assert n_times.min() > 300 * 0.2 * 0.5
    assert n_times.max() < 300 * 0.2 * 1.6


def test_many_groups_and_single_rows_are_fast_and_exact() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 200_000).astype(np.int32), np.arange(200_000, dtype=np.int32)
    _, held = hold_out(labels, 0.2, "stratified", 0, "x", groups)
    assert np.abs(np.bincount(labels[held]) - 0.2 * np.bincount(labels)).max() < 1


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        ([0, 1, 0, 1], [5, 5, 5, 5], "all 4 rows are in one group"),
        ([0, 0, 1, 1], [1, 1, 2, 2], "no group can be held out, because each of the 2 groups has a class"),
    ],
)
def test_groups_that_cannot_be_split_are_refused(labels: list[int], groups: list[int], words: str) -> None:
    with pytest.raises(DataError, match=f"^mine: {re.escape(words)}"):
        hold_out(np.array(labels, np.int32), 0.2, "stratified", 0, "mine", np.array(groups, np.int32))


def _file(folder: Path, n_groups: int = 30, suffix: str = ".csv") -> Path:
    """A file in which each row names its author; an author has a word that no other has."""
    path = folder / f"texts{suffix}"
    rows = [(f"text {n} by name{n % n_groups}", n % 2, n % n_groups) for n in range(8 * n_groups + 1)]
    if suffix == ".jsonl":
        lines = [json.dumps({"text": text, "label": label, "author": author}) for text, label, author in rows]
    else:
        lines = ["text,label,author", *(f"{text},{label},{author}" for text, label, author in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _authors(store: TokenStore, rows: Any) -> set[str]:
    """The last word of each text; the words of the test part and of the validation part may be unknown."""
    return {store.vocabulary.decode(store.token_ids(int(row))).split()[-1] for row in rows}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_no_author_is_in_two_parts_of_an_own_file(tmp_path: Path, suffix: str) -> None:
    config = DataConfig(path=str(_file(tmp_path, suffix=suffix)), group="author")
    home = Home.open(tmp_path / "home")
    store = prepare(config, home)
    parts = store.split(config)
    n = store.n_pool + store.n_test
    assert store.n_test == pytest.approx(n / 6, abs=9)
    assert len(parts.validation) == pytest.approx(n / 6, abs=9)
    assert len(_authors(store, parts.train)) == pytest.approx(20, abs=2)
    # The vocabulary is that of the training part, so the authors of the other parts are unknown words.
    assert _authors(store, parts.validation) == _authors(store, store.test_rows) == {"<?>"}
    assert len(set(store.groups[parts.train])) == len(_authors(store, parts.train))

    rowwise = config.model_copy(update={"group": None})
    other = prepare(rowwise, home)
    assert other.digest != store.digest
    assert _authors(other, other.split(rowwise).validation) & _authors(other, other.split(rowwise).train)


@pytest.mark.parametrize(
    ("n_groups", "group", "words"),
    [
        (30, "autor", "no column 'autor'; did you mean author?"),
        (1, "author", "all 9 rows are in one group; a split by groups needs two or more"),
        (30, "empty", "column 'empty' is empty in 1 of 241 rows (row 1)"),
    ],
)
def test_a_wrong_group_is_one_clear_error(tmp_path: Path, n_groups: int, group: str, words: str) -> None:
    path = _file(tmp_path, n_groups)
    if group == "empty":
        lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{lines[0]},empty", f"{lines[1]},", *(f"{line},1" for line in lines[2:])]))
    with pytest.raises(DataError, match=re.escape(words)):
        prepare(DataConfig(path=str(path), group=group), Home.open(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_a_group_column_changes_no_other_digest(tmp_path: Path) -> None:
    """Studies of earlier versions store the digest."""
    from rnnexp.data.files import TextFile

    config = DataConfig(path=str(_file(tmp_path)))
    identity = TextFile(Path(str(config.path))).identity(config)
    assert identity.endswith(" text label ('stratified', 0.2, None, 0)")
    grouped = config.model_copy(update={"group": "author"})
    assert TextFile(Path(str(config.path))).identity(grouped) == f"{identity} group author"


def test_the_fallback_of_a_split_by_film_is_stratified(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(_: DataConfig) -> str:
        raise DataUnavailableError("imdb: no network")

    monkeypatch.setattr("rnnexp.data.sets.imdb.identity", unavailable)
    config, _ = resolve(DataConfig(split="by_film", fallback="reviews"))
    assert (config.name, config.split) == ("reviews", "stratified")
    assert DataConfig.model_validate(config.model_dump()) == config
