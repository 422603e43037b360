"""Computes the held-out probabilities of the best model again if their file is lost; runs as a program.

Loss and accuracy on the held-out rows must equal those recorded at the best epoch; else the model is of another epoch.
"""

import json
import subprocess
import sys
from pathlib import Path

from rnnexp.home import TrialFolder

_N_TEXTS = 3
"""So many texts may be classified differently: another machine rounds differently, and one probability next to the
threshold changes the accuracy by 1 / n."""
_LOSS_TOLERANCE = 1e-3
"""Rounding changes the mean loss by less than 1e-4, because errors of single texts cancel out. Another epoch of a model
that still learns differs by more than 1e-3; so the loss decides if a few texts are a large share of the accuracy."""
_TIMEOUT_S = 1800


def held_out(folder: TrialFolder, store: Path) -> str | None:
    """Writes the held-out probabilities of a trial again, in a separate process.

    Args:
        folder: the trial's, with its best model.
        store: the token store that it was trained on.

    Returns:
        None if they were written; else why the model is not that of the best epoch.

    Raises:
        RuntimeError: if the process gives no result.
    """
    command = [sys.executable, "-m", "rnnexp.trial.recompute_predictions", str(folder.root), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    try:
        fault = json.loads(done.stdout.strip().splitlines()[-1])["fault"]
    except (IndexError, ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [""])[-1][:160]
        raise RuntimeError(f"the process ended with code {done.returncode} ({last})") from None
    return None if fault is None else str(fault)


def tolerance(metric: str, n_texts: int) -> float:
    """Returns by how much a metric may differ from the recorded one if the model is the same.

    Args:
        metric: `loss` or `accuracy`.
        n_texts: the number of held-out texts.
    """
    # Half a text more, so that the rounding of the division does not matter.
    return _LOSS_TOLERANCE if metric == "loss" else (_N_TEXTS + 0.5) / n_texts


def main(root: Path, store_root: Path) -> None:
    """Evaluates the model, compares, and writes the probabilities if the model is that of the best epoch."""
    import keras

    from rnnexp.config.trial import load_trial
    from rnnexp.data.store import TokenStore
    from rnnexp.trial import events, fit
    from rnnexp.trial.events import Finished
    from rnnexp.trial.plan import stored_or_chosen

    folder = TrialFolder(root)
    config, store = load_trial(folder.config, {}), TokenStore.open(store_root)
    result = [event for event in events.read(folder.events) if isinstance(event, Finished)][-1]
    recorded = result.metrics
    model = keras.saving.load_model(folder.best, compile=False, safe_mode=True)
    rows = store.split(config.data).validation
    metrics, probabilities = fit.evaluate(model, config, store, stored_or_chosen(folder.plan, config, 1), rows)
    differences = [
        f"{name} is {value:.6f}, but training recorded {recorded[f'val_{name}']:.6f}"
        for name, value in metrics.items()
        if not abs(value - recorded[f"val_{name}"]) <= tolerance(name, len(rows))
    ]
    if not differences:
        fit.save_held_out(folder, rows, probabilities, result.best_epoch)
    print(json.dumps({"fault": "; ".join(differences) or None}), flush=True)  # noqa: T201 - the output of the program


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
