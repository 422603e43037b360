"""The Python interface: run a study, look at it, use its model. `import rnnexp` has its names.

Nothing here holds a result: every call reads the home again, so a study that runs meanwhile is seen as it is.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rnnexp.errors import RnnexpError, UserError, WorkError, shown
from rnnexp.home import Home, default_root
from rnnexp.runtime.encoding import TextModel
from rnnexp.storage.views import StudyView, TrialRow, view

if TYPE_CHECKING:
    import pandas as pd

    from rnnexp.storage.read_only import OptunaStudy

StrPath = str | os.PathLike[str]


class Study:
    """A study in a home; `load_study` and `sweep` return it."""

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._name = home, name

    def __repr__(self) -> str:
        return f"<rnnexp.Study {self._name!r} in {str(self._home.root)!r}>"

    @property
    def name(self) -> str:
        """The name of the study, and of its experiment in MLflow."""
        return self._name

    @property
    def metric(self) -> str:
        """The metric of the objective; the first one if there are several."""
        return self._view().metric

    @property
    def best(self) -> TrialRow | None:
        """The best trial; None if none has a result yet."""
        return self._view().best

    def trials_dataframe(self) -> "pd.DataFrame":
        """Returns one row for each trial: its state, value, metrics and settings (by their dotted names)."""
        from rnnexp.analysis import frames

        return frames.trials([self._view()])

    def curves(self) -> "pd.DataFrame":
        """Returns one row for each epoch of each trial: trial, epoch, the metrics, seconds."""
        from rnnexp.analysis import frames

        return frames.curves(self._view())

    @property
    def optuna(self) -> "OptunaStudy":
        """The study as an `optuna.Study`, for Optuna's visualizations and importances.

        It can only be read: what would change it raises `UserError`.
        """
        from rnnexp.storage import read_only

        return read_only.open_study(self._home, self._name)

    def report(self, path: StrPath | None = None) -> Path:
        """Writes the interactive report, one HTML page that needs no network.

        Args:
            path: of the page; in the study's own folder if it is None.

        Returns:
            The path of the page.

        Raises:
            UserError: if the page cannot be written.
        """
        from rnnexp.analysis import report

        study = self._view()
        to = study.folder.report if path is None else Path(path)
        try:
            report.write_html(self._home, [study], to)
        except OSError as error:
            raise UserError(f"{to}: cannot be written ({error.strerror}); choose another file") from None
        return to.absolute()

    def export(self, to: StrPath, *, trial: int | None = None, formats: Sequence[str] = ()) -> TextModel:
        """Exports the model of a trial as a bundle, checked against training.

        Args:
            to: the folder of the bundle; a bundle of an earlier export is replaced.
            trial: the trial's number; the best one if it is None.
            formats: some of keras, saved_model, onnx and mlflow; the first three that can represent the model if it is
                empty.

        Returns:
            The model of the bundle.

        Raises:
            UserError: if there is no such trial, or the folder cannot be used.
            WorkError: if the bundle is not the trained model.
        """
        number = [] if trial is None else ["--trial", str(trial)]
        _run(
            ["export", self._name, "--to", os.fspath(to), *number, *_repeated("--format", formats), *_home(self._home)],
            show=False,
        )
        return load_model(to)

    def _view(self) -> StudyView:
        return view(self._home, self._name)


def sweep(
    config: StrPath | Mapping[str, Any],
    *,
    home: StrPath | None = None,
    trials: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    study: str | None = None,
    show: bool = True,
    **settings: Any,
) -> Study:
    """Starts or resumes a study, in a process of its own, and waits for its end.

    An interrupt (Ctrl-C, or a notebook's stop button) stops the study; the same call resumes it.

    Args:
        config: a sweep file, or its content.
        home: folder for all state; $RNNEXP_HOME or ./mlruns if it is None.
        trials: total number of trials over all starts.
        workers: trials at once.
        timeout: seconds after which the study stops; the same call resumes it.
        study: name of the study, instead of the one in `config`.
        show: whether to print the progress.
        **settings: override settings, as `--set` does: `model__units=64`, or `**{"model.units": 64}`.

    Returns:
        The study.

    Raises:
        UserError: if the configuration is wrong, or the study was started with another one.
        WorkError: if no trial finished.
        KeyboardInterrupt: if the study was stopped.
    """
    from rnnexp.config.load import check_sweep, load_sweep

    flags = {"trials": trials, "workers": workers, "timeout": timeout, "study": study}
    options = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    assignments = json.loads(_yaml({name.replace("__", "."): value for name, value in settings.items()}))
    options += _repeated("--set", [f"{name}={_yaml(value)}" for name, value in assignments.items()])
    named = {} if study is None else {"study": study}
    place = _open_home(home)
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as temporary:
        if isinstance(config, Mapping):
            content = _yaml(config)
            name = check_sweep(json.loads(content), "sweep()", assignments | named).study
            file = Path(temporary) / "sweep.yaml"
            file.write_text(content, encoding="utf-8")
        else:
            file = Path(config)
            name = load_sweep(file, assignments | named).study
        _run(["sweep", str(file), *options, *_home(place)], show=show)
    return load_study(name, home=place.root)


def load_study(name: str, *, home: StrPath | None = None) -> Study:
    """Opens a study.

    Args:
        name: as `rnnexp studies` lists it.
        home: folder for all state; $RNNEXP_HOME or ./mlruns if it is None.

    Raises:
        UserError: if there is no such study.
    """
    place = _open_home(home)
    view(place, name, with_runs=False)
    return Study(place, name)


def load_model(bundle: StrPath) -> TextModel:
    """Opens a bundle that `export` has written, and loads its model: with ONNX Runtime, else with TensorFlow.

    Raises:
        UserError: if the folder is not a bundle, or was changed.
    """
    from rnnexp.export import predictor
    from rnnexp.export.bundle import Bundle

    return predictor.load(Bundle.open(Path(bundle)))


def _open_home(home: StrPath | None) -> Home:
    return Home.at(home if home is not None else default_root())


def _home(home: Home) -> list[str]:
    return ["--home", str(home.root)]


def _yaml(value: Any) -> str:
    """Returns a value as JSON, which is YAML; paths and numbers of NumPy become plain values."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return value.item()
    raise UserError(f"sweep(): got {shown(value)}, expected a text, a number, a list or a mapping")


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _copy(lines: IO[str], show: bool) -> None:
    for line in lines:
        if show:
            sys.stdout.write(line)


def _run(arguments: list[str], *, show: bool) -> None:
    """Runs a command in a process of its own, whatever the caller's program is; prints what it prints.

    Trials are forked and signals are handled there: neither is safe inside of a notebook or a threaded program.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "rnnexp", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # an interrupt is passed on once
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                _copy(process.stdout, show)
            except BaseException:
                process.send_signal(signal.SIGINT)
                _copy(process.stdout, show)  # the study stops in order, and says how to resume it
                process.wait()
                raise
        code = process.wait()
        errors.seek(0)
        message = errors.read().strip()
    if code == UserError.exit_code:
        raise UserError(message)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt
    if code == WorkError.exit_code:
        raise WorkError(message or "no trial finished")
    if code:
        raise RnnexpError(message or f"rnnexp {arguments[0]} ended with exit code {code}")
