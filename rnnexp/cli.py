"""Words typed to one verb. Parses, runs `commands.<verb>`, and turns what goes wrong into one line and an exit code.

Nothing heavy is imported here: `--help` answers at once.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from rnnexp import __version__, disk
from rnnexp.errors import RnnexpError

INTERRUPTED, BUG, FAILED = 130, 3, 1

_HOME = argparse.ArgumentParser(add_help=False)
_HOME.add_argument(
    "--home",
    default=os.environ.get("RNNEXP_HOME", "mlruns"),
    metavar="DIR",
    help="holds all state (default: RNNEXP_HOME, else mlruns)",
)
_JSON = argparse.ArgumentParser(add_help=False)
_JSON.add_argument("--json", action="store_true", help="for programs: JSON on standard output")
_SET = argparse.ArgumentParser(add_help=False)
_SET.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    dest="assignments",
    help="a setting, as in model.units=64 or budget.trials=20; may be repeated",
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of everything that can be typed."""
    top = argparse.ArgumentParser(
        prog="rnnexp",
        description="Studies of recurrent networks on text: Optuna searches, Keras trains, MLflow records, "
        "the best model takes text.",
        epilog="Begin with: rnnexp sweep sweeps/quickstart.yaml",
    )
    top.add_argument("--version", action="version", version=f"rnnexp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[*parents])

    sweep = verb("sweep", "launch a study, or go on with it", _HOME, _SET)
    sweep.add_argument("file", help="a sweep file, as in sweeps/")
    sweep.add_argument("--trials", type=int, metavar="N", help="trials in all, over every start")
    sweep.add_argument("--workers", type=int, metavar="W", help="trials at once (default: from cores and memory)")
    sweep.add_argument("--timeout", type=float, metavar="S", help="seconds for this start")
    sweep.add_argument("--study", metavar="NAME", help="another name than the file's")
    sweep.add_argument("--dry-run", action="store_true", help="show sample trials and what to expect; run nothing")

    train = verb("train", "train one run, without a study", _HOME, _SET)
    train.add_argument("file", nargs="?", help="a trial's settings, as `show --yaml` gives them")

    validate = verb("validate", "check a sweep file", _SET)
    validate.add_argument("file")
    verb("schema", "print the JSON Schema of sweep files, for editors")

    verb("studies", "list the studies", _HOME, _JSON)
    trials = verb("trials", "list a study's trials", _HOME, _JSON)
    trials.add_argument("study")
    trials.add_argument("--all", action="store_true", help="of a long study every trial, not only the latest")
    show = verb("show", "show one trial", _HOME, _JSON)
    show.add_argument("study")
    show.add_argument("trial", type=int)
    show.add_argument("--yaml", action="store_true", help="its settings as a file for `rnnexp train`")

    stop = verb("stop", "end a running study or one of its trials, from another shell", _HOME)
    stop.add_argument("study")
    stop.add_argument("trial", type=int, nargs="?")
    delete = verb("delete", "delete a study, its runs and its files", _HOME)
    delete.add_argument("study")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    logs = verb("logs", "print a trial's log", _HOME)
    logs.add_argument("study")
    logs.add_argument("trial", type=int)
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing until the trial ends")

    compare = verb("compare", "compare trials of one or more studies", _HOME, _JSON)
    compare.add_argument("study", nargs="+")
    compare.add_argument("--csv", metavar="FILE", help="write the trials as a table")
    compare.add_argument("--html", metavar="FILE", help="write a report with curves and importances")

    export = verb("export", "write the best model as a bundle that takes text", _HOME)
    export.add_argument("study")
    export.add_argument("--trial", type=int, metavar="N", help="another trial than the best")
    export.add_argument("--to", required=True, metavar="DIR")
    export.add_argument(
        "--format",
        action="append",
        choices=("keras", "saved_model"),
        dest="formats",
        help="keras is always written; may be repeated (default: both)",
    )
    predict = verb("predict", "ask a bundle about texts", _JSON)
    predict.add_argument("bundle")
    predict.add_argument("text", nargs="*", help="a text each; none: a text a line from standard input")
    evaluate = verb("evaluate", "measure a bundle on a part of its data", _HOME, _JSON)
    evaluate.add_argument("bundle")
    evaluate.add_argument("--split", choices=("test", "validation"), default="test")

    ui = verb("ui", "open MLflow's pages on this home, on loopback", _HOME)
    ui.add_argument("--host", default="127.0.0.1", metavar="H", help="default: 127.0.0.1, this machine only")
    ui.add_argument("--wait", action="store_true", help="where there are no runs yet, wait for the first")
    ui.add_argument("--port", type=int, metavar="P", help="default: 5000, or the next that is free")

    doctor = verb("doctor", "show what is wrong with this machine and this home, and fix it", _HOME, _JSON)
    doctor.add_argument("--repair", action="store_true", help="fix what is safe to fix, and say what was done")
    doctor.add_argument("--no-devices", action="store_true", help="do not time the devices: answers in a few seconds")

    data = verb("data", "list, fetch and read data sets")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list the built-in data sets", parents=[_HOME, _JSON])
    get = actions.add_parser("get", help="fetch a data set and prepare it", parents=[_HOME])
    get.add_argument("name")
    show_data = actions.add_parser("show", help="print a review as words", parents=[_HOME])
    show_data.add_argument("name", help="a built-in data set")
    show_data.add_argument("row", type=int, metavar="N")
    return top


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses; argparse takes no texts after an option that stands behind the bundle, so they are added here."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and (args.verb != "predict" or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.text += rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what was typed; returns the exit code."""
    args = _parse(argv)
    try:
        code: int = importlib.import_module(f"rnnexp.commands.{args.verb}").run(args)
        sys.stdout.flush()
        return code
    except RnnexpError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if disk.is_full(error):
            print("the disk is full; nothing that has finished is lost: free some space and go on", file=sys.stderr)
            return FAILED
        if disk.is_locked(error):
            print("another program has held the home's database for too long: end it and go on", file=sys.stderr)
            return FAILED
        from rnnexp import bug

        print(bug.report(error, getattr(args, "home", None)), file=sys.stderr)
        return BUG
