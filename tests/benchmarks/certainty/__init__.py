"""How often `certify` is wrong, and what it can see: simulated certifications with the noise of recorded seeds.

In a simulated study a configuration's score on a seed is its true score plus noise. The noise is drawn, with
replacement, from the scores of real trainings of one configuration on several seeds, less their mean. The study then
looks as the command does, after 6, 8, 10… seeds, and ends with a verdict or at its last seed.
"""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.analysis import certainty, seed_test
from tests.benchmarks.harness import Options, Result, Target

_RECORDED = Path(__file__).with_name("recorded") / "seeds.json"
_N_EQUAL, _N_QUICK = 1_000, 20
_N_DIFFERENT = 300
_DIFFERENCES = (0.002, 0.003, 0.005, 0.008, 0.012)
"""True differences, as shares: 0.005 is half a point of accuracy."""


@dataclass(frozen=True)
class Plan:
    """A kind of simulated study.

    Attributes:
        noises: for each configuration, the deviations from which its noise is drawn.
        n_seeds: at most.
    """

    noises: tuple[NDArray[np.float64], ...]
    n_seeds: int


def run(options: Options) -> Result:
    """Simulates studies of equal configurations, and studies with a true leader."""
    noises, sources = recorded()
    n_equal, n_different = (_N_QUICK, _N_QUICK) if options.quick else (_N_EQUAL, _N_DIFFERENT)
    plans = _plans(noises)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        equal = [pool.submit(shares, plan, 0.0, n_equal) for _, plan in plans]
        different = [[pool.submit(shares, plan, each, n_different) for each in _DIFFERENCES] for _, plan in plans]
        rows: list[dict[str, Any]] = []
        for (title, _), alike, others in zip(plans, equal, different, strict=True):
            row: dict[str, Any] = {"study": title, "equal, verdict %": 100 * alike.result()[0]}
            for difference, found in zip(_DIFFERENCES, others, strict=True):
                wrong, right = found.result()
                row[f"{100 * difference:g} points"] = f"{right:.0%}" + (f" ({wrong:.1%} wrong)" if wrong else "")
            rows.append(row)
    targets = [
        Target(f"{row['study']}: studies of equal configurations with a verdict, %", row["equal, verdict %"], 5, False)
        for row in rows
    ]
    notes = (
        f"{n_equal:,} studies of equal configurations for each row, {n_different} for each true difference",
        "points: the share of studies that name the true leader, which is so much better than each other configuration",
        "noise: " + "; ".join(sources),
    )
    return Result("certainty", "Certainty: wrong verdicts, and differences that are seen", rows, targets, notes)


def recorded() -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Returns the deviations of recorded scores by the name of their configuration, and where they come from."""
    studies = json.loads(_RECORDED.read_text())
    noises = {}
    for study in studies:
        table = np.array([one["values"] for one in study["configurations"]])
        residuals = deviations(table, of_split=study["seed_draws_split"])
        noises |= {one["name"]: row for one, row in zip(study["configurations"], residuals, strict=True)}
    return noises, [study["about"] for study in studies]


def deviations(table: NDArray[np.float64], *, of_split: bool) -> NDArray[np.float64]:
    """Returns what is noise in scores (K, S), with the standard deviation of the noise itself.

    Args:
        table: the scores of configurations on shared seeds.
        of_split: whether each seed also draws a split; what that does to all configurations is then no noise.
    """
    n_configurations, n_seeds = table.shape
    found = table - table.mean(axis=1, keepdims=True)
    factor = n_seeds / (n_seeds - 1)
    if of_split:
        found = found - found.mean(axis=0)
        factor *= n_configurations / (n_configurations - 1)
    return np.asarray(found * np.sqrt(factor))


def _plans(noises: dict[str, NDArray[np.float64]]) -> list[tuple[str, Plan]]:
    alike = [(2, 10), (3, 10), (3, 20), (5, 10)]
    found = [(f"{n} × LSTM(45), {seeds} seeds", Plan((noises["LSTM(45)"],) * n, seeds)) for n, seeds in alike]
    cells = tuple(noises[name] for name in ("LSTM(32)", "GRU(32)", "SimpleRNN(32)"))
    return [*found, *((f"LSTM(32), GRU(32), SimpleRNN(32), {seeds} seeds", Plan(cells, seeds)) for seeds in (10, 20))]


def shares(plan: Plan, difference: float, n_studies: int) -> tuple[float, float]:
    """Returns the shares of simulated studies with a wrong verdict, and with a right one about the leader.

    Args:
        plan: what is simulated.
        difference: by how much the first configuration is better than each other one; 0 for equal ones.
        n_studies: how many.
    """
    rng = np.random.default_rng(n_studies)
    wrong = right = 0
    for _ in range(n_studies):
        scores = np.array([rng.choice(noise, plan.n_seeds) for noise in plan.noises])
        scores[0] += difference
        found = verdict(scores)
        decided = [one for one in found.comparisons if one.is_decided]
        is_right = difference > 0 and found.leader == 0
        wrong += bool(decided) and not is_right
        right += is_right and len(decided) == len(found.comparisons)
    return wrong / n_studies, right / n_studies


def verdict(scores: NDArray[np.float64]) -> certainty.Certainty:
    """Returns what the command finds: it ends at the first look that decides, or at the last one."""
    ends: Sequence[int] = seed_test.looks(scores.shape[1])
    for n_seeds in ends:
        found = certainty.compare(scores[:, :n_seeds], with_power=False)
        if found.is_decided:
            break
    return found
