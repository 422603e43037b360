"""Which settings decide which trials of a study reach its best tenth, and what chance alone would show.

The measure is PED-ANOVA, as Optuna computes it: for each setting, how much the distribution of its values among the
best tenth of the trials differs from that among all of them (Watanabe, Bansal and Hutter 2023, arXiv:2304.10255). It is
no share of the objective's variation. Every measure of this kind is above zero if nothing matters, so it is computed
again with the values shuffled among the trials.
"""

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rnnexp.home import Home
from rnnexp.storage import bulk_reader
from rnnexp.storage.bulk_reader import StoredTrial
from rnnexp.trial.states import State

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray

MIN_TRIALS = 50
"""The best tenth then has five trials, which is the least that PED-ANOVA's authors advise."""
TOP_QUANTILE = 0.1
_MIN_SHUFFLES, _MAX_SHUFFLES = 20, 100
_SHUFFLED_TRIALS = 20_000
"""How many trials are shuffled in all: half a second for a short study, some three seconds for 10,000 trials."""
NOISE_QUANTILE = 0.95
_SEED = 0


@dataclass(frozen=True)
class Importance:
    """How much one setting decides which trials reach the best tenth.

    Attributes:
        setting: its dotted name.
        share: its share of the sum over all settings.
        noise_median: the median over the shuffled values, as a share of the same sum.
        noise_limit: the 95% quantile over the shuffled values, as a share of the same sum. One setting in 20 that has
            no effect exceeds it.
    """

    setting: str
    share: float
    noise_median: float
    noise_limit: float

    @property
    def is_noise(self) -> bool:
        """Whether chance alone gives such a share, too."""
        return self.share <= self.noise_limit


@dataclass(frozen=True)
class Importances:
    """The importance of each setting of a study.

    Attributes:
        rows: one for each setting, largest share first; empty if there are too few trials or nothing varied.
        n_trials: the finished trials with a value.
        n_pruned: the pruned ones among them. They count with their best value before they were stopped.
        n_shuffles: how often the values were shuffled.
        n_epochs: the trials count with their best value of so many epochs; None: of all their epochs.
    """

    rows: tuple[Importance, ...]
    n_trials: int
    n_pruned: int
    n_shuffles: int = 0
    n_epochs: int | None = None

    @property
    def noise(self) -> list[str]:
        """The settings whose share cannot be distinguished from chance."""
        return [row.setting for row in self.rows if row.is_noise]


def importances(home: Home, name: str) -> Importances:
    """Returns the importance of each setting of a study.

    Args:
        home: holds the study.
        name: the study's name.
    """
    return compute(bulk_reader.read(home, name, with_reports=False), maximize=_maximizes(home, name))


def importances_at(home: Home, name: str, values: Mapping[int, float], n_epochs: int) -> Importances:
    """Returns the importance of each setting for the values of trials at equal numbers of epochs.

    Args:
        home: holds the study.
        name: the study's name.
        values: of the trials within their first epochs, by number; trials without one are left out.
        n_epochs: how many first epochs.
    """
    trials = bulk_reader.read(home, name, with_reports=False)
    for trial in trials:
        trial.value = values.get(trial.number)
    return replace(compute(trials, maximize=_maximizes(home, name)), n_epochs=n_epochs)


def _maximizes(home: Home, name: str) -> bool:
    return bulk_reader.load_study(home, name).direction == "maximize"


def compute(trials: Sequence[StoredTrial], *, maximize: bool) -> Importances:
    """Returns the importance of each setting over some trials.

    Pruned trials count, because leaving them out would leave out most of the trials that missed the best tenth. Their
    final values are unknown, so a setting whose good values start slowly seems worse than it is. Trials without a value
    are left out.

    Args:
        trials: of one study; those that are not finished or have no value are ignored.
        maximize: whether a larger value is better.
    """
    ended = (State.COMPLETE, State.PRUNED)
    valued = [trial for trial in trials if trial.state in ended and _is_finite(trial.value)]
    n_pruned = sum(trial.state is State.PRUNED for trial in valued)
    if len(valued) < MIN_TRIALS:
        return Importances((), len(valued), n_pruned)
    import numpy as np

    losses = np.array([trial.value for trial in valued]) * (-1.0 if maximize else 1.0)
    study, random = _in_memory(valued), np.random.default_rng(_SEED)
    found = _ped_anova(study, losses)
    total = sum(found.values())
    if total <= 0.0:  # nothing varied
        return Importances((), len(valued), n_pruned)
    n_shuffles = max(_MIN_SHUFFLES, min(_MAX_SHUFFLES, _SHUFFLED_TRIALS // len(valued)))
    shuffled = [_ped_anova(study, random.permutation(losses)) for _ in range(n_shuffles)]
    rows = [_importance(setting, value, [one[setting] for one in shuffled], total) for setting, value in found.items()]
    rows.sort(key=lambda row: (-row.share, row.setting))
    return Importances(tuple(rows), len(valued), n_pruned, n_shuffles)


def _importance(setting: str, value: float, shuffled: Sequence[float], total: float) -> Importance:
    import numpy as np

    limit = np.quantile(shuffled, NOISE_QUANTILE, method="higher")
    return Importance(setting, value / total, float(np.median(shuffled)) / total, float(limit) / total)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _in_memory(trials: Sequence[StoredTrial]) -> "optuna.Study":
    """Returns a study with these trials as complete ones, numbered from 0: Optuna ignores all other states."""
    from optuna.distributions import json_to_distribution
    from optuna.trial import create_trial

    from rnnexp.storage.database import create_in_memory_study

    study, decode = create_in_memory_study(), functools.cache(json_to_distribution)
    study.add_trials(
        create_trial(
            params=trial.params,
            distributions={name: decode(stored) for name, stored in trial.distributions.items()},
            value=trial.value,
        )
        for trial in trials
    )
    return study


def _ped_anova(study: "optuna.Study", losses: "NDArray[np.float64]") -> dict[str, float]:
    """Returns PED-ANOVA's result for each setting, not normalised.

    Args:
        study: complete trials, numbered from 0.
        losses: the value of each trial; a smaller one is better.
    """
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_QUANTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a smaller target is better, and of rare conditional settings
        found: dict[str, float] = optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: losses[trial.number], normalize=False
        )
    return {setting: float(value) for setting, value in found.items()}
