"""The samplers and pruners that are compared; a sweep file can name each of them.

With 8 epochs per trial: successive halving with factor f decides after epochs 1, f, f², …; Hyperband runs several such
brackets in parallel, and later brackets decide later for the first time; the median rule decides after every epoch from
`n_warmup_steps` + 1 on, once `n_startup_trials` trials are complete.
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
from tests.benchmarks.quality.curves import imdb_sweep
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
    *(HyperbandPruner(name="hyperband", min_resource=n) for n in (2, 3, 4)),
)
"""The last ones are Hyperband with other values of `min_resource` and all else equal: its default is chosen by them."""

_RANDOM = RandomSampler(name="random")


def _tpe(n_startup_trials: int) -> TpeSampler:
    return TpeSampler(name="tpe", n_startup_trials=n_startup_trials)


CANDIDATES: tuple[Candidate, ...] = (
    *(Candidate(_RANDOM, pruner, nearest=False) for pruner in PRUNERS),
    *(Candidate(_tpe(10), pruner) for pruner in PRUNERS),
    *(Candidate(_tpe(n), pruner) for n in (5, 20) for pruner in (_NONE, _HALVING, _HYPERBAND)),
    *(Candidate(_RANDOM, pruner) for pruner in (_NONE, _HALVING, _HYPERBAND)),
)

QUICK_CANDIDATES = (CANDIDATES[0], Candidate(_RANDOM, _HYPERBAND, nearest=False), Candidate(_tpe(10), _HALVING))
"""For `--quick`."""


def shipped() -> Candidate:
    """Returns the sampler and the pruner of `sweeps/imdb.yaml`, which the target is about."""
    sweep = imdb_sweep()
    return Candidate(sweep.sampler.model_copy(update={"seed": 0}), sweep.pruner)


def is_control(candidate: Candidate) -> bool:
    """Tells whether a candidate only shows the effect of taking the nearest configuration; no sweep would use it."""
    return candidate.nearest and isinstance(candidate.sampler, RandomSampler)


def describe_sampler(candidate: Candidate) -> str:
    """Returns the sampler with all its settings except the seed."""
    return _describe(candidate.sampler) + (", nearest" if is_control(candidate) else "")


def describe_pruner(candidate: Candidate) -> str:
    """Returns the pruner with all its settings."""
    return _describe(candidate.pruner)


def _describe(part: Sampler | Pruner) -> str:
    settings = {name: value for name, value in part.model_dump().items() if name not in ("name", "seed")}
    return ", ".join([part.name, *(f"{name} {value}" for name, value in settings.items())])
