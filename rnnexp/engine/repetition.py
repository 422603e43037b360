"""Trains a recorded trial again, with its plan, in a process and a folder of its own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import Exited
from rnnexp.engine.local import LocalExecutor
from rnnexp.errors import WorkError
from rnnexp.home import TrialFolder
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Failed
from rnnexp.trial.job import Place, TrialJob

_POLL_S = 5.0


def repeat(
    config: TrialConfig,
    plan: Mapping[str, Any],
    store: Path,
    folder: Path,
    n_epochs: int,
    show: Callable[[EpochEnded], None],
) -> list[EpochEnded]:
    """Trains a trial again up to an epoch.

    Args:
        config: its settings.
        plan: its execution plan, as its `Started` event has it.
        store: the folder of the token store.
        folder: an empty folder for its files.
        n_epochs: ends after this epoch, where the recorded trial ended.
        show: is called after each epoch.

    Raises:
        WorkError: if the training fails.
    """
    files, executor, curve = TrialFolder(folder), LocalExecutor(1), []
    disk.write_text(files.plan, json.dumps(dict(plan)))
    try:
        executor.submit(TrialJob(0, config, 1, "repetition"), Place(files, store))
        while True:
            for number, message in executor.poll(_POLL_S):
                if isinstance(message, EpochEnded):
                    curve.append(message)
                    show(message)
                    executor.answer(number, Answer.END if message.epoch >= n_epochs else Answer.CONTINUE)
                elif isinstance(message, Failed) and message.kind != "diverged":
                    raise WorkError(f"the training failed ({message.kind}): {message.reason}")
                elif isinstance(message, Exited):
                    if message.code and not curve:
                        raise WorkError(f"the training's process ended with code {message.code}")
                    return curve
    finally:
        executor.close()
