"""Predicts the test part with the models of some trials, in a process of its own; runs as a program."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnexp.errors import WorkError
from rnnexp.home import TrialFolder

_TIMEOUT_S = 3600


def correct(folders: Sequence[TrialFolder], store: Path) -> NDArray[np.bool_]:
    """Returns whether each model classifies each text of the test part correctly, (models, texts).

    Args:
        folders: of the trials; each has its best model.
        store: the data of their settings.

    Raises:
        WorkError: if the process fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        to = Path(temporary) / "correct.npy"
        command = [sys.executable, "-m", "rnnexp.trial.test_part", str(to), str(store)]
        command += [str(folder.root) for folder in folders]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
            raise WorkError(f"the test part could not be predicted: {last}")
        found: NDArray[np.bool_] = np.load(to)
        return found


def main(to: Path, store_root: Path, roots: Sequence[Path]) -> None:
    """Writes what `correct` returns as a NumPy file."""
    import keras

    from rnnexp.config.trial import load_trial
    from rnnexp.data.store import TokenStore
    from rnnexp.trial import fit
    from rnnexp.trial.plan import stored_or_chosen

    store = TokenStore.open(store_root)
    labels, results = store.label_ids[store.test_rows], []
    for folder in map(TrialFolder, roots):
        config = load_trial(folder.config, {})
        model = keras.saving.load_model(folder.best, compile=False, safe_mode=True)
        plan = stored_or_chosen(folder.plan, config, 1)
        _, probabilities = fit.evaluate(model, config, store, plan, store.test_rows)
        results.append(store.task.decide(probabilities) == labels)
    np.save(to, np.array(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
