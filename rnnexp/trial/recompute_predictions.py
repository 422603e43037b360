"""The best model's held-out probabilities, worked out again where their file is lost; run as a program.

What training recorded at the best epoch says whether the model is that epoch's: its loss and accuracy on the same rows.
"""

import json
import subprocess
import sys
from pathlib import Path

from rnnexp.home import TrialFolder

_TOLERANCE = 1e-4
"""Of loss and accuracy; another machine rounds otherwise, another epoch differs by more."""
_PATIENCE_S = 1800


def held_out(folder: TrialFolder, store: Path) -> str | None:
    """Has a trial's held-out probabilities written again, in a process of its own.

    Args:
        folder: the trial's, with its best model.
        store: the token store that it was trained on.

    Returns:
        None where they are written; else why the model is not the best epoch's.

    Raises:
        RuntimeError: if the process does not come to an answer.
    """
    command = [sys.executable, "-m", "rnnexp.trial.recompute_predictions", str(folder.root), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    try:
        fault = json.loads(done.stdout.strip().splitlines()[-1])["fault"]
    except (IndexError, ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [""])[-1][:160]
        raise RuntimeError(f"the process ended with code {done.returncode} ({last})") from None
    return None if fault is None else str(fault)


def main(root: Path, store_root: Path) -> None:
    """Measures, compares and, where the model is the best epoch's, writes."""
    import keras

    from rnnexp.config.trial import load_trial
    from rnnexp.data.store import TokenStore
    from rnnexp.trial import events, fit
    from rnnexp.trial.events import Finished
    from rnnexp.trial.plan import stored_or_chosen

    folder = TrialFolder(root)
    config, store = load_trial(folder.config, {}), TokenStore.open(store_root)
    recorded = [event.metrics for event in events.read(folder.events) if isinstance(event, Finished)][-1]
    model = keras.saving.load_model(folder.best, compile=False, safe_mode=True)
    measured, rows, probabilities = fit.measure(model, config, store, stored_or_chosen(folder.plan, config, 1))
    wrong = [
        f"{name} is {value:.6f}, training recorded {recorded[f'val_{name}']:.6f}"
        for name, value in measured.items()
        if not abs(value - recorded[f"val_{name}"]) <= _TOLERANCE
    ]
    if not wrong:
        fit.keep_held_out(folder, rows, probabilities)
    print(json.dumps({"fault": "; ".join(wrong) or None}), flush=True)  # noqa: T201 - what the program is for


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
