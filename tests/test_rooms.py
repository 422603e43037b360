"""The rooms and their doors: which may import which, and what a light command may load."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "rnnexp"

MAY_IMPORT = {
    "errors": set(),
    "quiet": set(),
    "disk": set(),
    "locks": set(),
    "home": {"errors"},
    "bug": {"home"},
    "space": {"errors"},
    "config": {"errors", "space"},
    "data": {"config", "home", "errors"},
    "model": {"config", "errors"},
    "trial": {"data", "model", "config", "home", "errors", "quiet", "disk", "locks"},
    "engine": {"trial", "errors", "disk"},
    "study": {"engine", "config", "space", "home", "errors", "trial", "data", "disk"},
    "analysis": {"study", "home", "errors", "trial"},
    "export": {"data", "model", "config", "errors", "quiet"},
    "health": {"study", "engine", "trial", "data", "config", "home", "disk", "errors", "locks"},
    "terminal": {"study", "trial"},
    "commands": {
        *("errors", "home", "config", "space", "data", "model", "trial", "engine"),
        *("study", "analysis", "export", "terminal", "quiet", "disk", "health"),
    },
    "cli": {"errors", "commands", "bug", "disk"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""The architecture's table, with the rooms that it leaves to us: `terminal`, `quiet`, `bug`."""

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "pandas", "matplotlib")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module else set()
    return {name for name in found if name.split(".")[0] == "rnnexp"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    here = room(path)
    used = {name.split(".")[1] for name in imports(path) if len(name.split(".")) > 1} - {"__version__"}
    assert used - {here} <= MAY_IMPORT[here]


def test_study_and_engine_take_from_the_trial_only_its_doors() -> None:
    doors = {"events", "run", "record"}
    for folder in ("study", "engine"):
        for path in (PACKAGE / folder).glob("*.py"):
            used = {name.split(".")[2] for name in imports(path) if name.startswith("rnnexp.trial.")}
            assert used <= doors, path


def test_the_trial_knows_neither_optuna_nor_mlflow() -> None:
    for folder in ("config", "data", "model", "trial", "engine", "export"):
        for path in (PACKAGE / folder).rglob("*.py"):
            if path.name == "pyfunc_model.py":
                continue  # MLflow's own code, run by MLflow alone
            source = path.read_text(encoding="utf-8")
            assert "import optuna" not in source
            assert "import mlflow" not in source, path


def loaded(*arguments: str) -> set[str]:
    """The heavy packages that a command has imported by its end."""
    code = (
        "import json, sys\n"
        "from rnnexp.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('\\n' + json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    assert loaded("--help") == set()
    assert loaded("sweep", "--help") == set()


def test_checking_a_file_loads_nothing_heavy() -> None:
    assert loaded("validate", str(PACKAGE.parent / "sweeps" / "quickstart.yaml")) == set()
    assert loaded("schema") == set()


def test_listing_loads_no_tensorflow(tmp_path: Path) -> None:
    for arguments in (["studies"], ["trials", "nothing"], ["data", "list"]):
        assert not loaded(*arguments, "--home", str(tmp_path)) & {"tensorflow", "keras", "mlflow"}


def test_the_doctor_loads_no_tensorflow(tmp_path: Path) -> None:
    assert not loaded("doctor", "--no-devices", "--home", str(tmp_path)) & {"tensorflow", "keras"}


def test_every_verb_has_a_file_and_every_file_a_verb() -> None:
    from rnnexp.cli import parser

    actions = [action for action in parser()._actions if action.dest == "verb"]
    verbs = set(actions[0].choices or ())
    files = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert verbs == files
