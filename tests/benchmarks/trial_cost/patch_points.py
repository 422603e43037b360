"""All functions of rnnexp that are patched with timers, in one place: adapt this module when rnnexp renames them.

A path is `module:name` or `module:Class.name`. Each path has the label of its spans.
"""

import importlib
from collections.abc import Callable
from typing import Any

SUPERVISOR = {
    "submit": "rnnexp.engine.local:LocalExecutor.submit",
    "ask": "rnnexp.storage.store:StudyStore.ask",
    "tell": "rnnexp.storage.store:StudyStore.tell",
    "settings file": "rnnexp.study.records:TrialRecords.create_folder",
    "mlflow": "rnnexp.tracking.projection:Projection.replay",
}
"""Functions that are timed in the supervisor, by `program.py`."""

POLL = "rnnexp.engine.local:LocalExecutor.poll"
"""Returns the messages of the trials; the time of each `Exited` message is recorded."""

PRELOAD = "rnnexp.engine.start_method:_PRELOAD"
"""The name of the module that the forkserver imports; `inside.py` takes its place."""

TRIAL = {
    "run": "rnnexp.trial.process:_run",
    "event": "rnnexp.trial.process:EventReporter.report",
    "answer": "rnnexp.trial.process:EventReporter._exchange",
    "open": "rnnexp.data.store:TokenStore.open",
    "split": "rnnexp.data.store:TokenStore.split",
    "fit": "rnnexp.trial.fit:fit",
    "best model": "rnnexp.trial.fit:_Training._save_best",
    "checkpoint": "rnnexp.trial.checkpoint:save",
    "history": "rnnexp.trial.history:write",
}
"""Functions that are timed in a trial's process, by `inside.py`."""

BATCHES = {
    "training batch": "rnnexp.data.batches:Batches.shuffled",
    "validation batch": "rnnexp.data.batches:Batches.in_order",
}
"""Methods that return iterators of batches; the time of each item is recorded."""

MAIN = "rnnexp.trial.process:main"
"""The main function of a trial's process, called with (job, place, share, pipe, preloaded)."""

TRAIN_STEP, EVALUATION_STEP = "step", "measure"
"""The names of the functions to which `rnnexp.trial.fit.Network` applies `tf.function`."""


def get(path: str) -> Any:
    """Returns the object at a path; a class method is bound to its class."""
    owner, name = _owner(path)
    return getattr(owner, name)


def replace(path: str, wrap: Callable[[Any], Any]) -> None:
    """Replaces the object at a path by `wrap(object)`."""
    owner, name = _owner(path)
    setattr(owner, name, wrap(getattr(owner, name)))


def _owner(path: str) -> tuple[Any, str]:
    module, names = path.split(":")
    owner = importlib.import_module(module)
    *classes, name = names.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name
