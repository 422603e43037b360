"""The samplers and pruners that are compared; a sweep file can name each of them.

Successive halving with factor f decides after epochs m, m·f, m·f², …, where m is `min_resource`. Hyperband runs several
such brackets in parallel, and later brackets decide later for the first time. The median rule decides after every epoch
from `n_warmup_steps` + 1 on, once `n_startup_trials` trials are complete. A pruner that pauses lets a trial wait at a
rung instead of ending it.
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

_Rule = tuple[Pruner, bool]
"""A pruner, and whether it pauses."""

_NONE = NoPruner(name="none")


def _halving(min_resource: int, reduction_factor: int) -> SuccessiveHalvingPruner:
    return SuccessiveHalvingPruner(
        name="successive_halving", min_resource=min_resource, reduction_factor=reduction_factor
    )


def _hyperband(min_resource: int, reduction_factor: int = 3) -> HyperbandPruner:
    return HyperbandPruner(name="hyperband", min_resource=min_resource, reduction_factor=reduction_factor)


_PAUSING: tuple[_Rule, ...] = tuple(
    (pruner, True) for pruner in (_halving(2, 2), _halving(1, 2), _halving(2, 3), _hyperband(1), _hyperband(2, 2))
)
_PRUNING: tuple[_Rule, ...] = tuple(
    (pruner, False)
    for pruner in (
        _NONE,
        MedianPruner(name="median"),
        _halving(1, 2),
        _halving(2, 2),
        _halving(2, 3),
        *(_hyperband(min_resource) for min_resource in (1, 2, 3, 4)),
        _hyperband(2, 2),
    )
)
"""Each rung rule that can pause is here too, so that a pair of rows shows what pausing gains."""

_WITH_TPE = [
    rule
    for rule in (*_PAUSING, *_PRUNING)
    if not (isinstance(rule[0], SuccessiveHalvingPruner) and (rule[0].min_resource, rule[0].reduction_factor) != (2, 2))
]
"""With TPE one kind of successive halving: TPE is slow to replay, and the random sampler compares the kinds."""

_RANDOM = RandomSampler(name="random")


def _tpe(n_startup_trials: int) -> TpeSampler:
    return TpeSampler(name="tpe", n_startup_trials=n_startup_trials)


def shipped() -> Candidate:
    """Returns the sampler and the pruner of `sweeps/imdb.yaml`, which the targets are about."""
    sweep = imdb_sweep()
    sampler = sweep.sampler.model_copy(update={"seed": 0})
    pauses = bool(getattr(sweep.pruner, "pause", False))
    return Candidate(sampler, sweep.pruner, nearest=not isinstance(sampler, RandomSampler), pause=pauses)


CANDIDATES: tuple[Candidate, ...] = (
    *(Candidate(_RANDOM, pruner, nearest=False, pause=pause) for pruner, pause in (*_PRUNING, *_PAUSING)),
    *(Candidate(_RANDOM, pruner, nearest=False, pause=pause, resumes_rest=True) for pruner, pause in _PAUSING),
    *(Candidate(_tpe(10), pruner, pause=pause) for pruner, pause in _WITH_TPE),
    *(Candidate(_tpe(n), _NONE) for n in (5, 20)),
    *(Candidate(_RANDOM, pruner, pause=pause) for pruner, pause in (_PRUNING[0], _PAUSING[0])),
)
"""In the order in which they are replayed: if the time is not enough, the last ones are missing."""

QUICK_CANDIDATES = (
    Candidate(_RANDOM, _NONE, nearest=False),
    Candidate(_RANDOM, _hyperband(1), nearest=False, pause=True),
    Candidate(_tpe(10), _halving(1, 2)),
)
"""For `--quick`."""


def compared(*, quick: bool) -> list[Candidate]:
    """Returns all candidates, the shipped one first."""
    others = QUICK_CANDIDATES if quick else CANDIDATES
    return [shipped(), *(candidate for candidate in others if candidate != shipped())]


def is_control(candidate: Candidate) -> bool:
    """Tells whether a candidate only shows the effect of taking the nearest configuration; no sweep would use it."""
    return candidate.nearest and isinstance(candidate.sampler, RandomSampler)


def describe_sampler(candidate: Candidate) -> str:
    """Returns the sampler with all its settings except the seed."""
    return _describe(candidate.sampler) + (", nearest" if is_control(candidate) else "")


def describe_pruner(candidate: Candidate) -> str:
    """Returns the pruner with all its settings; it is marked if the sweep file has this pair of sampler and pruner."""
    pauses = ", pauses" if candidate.pause else ""
    pauses += "; the rest runs at the end" if candidate.resumes_rest else ""
    mark = f" ({imdb_sweep().study}.yaml)" if candidate == shipped() else ""
    return _describe(candidate.pruner) + pauses + mark


def _describe(part: Sampler | Pruner) -> str:
    settings = {name: value for name, value in part.model_dump().items() if name not in ("name", "seed", "pause")}
    return ", ".join([part.name, *(f"{name} {value}" for name, value in settings.items())])
