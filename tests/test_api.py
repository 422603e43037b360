"""The public names of the package, and what they do with a study."""

import subprocess
import sys
import textwrap
import venv
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnexp
from rnnexp import errors
from rnnexp.config.files import parse_assignment
from rnnexp.export import wheel
from rnnexp.storage import read_only
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study as SmallStudy

PUBLIC = {
    "Prediction",
    "RnnexpError",
    "Study",
    "TextModel",
    "TrialRow",
    "UserError",
    "WorkError",
    "__version__",
    "load_model",
    "load_study",
    "sweep",
}


def test_the_public_names_are_these() -> None:
    assert set(rnnexp.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(rnnexp, name) is not None
    assert set(dir(rnnexp)) >= PUBLIC
    with pytest.raises(AttributeError, match="has no attribute 'sweeep'"):
        rnnexp.sweeep  # type: ignore[attr-defined]  # noqa: B018


def test_the_public_members_of_a_study_and_of_a_model_are_these() -> None:
    def members(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert members(rnnexp.Study) == {
        *("name", "metric", "best", "trials_dataframe", "curves", "optuna", "report", "export"),
    }
    assert members(rnnexp.TextModel) == {"predict", "probabilities"}


@pytest.mark.parametrize(
    "code", ["import rnnexp", "import rnnexp; rnnexp.UserError; rnnexp.TextModel", "import rnnexp.api"]
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    heavy = ("tensorflow", "keras", "mlflow", "optuna", "pandas", "matplotlib", "ray", "scipy", "onnx", "onnxruntime")
    more = ("pydantic", "yaml", "numpy", "rich") if code == "import rnnexp" else ()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys; print([name for name in {(*heavy, *more)!r} if name in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def small(tmp_path: Path) -> SmallStudy:
    study = SmallStudy(tmp_path)
    study.run(FakeExecutor())
    return study


def test_a_study_is_read_as_frames(small: SmallStudy) -> None:
    study = rnnexp.load_study("s", home=small.home.root)
    best = study.best
    assert best is not None
    trials = study.trials_dataframe()
    assert trials["value"].max() == best.value
    assert list(trials["trial"]) == [row.number for row in small.view.trials]
    curves = study.curves()
    assert set(curves["trial"]) == set(trials["trial"])
    assert {"epoch", "loss", "val_accuracy"} <= set(curves.columns)
    assert (study.name, study.metric) == ("s", "val_accuracy")
    assert repr(study) == f"<rnnexp.Study 's' in {str(small.home.root)!r}>"


def test_a_study_is_seen_as_it_is_now(small: SmallStudy) -> None:
    study = rnnexp.load_study("s", home=small.home.root)
    n_before = len(study.trials_dataframe())
    small.run(FakeExecutor(), budget__trials=n_before + 2)
    assert len(study.trials_dataframe()) == n_before + 2


def test_optunas_study_is_the_same_and_cannot_be_changed(small: SmallStudy) -> None:
    import optuna
    import sqlalchemy
    from optuna.importance import get_param_importances

    study = rnnexp.load_study("s", home=small.home.root)
    found = study.optuna
    assert isinstance(found, optuna.Study)
    assert study.best is not None
    assert (found.best_trial.number, found.best_value) == (study.best.number, study.best.value)
    assert len(found.trials) == len(study.trials_dataframe())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are few trials
        assert isinstance(get_param_importances(found), dict)
    before = small.home.optuna_db.read_bytes()
    changes: list[Any] = [
        found.ask,
        lambda: found.set_user_attr("mine", 1),
        lambda: found.enqueue_trial({}),
        lambda: found.add_trial(found.trials[0]),
        lambda: optuna.delete_study(study_name="s", storage=found._storage),
    ]
    for change in changes:
        with pytest.raises(rnnexp.UserError, match="this study is opened for reading only"):
            change()
    engine = read_only.open_storage(small.home).engine
    with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly database"), engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM trials"))
    assert small.home.optuna_db.read_bytes() == before
    assert len(study.optuna.trials) == len(study.trials_dataframe())


@pytest.mark.parametrize("name", ["with space", "per%20cent", "que?stion", "ha#sh"])
def test_optunas_study_is_found_in_a_home_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    small = SmallStudy(tmp_path / name)
    small.run(FakeExecutor())
    assert rnnexp.load_study("s", home=small.home.root).optuna.study_name == "s"


def test_a_report_is_written_where_it_is_wanted(small: SmallStudy, tmp_path: Path) -> None:
    study = rnnexp.load_study("s", home=small.home.root)
    assert study.report(tmp_path / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert study.report() == small.home.study("s").report
    (tmp_path / "file").write_text("")
    with pytest.raises(rnnexp.UserError, match=r"cannot be written \(.*\); choose another file"):
        study.report(tmp_path / "file" / "page.html")


def test_wrong_names_and_settings_are_errors_of_the_user(tmp_path: Path, small: SmallStudy) -> None:
    with pytest.raises(rnnexp.UserError, match="no study t"):
        rnnexp.load_study("t", home=small.home.root)
    with pytest.raises(rnnexp.UserError, match=r"not a bundle \(no manifest.json\)"):
        rnnexp.load_model(tmp_path)
    with pytest.raises(rnnexp.UserError, match=r"sweep\(\): study: "):
        rnnexp.sweep({"space": {"model.units": {"int": [8, 16]}}}, home=tmp_path)
    with pytest.raises(rnnexp.UserError, match=r"model\.unit: unknown setting; did you mean model\.units\?"):
        rnnexp.sweep({"study": "x", "space": {"model.units": {"int": [8, 16]}}}, home=tmp_path, model__unit=3)
    with pytest.raises(rnnexp.UserError, match=r"none\.yaml"):
        rnnexp.sweep(tmp_path / "none.yaml", home=tmp_path)
    with pytest.raises(rnnexp.UserError, match="has no trial 99"):
        rnnexp.load_study("s", home=small.home.root).export(tmp_path / "b", trial=99)
    assert not (tmp_path / "b").exists()
    assert issubclass(rnnexp.UserError, rnnexp.RnnexpError)
    assert rnnexp.UserError is errors.UserError


def test_values_of_a_program_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, NumPy's numbers and characters outside the basic plane."""
    from rnnexp import api
    from rnnexp.config.load import load_sweep

    seen: list[Any] = []

    def run(arguments: list[str], *, show: bool) -> None:
        assignments = dict(parse_assignment(arguments[at + 1]) for at, word in enumerate(arguments) if word == "--set")
        seen.append(load_sweep(Path(arguments[1]), assignments))

    monkeypatch.setattr(api, "_run", run)
    monkeypatch.setattr(api, "load_study", lambda *_, **__: None)
    space = {"model.units": {"int": [np.int64(8), 16]}}
    question = "Is it 🙂?"
    base = {"data": {"path": tmp_path / "naïve🙂.csv"}}
    config = {"study": "x", "question": question, "budget": {"trials": 1}, "space": space, "base": base}
    rnnexp.sweep(config, home=tmp_path, data__text="spälte🙂", train__epochs=np.int32(3))
    (found,) = seen
    assert found.question == question
    assert found.base.data.path == str(tmp_path / "naïve🙂.csv")
    assert (found.base.data.text, found.base.train.epochs) == ("spälte🙂", 3)
    with pytest.raises(rnnexp.UserError, match=r"sweep\(\): got \{1\}, expected a text, a number, a list or a mapping"):
        rnnexp.sweep({"study": {1}}, home=tmp_path)


def test_an_interrupt_reaches_the_command_and_its_last_lines_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rnnexp import api

    package = tmp_path / "rnnexp"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as the supervisor does
        "try:\n    print('started', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('resume it with the same command', flush=True)\n    sys.exit(130)\n"
    )
    monkeypatch.chdir(tmp_path)
    copied = api._copy

    def copy(lines: Any, show: bool) -> None:
        if not started:
            started.append(lines.readline().strip())
            raise KeyboardInterrupt
        copied(lines, show)

    started: list[str] = []
    monkeypatch.setattr(api, "_copy", copy)
    with pytest.raises(KeyboardInterrupt):
        api._run(["sweep"], show=True)
    assert "resume it with the same command" in capsys.readouterr().out


def test_one_text_instead_of_a_list_is_refused() -> None:
    from rnnexp.data.text import Vocabulary
    from rnnexp.runtime.manifest import TextInput

    model = rnnexp.TextModel(("a", "b"), Vocabulary(()), TextInput(5, 5, "bucketed"), lambda tokens: tokens)
    with pytest.raises(TypeError, match="got one string, expected a list of texts"):
        model.predict("a text")


_PROGRAM = """
import rnnexp

study = rnnexp.sweep("sweep.yaml", trials=2, model__units=8)
frame = study.trials_dataframe()
best: rnnexp.TrialRow | None = study.best
assert best is not None
value: float | None = best.value
model = rnnexp.load_model("best")
for prediction in model.predict(["a text"]):
    label: str = prediction.label
    share: float = prediction.probabilities[label]
try:
    rnnexp.load_study("none", home="home")
except rnnexp.UserError as error:
    print(error.exit_code)
"""


def _installed(folder: Path) -> Path:
    """Installs the package into an environment without its dependencies; returns the environment's Python."""
    venv.create(folder / "venv", symlinks=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel.write(folder)) as archive:
        archive.extractall(site)
    return folder / "venv" / "bin" / "python"


def _mypy(folder: Path, python: Path, program: str) -> "subprocess.CompletedProcess[str]":
    (folder / "program.py").write_text(textwrap.dedent(program))
    options = ("--strict", "--python-executable", str(python), "--cache-dir", str(folder / "cache"))
    command = [sys.executable, "-m", "mypy", *options, "program.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.integration  # mypy reads the package and its libraries
def test_a_program_of_a_user_is_type_checked(tmp_path: Path) -> None:
    python = _installed(tmp_path)
    done = _mypy(tmp_path, python, _PROGRAM)
    assert done.returncode == 0, done.stdout
    faults = "study.trails_dataframe()\nrnnexp.sweep(3)\nmodel.predict([1])\nshare = study.name\n"
    wrong = _mypy(tmp_path, python, _PROGRAM + faults)
    codes = [line.rpartition("[")[2] for line in wrong.stdout.splitlines() if ": error: " in line]
    assert codes == ["attr-defined]", "arg-type]", "list-item]", "assignment]"], wrong.stdout
