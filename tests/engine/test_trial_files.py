"""The files of a trial that travel between a node and the supervisor's machine."""

from pathlib import Path

import pytest

from rnnexp.engine import trial_files
from rnnexp.engine.trial_files import ChangedFiles
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import Paused


@pytest.fixture
def home(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path / "home" / "00003")


@pytest.fixture
def node(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path / "node" / "00003")


def write(folder: TrialFolder, **files: str) -> None:
    for name, text in files.items():
        path: Path = getattr(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(folder: TrialFolder) -> dict[str, str]:
    return {str(path.relative_to(folder.root)): path.read_text() for path in folder.root.rglob("*") if path.is_file()}


def test_an_attempt_on_a_node_gets_what_it_resumes_from(home: TrialFolder, node: TrialFolder) -> None:
    write(home, config="settings", events="", state="state", best="best", held_out="held", plan="plan", curves="drawn")
    write(home, log="log of this machine", lock="")
    trial_files.write_state(node, trial_files.read_state(home))
    assert contents(node) == {
        "events.jsonl": "",
        "state.npz": "state",
        "checkpoints/best.keras": "best",
        "held_out.npz": "held",
        "plan.json": "plan",
    }


def test_only_what_has_changed_comes_back(home: TrialFolder, node: TrialFolder) -> None:
    write(node, state="1", best="1", plan="plan")
    changed = ChangedFiles(node)
    assert changed.files() == {}
    node.state.unlink()
    write(node, state="2", held_out="2", log="line 1\n")
    assert changed.files() == {"held_out.npz": b"2", "state.npz": b"2"}
    assert changed.log() == b"line 1\n"
    with node.log.open("a") as log:
        log.write("line 2\n")
    assert (changed.files(), changed.log(), changed.log()) == ({}, b"line 2\n", b"")


def test_a_file_that_the_trial_removes_is_removed_at_home_before_others_are_written(
    home: TrialFolder, node: TrialFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged checkpoint is removed, and the training begins again: the model is then that of another epoch."""
    for folder in (home, node):
        write(folder, state="epoch 5, damaged", best="epoch 3", held_out="epoch 3")
    changed = ChangedFiles(node)
    node.state.unlink()
    node.best.unlink()
    write(node, best="epoch 1")
    files = changed.files()
    assert files == {"state.npz": None, "checkpoints/best.keras": b"epoch 1"}

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("rnnexp.disk.replacing", killed)
        with pytest.raises(KeyboardInterrupt):
            trial_files.write_returned(home, files)
    assert contents(home) == {"checkpoints/best.keras": "epoch 3", "held_out.npz": "epoch 3"}
    trial_files.write_returned(home, files)
    assert home.best.read_text() == "epoch 1"


def test_a_node_can_write_no_other_file(home: TrialFolder) -> None:
    trial_files.write_returned(home, {"../escaped": b"x", "events.jsonl": b"x", "config.yaml": b"x", "state.npz": b"x"})
    assert contents(home) == {"state.npz": "x"}
    assert [path.name for path in home.root.parent.iterdir()] == ["00003"]


def test_events_come_back_once_also_after_an_incomplete_line(home: TrialFolder, node: TrialFolder) -> None:
    for folder in (home, node):
        events.append(folder.events, Paused(1.0, 1))
    changed = ChangedFiles(node)
    with node.events.open("a") as file:
        file.write('{"event": "pau')
    events.append(node.events, Paused(2.0, 2))
    recorded = changed.events()
    assert recorded == (Paused(2.0, 2),)
    assert changed.events() == ()
    for _ in range(2):
        trial_files.append_events(home, recorded)
    assert events.read(home.events) == [Paused(1.0, 1), Paused(2.0, 2)]
