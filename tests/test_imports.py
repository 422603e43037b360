"""Which package may import which, where Optuna and MLflow are imported, and what a light command may load."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnexp.home import Home
from tests.storage.optuna_studies import create_study

PACKAGE = Path(__file__).resolve().parent.parent / "rnnexp"

LAYERS = (
    ("errors", "quiet", "disk", "locks", "mounts", "process_identity", "addresses"),
    ("home", "bug"),
    ("home_id",),
    ("space",),
    ("config",),
    ("data",),
    ("runtime",),
    ("model",),
    ("trial",),
    ("engine",),
    ("storage",),
    ("tracking",),
    ("study",),
    ("forecast",),
    ("analysis",),
    ("export",),
    ("serve",),
    ("health",),
    ("terminal",),
    ("commands",),
    ("cli",),
    ("api",),
    ("__main__",),
)
"""The packages and modules of `rnnexp`, lowest first; each may import those of the lines above it."""

MAY_NOT_IMPORT = {
    "analysis": {"study", "forecast", "tracking", "engine"},
    "export": {"engine", "storage", "tracking", "study", "forecast", "analysis", "trial"},
    "serve": {
        *("home", "home_id", "space", "config", "model", "trial", "engine"),
        *("storage", "tracking", "study", "forecast", "analysis", "export"),
    },
    "health": {"forecast", "analysis", "export", "serve", "model"},
    "terminal": {"engine", "tracking", "analysis", "export", "serve", "health"},
    "tracking": {"engine", "model"},
    "storage": {"engine", "model"},
    "engine": {"model"},
    "study": {"model"},
    "model": {"data", "home", "runtime"},
    "runtime": {"home", "home_id", "space", "config"},
}
"""What a package does without, although it stands above."""

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "pandas", "matplotlib", "ray")

NOT_IN_LISTS = ("sqlalchemy", "numpy", "pydantic", "yaml")
"""What the lists of studies and trials do without, too."""


def may_import(name: str) -> set[str]:
    """Returns the packages that a package may import."""
    if name == "__init__":
        return {"api", "errors", "runtime", "storage"}
    level = next(index for index, layer in enumerate(LAYERS) if name in layer)
    lower = {other for layer in LAYERS[: level + (level == 1)] for other in layer} - {name}
    return lower - MAY_NOT_IMPORT.get(name, set())


def package(path: Path) -> str:
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
def test_a_package_imports_only_what_it_may(path: Path) -> None:
    here = package(path)
    used = {name.split(".")[1] for name in imports(path) if len(name.split(".")) > 1} - {"__version__"}
    assert used - {here} <= may_import(here)


def library_imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


ONLY_IN = {
    "optuna": {"storage"},
    "mlflow": {"tracking", "export/pyfunc_model.py", "export/formats/mlflow.py"},
    "tensorflow": {"model", "trial", "export"},
    "keras": {"data", "model", "trial", "export"},
}
"""Which packages import a library; MLflow runs `pyfunc_model.py` itself."""


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_is_imported_in_its_own_packages_only(library: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        place = str(path.relative_to(PACKAGE))
        if package(path) not in ONLY_IN[library] and place not in ONLY_IN[library]:
            assert library not in library_imports(path), path


def test_no_module_is_part_of_an_import_cycle() -> None:
    modules = {
        ".".join(("rnnexp", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in PACKAGE.rglob("*.py")
    }
    graph = {
        name: {
            known
            for used in imports(path)
            for known in (used, used.rpartition(".")[0])
            if known in modules and known != name
        }
        for name, path in modules.items()
    }
    while True:
        leaves = {name for name, used in graph.items() if not used}
        if not leaves:
            break
        graph = {name: used - leaves for name, used in graph.items() if name not in leaves}
    assert not graph


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_at_most_350_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def loaded(*arguments: str, libraries: tuple[str, ...] = HEAVY) -> set[str]:
    """The heavy packages, or those of other libraries, that a command has imported by its end."""
    code = (
        "import json, sys\n"
        "from rnnexp.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('\\n' + json.dumps([name for name in {libraries!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    assert loaded("--help") == set()
    assert loaded("sweep", "--help") == set()


def test_checking_a_file_loads_nothing_heavy() -> None:
    assert loaded("validate", str(PACKAGE.parent / "sweeps" / "quickstart.yaml")) == set()
    assert loaded("schema") == set()


def test_listing_loads_nothing_heavy(tmp_path: Path) -> None:
    """Neither Optuna, whose tables the lists read, nor what checks a sweep file."""
    create_study(Home.open(tmp_path), "s")
    for arguments in (["studies"], ["trials", "s"], ["trials", "s", "--json"], ["trials", "nothing"]):
        assert loaded(*arguments, "--home", str(tmp_path), libraries=(*HEAVY, *NOT_IN_LISTS)) == set()


def test_listing_data_loads_no_tensorflow(tmp_path: Path) -> None:
    assert not loaded("data", "list", "--home", str(tmp_path)) & {"tensorflow", "keras", "mlflow"}


def test_the_doctor_loads_no_tensorflow(tmp_path: Path) -> None:
    assert not loaded("doctor", "--no-devices", "--home", str(tmp_path)) & {"tensorflow", "keras"}


SHARED_BY_VERBS = {"run_study", "study_record", "study_report", "report_thread", "end_preparation", "host"}
"""Files in `commands` that are no verb; `sweep` and `train` use them."""


def test_every_verb_has_a_file_and_every_file_a_verb() -> None:
    from rnnexp.cli import parser

    actions = [action for action in parser()._actions if action.dest == "verb"]
    verbs = set(actions[0].choices or ())
    files = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert verbs == files - SHARED_BY_VERBS
