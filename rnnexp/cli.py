"""The command line: parses the arguments, runs `commands.<verb>`, and turns an error into one line and an exit code.

Nothing heavy is imported here, so that `--help` is fast.
"""

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from rnnexp import __version__, addresses, disk
from rnnexp.errors import BUG, RnnexpError, UserError
from rnnexp.home import default_root
from rnnexp.runtime.manifest import FORMATS
from rnnexp.terminal.escapes import visible, visible_lines

INTERRUPTED, FAILED = 130, 1
_TRAINING_VERBS = ("sweep", "train", "certify", "verify")
_SERVERS = ("serve", "ui")
"""Commands that decide themselves what each signal means."""

_HOME = argparse.ArgumentParser(add_help=False)
_HOME.add_argument(
    "--home",
    default=default_root(),
    metavar="DIR",
    help="folder for all state (default: $RNNEXP_HOME, else ./mlruns)",
)
_STUDIES = argparse.ArgumentParser(add_help=False, parents=[_HOME])
_STUDIES.add_argument(
    "--storage",
    metavar="URL",
    help="PostgreSQL database of the studies, without a password (default: $RNNEXP_STORAGE, else DIR/optuna.db)",
)
_JSON = argparse.ArgumentParser(add_help=False)
_JSON.add_argument("--json", action="store_true", help="print JSON, for programs")
_SET = argparse.ArgumentParser(add_help=False)
_SET.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    dest="assignments",
    help="override a setting, as in model.units=64; may be repeated",
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="rnnexp",
        description="Hyperparameter studies of recurrent networks on text. Optuna searches, Keras trains, "
        "MLflow records. The best model is exported and accepts raw text.",
        epilog="Start with: rnnexp sweep sweeps/quickstart.yaml. `rnnexp VERB --help` explains a verb.",
    )
    top.add_argument("--version", action="version", version=f"rnnexp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[*parents])

    sweep = verb("sweep", "start or resume the study of a sweep file", _STUDIES, _SET, _JSON)
    sweep.add_argument("file", help="sweep file (YAML); examples are in sweeps/")
    sweep.add_argument("--trials", type=int, metavar="N", help="total number of trials over all starts")
    sweep.add_argument("--workers", type=int, metavar="W", help="trials at once (default: from cores and memory)")
    sweep.add_argument("--engine", choices=("local", "ray"), help="where the trials run (default: local)")
    sweep.add_argument("--address", metavar="A", help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT")
    sweep.add_argument("--timeout", type=float, metavar="S", help="stop after S seconds; the same command resumes")
    sweep.add_argument("--study", metavar="NAME", help="study name instead of the file's")
    sweep.add_argument("--dry-run", action="store_true", help="run nothing; show sample trials and expected costs")

    train = verb("train", "train one configuration, as a study of one trial", _STUDIES, _SET)
    train.add_argument("file", nargs="?", help="settings of one trial (YAML), as printed by `show --yaml`")

    validate = verb("validate", "check a sweep file", _SET)
    validate.add_argument("file", help="sweep file (YAML)")
    verb("schema", "print the JSON Schema of sweep files, for editors")

    studies = verb("studies", "list the studies", _STUDIES, _JSON)
    studies.add_argument("--names", action="store_true", help="print only their names, one on each line")
    trials = verb("trials", "list a study's trials", _STUDIES, _JSON)
    trials.add_argument("study", help="study name, as listed by `rnnexp studies`")
    trials.add_argument("--all", action="store_true", help="list every trial of a long study, not only the latest")
    show = verb("show", "show the settings, result and curve of one trial", _STUDIES, _JSON)
    show.add_argument("study", help="study name, as listed by `rnnexp studies`")
    show.add_argument("trial", type=int, help="trial number")
    show.add_argument("--yaml", action="store_true", help="print only its settings, as a file for `rnnexp train`")

    stop = verb("stop", "stop a running study or one of its trials, from another shell", _STUDIES)
    stop.add_argument("study", help="study name, as listed by `rnnexp studies`")
    stop.add_argument("trial", type=int, nargs="?", help="trial number (default: the whole study)")
    delete = verb("delete", "delete a study, its runs and its files permanently", _STUDIES)
    delete.add_argument("study", help="study name, as listed by `rnnexp studies`")
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    logs = verb("logs", "print a trial's log", _STUDIES)
    logs.add_argument("study", help="study name, as listed by `rnnexp studies`")
    logs.add_argument("trial", type=int, help="trial number")
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing until the trial ends")

    compare = verb("compare", "rank and compare the trials of one or more studies", _STUDIES, _JSON)
    compare.add_argument("study", nargs="+", help="study names")
    compare.add_argument("--csv", metavar="FILE", help="write the trials to a CSV file")
    compare.add_argument("--html", metavar="FILE", help="write an interactive HTML report")
    compare.add_argument("--where", metavar="CONDITION", help="only these trials: 'model.cell=lstm and value>0.85'")
    compare.add_argument("--columns", metavar="NAMES", help="show these columns, as in units,val_loss,time")
    compare.add_argument("--group-by", metavar="NAMES", help="best, median and number of trials of each group")
    compare.add_argument(
        "--diff", nargs=2, type=int, metavar=("TRIAL", "TRIAL"), help="show how two trials of the study differ"
    )

    certify = verb("certify", "train the best configurations again on fresh seeds, and compare them", _STUDIES, _JSON)
    certify.add_argument("study", help="study name, as listed by `rnnexp studies`")
    certify.add_argument("--top", type=int, default=3, metavar="K", help="how many configurations (default: 3)")
    certify.add_argument(
        "--seeds", type=int, default=10, metavar="S", help="on how many seeds at most (default: 10); more can follow"
    )
    certify.add_argument("--metric", metavar="M", help="compare this metric (default: that of the objective)")

    verify = verb("verify", "train a trial again from its record, and compare", _STUDIES, _JSON)
    verify.add_argument("study", help="study name, as listed by `rnnexp studies`")
    verify.add_argument("trial", type=int, help="trial number")

    export = verb("export", "export the best model as a bundle that accepts raw text", _STUDIES)
    export.add_argument("study", help="study name, as listed by `rnnexp studies`")
    export.add_argument("--trial", type=int, metavar="N", help="export this trial (default: the best one)")
    export.add_argument(
        "--prefer", metavar="METRIC", help="of several objectives: the trial of the front that is best in this one"
    )
    export.add_argument("--to", required=True, metavar="DIR", help="folder to write the bundle to")
    export.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        dest="formats",
        help="format to write, may be repeated; keras is always written (default: keras, saved_model, onnx)",
    )
    predict = verb("predict", "label texts with a bundle", _JSON)
    predict.add_argument("bundle", help="folder written by `rnnexp export`")
    predict.add_argument("text", nargs="*", help="a text to label (default: one text per line of standard input)")
    predict.add_argument("--file", metavar="FILE", help="label the texts of a .csv, .tsv, .jsonl or .parquet file")
    predict.add_argument("--text", dest="column", metavar="COLUMN", help="column with the texts (default: text)")
    predict.add_argument("--out", metavar="RESULT", help="file to write: row number, text, label, probability")
    predict.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN", help="copy this column, too; may be repeated"
    )
    evaluate = verb("evaluate", "measure accuracy and loss of a bundle on its data", _HOME, _JSON)
    evaluate.add_argument("bundle", help="folder written by `rnnexp export`")
    evaluate.add_argument(
        "--split", choices=("test", "validation"), default="test", help="part of the data (default: test)"
    )

    serve = verb("serve", "answer requests over HTTP with the model of a bundle")
    serve.add_argument("bundle", help="folder written by `rnnexp export`")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="listen on this address (default: 127.0.0.1); any other than loopback needs RNNEXP_SERVE_TOKEN",
    )
    serve.add_argument("--port", type=int, default=8080, metavar="P", help="port (default: 8080; 0: a free one)")

    ui = verb("ui", "run MLflow's UI on the runs of this home folder", _STUDIES)
    ui.add_argument("--host", default="127.0.0.1", metavar="H", help="listen on this address (default: 127.0.0.1)")
    ui.add_argument(
        "--optuna", action="store_true", help="run Optuna's dashboard on the studies, too, for reading only"
    )
    ui.add_argument("--wait", action="store_true", help="if there are no runs yet, wait for the first")
    ui.add_argument("--port", type=int, metavar="P", help="port (default: the first free one from 5000)")

    doctor = verb("doctor", "diagnose and repair this machine's set-up and this home folder", _STUDIES, _JSON)
    doctor.add_argument("--repair", action="store_true", help="repair what can be repaired safely, and report it")
    doctor.add_argument("--no-devices", action="store_true", help="do not time the devices, which takes some seconds")

    completion = verb("completion", "print a script that completes commands and names of studies in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    completion.set_defaults(make_parser=parser)

    data = verb("data", "list, fetch and show data sets")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list the built-in data sets", parents=[_HOME, _JSON])
    get = actions.add_parser("get", help="fetch a data set and prepare it", parents=[_HOME])
    get.add_argument("name", help="built-in data set")
    show_data = actions.add_parser("show", help="print one text of a data set as words", parents=[_HOME])
    show_data.add_argument("name", help="built-in data set")
    show_data.add_argument("row", type=int, metavar="N", help="row, counted from 0")
    return top


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments. argparse rejects texts of `predict` that follow an option, so they are added here."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and (args.verb != "predict" or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.text += rest
    return args


def _set_storage(address: str) -> None:
    """Makes an address from the command line the database of the studies, as RNNEXP_STORAGE would."""
    if addresses.has_password(address):
        raise UserError(
            "--storage: a command line is visible to all users of the machine, so it must not contain a password; put "
            "the address into RNNEXP_STORAGE, or the password into PGPASSWORD or ~/.pgpass"
        )
    os.environ[addresses.STORAGE] = address


def _run(args: argparse.Namespace) -> int:
    """Runs a verb. If it trains, TensorFlow's import starts first: it takes longer than everything before a trial."""
    trains = args.verb in _TRAINING_VERBS and not getattr(args, "dry_run", False)
    if trains:
        from rnnexp.engine import start_method

        start_method.warm_up()
    try:
        if getattr(args, "storage", None):
            _set_storage(args.storage)
        code: int = importlib.import_module(f"rnnexp.commands.{args.verb}").run(args)
        return code
    finally:
        if trains:
            start_method.cool_down()


@contextlib.contextmanager
def _tidy_end(verb: str) -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end a command as Ctrl-C does: it removes its temporary files and processes.

    While a study runs, all three go to its supervisor instead.
    """
    if verb in _SERVERS or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    # `nohup` ignores SIGHUP, and that must stay so.
    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    args = _parse(argv)
    atexit.register(gc.freeze)  # Python would search the objects of all libraries for cycles before it ends
    try:
        with _tidy_end(args.verb):
            code = _run(args)
        sys.stdout.flush()
        return code
    except RnnexpError as error:
        print(visible_lines(str(error)), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has ended, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if disk.is_full(error):
            print("the disk is full; finished trials are safe: free space, then run the command again", file=sys.stderr)
            return FAILED
        if disk.is_locked(error):
            print("another program locks the home's database: end it, then run the same command again", file=sys.stderr)
            return FAILED
        from rnnexp import bug

        print(visible(bug.report(error, getattr(args, "home", None))), file=sys.stderr)
        return BUG
