"""Opening a home, and the MLflow that it uses."""

import threading
from pathlib import Path

import pytest

from rnnexp.errors import HomeError
from rnnexp.home import Home


def test_opening_a_new_home_creates_nothing(tmp_path: Path) -> None:
    Home.open(tmp_path / "new" / "home")
    assert not list(tmp_path.iterdir())


def test_first_commands_on_a_new_home_do_not_collide(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def use(start: threading.Barrier, root: Path) -> None:
        start.wait()
        try:
            home = Home.open(root)
            home.work.mkdir(parents=True, exist_ok=True)
        except BaseException as error:
            failures.append(error)

    for number in range(100):
        start, root = threading.Barrier(4), tmp_path / str(number) / "home"
        threads = [threading.Thread(target=use, args=(start, root)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "home", tmp_path / ("x" * 300)):
        with pytest.raises(HomeError, match="the home folder cannot be written"):
            Home.open(root)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sqlite:///other.db", "MLFLOW_TRACKING_URI is sqlite:///other.db, which is not used"),
        ("mlruns", "MLFLOW_TRACKING_URI is mlruns, which is not used"),
        ("databricks", "which is not used"),
        ("postgresql://me:secret@db/runs", "is postgresql://db/runs, which is not used"),
        ("http://host:5000?token=secret", "the part after `?` is not used"),
    ],
)
def test_an_address_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    note = Home.at(tmp_path).tracking_note
    assert note is not None
    assert words in note
    assert "secret" not in note


@pytest.mark.parametrize("address", ["", "http://host:5000", "HTTPS://host", "home"])
def test_an_address_that_is_used_has_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    home = Home.at(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri if address == "home" else address)
    assert home.tracking_note is None
    assert (home.tracking_server is not None) == address.lower().startswith("http")


@pytest.mark.parametrize("identity", ["../../elsewhere", "/etc", "a/../../b", "..", "47a52fec"])
def test_what_is_fetched_stays_in_the_home(tmp_path: Path, identity: str) -> None:
    """The identity of a study in a shared database was written by another machine."""
    assert Home(tmp_path).fetched(identity).root.resolve().parent == (tmp_path / "fetched").resolve()
