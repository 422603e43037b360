"""Which samplers and pruners are compared, as a sweep file can name them.

With 8 epochs a trial: successive halving with factor f asks after epochs 1, f, f², …; Hyperband runs such ladders side
by side, the later ones with their first question later; the median rule asks from epoch `n_warmup_steps` + 1 on, once
`n_startup_trials` trials are complete.
"""

from rnnexp.config.sweep import (
    HyperbandPruner,
    MedianPruner,
    NoPruner,
    Pruner,
    RandomSampler,
    Sampler,
    SuccessiveHalvingPruner,
    TpeSampler,
)
from tests.benchmarks.quality.replay import Candidate

_NONE = NoPruner(name="none")
_HYPERBAND = HyperbandPruner(name="hyperband")
_HALVING = SuccessiveHalvingPruner(name="successive_halving", reduction_factor=3)

PRUNERS: tuple[Pruner, ...] = (
    _NONE,
    MedianPruner(name="median"),
    MedianPruner(name="median", n_startup_trials=5, n_warmup_steps=0),
    MedianPruner(name="median", n_startup_trials=3, n_warmup_steps=0),
    SuccessiveHalvingPruner(name="successive_halving", reduction_factor=2),
    _HALVING,
    SuccessiveHalvingPruner(name="successive_halving"),
    SuccessiveHalvingPruner(name="successive_halving", min_resource=2, reduction_factor=2),
    _HYPERBAND,
    HyperbandPruner(name="hyperband", reduction_factor=2),
    HyperbandPruner(name="hyperband", reduction_factor=4),
    HyperbandPruner(name="hyperband", min_resource=2, reduction_factor=2),
)

_RANDOM = RandomSampler(name="random")


def _tpe(n_startup_trials: int) -> TpeSampler:
    return TpeSampler(name="tpe", n_startup_trials=n_startup_trials)


CANDIDATES: tuple[Candidate, ...] = (
    *(Candidate(_RANDOM, pruner, nearest=False) for pruner in PRUNERS),
    *(Candidate(_tpe(10), pruner) for pruner in PRUNERS),
    *(Candidate(_tpe(n), pruner) for n in (5, 20) for pruner in (_NONE, _HALVING, _HYPERBAND)),
    *(Candidate(_RANDOM, pruner) for pruner in (_NONE, _HALVING, _HYPERBAND)),
)

FEW = (CANDIDATES[0], Candidate(_RANDOM, _HYPERBAND, nearest=False), Candidate(_tpe(10), _HALVING))
"""To see whether it runs."""


def is_control(candidate: Candidate) -> bool:
    """Tells whether a candidate shows what taking the nearest configuration does by itself; no sweep would run it."""
    return candidate.nearest and isinstance(candidate.sampler, RandomSampler)


def sampler_in_words(candidate: Candidate) -> str:
    """Returns the sampler and what of it is not the seed."""
    return _words(candidate.sampler) + (", nearest" if is_control(candidate) else "")


def pruner_in_words(candidate: Candidate) -> str:
    """Returns the pruner with all its settings."""
    return _words(candidate.pruner)


def _words(part: Sampler | Pruner) -> str:
    settings = {name: value for name, value in part.model_dump().items() if name not in ("name", "seed")}
    return ", ".join([part.name, *(f"{name} {value}" for name, value in settings.items())])
