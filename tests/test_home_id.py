"""The identity of a home: a moved home keeps it, a copy gets a new one."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from rnnexp import home_id
from rnnexp.errors import HomeError
from rnnexp.home import Home
from rnnexp.home_id import HomeId


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home.open(tmp_path / "home")


def test_a_home_gets_one_identity(home: Home) -> None:
    assert home_id.peek(home) == HomeId()
    assert not list(home.root.iterdir()), "peek writes nothing"
    first = home_id.claim(home)
    assert len(first.value) == 32
    assert not first.is_copy
    assert home_id.claim(home) == home_id.peek(home) == first


def test_two_homes_have_different_identities(tmp_path: Path) -> None:
    assert home_id.claim(Home.open(tmp_path / "a")).value != home_id.claim(Home.open(tmp_path / "b")).value


def test_a_moved_home_keeps_its_identity(home: Home, tmp_path: Path) -> None:
    first = home_id.claim(home)
    home.root.rename(tmp_path / "moved")
    moved = Home.at(tmp_path / "moved")
    assert home_id.peek(moved) == home_id.claim(moved) == first
    shutil.copytree(moved.root, home.root)
    assert home_id.claim(home).value != first.value, "a copy to the place from which it was moved"
    assert home_id.claim(moved) == first


def test_a_copy_gets_a_new_identity(home: Home, tmp_path: Path) -> None:
    first = home_id.claim(home)
    shutil.copytree(home.root, tmp_path / "copy")
    copy = Home.at(tmp_path / "copy")
    assert home_id.peek(copy) == HomeId("", (first.value,))
    second = home_id.claim(copy)
    assert second.value not in ("", first.value)
    assert second.is_copy
    assert second.former == (first.value,)
    assert home_id.claim(copy) == home_id.peek(copy) == second
    assert home_id.claim(home) == first
    shutil.copytree(copy.root, tmp_path / "again")
    third = home_id.claim(Home.at(tmp_path / "again"))
    assert third.former == (first.value, second.value)


def test_a_home_that_is_opened_through_a_link_is_the_same(home: Home, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home.root)
    first = home_id.claim(Home.at(tmp_path / "link"))
    assert home_id.claim(home) == first


@pytest.mark.parametrize("content", ["", "[]", '{"id": ""}', '{"id": "a"}', "\0"])
def test_a_damaged_file_is_replaced(home: Home, content: str) -> None:
    home.id_file.write_text(content)
    assert len(home_id.claim(home).value) == 32


def _claim(root: Path) -> str:
    return home_id.claim(Home.at(root)).value


def test_commands_that_start_together_get_the_same_identity(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        for number in range(10):
            assert len(set(pool.map(_claim, [tmp_path / str(number)] * 8))) == 1


def test_an_identity_that_cannot_be_read_now_is_not_replaced(home: Home) -> None:
    first = home_id.claim(home)
    content = home.id_file.read_text()
    home.id_file.unlink()
    home.id_file.mkdir()  # reading it is an error, but not that it is missing
    for ask in (home_id.peek, home_id.claim):
        with pytest.raises(HomeError, match="cannot be read"):
            ask(home)
    home.id_file.rmdir()
    home.id_file.write_text(content)
    assert home_id.claim(home) == first


def test_a_home_keeps_its_identity_if_its_former_place_cannot_be_read(home: Home, tmp_path: Path) -> None:
    first = home_id.claim(home)
    shutil.copytree(home.root, tmp_path / "moved")
    home.id_file.unlink()
    home.id_file.mkdir()
    assert home_id.claim(Home.at(tmp_path / "moved")) == first
